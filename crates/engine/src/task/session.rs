//! Checks the session of a thread before it is resumed. A session that a power cut has damaged is truncated. A session is given
//! up if it is missing, or if an agent replaced it with something that would block Codex.
//!
//! A run whose session is gone starts a new thread with a summary of the conversation, and reports this.

use std::sync::Arc;

use durable::blocking;
use model::ErrorCode;
use model::ids::ThreadId;
use model::run::{RunError, RunRecord};
use model::task::TaskEvent;
use runner::worker::{Session, SessionFolder};
use spine::Mailbox as _;

use super::tasks::{TaskSlot, Tasks};

/// A note for a run that started a new thread.
pub(super) const NEW_THREAD: &str =
    "the Codex session of this task was missing, so this run started a new thread with a summary of the earlier runs";

/// A note for a run whose agent could not write.
const READ_ONLY: &str = "Codex ran in a read-only sandbox, so the agent could not change any files; set `sandbox_mode = \
     \"danger-full-access\"` in the `config.toml` that the worker's containers use";

impl Tasks {
    /// Returns where Codex stores the sessions of a task, or `None` if only the runner knows this.
    pub(super) fn sessions_of(&self, slot: &TaskSlot) -> Option<SessionFolder> {
        self.runner.sessions(slot.id)
    }

    /// Makes sure that the run can resume its thread, or records that it cannot.
    pub(super) async fn check_session(self: &Arc<Self>, slot: &Arc<TaskSlot>) -> Result<(), RunError> {
        let task = slot.record();
        let run = task.last_run();
        let (Some(thread), Some(sessions)) = (run.resumes, self.sessions_of(slot)) else { return Ok(()) };
        let looked = {
            let sessions = sessions.clone();
            blocking(move || sessions.secure(Some(thread)).and_then(|_| sessions.is_replaced(thread))).await
        };
        if looked.map_err(|error| unreadable(thread, &error))? {
            tracing::warn!(task = %slot.id, %thread, "a Codex session was replaced; the run starts a new thread with a summary");
            self.post(slot, TaskEvent::SessionLost { attempt: run.attempt }).await;
            return Ok(());
        }
        // Without an unclean stop, Codex itself reports the cause best, such as a different CODEX_HOME.
        let Some(stop) = self.boot.unclean_stop.as_ref().filter(|stop| task.created_at < stop.noticed_at) else { return Ok(()) };
        let is_older = |earlier: &RunRecord| earlier.thread_id == Some(thread) && earlier.queued_at < stop.noticed_at;
        if !task.runs.iter().any(is_older) {
            return Ok(());
        }
        let session = blocking(move || sessions.repair(thread)).await.map_err(|error| unreadable(thread, &error))?;
        match session {
            Session::Intact | Session::Unreadable => {}
            Session::Cut(bytes) => {
                tracing::warn!(task = %slot.id, %thread, bytes, "truncated a damaged Codex session after its last complete line");
            }
            Session::Missing => {
                tracing::warn!(task = %slot.id, %thread, "a Codex session is missing; the run starts a new thread with a summary");
                self.post(slot, TaskEvent::SessionLost { attempt: run.attempt }).await;
            }
        }
        Ok(())
    }

    /// Moves aside files that replaced session files. Returns notes for the run.
    pub(super) async fn secure_session(&self, slot: &TaskSlot, thread: Option<ThreadId>) -> Vec<String> {
        let Some(sessions) = self.sessions_of(slot) else { return vec![] };
        let secured = blocking(move || sessions.secure(thread)).await;
        secured.unwrap_or_else(|error| {
            tracing::warn!(task = %slot.id, %error, "could not read a task's Codex sessions");
            vec![]
        })
    }

    /// Returns a note if a run changed nothing because its sandbox was read-only.
    pub(super) async fn note_on_sandbox(&self, slot: &TaskSlot) -> Option<String> {
        let task = slot.record();
        let thread = task.last_run().thread_id.or(task.thread_id)?;
        match self.runner.was_read_only(slot.id, thread).await {
            Ok(was_read_only) => was_read_only.then(|| READ_ONLY.to_owned()),
            Err(error) => {
                tracing::debug!(task = %slot.id, %error, "could not read a run's Codex session");
                None
            }
        }
    }

    /// Syncs the session of a run that has ended.
    pub(super) async fn sync_session(&self, slot: &TaskSlot, thread: Option<ThreadId>) -> std::io::Result<()> {
        match self.sessions_of(slot) {
            Some(sessions) => blocking(move || sessions.sync(thread)).await,
            None => Ok(()),
        }
    }
}

fn unreadable(thread: ThreadId, error: &std::io::Error) -> RunError {
    RunError::new(ErrorCode::SessionUnreadable, format!("could not read the Codex session of thread {thread}: {error}"))
        .hint("check the permissions and the disk of the home directory, then retry the task")
}
