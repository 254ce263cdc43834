//! The trash: what was removed, bringing it back, and deleting it for good, which is asked twice.
//! Nothing leaves it by looking.

use std::time::Duration;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use maud::{Markup, html};
use model::ErrorCode;
use model::api::{CollectGarbage, TrashItem, TrashKind};
use model::codex::printable_line;
use model::problem::Problem;
use serde::Deserialize;

use super::confirm::{self, Question};
use super::layout::{self, Place, age, button_form, size};
use super::session::{Signed, SignedForm};
use super::{Answer, Page, PageProblem, see};
use crate::router::Api;

/// How long the page waits for mirrors to be repacked. The rest is done in the background.
const PATIENCE: Duration = Duration::from_secs(1);

pub(crate) async fn page(signed: Signed, State(api): State<Api>) -> Answer {
    let items = api.engine.trash().await?;
    let body = html! {
        p { a href="/settings" { "← Health" } }
        h1 { "Trash" }
        @if items.is_empty() {
            p.empty { "Nothing is in here. What is removed stays here for a while, and can be brought back." }
        } @else {
            p.facts { (size(items.iter().map(|item| item.bytes).sum())) " in all" }
            ul.tasks {
                @for item in &items { (entry(&signed, item, &items)) }
            }
            p.actions { a.button.danger href="/trash/delete" { "Delete all of it for good" } }
        }
    };
    Ok(Page(layout::page("Trash", Place::Settings, &body)))
}

fn entry(signed: &Signed, item: &TrashItem, all: &[TrashItem]) -> Markup {
    let restore = match item.kind {
        TrashKind::Task => Some(format!("/trash/tasks/{}/restore", item.id)),
        TrashKind::Environment => Some(format!("/trash/environments/{}/restore", item.id)),
        TrashKind::Other => None,
    };
    // A task needs its repository.
    let with = item.env_id.map(|id| id.to_string());
    let with = all.iter().find(|other| other.kind == TrashKind::Environment && with.as_deref() == Some(other.id.as_str()));
    html! {
        li.thing {
            p { span.title { (printable_line(&item.name, 120)) } " · " (word(item.kind)) }
            p.facts {
                (size(item.bytes)) " · removed " (age(item.removed_at)) " · deleted for good on " (item.expires_at.strftime("%Y-%m-%d").to_string())
            }
            @if let Some(with) = with {
                p.quiet { "It can come back once its repository is back: " (printable_line(&with.name, 120)) }
            }
            div.actions {
                @if let Some(restore) = restore.filter(|_| with.is_none()) { (button_form(signed, &restore, "Bring back", "", None)) }
                a.button.danger href={ "/trash/delete?id=" (item.id) } { "Delete for good" }
            }
        }
    }
}

fn word(kind: TrashKind) -> &'static str {
    match kind {
        TrashKind::Task => "task",
        TrashKind::Environment => "repository",
        TrashKind::Other => "a folder without a record",
    }
}

pub(crate) async fn restore_task(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: SignedForm<()>,
) -> Result<Response, PageProblem> {
    api.engine.restore_task(&id).await?;
    Ok(see(&format!("/tasks/{id}")))
}

pub(crate) async fn restore_environment(
    State(api): State<Api>,
    Path(id): Path<String>,
    _: SignedForm<()>,
) -> Result<Response, PageProblem> {
    api.engine.restore_environment(&id).await?;
    Ok(see(&format!("/environments/{id}")))
}

#[derive(Deserialize)]
pub(crate) struct What {
    #[serde(default)]
    id: Option<String>,
}

pub(crate) async fn ask_delete(signed: Signed, State(api): State<Api>, Query(What { id }): Query<What>) -> Answer {
    let mut items = api.engine.trash().await?;
    if let Some(id) = &id {
        items.retain(|item| item.id == *id);
    }
    if items.is_empty() {
        return Err(Problem::new(ErrorCode::NotInTheTrash, "this is not in the trash (any more)").into());
    }
    let (count, bytes) = (items.len(), items.iter().map(|item| item.bytes).sum());
    let follows = html! {
        ul { @for item in items.iter().take(20) { li { (printable_line(&item.name, 120)) " · " (word(item.kind)) } } }
        @if count > 20 { p { "and " (count - 20) " more" } }
        p { "Nothing brings it back after that. " (size(bytes)) " of the disk become free." }
    };
    let action = id.map_or_else(|| "/trash/delete".to_owned(), |_| format!("/trash/delete?id={}", items[0].id));
    let question = Question { title: "Delete for good?", follows, action: &action, words: "Delete it for good", back: "/trash" };
    Ok(Page(confirm::page(&signed, Place::Settings, &question)))
}

pub(crate) async fn delete(
    State(api): State<Api>,
    Query(What { id }): Query<What>,
    _: SignedForm<()>,
) -> Result<Response, PageProblem> {
    let asked = CollectGarbage { older_than_days: Some(0), id, dry_run: false };
    api.engine.collect_garbage(&asked, PATIENCE).await?;
    Ok(see("/trash"))
}
