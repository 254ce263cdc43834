//! Live updates of pages: server-sent events with entries of a transcript, the state of a task, or the notice that a list changed.
//!
//! A browser that reconnects sends the last event ID that it saw, and gets every later event once.

use std::pin::pin;
use std::time::Duration;

use async_stream::stream;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::Event;
use engine::{RunLine, User};
use futures_util::{Stream, StreamExt as _};
use jiff::Timestamp;
use maud::Markup;
use model::codex::CodexEvent;
use model::ids::RunNumber;
use model::problem::Problem;
use printable::printable;
use protocol::{FeedEvent, RunDelta, TaskView};
use request_headers::event_id;
use serde::Deserialize;
use serde_json::json;

use super::answer::PageProblem;
use super::entry::{self, Entries, Whose};
use super::session::Signed;
use super::task;
use crate::caller::AsUser;
use crate::sse;
use crate::state::Api;

/// The most log lines in one event.
const BATCH_LINES: usize = 64;

/// The size of the entries in one event after which the next event starts, in bytes.
const BATCH_BYTES: usize = 16 * 1024;

/// How long changes are collected before a list gets an event.
const GATHER: Duration = Duration::from_millis(300);

#[derive(Deserialize)]
pub(crate) struct After {
    after: Option<u64>,
}

/// Returns the URL of the stream of changes from now on. Call it before reading what a page shows, so that no change is lost.
pub(super) fn address(user: &User) -> String {
    format!("/live?after={}", user.feed_position())
}

/// Streams the changes of a list since its page was rendered.
pub(crate) async fn list(
    signed: Signed,
    State(api): State<Api>,
    AsUser(user): AsUser,
    Query(from): Query<After>,
    headers: HeaderMap,
) -> Response {
    let seen = headers.get("last-event-id").and_then(|value| event_id::position(value.to_str().ok()?));
    let after = seen.or(from.after);
    let feed = user.feed(after);
    let closing = api.closing.clone();
    let events = stream! {
        yield server(&user);
        let mut feed = pin!(feed);
        while let Some((mut number, event)) = feed.next().await {
            if let FeedEvent::TaskActivity { task_id, activity } = event {
                if !signed.is_open(&api) {
                    return;
                }
                yield doing(number, &task_id.to_string(), &activity);
                continue;
            }
            // Many changes at once are one event.
            let quiet = tokio::time::sleep(GATHER);
            let mut quiet = pin!(quiet);
            loop {
                tokio::select! {
                    () = &mut quiet => break,
                    next = feed.next() => match next {
                        Some((next, FeedEvent::TaskActivity { task_id, activity })) => {
                            number = next;
                            yield doing(number, &task_id.to_string(), &activity);
                        }
                        Some((next, _)) => number = next,
                        None => return,
                    },
                }
            }
            if !signed.is_open(&api) {
                return;
            }
            yield Event::default().id(number.to_string()).event("changed").data("1");
        }
    };
    sse::answer(events, closing)
}

#[derive(Deserialize)]
pub(crate) struct From {
    #[serde(default)]
    run: u32,
    #[serde(default)]
    offset: u64,
}

/// Streams a task from an offset in one of its runs: entries as they are written, run after run, and the task's state.
pub(crate) async fn task(
    signed: Signed,
    State(api): State<Api>,
    AsUser(user): AsUser,
    Path(id): Path<String>,
    Query(from): Query<From>,
    headers: HeaderMap,
) -> Result<Response, PageProblem> {
    let seen = headers.get("last-event-id").and_then(|value| event_id::run_and_offset(value.to_str().ok()?));
    let (run, offset) = seen.unwrap_or((from.run.max(1), from.offset));
    let view = user.task(&id)?;
    let closing = api.closing.clone();
    Ok(sse::answer(followed(api, user, signed, view, run, offset), closing))
}

