//! Reads the logs of a task's runs, also while they are written, and the images of its prompts. Never accesses a worktree.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use durable::blocking;
use futures_util::Stream;
use model::ErrorCode;
use model::codex::{Line, LineContent, LineSplitter};
use model::ids::RunNumber;
use model::image::Image;
use model::problem::Problem;
use model::size::bytes as shown;
use process::Redactor;
use protocol::RunEnded;
use runner::journal::Tail;
use runner::keeper::RunFiles;
use spine::{COUNTED, Existence};
use tokio::io::AsyncReadExt as _;

use super::tasks::{TaskSlot, Tasks};
use crate::user::{LogFile, LogWindow, RunLine};
use run_logs::{Reach, Window};

/// How much of a log is masked at once, in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// The maximum number of lines in a part of a log. Many short lines are slow to display, even if they have few bytes.
const MOST_LINES: usize = 5_000;

/// Checks that a task has a run with this number.
pub(crate) fn existing_run(slot: &TaskSlot, run: RunNumber) -> Result<(), Problem> {
    if slot.record().run(run).is_some() {
        return Ok(());
    }
    let last = slot.record().last_run().number.0;
    let detail = format!("task {} has no run {}", slot.id, run.0);
    Err(Problem::new(ErrorCode::RunNotFound, detail).hint(format!("use a number from 1 to {last}")))
}

impl Tasks {
    pub(super) fn journal(&self, slot: &TaskSlot, run: RunNumber) -> Result<PathBuf, Problem> {
        existing_run(slot, run)?;
        Ok(RunFiles::new(&self.home.layout.logs(slot.id), run).journal())
    }

    pub(crate) async fn log(&self, slot: &TaskSlot, run: RunNumber) -> Result<LogFile, Problem> {
        let path = self.journal(slot, run)?;
        let active = is_active(slot, run);
        let opened = match tokio::fs::File::open(&path).await {
            Ok(file) => Ok(file),
            // A run that has not started has an empty log.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => tokio::fs::File::open("/dev/null").await,
            Err(error) => Err(error),
        };
        let file = opened.map_err(|error| unreadable(&path, &error))?;
        let length = file.metadata().await.map_err(|error| unreadable(&path, &error))?.len();
        Ok(LogFile { file, length, active })
    }

    pub(crate) async fn image(&self, slot: &TaskSlot, name: &str) -> Result<Image, Problem> {
        let missing = || Problem::new(ErrorCode::ImageNotFound, format!("image not found in task {}", slot.id));
        let named = name.parse().ok().and_then(|name| slot.record().image(name).cloned());
        let file = named.ok_or_else(missing)?;
        let (home, id, read) = (Arc::clone(&self.home), slot.id, file.clone());
        let bytes = blocking(move || home.read_image(id, &read)).await;
        let bytes = bytes.map_err(|error| unreadable(&self.home.layout.images(id), &error))?;
        Ok(Image { file, bytes })
    }

    pub(crate) async fn masked_log(
        &self,
        slot: &TaskSlot,
        run: RunNumber,
    ) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + use<>, Problem> {
        let log = self.log(slot, run).await?;
        let redactor = self.redaction.redactor(slot.env_id);
        Ok(async_stream::try_stream! {
            let mut chunks = log.file.take(log.length);
            let mut splitter = LineSplitter::new();
            let mut buffer = vec![0; CHUNK_BYTES];
            loop {
                let length = chunks.read(&mut buffer).await?;
                let mut lines = BytesMut::new();
                splitter.feed(&buffer[..length], |line| {
                    lines.extend_from_slice(&masked(&line.content, &redactor));
                    lines.extend_from_slice(b"\n");
                });
                if length == 0 {
                    // Include the text after the last newline.
                    lines.extend_from_slice(&masked(&splitter.tail_content(), &redactor));
                }
                if !lines.is_empty() {
                    yield lines.freeze();
                }
                if length == 0 {
                    return;
                }
            }
        })
    }

