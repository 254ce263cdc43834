//! The environment of a task on its page: a refresh, which asks first because it deletes what earlier runs installed.
//!
//! Invariant: opening the confirmation changes nothing.

use axum::extract::Path;
use axum::response::Response;
use maud::{Markup, html};
use printable::printable_line;
use protocol::TaskView;

use super::answer::{Answer, Page, PageProblem, see};
use super::confirm::{self, Question};
use super::layout::NavItem;
use super::session::{Signed, SignedForm};
use crate::caller::AsUser;

/// Renders what the next run does with the environment, if that is unusual.
pub(super) fn note(view: &TaskView) -> Markup {
    html! { @if view.environment_refreshed { p.note { "The next run starts from the newest environment." } } }
}

/// Renders the link to the confirmation. A task without a worktree takes the newest environment anyway.
pub(super) fn refresh_link(view: &TaskView) -> Markup {
    html! {
        @if view.base_sha.is_some() && !view.environment_refreshed {
            a.button href={ "/tasks/" (view.task_id) "/refresh-environment" } { "Refresh environment" }
        }
    }
}

pub(crate) async fn ask_refresh(signed: Signed, AsUser(user): AsUser, Path(id): Path<String>) -> Answer {
    let view = user.task(&id)?;
    let (action, back) = (format!("/tasks/{}/refresh-environment", view.task_id), format!("/tasks/{}", view.task_id));
    let follows = html! {
        p { (printable_line(view.title.as_str(), 120)) }
        p { "The next run starts from the newest snapshot of the repository's environment. What earlier runs installed outside of the worktree is deleted. The branch and its files stay." }
    };
    let question =
        Question { title: "Refresh the environment?", follows, action: &action, label: "Refresh environment", back: &back };
    Ok(Page(confirm::page(&signed, NavItem::Tasks, &question)))
}

pub(crate) async fn refresh(AsUser(user): AsUser, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    user.refresh_environment(&id).await?;
    Ok(see(&format!("/tasks/{id}")))
}
