//! A task: its state, its transcript with the newest in sight, and what can be said to it.
//! The transcript is shown from its end; what is older comes when it is asked for.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use maud::{Markup, html};
use model::api::{PublishTask, ResumeTask, TaskView, UpdateTask};
use model::codex::{CodexEvent, Item, ItemKind, LINE_CAP_BYTES, printable, printable_line, transcribe};
use model::ids::RunNumber;
use model::problem::Problem;
use model::publication::{Publication, PublicationStatus};
use model::task::TaskStatus;
use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::ReaderStream;

use super::confirm::{self, Question};
use super::entry::{self, Entries, Whose};
use super::form;
use super::layout::{self, Place, button_form, form_token};
use super::session::{Signed, SignedForm};
use super::timing::Timing;
use super::upload::{self, SignedUpload};
use super::{Answer, Page, PageProblem, assets, question, see, see_sent, steps, text};
use crate::router::Api;

/// About so many bytes of a run's log are in the page at first, and at each step back.
const WINDOW_BYTES: u64 = 256 * 1024;

/// No more markup than this is made of them. What does not fit is a step back away.
const PART_BYTES: usize = 1024 * 1024;

/// So many bytes of an output are in one page.
const OUTPUT_BYTES: usize = 256 * 1024;

pub(crate) async fn page(signed: Signed, State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let view = api.engine.mark_seen(&id).await?;
    let last = view.meta.runs.last().map_or(1, |run| run.number.0);
    let (entries, end) = transcript(&api, &view, last).await?;
    let title = printable_line(view.meta.title.as_str(), 120);
    let live = format!("/tasks/{id}/live?run={last}&offset={end}");
    let body = html! {
        header.task-head {
            h1 { (title) }
            (state(&view, &signed))
        }
        @if view.meta.runs.len() > 1 {
            details.earlier {
                summary { "Earlier runs: " (view.meta.runs.len() - 1) }
                ol.transcript {
                    @for run in &view.meta.runs[..view.meta.runs.len() - 1] {
                        (entry::run_head(&id, run))
                        li.entry.older { a.button href={ "/tasks/" (id) "/runs/" (run.number.0) "/older" }
                            hx-get={ "/tasks/" (id) "/runs/" (run.number.0) "/older" } hx-target="closest li" hx-swap="outerHTML" { "Load events" } }
                        (entry::run_end(run))
                    }
                }
            }
        }
        ol #transcript.transcript aria-label="Transcript" data-live=(live) { (entries) }
        button #more.pill type="button" hidden { "new below" }
        (composer(&view, &signed))
    };
    Ok(Page(layout::page_with_scripts(&[assets::images_script(), assets::transcript_script()], &title, Place::Tasks, &body)))
}

/// The end of a run's transcript, and the offset behind it.
async fn transcript(api: &Api, view: &TaskView, run: u32) -> Result<(Markup, u64), Problem> {
    let id = view.meta.task_id.to_string();
    let found = view.meta.runs.iter().find(|found| found.number.0 == run);
    let Part { entries, start, end, unfinished } = part(api, &id, run, None).await?;
    let html = html! {
        @if let Some(found) = found { (entry::run_head(&id, found)) }
        @if start > 0 { (older_link(&id, run, start)) }
        (entries)
        @if unfinished > LINE_CAP_BYTES as u64 {
            li.entry { p.note { "a line of " (layout::size(unfinished)) " without an end is not shown; the raw log has it" } }
        }
        @if let Some(found) = found.filter(|found| found.finished_at.is_some()) { (entry::run_end(found)) }
    };
    Ok((html, end))
}

fn older_link(id: &str, run: u32, before: u64) -> Markup {
    let href = format!("/tasks/{id}/runs/{run}/older?before={before}");
    html! { li.entry.older { a.button href=(href) hx-get=(href) hx-target="closest li" hx-swap="outerHTML" { "Load earlier events" } } }
}

