//! The settings page: whether tasks can run, disk usage, notifications, and the browsers that are signed in.
//! Problems come with hints. Slow checks run only on request.

use axum::extract::{Path, State};
use axum::response::Response;
use doctor::{Finding, Level};
use engine::User;
use maud::{Markup, html};
use printable::printable_line;
use protocol::{DiskView, ImageUse};

use super::answer::{Answer, Page, PageProblem, see};
use super::browser;
use super::layout::{self, NavItem, age, size};
use super::session::button_form;
use super::session::{Signed, SignedForm};
use crate::caller::AsUser;
use crate::state::Api;

/// The number of tasks in the list of the largest ones.
const LARGEST: usize = 10;

pub(crate) async fn page(signed: Signed, State(api): State<Api>, AsUser(user): AsUser) -> Answer {
    whole(&signed, &api, &user, None).await
}

/// Shows the settings page with the results of all checks of `doctor`.
pub(crate) async fn check(signed: Signed, State(api): State<Api>, AsUser(user): AsUser) -> Answer {
    let findings = user.doctor().await;
    whole(&signed, &api, &user, Some(&findings)).await
}

async fn whole(signed: &Signed, api: &Api, user: &User, findings: Option<&[Finding]>) -> Answer {
    let status = user.fresh_status().await;
    let disk = user.disk().await;
    let own = signed.id(api);
    let body = html! {
        h1 { "Settings" }
        @for trouble in &status.troubles { p.warning role="alert" { (trouble.detail) } }
        @if let Some(problem) = &status.worker.problem {
            p.warning role="alert" { (problem) }
            @for hint in &status.worker.hints { p.hint { "→ " (hint) } }
        }
        @if status.troubles.is_empty() && status.worker.problem.is_none() { p.good { "✓ Ready to run tasks." } }
        dl {
            dt { "Version" } dd { (status.version) }
            dt { "Home" } dd { code { (status.home) } }
            dt { "Worker" } dd { (status.worker.name) }
            dt { "Git" } dd { (status.git) }
            dt { "Started" } dd { (age(status.started_at)) }
            dt { "Runs" } dd { (status.active_runs) " running, " (status.queued_runs) " queued" }
        }
        h2 #check { "Checks" }
        @if let Some(findings) = findings { (found(findings)) }
        form method="get" action="/settings/check" {
            button type="submit" { @if findings.is_some() { "Run checks again" } @else { "Run checks" } }
            p.quiet { "Checks git, the home directory, the disk, the worker and the login, like " code { "codex-orchestrator doctor" } ". This can take a few seconds." }
        }
        h2 { "Disk usage" }
        (usage(&disk))
        h2 { "Notifications" }
        @for damaged in user.notifications().view().damaged {
            p.warning role="alert" { (layout::damaged(&damaged)) }
        }
        p {
            @if user.notifications().has_receivers() { "Notifications are on. " }
            @else { "Notifications are off. " }
            a href="/settings/notices" { "Notification settings" }
        }
        h2 { "Signed-in browsers" }
        ul.plain {
            @for session in user.sessions() {
                li {
                    span title=(session.label) { (browser::name(&session.label)) } " · " (age(session.created_at))
                    @if session.id == own {
                        " · this browser " (button_form(signed, "/sign-out", "Sign out", "small", None))
                    } @else {
                        " " (button_form(signed, &format!("/settings/sessions/{}/revoke", session.id), "Sign out", "small", Some("Sign out this browser?")))
                    }
                }
            }
        }
        p.quiet { "To sign in another browser, run " code { "codex-orchestrator sign-in" } " in a terminal on the server's machine." }
        p.quiet {
            @if api.engine.has_password().await { "Signing in with a password is on. Turn it off with " code { "codex-orchestrator password remove" } "." }
            @else { "Signing in with a password is off. Set a password with " code { "codex-orchestrator password set" } "." }
        }
    };
    Ok(Page(layout::page("Settings", NavItem::Settings, &body)))
}

