//! What the agents of a task installed: the commands, and a form that saves them in the description of the environment.
//!
//! The commands come from agents. Invariant: the text that the form saves is shown in it, and the form is that of the description.

use axum::extract::Path;
use markup::compared::compared;
use markup::visible;
use maud::{Markup, html};
use printable::{printable, printable_line};
use protocol::{InstalledCommandView, InstalledView, TaskView};

use super::answer::{Answer, Page};
use super::layout::{self, NavItem};
use super::session::{Signed, form_token};
use super::setup_branches::{NOT_APPLIED, changed_lines};
use crate::caller::AsUser;

/// Renders the link to the page, if an agent installed something.
pub(super) fn link(view: &TaskView) -> Markup {
    html! {
        @if view.runs.iter().any(|run| run.installed) {
            a.button href={ "/tasks/" (view.task_id) "/installed" } { "Use what this agent installed" }
        }
    }
}

pub(crate) async fn page(signed: Signed, AsUser(user): AsUser, Path(id): Path<String>) -> Answer {
    let task = user.task(&id)?;
    let found = user.installed(&id, None).await?;
    let body = html! {
        p { a href={ "/tasks/" (task.task_id) } { "← " (printable_line(task.title.as_str(), 120)) } }
        h1 { "Use what this agent installed" }
        @if !found.applies { p.warning { (NOT_APPLIED) } }
        (commands(&found))
        (left_out(&found))
        (proposal(&signed, &found, &format!("/environments/{}/setup", task.env_id)))
    };
    Ok(Page(layout::page("Use what this agent installed", NavItem::Tasks, &body)))
}

fn commands(found: &InstalledView) -> Markup {
    html! {
        @if found.commands.is_empty() {
            p { "No command of this task can be used in a setup." }
        } @else {
            p.quiet { "The agents of this task installed things with these commands. If the setup runs them, new tasks start with the result." }
            ul.plain { @for command in &found.commands { li { code { (visible::name(&command.command)) } (facts(command)) } } }
        }
        @if !found.complete { p.warning { "The logs are too large to be searched completely, so commands may be missing." } }
    }
}

fn facts(command: &InstalledCommandView) -> Markup {
    html! {
        span.facts {
            " · run " (command.run.0)
            @if command.described { " · already in the setup" } @else if !command.verified { " · may have failed" }
        }
    }
}

fn left_out(found: &InstalledView) -> Markup {
    html! {
        @if !found.left_out.is_empty() {
            h2 { "Not included" }
            p.quiet { "These commands may also have installed something. Add them yourself if tasks need them." }
            ul.plain {
                @for left in &found.left_out {
                    li { code { (visible::name(&left.command)) } span.facts { " · run " (left.run.0) " · " (left.reason.words()) } }
                }
                @if found.more_left_out > 0 { li { (found.more_left_out) " more" } }
            }
        }
    }
}

fn proposal(signed: &Signed, found: &InstalledView, action: &str) -> Markup {
    html! {
        @if let Some(error) = &found.error {
            p.error { (printable(&error.message)) }
        } @else if let Some(text) = &found.proposal {
            (changed_lines(&compared("environment.toml", found.base.as_deref().unwrap_or_default(), text), |_| {
                html! { h2 { "Changes to the description" } }
            }))
            form.stack method="post" action=(action) {
                (form_token(signed))
                h2 { label for="description" { "Description as TOML" } }
                textarea.code #description name="description" rows="14" spellcheck="false" { (text) }
                p.warning { "The commands come from the agent. Read them before you save: the setup runs them for all new tasks." }
                p.quiet { "The setup keeps folders of the repository, such as " code { "node_modules" } ", only if " code { "[keep]" } " lists them." }
                p.quiet { "If you save it, the settings of this server contain the description, and the file in the repository has no effect." }
                button.primary type="submit" { "Save" }
            }
        } @else if !found.commands.is_empty() {
            p { "The setup already contains all of these commands." }
        }
    }
}
