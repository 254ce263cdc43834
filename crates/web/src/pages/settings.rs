//! Health and settings: whether tasks can run, what takes how much of the disk, which browsers are signed in, what is in the trash.
//! What is wrong comes with what to do about it.

use axum::extract::{Path, State};
use axum::response::Response;
use maud::{Markup, html};

use super::layout::{self, Place, age, button_form};
use super::session::{Signed, SignedForm};
use super::{Answer, Page, PageProblem, browser, see};
use crate::router::Api;

pub(crate) async fn page(signed: Signed, State(api): State<Api>) -> Answer {
    let status = api.engine.fresh_status().await;
    let disk = api.engine.disk().await;
    let own = signed.id(&api);
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
            dt { "runs" } dd { (status.active_runs) " active, " (status.queued_runs) " waiting" }
        }
        h2 { "Disk" }
        p.facts { (size(disk.free)) " free" }
        ul.plain {
            @for environment in &disk.environments {
                li { (environment.name) ": " (size(environment.mirror)) " in its mirror, " (size(environment.tasks)) " in tasks" }
            }
            li { "trash: " (size(disk.trash)) }
        }
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
                        " · this browser " (button_form(&signed, "/sign-out", "Sign out", "small", None))
                    } @else {
                        " " (button_form(&signed, &format!("/settings/sessions/{}/revoke", session.id), "Revoke", "small", Some("Sign this browser out?")))
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

fn size(bytes: u64) -> Markup {
    let text = match bytes {
        ..1024 => format!("{bytes} B"),
        1024..1_048_576 => format!("{} KiB", bytes / 1024),
        1_048_576..1_073_741_824 => format!("{} MiB", bytes / 1_048_576),
        _ => format!("{}.{} GiB", bytes / 1_073_741_824, bytes % 1_073_741_824 * 10 / 1_073_741_824),
    };
    html! { (text) }
}

pub(crate) async fn revoke(State(api): State<Api>, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    api.engine.sign_out(&id)?;
    Ok(see("/settings"))
}
