//! The list of tasks: what needs somebody first, then what runs, what waits, and what is done.
//! Filters and pages are in the address, so that they can be kept and sent.

use axum::extract::{Query, State};
use maud::{Markup, html};
use model::api::{TaskQuery, TaskView};
use model::codex::printable_line;
use model::publication::PullRequestState;
use model::task::TaskStatus;

use super::layout::{self, Place};
use super::session::Signed;
use super::{Answer, Page};
use crate::router::Api;

/// So many tasks are on one page.
const PAGE: usize = 100;

/// What a list can be narrowed to.
const STATUSES: [(&str, &str); 6] = [
    ("", "every status"),
    ("queued,preparing,running,stopping", "under way"),
    ("completed", "completed"),
    ("failed,interrupted", "failed or cut off"),
    ("stopped", "stopped"),
    ("queued", "queued"),
];

/// Where a task is in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Group {
    NeedsYou,
    Running,
    Queued,
    Done,
}

impl Group {
    const ALL: [(Self, &str); 4] =
        [(Self::NeedsYou, "Needs you"), (Self::Running, "Running"), (Self::Queued, "Queued"), (Self::Done, "Done")];

    fn of(task: &TaskView) -> Self {
        match task.meta.status {
            TaskStatus::Queued => Self::Queued,
            TaskStatus::Preparing | TaskStatus::Running | TaskStatus::Stopping | TaskStatus::Removing => Self::Running,
            TaskStatus::Failed | TaskStatus::Interrupted => Self::NeedsYou,
            TaskStatus::Completed | TaskStatus::Stopped if needs_somebody(task) => Self::NeedsYou,
            TaskStatus::Completed | TaskStatus::Stopped => Self::Done,
        }
    }
}

/// A finished task that nobody looked at, a pull request with conflicts or red checks, a push that failed.
fn needs_somebody(task: &TaskView) -> bool {
    let publication = task.meta.publication.as_deref();
    let pull_request = publication.and_then(|publication| publication.pull_request.as_ref());
    let open = pull_request.filter(|pull_request| pull_request.state == PullRequestState::Open);
    let red = open.is_some_and(|open| {
        let wants_changes = open.reviews.as_ref().is_some_and(|reviews| !reviews.changes_requested.is_empty());
        open.mergeable == Some(false) || wants_changes || open.checks.as_ref().is_some_and(|checks| !checks.failed.is_empty())
    });
    let merged = pull_request.is_some_and(|pull_request| pull_request.state == PullRequestState::Merged);
    let failed = publication.is_some_and(|publication| publication.error.is_some());
    red || failed || (!merged && !task.meta.is_seen())
}

pub(crate) async fn list(_: Signed, State(api): State<Api>, Query(query): Query<TaskQuery>) -> Answer {
    let asked = TaskQuery { limit: Some(PAGE), env: query.env.clone().filter(|env| !env.is_empty()), ..query.clone() };
    let asked = TaskQuery { status: asked.status.filter(|status| !status.is_empty()), ..asked };
    let page = api.engine.tasks(&asked)?;
    let environments = api.engine.environments();
    let troubles = api.engine.status().troubles;
    let body = html! {
        h1 { "Tasks" }
        @for trouble in &troubles { p.warning role="status" { (trouble.detail) } }
        form.filters method="get" action="/" role="search" {
            input type="search" name="q" value=(query.q.clone().unwrap_or_default()) placeholder="Search" aria-label="Search in titles, prompts and branches";
            select name="env" aria-label="Repository" {
                option value="" { "every repository" }
                @for environment in &environments.items {
                    @let id = environment.env_id.to_string();
                    option value=(id) selected[query.env.as_deref() == Some(id.as_str())] { (environment.name) }
                }
            }
            select name="status" aria-label="Status" {
                @for (value, words) in STATUSES {
                    option value=(value) selected[query.status.as_deref().unwrap_or_default() == value] { (words) }
                }
            }
            button type="submit" { "Search" }
        }
        div #list data-live="/live" {
            @if page.items.is_empty() {
                div.empty {
                    @if environments.items.is_empty() {
                        p { "Nothing here yet. First, a repository that Codex works in:" }
                        a.button.primary href="/environments" { "Add a repository" }
                    } @else {
                        p { "No tasks here." }
                        a.button.primary href="/tasks/new" { "Hand work over" }
                    }
                }
            }
            @for (group, name) in Group::ALL {
                @let tasks: Vec<_> = page.items.iter().filter(|task| Group::of(task) == group).collect();
                @if !tasks.is_empty() {
                    section aria-label=(name) {
                        h2 { (name) " " span.count { (tasks.len()) } }
                        ul.tasks { @for task in tasks { (row(task)) } }
                    }
                }
            }
            @for damaged in &page.damaged {
                p.warning { "Damaged and left as it is: " code { (damaged.path) } " " (damaged.reason) }
            }
            @if let Some(cursor) = &page.next_cursor {
                a.button href=(older(&query, cursor)) { "Older tasks" }
            }
        }
    };
    Ok(Page(layout::page("Tasks", Place::Tasks, &body)))
}

fn older(query: &TaskQuery, cursor: &str) -> String {
    let part = |name: &str, value: Option<&String>| {
        value.filter(|value| !value.is_empty()).map(|value| format!("&{name}={}", model::forge::escaped(value)))
    };
    let parts = [part("q", query.q.as_ref()), part("env", query.env.as_ref()), part("status", query.status.as_ref())];
    format!("/?cursor={}{}", model::forge::escaped(cursor), parts.into_iter().flatten().collect::<String>())
}

fn row(task: &TaskView) -> Markup {
    let meta = &task.meta;
    let last = meta.runs.last();
    let said = last.and_then(|run| run.last_message.as_deref());
    let error = last.and_then(|run| run.error.as_ref());
    let pull_request = meta.publication.as_ref().and_then(|publication| publication.pull_request.as_ref());
    html! {
        li.task {
            a href={ "/tasks/" (meta.task_id) } {
                span.title { (printable_line(meta.title.as_str(), 120)) }
                (layout::status(meta.status))
                span.facts {
                    span { (task.env_name.as_ref().map_or("-", |name| name.as_str())) }
                    " · " (layout::age(last.map_or(meta.created_at, |run| run.finished_at.or(run.started_at).unwrap_or(run.queued_at))))
                    @if let Some(place) = &task.queue { " · number " (place.position) " in the queue" }
                    @if let Some(progress) = &task.progress {
                        " · " (progress.phase) @if let Some(percent) = progress.percent { " " (percent) " %" }
                    }
                    @if meta.runs.len() > 1 { " · " (meta.runs.len()) " runs" }
                    @if !meta.follow_ups.is_empty() { " · " (meta.follow_ups.len()) " to come" }
                    @if let Some(pull_request) = pull_request {
                        " · #" (pull_request.number) " " (pull_request.state.as_str())
                        @if let Some(checks) = &pull_request.checks { @if checks.words() != "none" { ", " (checks.words()) } }
                    }
                }
                @if let Some(error) = error {
                    span.said.error { (printable_line(&error.message, 200)) }
                } @else if let Some(said) = said {
                    span.said { (printable_line(said, 200)) }
                }
            }
        }
    }
}
