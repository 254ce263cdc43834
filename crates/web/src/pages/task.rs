//! The page of a task: its state, its transcript and the form for the next prompt.
//! It shows the end of the transcript first and loads earlier parts on request.

use axum::body::Body;
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use engine::{TaskUpdate, User};
use markup::text;
use maud::{Markup, html};
use model::codex::{CodexEvent, Item, ItemKind, LINE_CAP_BYTES, transcribe};
use model::ids::RunNumber;
use model::problem::Problem;
use model::publication::{Publication, PublicationStatus, PullRequest, PullRequestState};
use model::task::TaskStatus;
use printable::{printable, printable_line};
use protocol::{PublishTask, ResumeTask, TaskView, UpdateTask};
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::answer::{Answer, Page, PageProblem, see, see_sent};
use super::confirm::{self, Question};
use super::entry::{self, Entries, Whose};
use super::form;
use super::layout::{self, NavItem};
use super::session::{Signed, SignedForm};
use super::session::{button_form, form_token};
use super::timing::Timing;
use super::upload::{self, SignedUpload, Uploads};
use super::{assets, installed, question, steps, task_environment};
use crate::caller::AsUser;

/// The approximate size of the part of a log that a page shows at first and loads with each step back, in bytes.
const WINDOW_BYTES: u64 = 256 * 1024;

/// The limit for the markup of one part, in bytes. Older entries are in the previous part.
const PART_BYTES: usize = 1024 * 1024;

/// The size of an output that fits on one page.
const OUTPUT_BYTES: usize = 256 * 1024;

pub(crate) async fn page(signed: Signed, AsUser(user): AsUser, Path(id): Path<String>) -> Answer {
    let view = user.mark_seen(&id).await?;
    let last = view.runs.last().map_or(1, |run| run.number.0);
    let (entries, end) = transcript(&user, &view, last).await?;
    let title = printable_line(view.title.as_str(), 120);
    let live = format!("/tasks/{id}/live?run={last}&offset={end}");
    let body = html! {
        header.task-head {
            h1 { (title) }
            (state(&view, &signed))
        }
        @if view.runs.len() > 1 {
            details.earlier {
                @let earlier = view.runs.len() - 1;
                summary { (earlier) @if earlier == 1 { " earlier run" } @else { " earlier runs" } }
                ol.transcript {
                    @for run in &view.runs[..view.runs.len() - 1] {
                        (entry::run_head(&id, run))
                        li.entry.older { a.button href={ "/tasks/" (id) "/runs/" (run.number.0) "/older" }
                            hx-get={ "/tasks/" (id) "/runs/" (run.number.0) "/older" } hx-target="closest li" hx-swap="outerHTML" { "Show transcript" } }
                        (entry::run_end(&id, run))
                    }
                }
            }
        }
        ol #transcript.transcript aria-label="Transcript" data-live=(live) { (entries) }
        button #more.pill type="button" hidden { "New events ↓" }
        (composer(&view, &signed))
    };
    Ok(Page(layout::page_with_scripts(&[assets::images_script(), assets::transcript_script()], &title, NavItem::Tasks, &body)))
}

/// Returns the end of a run's transcript, and the log offset after it.
async fn transcript(user: &User, view: &TaskView, run: u32) -> Result<(Markup, u64), Problem> {
    let id = view.task_id.to_string();
    let found = view.runs.iter().find(|found| found.number.0 == run);
    let TranscriptPart { entries, start, end, unfinished } = part(user, &id, run, None).await?;
    let html = html! {
        @if let Some(found) = found { (entry::run_head(&id, found)) }
        @if start > 0 { (older_link(&id, run, start)) }
        (entries)
        @if unfinished > LINE_CAP_BYTES as u64 {
            li.entry { p.note { "An incomplete line of " (layout::size(unfinished)) " is not shown. It is in the raw log." } }
        }
        @if let Some(found) = found.filter(|found| found.finished_at.is_some()) { (entry::run_end(&id, found)) }
    };
    Ok((html, end))
}

fn older_link(id: &str, run: u32, before: u64) -> Markup {
    let href = format!("/tasks/{id}/runs/{run}/older?before={before}");
    html! { li.entry.older { a.button href=(href) hx-get=(href) hx-target="closest li" hx-swap="outerHTML" { "Load earlier events" } } }
}

