//! The trash: lists removed items, restores them, and deletes them permanently after a confirmation.
//! Opening a page changes nothing.

use std::time::Duration;

use axum::extract::{Path, Query};
use axum::response::Response;
use maud::{Markup, html};
use model::ErrorCode;
use model::problem::Problem;
use printable::printable_line;
use protocol::{CollectGarbage, TrashItem, TrashKind};
use serde::Deserialize;

use super::answer::{Answer, Page, PageProblem, see};
use super::confirm::{self, Question};
use super::layout::{self, NavItem, age, size};
use super::session::button_form;
use super::session::{Signed, SignedForm};
use crate::caller::AsUser;

/// How long a request waits for mirrors to be repacked. The rest continues in the background.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) async fn page(signed: Signed, AsUser(user): AsUser) -> Answer {
    let items = user.trash().await?;
    let body = html! {
        p { a href="/settings" { "← Settings" } }
        h1 { "Trash" }
        @if items.is_empty() {
            p.empty { "Trash is empty. You can restore removed tasks and repositories here until they expire." }
        } @else {
            p.facts { (size(items.iter().map(|item| item.bytes).sum())) " in total" }
            ul.tasks {
                @for item in &items { (entry(&signed, item, &items)) }
            }
            p.actions { a.button.danger href="/trash/delete" { "Empty trash" } }
        }
    };
    Ok(Page(layout::page("Trash", NavItem::Settings, &body)))
}

fn entry(signed: &Signed, item: &TrashItem, all: &[TrashItem]) -> Markup {
    let restore = match item.kind {
        TrashKind::Task => Some(format!("/trash/tasks/{}/restore", item.id)),
        TrashKind::Environment => Some(format!("/trash/environments/{}/restore", item.id)),
        TrashKind::Other => None,
    };
    // A task can only be restored after its repository.
    let with = item.env_id.map(|id| id.to_string());
    let with = all.iter().find(|other| other.kind == TrashKind::Environment && with.as_deref() == Some(other.id.as_str()));
    html! {
        li.thing {
            p { span.title { (printable_line(&item.name, 120)) } " · " (word(item.kind)) }
            p.facts {
                (size(item.bytes)) " · removed " (age(item.removed_at)) " · expires on " (item.expires_at.strftime("%Y-%m-%d").to_string())
            }
            @if let Some(with) = with {
                p.quiet { "Restore its repository first: " (printable_line(&with.name, 120)) }
            }
            div.actions {
                @if let Some(restore) = restore.filter(|_| with.is_none()) { (button_form(signed, &restore, "Restore", "", None)) }
                a.button.danger href={ "/trash/delete?id=" (item.id) } { "Delete permanently" }
            }
        }
    }
}

fn word(kind: TrashKind) -> &'static str {
    match kind {
        TrashKind::Task => "task",
        TrashKind::Environment => "repository",
        TrashKind::Other => "unknown folder",
    }
}

pub(crate) async fn restore_task(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    _: SignedForm<()>,
) -> Result<Response, PageProblem> {
    user.restore_task(&id).await?;
    Ok(see(&format!("/tasks/{id}")))
}

pub(crate) async fn restore_environment(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    _: SignedForm<()>,
) -> Result<Response, PageProblem> {
    user.restore_environment(&id).await?;
    Ok(see(&format!("/environments/{id}")))
}

#[derive(Deserialize)]
pub(crate) struct TrashQuery {
    #[serde(default)]
    id: Option<String>,
}

pub(crate) async fn ask_delete(signed: Signed, AsUser(user): AsUser, Query(TrashQuery { id }): Query<TrashQuery>) -> Answer {
    let mut items = user.trash().await?;
    if let Some(id) = &id {
        items.retain(|item| item.id == *id);
    }
    if items.is_empty() {
        return Err(Problem::new(ErrorCode::NotInTheTrash, "item not found in the trash").into());
    }
    let (count, bytes) = (items.len(), items.iter().map(|item| item.bytes).sum());
    let follows = html! {
        ul { @for item in items.iter().take(20) { li { (printable_line(&item.name, 120)) " · " (word(item.kind)) } } }
        @if count > 20 { p { "and " (count - 20) " more" } }
        p { "You cannot undo this. It frees " (size(bytes)) " of disk space." }
    };
    let action = id.map_or_else(|| "/trash/delete".to_owned(), |_| format!("/trash/delete?id={}", items[0].id));
    let question =
        Question { title: "Delete permanently?", follows, action: &action, label: "Delete permanently", back: "/trash" };
    Ok(Page(confirm::page(&signed, NavItem::Settings, &question)))
}

pub(crate) async fn delete(
    AsUser(user): AsUser,
    Query(TrashQuery { id }): Query<TrashQuery>,
    _: SignedForm<()>,
) -> Result<Response, PageProblem> {
    let asked = CollectGarbage { older_than_days: Some(0), id, dry_run: false };
    user.collect_garbage(&asked, PATIENCE).await?;
    Ok(see("/trash"))
}
