//! The list of tasks in groups: tasks that need attention first, then running, queued and finished ones.
//! Filters, groups and pages are in the URL, so that you can bookmark and share them.

use axum::extract::Query;
use markup::text;
use maud::{Markup, html};
use model::problem::Problem;
use model::task::TaskGroup;
use printable::printable_line;
use protocol::{TaskQuery, TaskView};
use serde::Deserialize;

use super::answer::{Answer, Page};
use super::layout::{self, NavItem};
use super::live;
use super::selected::{self, SelectionActions};
use super::session::Signed;
use crate::caller::AsUser;

/// The number of tasks of a group on one page.
const PAGE: usize = 50;

/// The length of the distinctive part of a branch name: `codex/` and the part of the ID that comes from the time.
const BRANCH_CHARS: usize = 19;

/// The choices of the status filter: each value and its label.
const STATUSES: [(&str, &str); 6] = [
    ("", "All statuses"),
    ("queued,preparing,running,stopping", "In progress"),
    ("completed", "Completed"),
    ("failed,interrupted", "Failed or interrupted"),
    ("stopped", "Stopped"),
    ("queued", "Queued"),
];

fn name(group: TaskGroup) -> &'static str {
    match group {
        TaskGroup::NeedsYou => "Needs your attention",
        TaskGroup::Running => "Running",
        TaskGroup::Queued => "Queued",
        TaskGroup::Done => "Done",
    }
}

/// The filters in the URL. Browsers also send empty fields.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct TaskFilters {
    #[serde(default)]
    q: String,
    #[serde(default)]
    env: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    archived: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    cursor: String,
}

impl TaskFilters {
    fn query(&self, group: TaskGroup) -> TaskQuery {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        TaskQuery {
            q: given(&self.q),
            env: given(&self.env),
            status: given(&self.status),
            archived: given(&self.archived),
            group: Some(group.as_str().to_owned()),
            cursor: given(&self.cursor),
            limit: Some(PAGE),
        }
    }

    fn is_filtered(&self) -> bool {
        [&self.q, &self.env, &self.status, &self.archived, &self.group, &self.cursor].iter().any(|value| !value.is_empty())
    }

    /// Returns the groups to show: one group if the URL names it, otherwise all.
    fn groups(&self) -> Vec<TaskGroup> {
        TaskGroup::parse(&self.group).map_or_else(|| TaskGroup::ALL.to_vec(), |group| vec![group])
    }

    /// Returns the URL of the next page of a group.
    fn older(&self, group: TaskGroup, cursor: &str) -> String {
        let fields = [("q", &*self.q), ("env", &*self.env), ("status", &*self.status), ("archived", &*self.archived)];
        let kept = fields.into_iter().filter(|(_, value)| !value.is_empty());
        let address = format!("/?group={}&cursor={}", group.as_str(), model::forge::escaped(cursor));
        kept.fold(address, |address, (name, value)| address + "&" + name + "=" + &model::forge::escaped(value))
    }
}