/// Returns the timing state at an offset of a run's log: which items were in progress, and when they started.
pub(super) async fn timing_at(user: &User, id: &str, run: u32, offset: u64) -> Result<Timing, Problem> {
    let mut timing = Timing::new(user.line_times(id, RunNumber(run)).await?);
    if offset > 0 {
        for (offset, line) in &user.log_window(id, RunNumber(run), Some(offset), WINDOW_BYTES).await?.lines {
            timing.took(*offset, &CodexEvent::parse(line), None);
        }
    }
    Ok(timing)
}

/// A part of a run's transcript.
struct TranscriptPart {
    entries: Markup,
    /// The log offset of the first line.
    start: u64,
    /// The log offset after the last line.
    end: u64,
    /// The number of bytes after the last line, which have no line end yet.
    unfinished: u64,
}

/// Renders log lines on a thread for blocking work, since many large messages take a while.
async fn entries_of(
    lines: Vec<(u64, Bytes)>,
    id: &str,
    run: u32,
    mut timing: Timing,
) -> Result<(Vec<entry::Entry>, Timing), Problem> {
    let id = id.to_owned();
    let made = tokio::task::spawn_blocking(move || {
        let whose = Whose { task: &id, run };
        let entries = lines.iter().filter_map(|(offset, line)| {
            let event = CodexEvent::parse(line);
            let took = timing.took(*offset, &event, None);
            entry::entry(whose, *offset, &event, took)
        });
        let entries = entries.collect();
        (entries, timing)
    });
    made.await.map_err(Problem::internal)
}

async fn part(user: &User, id: &str, run: u32, before: Option<u64>) -> Result<TranscriptPart, Problem> {
    let window = user.log_window(id, RunNumber(run), before, WINDOW_BYTES).await?;
    let timing = Timing::new(user.line_times(id, RunNumber(run)).await?);
    let (found, timing) = entries_of(window.lines, id, run, timing).await?;
    let mut entries = Entries::default();
    for found in found {
        entries.push(found);
    }
    let start = entries.keep_newest(PART_BYTES).unwrap_or(window.start);
    // The results of items that are open at the end of this part are in the next part.
    if let Some(before) = before
        && entries.has_open()
    {
        let next = user.log_window(id, RunNumber(run), Some(before.saturating_add(WINDOW_BYTES)), WINDOW_BYTES).await?;
        let lines = next.lines.into_iter().filter(|(offset, _)| *offset > before).collect();
        let (found, _) = entries_of(lines, id, run, timing).await?;
        for found in found {
            entries.update(found);
        }
    }
    Ok(TranscriptPart { entries: entries.html(run), start, end: window.end, unfinished: window.unfinished })
}

#[derive(Deserialize)]
pub(crate) struct Before {
    before: Option<u64>,
}

/// Returns the entries before an offset: as a fragment for htmx, or as a page.
pub(crate) async fn older(
    _: Signed,
    AsUser(user): AsUser,
    Path((id, run)): Path<(String, u32)>,
    Query(Before { before }): Query<Before>,
    headers: HeaderMap,
) -> Answer {
    let TranscriptPart { entries, start, .. } = part(&user, &id, run, before).await?;
    let entries = html! { @if start > 0 { (older_link(&id, run, start)) } (entries) };
    if headers.contains_key("hx-request") {
        return Ok(Page(entries));
    }
    let body = html! {
        p { a href={ "/tasks/" (id) } { "← Back to task" } }
        h1 { "Run " (run) }
        ol.transcript { (entries) }
    };
    Ok(Page(layout::page("Transcript", NavItem::Tasks, &body)))
}

#[derive(Deserialize)]
pub(crate) struct At {
    at: u64,
    #[serde(default)]
    from: usize,
}