    /// Returns the last lines before an offset, or before the log's end.
    pub(crate) async fn log_window(
        &self,
        slot: &TaskSlot,
        run: RunNumber,
        before: Option<u64>,
        limit: u64,
        reach: Reach,
    ) -> Result<LogWindow, Problem> {
        let path = self.journal(slot, run)?;
        let LogFile { file, length, .. } = self.log(slot, run).await?;
        let (file, redactor) = (file.into_std().await, self.redaction.redactor(slot.env_id));
        let offset = before.unwrap_or(length).min(length);
        let read = blocking(move || {
            let window = Window::before(&file, offset, limit, reach)?;
            let mut start = window.start;
            let mut lines = VecDeque::new();
            window.lines(&file, |line| {
                lines.push_back((line.end, masked(&line.content, &redactor)));
                if lines.len() > MOST_LINES {
                    start = lines.pop_front().map_or(start, |(end, _)| end);
                }
            })?;
            Ok::<_, std::io::Error>((start, window.end, lines.into()))
        });
        let (start, end, lines) = read.await.map_err(|error| unreadable(&path, &error))?;
        Ok(LogWindow { start, end, lines, unfinished: offset.saturating_sub(end) })
    }

    pub(crate) fn follow_run(
        self: &Arc<Self>,
        slot: &Arc<TaskSlot>,
        run: RunNumber,
        offset: u64,
    ) -> Result<impl Stream<Item = Result<RunLine, Problem>> + Send + use<>, Problem> {
        let path = self.journal(slot, run)?;
        let (slot, redactor) = (Arc::clone(slot), self.redaction.redactor(slot.env_id));
        let mut interest = self.watch.watch(&self.home.layout.logs(slot.id));
        Ok(async_stream::stream! {
            let _open = COUNTED.stream();
            let mut changes = slot.changes();
            let mut tail = Tail::from(path.clone(), offset);
            let mut live = slot.texts.read();
            loop {
                // Check before reading, so that everything written before the end is read before the end is reported.
                let ended = end_of(&slot, run);
                loop {
                    let mut lines = vec![];
                    match tail.read(|line| lines.push(run_line(&line, &redactor))).await {
                        Ok(more) => {
                            for line in lines {
                                yield Ok(line);
                            }
                            if !more {
                                break;
                            }
                        }
                        Err(error) => {
                            yield Err(unreadable(&path, &error));
                            return;
                        }
                    }
                }
                if let Some(ended) = ended {
                    yield Ok(RunLine::Ended(ended));
                    return;
                }
                tokio::select! {
                    () = interest.changed() => {}
                    // An active run is the last one, so the text is its own.
                    delta = live.next(&slot.texts) => yield Ok(RunLine::Delta(delta)),
                    news = changes.changed() => {
                        if news.is_err() || *changes.borrow() != Existence::Exists {
                            return;
                        }
                    }
                }
            }
        })
    }
}

fn is_active(slot: &TaskSlot, run: RunNumber) -> bool {
    slot.record().run(run).is_some_and(model::run::RunRecord::is_active)
}

fn end_of(slot: &TaskSlot, run: RunNumber) -> Option<RunEnded> {
    let task = slot.record();
    let run = task.run(run).filter(|run| !run.is_active())?;
    let end = run.end()?;
    Some(RunEnded { status: run.status(), exit_code: end.exit_code, error: end.error().cloned() })
}

fn run_line(line: &Line<'_>, redactor: &Redactor) -> RunLine {
    RunLine::Line { offset: line.end, text: masked(&line.content, redactor) }
}

/// Returns a line for readers. If there is nothing to mask, its bytes are unchanged.
fn masked(content: &LineContent<'_>, redactor: &Redactor) -> Bytes {
    match content {
        LineContent::Whole(bytes) => match redactor.mask(&String::from_utf8_lossy(bytes)) {
            Cow::Owned(text) => Bytes::from(text),
            Cow::Borrowed(_) => Bytes::copy_from_slice(bytes),
        },
        LineContent::Oversized { len } => Bytes::from(format!("a line of {} is not shown here; see the raw log", shown(*len))),
    }
}

fn unreadable(path: &std::path::Path, error: &std::io::Error) -> Problem {
    Problem::internal(format!("could not read `{}`: {error}", path.display()))
}