/// Renders the findings of `doctor`, each with its hints.
fn found(findings: &[Finding]) -> Markup {
    html! {
        ul #findings.plain {
            @for finding in findings {
                @let (shape, class, word) = match finding.level {
                    Level::Ok => ("✓", "good", "ok"),
                    Level::Warning => ("!", "warning", "warning"),
                    Level::Failure => ("✕", "error", "failure"),
                };
                li {
                    p class=(class) { span aria-hidden="true" { (shape) } " " strong { (finding.check) } " (" (word) "): " (printable_line(&finding.found, 500)) }
                    @for hint in &finding.hints { p.hint { "→ " (hint) } }
                }
            }
        }
    }
}

fn used_by(used_by: ImageUse) -> &'static str {
    match used_by {
        ImageUse::Repository => "used by a repository",
        ImageUse::Container => "used by a container",
        ImageUse::OtherName => "also has another name",
        ImageUse::Nothing => "not used",
        ImageUse::Unknown => "usage unknown, because the container engine does not respond",
    }
}

/// Renders the disk usage: in total, by repository, and of the largest tasks.
fn usage(disk: &DiskView) -> Markup {
    html! {
        dl {
            dt { "Free" } dd { (size(disk.free)) @if disk.free < disk.floor { span.error { ", less than the required " (size(disk.floor)) ", so no runs start" } } }
            dt { "Mirrors" } dd { (size(disk.mirrors)) @if disk.unreachable > 0 { ", of which " (size(disk.unreachable)) " are unreachable" } }
            @if disk.snapshots > 0 { dt { "Snapshots of environments" } dd { (size(disk.snapshots)) } }
            dt { "Worktrees" } dd { (size(disk.worktrees)) }
            dt { "Prepared worktrees" } dd { (size(disk.prepared)) }
            dt { "Logs" } dd { (size(disk.logs)) }
            dt { "Other" } dd { (size(disk.other)) }
            dt { "Trash" } dd { (size(disk.trash)) " · " a href="/trash" { "View trash" } }
        }
        @if disk.unreachable > 0 {
            p.quiet { "Unreachable objects are deleted a few weeks after a repack finds them. To repack now, run " code { "codex-orchestrator gc" } "." }
        }
        @if !disk.images.is_empty() {
            h3 { "Container images" }
            ul.plain {
                @for image in &disk.images {
                    li {
                        code { (printable_line(&image.name, 120)) } ": "
                        @if let Some(bytes) = image.bytes { (size(bytes)) ", " }
                        (used_by(image.used_by))
                    }
                }
            }
            p.quiet { "Sizes include layers that images share. To remove unused images, run " code { "codex-orchestrator gc" } "." }
        }
        @if !disk.environments.is_empty() {
            h3 { "By repository" }
            ul.plain {
                @for one in &disk.environments {
                    li { a href={ "/environments/" (one.env_id) } { (layout::name(&one.name)) } ": " "mirror " (size(one.mirror))
                        @if let Some(bytes) = one.unreachable.filter(|bytes| *bytes > 0) { " (" (size(bytes)) " unreachable)" }
                        @if one.snapshots > 0 { ", snapshots " (size(one.snapshots)) }
                        @if one.prepared > 0 { ", prepared worktrees " (size(one.prepared)) }
                        ", tasks " (size(one.tasks)) }
                }
            }
        }
        @if !disk.tasks.is_empty() {
            h3 { "Largest tasks" }
            ul.plain {
                @for task in disk.tasks.iter().take(LARGEST) {
                    li { a href={ "/tasks/" (task.task_id) } { (printable_line(task.title.as_str(), 120)) } ": " (size(task.bytes)) }
                }
            }
        }
    }
}

pub(crate) async fn revoke(AsUser(user): AsUser, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    user.sign_out(&id)?;
    Ok(see("/settings"))
}