/// Shows the complete output of a command, or a complete message, one page at a time.
pub(crate) async fn output(
    _: Signed,
    AsUser(user): AsUser,
    Path((id, run)): Path<(String, u32)>,
    Query(At { at, from }): Query<At>,
) -> Answer {
    let window = user.log_window(&id, RunNumber(run), Some(at), 1).await?;
    let event = window.lines.last().map(|(_, line)| CodexEvent::parse(line));
    let more = |left: usize, next: usize| {
        html! {
            @if left > 0 { p { a.all href={ "/tasks/" (id) "/runs/" (run) "/output?at=" (at) "&from=" (next) } { "Show more (" (layout::size(left as u64)) " left)" } } }
        }
    };
    let plain = |title: &str, text: &str| {
        let (shown, next, left) = text::piece_of(text, from, OUTPUT_BYTES);
        html! { h1 { (title) } pre { (printable(shown)) } (more(left, next)) }
    };
    let body = match &event {
        Some(CodexEvent::ItemCompleted(Item { kind: ItemKind::CommandExecution(command), .. })) => {
            let (shown, next, left) = text::piece_of(&command.aggregated_output, from, OUTPUT_BYTES);
            html! {
                h1 { code { (printable_line(&command.command, 200)) } }
                pre.output { (text::output(shown)) }
                (more(left, next))
            }
        }
        Some(CodexEvent::ItemCompleted(Item {
            kind: ItemKind::AgentMessage { text } | ItemKind::Reasoning { text }, ..
        })) => plain("Message", text),
        Some(other) => plain("Entry", &transcribe(other).map(|entry| entry.body).unwrap_or_default()),
        None => html! { p { "No output found." } },
    };
    let body = html! { p { a href={ "/tasks/" (id) } { "← Back to task" } } (body) };
    Ok(Page(layout::page("Output", NavItem::Tasks, &body)))
}

/// Sends a run's log byte for byte.
pub(crate) async fn log(_: Signed, AsUser(user): AsUser, Path((id, run)): Path<(String, u32)>) -> Result<Response, PageProblem> {
    let log = user.log(&id, RunNumber(run)).await?;
    let body = Body::from_stream(ReaderStream::new(log.file.take(log.length)));
    let name = format!("attachment; filename=\"run-{run:03}.jsonl\"");
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((kind, body).into_response())
}

/// Sends the output of a service of a run as plain text.
pub(crate) async fn service_log(
    _: Signed,
    AsUser(user): AsUser,
    Path((id, run, service)): Path<(String, u32, String)>,
) -> Result<Response, PageProblem> {
    let text = user.service_log(&id, RunNumber(run), &service).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], printable(&text).into_owned()).into_response())
}

/// Renders the task's state and actions. The live stream replaces this whole part of the page.
pub(super) fn state(view: &TaskView, signed: &Signed) -> Markup {
    let meta = view;
    let path = |rest: &str| format!("/tasks/{}/{rest}", meta.task_id);
    let has_work = meta.runs.iter().any(|run| run.commit.is_some());
    html! {
        div #state {
            p.facts {
                (layout::status(meta.status))
                " · " (view.env_name.as_ref().map_or_else(|| "-".to_owned(), layout::name))
                " · " code { (meta.branch) }
            }
            (question::question(view, signed))
            (question::held(view, signed))
            (question::omitted(view, signed))
            (steps::steps(view))
            (task_environment::note(meta))
            @for (n, follow_up) in meta.follow_ups.iter().enumerate() {
                div.to-come {
                    details {
                        summary { @if n == 0 { "Next: " } @else { "Then: " } (printable_line(follow_up.prompt.as_str(), 160)) @if !follow_up.images.is_empty() { " · " (upload::count(follow_up.images.len())) } }
                        form.stack method="post" action=(path(&format!("follow-ups/{}", follow_up.number))) {
                            (form_token(signed))
                            label.visually-hidden for={ "follow-up-" (follow_up.number) } { "Follow-up prompt" }
                            textarea id={ "follow-up-" (follow_up.number) } name="prompt" rows="3" required data-grow { (follow_up.prompt.as_str()) }
                            button type="submit" { "Save" }
                        }
                    }
                    (button_form(signed, &path(&format!("follow-ups/{}/remove", follow_up.number)), "Remove", "small", None))
                }
            }
            div.actions {
                @if view.active {
                    a.button.danger href=(path("stop")) { "Stop" }
                }
                @if !view.active && matches!(meta.status, TaskStatus::Failed | TaskStatus::Interrupted) {
                    form.inline method="post" action=(path("retry")) {
                        (form_token(signed))
                        input type="hidden" name="key" value=(form::new_key());
                        button.primary type="submit" { "Retry" }
                    }
                }
                @if !view.active && !meta.follow_ups.is_empty() {
                    (button_form(signed, &path("continue"), "Run next follow-up", "", None))
                }
                @if has_work { a.button href=(path("changes")) { "Changes" } }
                @if has_work && !view.active {
                    (button_form(signed, &path("update"), &update_label(meta.git_ref.as_str()), "", None))
                }
                a.button href=(path(&format!("runs/{}/log", meta.runs.last().map_or(1, |run| run.number.0)))) { "Raw log" }
                @if !view.active {
                    (task_environment::refresh_link(meta))
                    (installed::link(meta))
                    @let label = if meta.archived_at.is_some() { "Unarchive" } else { "Archive" };
                    (button_form(signed, &path("archive"), label, "", None))
                    a.button href=(path("remove")) { "Remove" }
                }
            }
            @if has_work && !view.active { (publish_panel(meta.publication.as_deref(), signed, &path("push"), &path("feedback"))) }
        }
    }
}