/// What was under way in a run at this place of its log, and since when.
pub(super) async fn timing_at(api: &Api, id: &str, run: u32, offset: u64) -> Result<Timing, Problem> {
    let mut timing = Timing::new(api.engine.line_times(id, RunNumber(run)).await?);
    if offset > 0 {
        for (offset, line) in &api.engine.log_window(id, RunNumber(run), Some(offset), WINDOW_BYTES).await?.lines {
            timing.took(*offset, &CodexEvent::parse(line), None);
        }
    }
    Ok(timing)
}

/// A part of a run's transcript.
struct Part {
    entries: Markup,
    /// The offset of its first line.
    start: u64,
    /// The offset behind its last line.
    end: u64,
    /// How many bytes come behind that without a line end.
    unfinished: u64,
}

/// The entries of lines, made where it holds up nobody: many large messages take a while.
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

async fn part(api: &Api, id: &str, run: u32, before: Option<u64>) -> Result<Part, Problem> {
    let window = api.engine.log_window(id, RunNumber(run), before, WINDOW_BYTES).await?;
    let timing = Timing::new(api.engine.line_times(id, RunNumber(run)).await?);
    let (found, timing) = entries_of(window.lines, id, run, timing).await?;
    let mut entries = Entries::default();
    for found in found {
        entries.push(found);
    }
    let start = entries.keep_newest(PART_BYTES).unwrap_or(window.start);
    // Work that was still going on at the end of an earlier part: its result is in the part behind it.
    if let Some(before) = before
        && entries.has_open()
    {
        let next = api.engine.log_window(id, RunNumber(run), Some(before.saturating_add(WINDOW_BYTES)), WINDOW_BYTES).await?;
        let lines = next.lines.into_iter().filter(|(offset, _)| *offset > before).collect();
        let (found, _) = entries_of(lines, id, run, timing).await?;
        for found in found {
            entries.update(found);
        }
    }
    Ok(Part { entries: entries.html(run), start, end: window.end, unfinished: window.unfinished })
}

#[derive(Deserialize)]
pub(crate) struct Before {
    before: Option<u64>,
}

/// What came before a place: entries that take the place of the link for a script, else a page of their own.
pub(crate) async fn older(
    _: Signed,
    State(api): State<Api>,
    Path((id, run)): Path<(String, u32)>,
    Query(Before { before }): Query<Before>,
    headers: HeaderMap,
) -> Answer {
    let Part { entries, start, .. } = part(&api, &id, run, before).await?;
    let entries = html! { @if start > 0 { (older_link(&id, run, start)) } (entries) };
    if headers.contains_key("hx-request") {
        return Ok(Page(entries));
    }
    let body = html! {
        p { a href={ "/tasks/" (id) } { "← the task" } }
        h1 { "Run " (run) }
        ol.transcript { (entries) }
    };
    Ok(Page(layout::page("Transcript", Place::Tasks, &body)))
}

#[derive(Deserialize)]
pub(crate) struct At {
    at: u64,
    #[serde(default)]
    from: usize,
}

/// All that one command printed, or all of a message, a page at a time.
pub(crate) async fn output(
    _: Signed,
    State(api): State<Api>,
    Path((id, run)): Path<(String, u32)>,
    Query(At { at, from }): Query<At>,
) -> Answer {
    let window = api.engine.log_window(&id, RunNumber(run), Some(at), 1).await?;
    let event = window.lines.last().map(|(_, line)| CodexEvent::parse(line));
    let more = |left: usize, next: usize| {
        html! {
            @if left > 0 { p { a.all href={ "/tasks/" (id) "/runs/" (run) "/output?at=" (at) "&from=" (next) } { (left) " bytes more" } } }
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
        })) => plain("A message", text),
        Some(other) => plain("An entry", &transcribe(other).map(|entry| entry.body).unwrap_or_default()),
        None => html! { p { "There is no output here." } },
    };
    let body = html! { p { a href={ "/tasks/" (id) } { "← the task" } } (body) };
    Ok(Page(layout::page("Output", Place::Tasks, &body)))
}

