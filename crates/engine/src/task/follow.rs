//! Follows a run: gets its thread, its turn and the times of its lines from the log, and its end from the keeper.
//!
//! The thread ID is recorded as soon as its line is written to the log. Following a run does not affect the run.

use std::sync::Arc;

use model::codex::CodexEvent;
use model::ids::{Attempt, ThreadId};
use model::task::TaskEvent;
use runner::journal::Tail;
use runner::keeper::{self, RunFiles};

use super::activity::ReadTimer;
use crate::inner::{Inner, TaskSlot};
use crate::spine::Mailbox as _;
use crate::times::MarkWriter;

impl Inner {
    pub(super) async fn follow(self: &Arc<Self>, slot: &Arc<TaskSlot>, attempt: Attempt) {
        let logs = self.home.layout.logs(slot.id);
        let (run, began) = {
            let record = slot.record();
            (record.last_run().number, record.last_run().started_at)
        };
        let files = RunFiles::new(&logs, run);
        let mut interest = self.watch.watch(&logs);
        let mut tail = Tail::from(files.journal(), 0);
        let mut marks = MarkWriter::begin(&self.home.layout.times(slot.id), run, length(&files), began).await;
        let mut glance = ReadTimer::new();
        slot.set_activity(None);
        let gone = keeper::until_gone(&files, attempt);
        let login = self.keep_login_current(slot);
        tokio::pin!(gone, login);
        loop {
            self.read_on(slot, attempt, &mut tail).await;
            tokio::select! {
                () = self.cancel.cancelled() => return,
                () = &mut login => {}
                result = &mut gone => {
                    if let Err(error) = result {
                        tracing::warn!(task = %slot.id, %error, "could not wait for a keeper; recovery checks again");
                        return;
                    }
                    break;
                }
                () = interest.changed() => {
                    marks.reached(length(&files)).await;
                    glance.news();
                }
                () = glance.due() => {
                    self.glance(slot, run).await;
                    glance.looked();
                }
            }
        }
        marks.reached(length(&files)).await;
        self.read_on(slot, attempt, &mut tail).await;
        self.post(slot, TaskEvent::KeeperGone { attempt }).await;
    }

    /// Posts the events about the thread and turn from the next complete lines.
    async fn read_on(self: &Arc<Self>, slot: &Arc<TaskSlot>, attempt: Attempt, tail: &mut Tail) {
        loop {
            if slot.record().last_run().turn_started {
                return;
            }
            let mut events = vec![];
            match tail.read(|line| events.extend(event_of(&line.event(), attempt))).await {
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

/// Returns the current length of the log, or 0 if it does not exist yet.
fn length(files: &RunFiles) -> u64 {
    fs_err::metadata(files.journal()).map_or(0, |found| found.len())
}

/// Returns the task event for an event in the log, if there is one.
pub(super) fn event_of(event: &CodexEvent, attempt: Attempt) -> Option<TaskEvent> {
    match event {
        CodexEvent::ThreadStarted { thread_id } => {
            let thread_id = thread_id.parse::<ThreadId>().ok()?;
            Some(TaskEvent::ThreadStarted { attempt, thread_id })
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