fn publish_panel(publication: Option<&Publication>, signed: &Signed, push: &str, feedback: &str) -> Markup {
    let pull_request = publication.and_then(|publication| publication.pull_request.as_ref());
    let open = pull_request.filter(|found| found.state == PullRequestState::Open);
    html! {
        details.publish open[publication.is_some_and(|publication| publication.status != PublicationStatus::Done)] {
            summary {
                @match (publication, pull_request) {
                    (None, _) => "Publish",
                    (Some(publication), None) => (publication_label(publication.status)),
                    (Some(publication), Some(pull_request)) => {
                        "Pull request #" (pull_request.number) " · " (pull_request_label(pull_request))
                        @if publication.status != PublicationStatus::Done { " · " (publication_label(publication.status)) }
                    }
                }
            }
            @if let Some(pull_request) = pull_request {
                p { a href=(pull_request.url) rel="noreferrer" { "#" (pull_request.number) " " (printable_line(&pull_request.title, 200)) } }
                @if let Some(checks) = &pull_request.checks { p.facts { "Checks: " (checks.words()) } }
                @if pull_request.mergeable == Some(false) { p.error { "Conflicts with " code { (pull_request.base) } } }
                @if let Some(reviews) = &pull_request.reviews {
                    @if !reviews.approved.is_empty() { p.facts { "Approved by " (printable(&reviews.approved.join(", "))) } }
                    @if !reviews.changes_requested.is_empty() { p.facts { "Changes requested by " (printable(&reviews.changes_requested.join(", "))) } }
                }
                (button_form(signed, feedback, "Fix review comments and failing checks", "", None))
            }
            @if let Some(error) = publication.and_then(|publication| publication.error.as_ref()) {
                p.error { (printable(&error.message)) }
                @for hint in &error.hints { p.hint { "→ " (hint) } }
            }
            @if let Some(note) = publication.and_then(|publication| publication.note.as_ref()) { p.note { (printable(note)) } }
            form.stack method="post" action=(push) {
                (form_token(signed))
                label { input type="checkbox" name="draft" value="yes"; " Draft" }
                label for="pr-title" { "Title" }
                input #pr-title name="title" type="text" placeholder=(pull_request.map_or("Default: the task title".to_owned(), |found| printable_line(&found.title, 200)));
                label for="pr-body" { "Description" }
                textarea #pr-body name="body" rows="3" placeholder="Default: the repository's template, Codex's last message and the list of runs" data-grow {}
                @if publication.is_some_and(|publication| publication.remote_sha.is_some()) {
                    label { input type="checkbox" name="force" value="yes"; " Overwrite the new commits on the remote branch" }
                }
                div.actions {
                    button.primary type="submit" name="pull_request" value="yes" {
                        @match open { Some(open) => { "Update #" (open.number) }, None => "Create pull request" }
                    }
                    button type="submit" { "Push branch only" }
                }
            }
        }
    }
}