/// A run's log, byte for byte.
pub(crate) async fn log(
    _: Signed,
    State(api): State<Api>,
    Path((id, run)): Path<(String, u32)>,
) -> Result<Response, PageProblem> {
    let log = api.engine.log(&id, RunNumber(run)).await?;
    let body = Body::from_stream(ReaderStream::new(log.file.take(log.length)));
    let name = format!("attachment; filename=\"run-{run:03}.jsonl\"");
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((kind, body).into_response())
}

/// How the task is, and what can be done about it. Replaced as a whole while the page is open.
pub(super) fn state(view: &TaskView, signed: &Signed) -> Markup {
    let meta = &view.meta;
    let path = |rest: &str| format!("/tasks/{}/{rest}", meta.task_id);
    let has_work = meta.runs.iter().any(|run| run.commit.is_some());
    html! {
        div #state {
            p.facts {
                (layout::status(meta.status))
                " · " (view.env_name.as_ref().map_or("-", |name| name.as_str()))
                " · " code { (meta.branch) }
            }
            (question::question(view, signed))
            (steps::steps(view))
            @for follow_up in &meta.follow_ups {
                div.to-come {
                    details {
                        summary { "next: " (printable_line(follow_up.prompt.as_str(), 160)) @if !follow_up.images.is_empty() { " · " (upload::count(follow_up.images.len())) } }
                        form.stack method="post" action=(path(&format!("follow-ups/{}", follow_up.number))) {
                            (form_token(signed))
                            label.visually-hidden for={ "follow-up-" (follow_up.number) } { "What to do then" }
                            textarea id={ "follow-up-" (follow_up.number) } name="prompt" rows="3" required data-grow { (follow_up.prompt.as_str()) }
                            button type="submit" { "Change it" }
                        }
                    }
                    (button_form(signed, &path(&format!("follow-ups/{}/remove", follow_up.number)), "Forget", "small", None))
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
                    (button_form(signed, &path("continue"), "Go on with the next", "", None))
                }
                @if has_work { a.button href=(path("changes")) { "Changes" } }
                @if has_work && !view.active {
                    (button_form(signed, &path("update"), "Bring up to its base", "", None))
                }
                a.button href=(path(&format!("runs/{}/log", meta.runs.last().map_or(1, |run| run.number.0)))) { "Raw log" }
                @if !view.active {
                    @let words = if meta.archived_at.is_some() { "Bring back" } else { "Archive" };
                    (button_form(signed, &path("archive"), words, "", None))
                    a.button href=(path("remove")) { "Remove" }
                }
            }
            @if has_work && !view.active { (publish_panel(meta.publication.as_deref(), signed, &path("push"), &path("feedback"))) }
        }
    }
}

fn publish_panel(publication: Option<&Publication>, signed: &Signed, push: &str, feedback: &str) -> Markup {
    let pull_request = publication.and_then(|publication| publication.pull_request.as_ref());
    html! {
        details.publish open[publication.is_some_and(|publication| publication.status != PublicationStatus::Done)] {
            summary {
                "Publish"
                @if let Some(publication) = publication { " · " (publication.status.as_str()) }
                @if let Some(pull_request) = pull_request { " · #" (pull_request.number) " " (pull_request.state.as_str()) }
            }
            @if let Some(pull_request) = pull_request {
                p { a href=(pull_request.url) rel="noreferrer" { "#" (pull_request.number) " " (printable_line(&pull_request.title, 200)) } }
                @if let Some(checks) = &pull_request.checks { p.facts { "checks: " (checks.words()) } }
                @if pull_request.mergeable == Some(false) { p.error { "it has conflicts with " code { (pull_request.base) } } }
                @if let Some(reviews) = &pull_request.reviews {
                    @if !reviews.approved.is_empty() { p.facts { "approved by " (reviews.approved.join(", ")) } }
                    @if !reviews.changes_requested.is_empty() { p.facts { "changes wanted by " (reviews.changes_requested.join(", ")) } }
                }
                (button_form(signed, feedback, "Hand comments and failed checks to Codex", "", None))
            }
            @if let Some(error) = publication.and_then(|publication| publication.error.as_ref()) {
                p.error { (printable(&error.message)) }
                @for hint in &error.hints { p.hint { "→ " (hint) } }
            }
            @if let Some(note) = publication.and_then(|publication| publication.note.as_ref()) { p.note { (printable(note)) } }
            form.stack method="post" action=(push) {
                (form_token(signed))
                label { input type="checkbox" name="pull_request" value="yes" checked; " open or renew a pull request" }
                label { input type="checkbox" name="draft" value="yes"; " as a draft" }
                label for="pr-title" { "Title" }
                input #pr-title name="title" type="text" placeholder=(pull_request.map_or("the task's".to_owned(), |found| printable_line(&found.title, 200)));
                label for="pr-body" { "Text" }
                textarea #pr-body name="body" rows="3" placeholder="the repository's template, the last message, the runs" data-grow {}
                @if publication.is_some_and(|publication| publication.remote_sha.is_some()) {
                    label { input type="checkbox" name="force" value="yes"; " replace the commits that were found in the way" }
                }
                button.primary type="submit" { "Push" }
            }
        }
    }
}