pub(crate) async fn list(signed: Signed, AsUser(user): AsUser, Query(asked): Query<TaskFilters>) -> Answer {
    // Read the position of the stream first, so that no change is lost between the page and its stream.
    let live = live::address(&user);
    let parts = asked.groups().into_iter().map(|group| Ok((group, user.tasks(&asked.query(group))?)));
    let parts = parts.collect::<Result<Vec<_>, Problem>>()?;
    let environments = user.environments();
    let troubles = user.status().troubles;
    let actions = if asked.archived == "only" { SelectionActions::Archived } else { SelectionActions::Listed };
    let body = html! {
        h1 { "Tasks" }
        @for trouble in &troubles { p.warning role="status" { (trouble.detail) } }
        form.filters method="get" action="/" role="search" {
            input type="search" name="q" value=(asked.q) placeholder="Search" aria-label="Search titles, prompts and branches";
            select name="env" aria-label="Repository" {
                option value="" { "All repositories" }
                @for environment in &environments.items {
                    @let id = environment.env_id.to_string();
                    option value=(id) selected[asked.env == id] { (layout::name(&environment.name)) }
                }
            }
            select name="status" aria-label="Status" {
                @for (value, label) in STATUSES {
                    option value=(value) selected[asked.status == value] { (label) }
                }
            }
            label { input type="checkbox" name="archived" value="only" checked[asked.archived == "only"]; "Archived" }
            button type="submit" { "Search" }
        }
        @if let Some(group) = TaskGroup::parse(&asked.group) {
            p { a href="/" { "← All tasks" } " · " (name(group)) }
        }
        div #list data-live=(live) {
            @if parts.iter().all(|(_, page)| page.items.is_empty()) {
                div.empty {
                    @if environments.items.is_empty() {
                        p { "Add a repository to start your first task." }
                        a.button.primary href="/environments" { "Add repository" }
                    } @else if asked.is_filtered() {
                        p { "No matching tasks." }
                        a.button href="/" { "Clear filters" }
                    } @else {
                        p { "No tasks." }
                        a.button.primary href="/tasks/new" { "New task" }
                    }
                }
            }
            @for (group, page) in &parts {
                @if !page.items.is_empty() {
                    section aria-label=(name(*group)) {
                        h2 {
                            (name(*group)) " "
                            span.count { @if asked.cursor.is_empty() { (page.items.len()) @if page.next_cursor.is_some() { "+" } } }
                        }
                        ul.tasks { @for task in &page.items { (row(task)) } }
                        @if let Some(cursor) = &page.next_cursor { a.button href=(asked.older(*group, cursor)) { "Older tasks" } }
                    }
                }
            }
            @for damaged in parts.iter().take(1).flat_map(|(_, page)| &page.damaged) {
                p.warning { (layout::damaged(damaged)) }
            }
        }
        (selected::bar(&signed, actions))
    };
    Ok(Page(layout::page("Tasks", NavItem::Tasks, &body)))
}

pub(super) fn row(task: &TaskView) -> Markup {
    let meta = task;
    let last = meta.runs.last();
    let title = printable_line(meta.title.as_str(), 120);
    let changes = meta.runs.iter().rev().find_map(|run| run.changes).filter(|changes| changes.files > 0);
    let said = last.and_then(|run| run.last_message.as_deref());
    let error = last.and_then(|run| run.error.as_ref());
    let pull_request = meta.publication.as_ref().and_then(|publication| publication.pull_request.as_ref());
    html! {
        li.task {
            label.pick {
                input type="checkbox" name="task" value=(meta.task_id) form="selected";
                span.visually-hidden { "Select " (title) }
            }
            a href={ "/tasks/" (meta.task_id) } {
                span.title { (title) }
                (layout::status(meta.status))
                span.facts {
                    span title=(meta.branch) { (task.env_name.as_ref().map_or_else(|| "-".to_owned(), layout::name)) }
                    " · " code { (meta.branch.as_str().chars().take(BRANCH_CHARS).collect::<String>()) "…" }
                    " · " @match last {
                        Some(run) if run.finished_at.is_none() => (layout::since(run.started_at.unwrap_or(run.queued_at))),
                        _ => (layout::age(last.and_then(|run| run.finished_at).unwrap_or(meta.created_at))),
                    }
                    @if meta.question.is_some() { " · needs your answer" }
                    @else if let Some(place) = &task.queue { " · " (layout::ordinal(place.position)) " in queue" }
                    @if let Some(progress) = &task.progress {
                        " · " (progress.phase) @if let Some(percent) = progress.percent { " " (percent) "%" }
                    }
                    @if meta.runs.len() > 1 { " · " (meta.runs.len()) " runs" }
                    @if !meta.follow_ups.is_empty() { " · " (meta.follow_ups.len()) @if meta.follow_ups.len() == 1 { " follow-up" } @else { " follow-ups" } }
                    @if let Some(changes) = changes {
                        " · " span.plus { "+" (changes.additions) } " " span.minus { "−" (changes.deletions) }
                    }
                    @if let Some(pull_request) = pull_request {
                        " · #" (pull_request.number) " " (pull_request.state.as_str())
                        @if let Some(checks) = &pull_request.checks { @if checks.words() != "none" { " · checks: " (checks.words()) } }
                    }
                }
                @if let Some(activity) = &task.activity {
                    span.said data-activity=(meta.task_id) { (activity) }
                } @else if task.active {
                    span.said data-activity=(meta.task_id) {}
                } @else if let Some(error) = error {
                    span.said.error { (printable_line(&error.message, 200)) }
                } @else if let Some(said) = said {
                    span.said { (text::words_of(said, 200)) }
                }
            }
        }
    }
}