/// Returns the label of the button that updates a task's branch. A task that starts from a commit has no branch to name.
fn update_label(git_ref: &str) -> String {
    let is_commit = git_ref.len() >= 7 && git_ref.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_commit { "Update branch".to_owned() } else { format!("Update from {}", printable_line(git_ref, 60)) }
}

fn publication_label(status: PublicationStatus) -> &'static str {
    match status {
        PublicationStatus::Pushing => "Pushing branch…",
        PublicationStatus::Opening => "Opening pull request…",
        PublicationStatus::Done => "Branch pushed",
        PublicationStatus::Failed => "Publishing failed",
    }
}

fn pull_request_label(pull_request: &PullRequest) -> &'static str {
    match pull_request.state {
        PullRequestState::Open if pull_request.draft => "Draft",
        PullRequestState::Open => "Open",
        PullRequestState::Merged => "Merged",
        PullRequestState::Closed => "Closed",
    }
}

/// Renders the form for the next prompt, or explains why there is none.
pub(super) fn composer(view: &TaskView, signed: &Signed) -> Markup {
    let id = view.task_id;
    let can_speak = view.thread_id.is_some() || view.active;
    html! {
        @if can_speak {
            form.composer method="post" action={ "/tasks/" (id) "/say" } enctype="multipart/form-data" data-draft=(id) {
                (form_token(signed))
                input type="hidden" name="key" value=(form::new_key());
                (upload::field(&html! { span aria-hidden="true" { "+" } span.visually-hidden { "Add files" } }))
                label.visually-hidden for="say" { "Message to Codex" }
                textarea #say name="prompt" rows="1" required data-grow data-send
                    placeholder=(if view.active { "Add a follow-up…" } else { "Reply to Codex…" }) {}
                button.primary type="submit" { "Send" }
            }
        } @else {
            p.quiet {
                "Codex did not start a thread for this task, so there is nothing to reply to. "
                @if view.status == TaskStatus::Stopped { "Create a new task instead." } @else { "Retry runs the same prompt again." }
            }
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Say {
    prompt: String,
    #[serde(default)]
    key: String,
}

/// Adds a follow-up. It starts now, or after the current run completes.
pub(crate) async fn say(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    SignedUpload(_, Say { prompt, key }, uploads): SignedUpload<Say>,
) -> Result<Response, PageProblem> {
    let Uploads { images, attachments } = uploads;
    let asked = ResumeTask { prompt: prompt.replace("\r\n", "\n"), images, attachments, ..ResumeTask::default() };
    let key = form::request_key(&key, &asked)?;
    user.add_follow_up(&id, asked, key).await?;
    Ok(see_sent(&format!("/tasks/{id}"), &id))
}

pub(crate) async fn ask_stop(signed: Signed, AsUser(user): AsUser, Path(id): Path<String>) -> Answer {
    let view = user.task(&id)?;
    let (action, back) = (format!("/tasks/{}/stop", view.task_id), format!("/tasks/{}", view.task_id));
    let follows = html! {
        p { (printable_line(view.title.as_str(), 120)) }
        p { "Codex stops now. Its changes are committed, and you can continue later." }
    };
    let question = Question { title: "Stop this run?", follows, action: &action, label: "Stop run", back: &back };
    Ok(Page(confirm::page(&signed, NavItem::Tasks, &question)))
}

pub(crate) async fn ask_remove(signed: Signed, AsUser(user): AsUser, Path(id): Path<String>) -> Answer {
    let view = user.task(&id)?;
    let (action, back) = (format!("/tasks/{}/remove", view.task_id), format!("/tasks/{}", view.task_id));
    let follows = html! {
        p { (printable_line(view.title.as_str(), 120)) }
        p { "The task moves to the trash with its branch and logs. You can restore it until it is permanently deleted." }
    };
    let question = Question { title: "Remove this task?", follows, action: &action, label: "Remove task", back: &back };
    Ok(Page(confirm::page(&signed, NavItem::Tasks, &question)))
}

pub(crate) async fn stop(AsUser(user): AsUser, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    user.stop_task(&id).await?;
    Ok(see(&format!("/tasks/{id}")))
}

pub(crate) async fn go_on(AsUser(user): AsUser, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    user.continue_task(&id).await?;
    Ok(see(&format!("/tasks/{id}")))
}

#[derive(Deserialize)]
pub(crate) struct RetryForm {
    #[serde(default)]
    key: String,
}

pub(crate) async fn retry(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    SignedForm(_, RetryForm { key }): SignedForm<RetryForm>,
) -> Result<Response, PageProblem> {
    let key = form::request_key(&key, &"retry")?;
    user.retry_task(&id, key).await?;
    Ok(see(&format!("/tasks/{id}")))
}

/// Changes the prompt of a follow-up. Its images and settings stay.
pub(crate) async fn edit(
    AsUser(user): AsUser,
    Path((id, number)): Path<(String, u32)>,
    SignedForm(_, Say { prompt, .. }): SignedForm<Say>,
) -> Result<Response, PageProblem> {
    user.reword_follow_up(&id, number, &prompt.replace("\r\n", "\n")).await?;
    Ok(see(&format!("/tasks/{id}")))
}

pub(crate) async fn forget(
    AsUser(user): AsUser,
    Path((id, number)): Path<(String, u32)>,
    _: SignedForm<()>,
) -> Result<Response, PageProblem> {
    user.remove_follow_up(&id, number).await?;
    Ok(see(&format!("/tasks/{id}")))
}

/// Archives a task, or unarchives it.
pub(crate) async fn archive(AsUser(user): AsUser, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    if user.task(&id)?.archived_at.is_some() {
        user.unarchive_task(&id).await?;
        return Ok(see(&format!("/tasks/{id}")));
    }
    user.archive_task(&id).await?;
    Ok(see("/"))
}

pub(crate) async fn remove(AsUser(user): AsUser, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    user.remove_task(&id).await?;
    Ok(see("/"))
}

#[derive(Deserialize)]
pub(crate) struct PushForm {
    #[serde(default)]
    pull_request: String,
    #[serde(default)]
    draft: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    body: String,
    #[serde(default)]
    force: String,
}

pub(crate) async fn push(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    SignedForm(_, form): SignedForm<PushForm>,
) -> Result<Response, PageProblem> {
    let pull_request = !form.pull_request.is_empty();
    let given = |text: String| Some(text.replace("\r\n", "\n")).filter(|text| pull_request && !text.trim().is_empty());
    let asked = PublishTask {
        pull_request,
        title: given(form.title),
        body: given(form.body),
        draft: pull_request && !form.draft.is_empty(),
        force_with_lease: !form.force.is_empty(),
    };
    user.publish_task(&id, asked).await?;
    Ok(see(&format!("/tasks/{id}")))
}

#[derive(Deserialize)]
pub(crate) struct UpdateForm {
    #[serde(default)]
    hand_over: String,
}

/// Updates a task's branch from its base. If the branches conflict, nothing changes and the page lists the conflicts.
pub(crate) async fn update(
    AsUser(user): AsUser,
    Path(id): Path<String>,
    SignedForm(signed, form): SignedForm<UpdateForm>,
) -> Result<Response, PageProblem> {
    let asked = UpdateTask { hand_over: !form.hand_over.is_empty(), ..UpdateTask::default() };
    let found = match user.update_task(&id, asked).await? {
        TaskUpdate::Accepted(_) => return Ok(see(&format!("/tasks/{id}"))),
        TaskUpdate::Conflicts(conflicts) => conflicts,
    };
    let body = html! {
        p { a href={ "/tasks/" (id) } { "← Back to task" } }
        h1 { "Conflicts" }
        p { "This branch conflicts with " code { (printable_line(&found.base.name, 200)) } ". Nothing has been changed." }
        ul.plain {
            @for file in &found.conflicts { li { code { (markup::visible::name(&file.path)) } " " span.word { (file.kind.as_str()) } } }
        }
        form method="post" action={ "/tasks/" (id) "/update" } {
            (form_token(&signed))
            input type="hidden" name="hand_over" value="yes";
            button.primary type="submit" { "Ask Codex to resolve" }
        }
    };
    Ok(Page(layout::page("Conflicts", NavItem::Tasks, &body)).into_response())
}

pub(crate) async fn feedback(AsUser(user): AsUser, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    user.send_feedback(&id).await?;
    Ok(see(&format!("/tasks/{id}")).into_response())
}