/// What can be said to the task now.
pub(super) fn composer(view: &TaskView, signed: &Signed) -> Markup {
    let id = view.meta.task_id;
    let can_speak = view.meta.thread_id.is_some() || view.active;
    html! {
        @if can_speak {
            form.composer method="post" action={ "/tasks/" (id) "/say" } enctype="multipart/form-data" data-draft=(id) {
                (form_token(signed))
                input type="hidden" name="key" value=(form::new_key());
                (upload::field(&html! { span aria-hidden="true" { "+" } span.visually-hidden { "Add images" } }))
                label.visually-hidden for="say" { "What next?" }
                textarea #say name="prompt" rows="1" required data-grow data-send
                    placeholder=(if view.active { "And then?" } else { "What next?" }) {}
                button.primary type="submit" { "Send" }
            }
        } @else {
            p.quiet {
                "Codex never started a thread for this task. "
                @if view.meta.status == TaskStatus::Stopped { "Create a new task to start over." } @else { "Retry runs the same prompt again." }
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

/// Goes on with it: at once, or when the run that is under way has ended well.
pub(crate) async fn say(
    State(api): State<Api>,
    Path(id): Path<String>,
    SignedUpload(_, Say { prompt, key }, images): SignedUpload<Say>,
) -> Result<Response, PageProblem> {
    let asked = ResumeTask { prompt: prompt.replace("\r\n", "\n"), images, ..ResumeTask::default() };
    let key = form::request_key(&key, &asked)?;
    api.engine.add_follow_up(&id, asked, key).await?;
    Ok(see_sent(&format!("/tasks/{id}"), &id))
}

pub(crate) async fn ask_stop(signed: Signed, State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let view = api.engine.task(&id)?;
    let (action, back) = (format!("/tasks/{}/stop", view.meta.task_id), format!("/tasks/{}", view.meta.task_id));
    let follows = html! {
        p { (printable_line(view.meta.title.as_str(), 120)) }
        p { "Codex is ended. What it changed until then is kept as a commit, and its thread can go on." }
    };
    let question = Question { title: "Stop this run?", follows, action: &action, words: "Stop it", back: &back };
    Ok(Page(confirm::page(&signed, Place::Tasks, &question)))
}

pub(crate) async fn ask_remove(signed: Signed, State(api): State<Api>, Path(id): Path<String>) -> Answer {
    let view = api.engine.task(&id)?;
    let (action, back) = (format!("/tasks/{}/remove", view.meta.task_id), format!("/tasks/{}", view.meta.task_id));
    let follows = html! {
        p { (printable_line(view.meta.title.as_str(), 120)) }
        p { "It goes to the trash with its branch and its logs, and comes back whole from there until it is deleted for good." }
    };
    let question = Question { title: "Remove this task?", follows, action: &action, words: "Remove it", back: &back };
    Ok(Page(confirm::page(&signed, Place::Tasks, &question)))
}

pub(crate) async fn stop(State(api): State<Api>, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    api.engine.stop_task(&id).await?;
    Ok(see(&format!("/tasks/{id}")))
}

pub(crate) async fn go_on(State(api): State<Api>, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    api.engine.continue_task(&id).await?;
    Ok(see(&format!("/tasks/{id}")))
}

#[derive(Deserialize)]
pub(crate) struct RetryForm {
    #[serde(default)]
    key: String,
}

pub(crate) async fn retry(
    State(api): State<Api>,
    Path(id): Path<String>,
    SignedForm(_, RetryForm { key }): SignedForm<RetryForm>,
) -> Result<Response, PageProblem> {
    let key = form::request_key(&key, &"retry")?;
    api.engine.retry_task(&id, key).await?;
    Ok(see(&format!("/tasks/{id}")))
}

/// Other words for what waits; its model, its images and what else it has stay.
pub(crate) async fn edit(
    State(api): State<Api>,
    Path((id, number)): Path<(String, u32)>,
    SignedForm(_, Say { prompt, .. }): SignedForm<Say>,
) -> Result<Response, PageProblem> {
    api.engine.reword_follow_up(&id, number, &prompt.replace("\r\n", "\n")).await?;
    Ok(see(&format!("/tasks/{id}")))
}

pub(crate) async fn forget(
    State(api): State<Api>,
    Path((id, number)): Path<(String, u32)>,
    _: SignedForm<()>,
) -> Result<Response, PageProblem> {
    api.engine.remove_follow_up(&id, number).await?;
    Ok(see(&format!("/tasks/{id}")))
}

/// Out of the lists, or back into them.
pub(crate) async fn archive(State(api): State<Api>, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    if api.engine.task(&id)?.meta.archived_at.is_some() {
        api.engine.unarchive_task(&id).await?;
        return Ok(see(&format!("/tasks/{id}")));
    }
    api.engine.archive_task(&id).await?;
    Ok(see("/"))
}

pub(crate) async fn remove(State(api): State<Api>, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    api.engine.remove_task(&id).await?;
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
    State(api): State<Api>,
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
    api.engine.publish_task(&id, asked).await?;
    Ok(see(&format!("/tasks/{id}")))
}

#[derive(Deserialize)]
pub(crate) struct UpdateForm {
    #[serde(default)]
    hand_over: String,
}

/// Up to the newest commit of its base. Where the two conflict nothing is changed, and the page says where.
pub(crate) async fn update(
    State(api): State<Api>,
    Path(id): Path<String>,
    SignedForm(signed, form): SignedForm<UpdateForm>,
) -> Result<Response, PageProblem> {
    let asked = UpdateTask { hand_over: !form.hand_over.is_empty(), ..UpdateTask::default() };
    let Err(found) = api.engine.update_task(&id, asked).await? else { return Ok(see(&format!("/tasks/{id}"))) };
    let body = html! {
        p { a href={ "/tasks/" (id) } { "← the task" } }
        h1 { "Conflicts" }
        p { "The task's branch and " code { (printable_line(&found.base.name, 200)) } " changed the same places. Nothing was changed yet." }
        ul.plain {
            @for file in &found.conflicts { li { code { (super::visible::name(&file.path)) } " " span.word { (file.kind.as_str()) } } }
        }
        form method="post" action={ "/tasks/" (id) "/update" } {
            (form_token(&signed))
            input type="hidden" name="hand_over" value="yes";
            button.primary type="submit" { "Let Codex merge them" }
        }
    };
    Ok(Page(layout::page("Conflicts", Place::Tasks, &body)).into_response())
}

pub(crate) async fn feedback(State(api): State<Api>, Path(id): Path<String>, _: SignedForm<()>) -> Result<Response, PageProblem> {
    api.engine.send_feedback(&id).await?;
    Ok(see(&format!("/tasks/{id}")).into_response())
}
