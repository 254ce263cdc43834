//! Follows a run: gets its thread, its turn and the times of its lines from the log, and its end from its runner.
//!
//! The thread ID is recorded as soon as its line is in the log. If the connection to the runner is lost, it continues at the end of
//! the server's copy of the log. Following a run does not affect the run.

use std::path::PathBuf;
use std::sync::Arc;

use futures_util::StreamExt as _;
use jiff::{SignedDuration, Timestamp};
use model::codex::CodexEvent;
use model::ids::{Attempt, ThreadId};
use model::task::TaskEvent;
use runner::journal::Tail;
use runner::keeper::RunFiles;
use runner::{Backoff, JournalNews, RunKey, RunState};
use spine::Mailbox as _;

use super::activity::ReadTimer;
use super::journal_copy::JournalCopy;
use super::spec::key_of;
use super::tasks::{TaskSlot, Tasks};
use run_logs::MarkWriter;

/// How old a run may be for the times of its first events to be the times at which they are read.
const NEW_RUN: SignedDuration = SignedDuration::from_secs(5);

impl Tasks {
    pub(super) async fn follow(self: &Arc<Self>, slot: &Arc<TaskSlot>, attempt: Attempt) {
        let (key, began) = {
            let record = slot.record();
            (key_of(&record), record.last_run().started_at)
        };
        let path = self.journal_path(slot);
        let mut tail = Tail::from(path.clone(), 0);
        let mut copy = JournalCopy::new(path, self.integrity_of_copies());
        let mut marks = MarkWriter::begin(&self.home.layout.times(slot.id), key.run, copy.length(), began).await;
        let mut glance = ReadTimer::new();
        let mut backoff = Backoff::default();
        slot.set_activity(None);
        slot.texts.clear();
        let (mut live, redactor) = (self.runner.live(key), self.redaction.redactor(slot.env_id));
        let mut news = self.runner.journal(key, copy.length());
        // What the log of an older run contains already may have been written while no server was running.
        let is_new = began.is_some_and(|began| Timestamp::now().duration_since(began) < NEW_RUN);
        let mut seen_at: fn() -> Option<Timestamp> = if is_new { || Some(Timestamp::now()) } else { || None };
        loop {
            self.read_on(slot, attempt, &mut tail, seen_at).await;
            seen_at = || Some(Timestamp::now());
            let received = tokio::select! {
                () = self.cancel.cancelled() => return,
                received = news.next() => received,
                Some(text) = live.next() => {
                    slot.texts.update(text, &redactor);
                    continue;
                }
                () = glance.due() => {
                    self.glance(slot, key.run).await;
                    glance.looked();
                    continue;
                }
            };
            let lost = match received {
                Some(Ok(JournalNews::Ended)) => break,
                Some(Ok(JournalNews::InPlace { .. })) => None,
                Some(Ok(JournalNews::Bytes(bytes))) => {
                    backoff.reset();
                    copy.append(&bytes).await.err().map(|error| error.to_string())
                }
                Some(Err(unreachable)) => Some(unreachable.reason),
                None => Some("the connection was closed".to_owned()),
            };
            if let Some(reason) = lost {
                tracing::warn!(task = %slot.id, reason, "could not follow a run; connecting again");
                if self.has_ended(key).await {
                    // The rest of the log is read when the run is finished.
                    break;
                }
                if self.cancel.run_until_cancelled(tokio::time::sleep(backoff.longer())).await.is_none() {
                    return;
                }
                news = self.runner.journal(key, copy.length());
            } else {
                marks.reached(copy.length()).await;
                glance.news();
            }
        }
        slot.texts.clear();
        marks.reached(copy.length()).await;
        self.read_on(slot, attempt, &mut tail, seen_at).await;
        self.post(slot, TaskEvent::KeeperGone { attempt }).await;
    }

    /// Whether the runner knows that the attempt is over.
    async fn has_ended(&self, key: RunKey) -> bool {
        match self.runner.observe(key).await {
            RunState::Nobody | RunState::Ended { .. } => true,
            RunState::Held { .. } | RunState::Unreachable(_) => false,
        }
    }

    /// Returns the server's copy of the log of a task's last run.
    pub(super) fn journal_path(&self, slot: &TaskSlot) -> PathBuf {
        RunFiles::new(&self.home.layout.logs(slot.id), slot.record().last_run().number).journal()
    }

    /// Posts the events about the thread and turn from the next complete lines.
    async fn read_on(
        self: &Arc<Self>,
        slot: &Arc<TaskSlot>,
        attempt: Attempt,
        tail: &mut Tail,
        seen_at: fn() -> Option<Timestamp>,
    ) {
        loop {
            if slot.record().last_run().turn_started {
                return;
            }
            let mut events = vec![];
            match tail.read(|line| events.extend(event_of(&line.event(), attempt, seen_at()))).await {
                Ok(more) => {
                    for event in events {
                        self.post(slot, event).await;
                    }
                    if !more {
                        return;
                    }
                }
                Err(error) => {
                    tracing::warn!(task = %slot.id, %error, "could not read a run's log");
                    return;
                }
            }
        }
    }
}

/// Returns the task event for an event in the log, if there is one.
pub(super) fn event_of(event: &CodexEvent, attempt: Attempt, seen_at: Option<Timestamp>) -> Option<TaskEvent> {
    match event {
        CodexEvent::ThreadStarted { thread_id } => {
            let thread_id = thread_id.parse::<ThreadId>().ok()?;
            Some(TaskEvent::ThreadStarted { attempt, thread_id, seen_at })
        }
        CodexEvent::TurnStarted => Some(TaskEvent::TurnStarted { attempt }),
        CodexEvent::TurnCompleted { .. }
        | CodexEvent::TurnFailed { .. }
        | CodexEvent::Error { .. }
        | CodexEvent::ItemStarted(_)
        | CodexEvent::ItemUpdated(_)
        | CodexEvent::ItemCompleted(_)
        | CodexEvent::Unknown(_)
        | CodexEvent::Note(_) => None,
    }
}
