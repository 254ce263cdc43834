//! Health and settings: whether tasks can run, what takes how much of the disk, which browsers are signed in.
//! What is wrong comes with what to do about it. What takes a while is looked at only when somebody asks.

use axum::extract::{Path, State};
use axum::response::Response;
use engine::doctor::{Finding, Level};
use maud::{Markup, html};
use model::api::{DiskView, ImageUse};
use model::codex::printable_line;

use super::layout::{self, Place, age, button_form, size};
use super::session::{Signed, SignedForm};
use super::{Answer, Page, PageProblem, browser, see};
use crate::router::Api;

/// How many tasks are named that take the most of the disk.
const LARGEST: usize = 10;

pub(crate) async fn page(signed: Signed, State(api): State<Api>) -> Answer {
    whole(&signed, &api, None).await
}

/// The same, with everything that `doctor` looks at.
pub(crate) async fn check(signed: Signed, State(api): State<Api>) -> Answer {
    let findings = api.engine.doctor().await;
    whole(&signed, &api, Some(&findings)).await
}

async fn whole(signed: &Signed, api: &Api, findings: Option<&[Finding]>) -> Answer {
    let status = api.engine.fresh_status().await;
    let disk = api.engine.disk().await;
    let own = signed.id(api);
    let body = html! {
        h1 { "Health" }
        @for trouble in &status.troubles { p.warning role="alert" { (trouble.detail) } }
        @if let Some(problem) = &status.worker.problem {
            p.warning role="alert" { (problem) }
            @for hint in &status.worker.hints { p.hint { "→ " (hint) } }
        }
        @if status.troubles.is_empty() && status.worker.problem.is_none() { p.good { "✓ Tasks can run." } }
        dl {
            dt { "version" } dd { (status.version) }
            dt { "home" } dd { code { (status.home) } }
            dt { "worker" } dd { (status.worker.name) }
            dt { "git" } dd { (status.git) }
            dt { "running since" } dd { (age(status.started_at)) }
            dt { "runs" } dd { (status.active_runs) " running, " (status.queued_runs) " waiting" }
        }
        h2 #check { "Check" }
        @if let Some(findings) = findings { (found(findings)) }
        form method="get" action="/settings/check" {
            button type="submit" { @if findings.is_some() { "Check again" } @else { "Check now" } }
            p.quiet { "Looks at git, the home, the disk, the worker and the login, as " code { "codex-orchestrator doctor" } " does. It can take some seconds." }
        }
        h2 { "Disk" }
        (taken(&disk))
        h2 { "Notices" }
        @for damaged in api.engine.notices().damaged {
            p.warning role="alert" { "Damaged and left as it is: " code { (damaged.path) } " " (damaged.reason) }
        }
        p {
            @if api.engine.has_receivers() { "You are told when a task has ended or needs you. " }
            @else { "Nobody is told when a task has ended or needs you. " }
            a href="/settings/notices" { "Notices: devices, receivers, quiet hours" }
        }
        h2 { "Signed in" }
        ul.plain {
            @for session in api.engine.sessions() {
                li {
                    span title=(session.label) { (browser::name(&session.label)) } " · " (age(session.created_at))
                    @if session.id == own {
                        " · this browser " (button_form(signed, "/sign-out", "Sign out", "small", None))
                    } @else {
                        " " (button_form(signed, &format!("/settings/sessions/{}/revoke", session.id), "Revoke", "small", Some("Sign this browser out?")))
                    }
                }
            }
        }
        p.quiet { "Another browser: " code { "codex-orchestrator sign-in" } " in a terminal on the server's machine." }
        p.quiet {
            @if api.engine.has_password().await { "A password signs in too; " code { "codex-orchestrator password remove" } " ends that." }
            @else { "No password signs in; " code { "codex-orchestrator password set" } " sets one." }
        }
    };
    Ok(Page(layout::page("Health", Place::Settings, &body)))
}

/// Each finding with what to do about it.
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
                    p class=(class) { span aria-hidden="true" { (shape) } " " strong { (finding.check) } ", " (word) ": " (printable_line(&finding.found, 500)) }
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
        ImageUse::OtherName => "also has a name from somebody else",
        ImageUse::Nothing => "not used",
        ImageUse::Unknown => "the container engine does not answer",
    }
}

/// What takes how much of the disk: in all, by repository, and the largest tasks.
fn taken(disk: &DiskView) -> Markup {
    html! {
        dl {
            dt { "free" } dd { (size(disk.free)) @if disk.free < disk.floor { span.error { ", less than the floor of " (size(disk.floor)) ": no run begins" } } }
            dt { "mirrors" } dd { (size(disk.mirrors)) @if disk.unreachable > 0 { ", of which nothing refers to " (size(disk.unreachable)) } }
            dt { "worktrees" } dd { (size(disk.worktrees)) }
            dt { "logs" } dd { (size(disk.logs)) }
            dt { "other" } dd { (size(disk.other)) }
            dt { "trash" } dd { (size(disk.trash)) " · " a href="/trash" { "what is in it" } }
        }
        @if disk.unreachable > 0 {
            p.quiet { "Objects that nothing refers to are deleted some weeks after a repack found them. " code { "codex-orchestrator gc" } " repacks now." }
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
            p.quiet { "Sizes include layers that images share. " code { "codex-orchestrator gc" } " removes images that nothing uses." }
        }
        @if !disk.environments.is_empty() {
            h3 { "By repository" }
            ul.plain {
                @for one in &disk.environments {
                    li { a href={ "/environments/" (one.env_id) } { (printable_line(one.name.as_str(), 120)) } ": " (size(one.mirror)) " in its mirror"
                        @if let Some(bytes) = one.unreachable.filter(|bytes| *bytes > 0) { " (nothing refers to " (size(bytes)) ")" }
                        ", " (size(one.tasks)) " in tasks" }
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

pub(crate) async fn revoke(State(api): State<Api>, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    api.engine.sign_out(&id)?;
    Ok(see("/settings"))
}