fn followed(api: Api, user: User, signed: Signed, view: TaskView, run: u32, offset: u64) -> impl Stream<Item = Event> + Send {
    stream! {
        let id = view.task_id;
        let name = id.to_string();
        let mut feed = pin!(user.feed(None));
        let (mut run, mut offset) = (run, offset);
        yield server(&user);
        yield state(&view, &signed);
        loop {
            let Ok(lines) = user.follow(&name, RunNumber(run), offset) else { return };
            // Lines that were written together are sent in one event, so that a burst does not overload the page.
            let mut lines = pin!(lines.ready_chunks(BATCH_LINES));
            let Ok(mut timing) = task::timing_at(&user, &name, run, offset).await else { return };
            let mut ended = false;
            'run: loop {
                tokio::select! {
                    found = lines.next(), if !ended => {
                        let Some(found) = found.filter(|_| signed.is_open(&api)) else { return };
                        let mut entries = Entries::default();
                        for line in found {
                            match line {
                                Ok(RunLine::Line { offset: behind, text }) => {
                                    offset = behind;
                                    let event = CodexEvent::parse(&text);
                                    let took = timing.took(behind, &event, Some(Timestamp::now()));
                                    if let Some(found) = entry::entry(Whose { task: &name, run }, behind, &event, took) {
                                        entries.push(found);
                                    }
                                    if entries.bytes() > BATCH_BYTES {
                                        yield batch(&std::mem::take(&mut entries), run, offset);
                                    }
                                }
                                Ok(RunLine::Delta(text)) => {
                                    // The entry of a command comes before its output.
                                    if !entries.is_empty() {
                                        yield batch(&std::mem::take(&mut entries), run, offset);
                                    }
                                    yield writing(run, &text);
                                }
                                Ok(RunLine::Ended(_)) => {
                                    ended = true;
                                    if !entries.is_empty() {
                                        yield batch(&std::mem::take(&mut entries), run, offset);
                                    }
                                    if let Ok(view) = user.task(&name) {
                                        if let Some(found) = view.runs.iter().find(|found| found.number.0 == run) {
                                            yield with_html("entry", &entry::run_end(&name, found)).id(format!("{run}:{offset}"));
                                        }
                                        yield state(&view, &signed);
                                        if let Some(next) = next_run(&view, run) {
                                            yield with_html("entry", &entry::run_head(&name, next));
                                            (run, offset) = (next.number.0, 0);
                                            break 'run;
                                        }
                                    }
                                }
                                Err(_) => return,
                            }
                        }
                        if !entries.is_empty() {
                            yield batch(&entries, run, offset);
                        }
                    }
                    event = feed.next() => {
                        let Some((_, event)) = event.filter(|_| signed.is_open(&api)) else { return };
                        let is_ours = match &event {
                            FeedEvent::Task { task_id, .. } | FeedEvent::TaskProgress { task_id, .. } => *task_id == id,
                            FeedEvent::TaskRemoved { task_id } if *task_id == id => {
                                yield gone();
                                return;
                            }
                            FeedEvent::Queue { .. } | FeedEvent::Reset => true,
                            _ => false,
                        };
                        if !is_ours {
                            continue;
                        }
                        // A task can be removed before this stream reads the event that announces it.
                        let Ok(view) = user.task(&name) else {
                            yield gone();
                            return;
                        };
                        yield state(&view, &signed);
                        if ended && let Some(next) = next_run(&view, run) {
                            yield with_html("entry", &entry::run_head(&name, next));
                            (run, offset) = (next.number.0, 0);
                            break 'run;
                        }
                    }
                }
            }
        }
    }
}

/// Returns an event with entries of one run. Its ID is the log offset after them.
fn batch(entries: &Entries, run: u32, offset: u64) -> Event {
    with_html("entry", &entries.html(run)).id(format!("{run}:{offset}"))
}

/// Returns an event with text of an item that is not complete yet.
fn writing(run: u32, delta: &RunDelta) -> Event {
    let id = entry::plain_id(&delta.item).map(|id| format!("r{run}-{id}"));
    let text = printable(&delta.text);
    let kind = delta.kind;
    let (start, end) = (delta.start, delta.end);
    sse::named_event("text", &json!({ "id": id, "kind": kind, "start": start, "end": end, "text": text, "over": delta.complete }))
}

/// Returns an event with the activity of an agent, which only updates its row in a list.
fn doing(number: u64, task: &str, activity: &str) -> Event {
    Event::default().id(number.to_string()).event("doing").data(format!("{task} {activity}"))
}

/// Returns an event that tells a page that its task was removed.
fn gone() -> Event {
    Event::default().event("gone").data("1")
}

/// Returns an event that identifies this server process, so that a page detects a restart.
fn server(user: &User) -> Event {
    Event::default().event("server").data(user.status().started_at.to_string())
}

fn next_run(view: &TaskView, run: u32) -> Option<&protocol::RunView> {
    view.runs.iter().find(|found| found.number.0 > run)
}

fn state(view: &TaskView, signed: &Signed) -> Event {
    with_html("state", &task::state(view, signed))
}

/// Returns an event with markup. Carriage returns are removed, since they would end a line of the stream.
fn with_html(name: &'static str, html: &Markup) -> Event {
    Event::default().event(name).data(html.0.replace('\r', ""))
}

impl std::convert::From<PageProblem> for Problem {
    fn from(problem: PageProblem) -> Self {
        problem.0
    }
}
