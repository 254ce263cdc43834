//! Commits a run's work within a time limit. A stop ends the commit immediately, and uncommitted work stays in the
//! worktree.
//!
//! An agent can leave files that make git slow in unexpected ways. Invariant: no request to a task waits for a commit.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use git::{CommitMessage, RunTrailers, Snapshot};
use model::ErrorCode;
use model::run::{RunError, RunPhase, RunRecord};
use model::task::TaskRecord;
use tokio_util::sync::CancellationToken;

use super::contained::WorkLocation;
use crate::inner::Inner;

/// The time limit for the commit of a run.
const LIMIT: Duration = Duration::from_mins(15);

/// The time limit for the commit of a stopped run. It is short, because somebody is waiting for the run to end.
const LIMIT_OF_STOPPED: Duration = Duration::from_mins(1);

/// The time limit for the commit of a task that is being removed. The trash keeps its worktree.
const LIMIT_OF_REMOVED: Duration = Duration::from_secs(20);

/// How long an interrupted export may take to remove its container.
const ENDING: Duration = Duration::from_secs(5);

/// The result of committing a run's work.
pub(super) enum Committed {
    /// The work was committed, or the commit failed.
    Done(Result<Snapshot, RunError>),
    /// Somebody stopped the run in the meantime.
    Stopped,
    /// The server is stopping. The next one commits the work.
    ServerStops,
}

impl Inner {
    /// Commits the work of a run.
    pub(super) async fn commit_in_time(
        self: &Arc<Self>,
        task: &TaskRecord,
        last_message: Option<&str>,
        location: WorkLocation,
        cancel: &CancellationToken,
    ) -> Committed {
        let run = task.last_run();
        let limit = limit_of(task, run);
        let within = cancel.child_token();
        let mut work = pin!(self.snapshot(task, run, last_message, location, &within));
        let is_late = tokio::select! {
            done = &mut work => {
                // An interrupted call fails, but that does not mean that the work cannot be committed.
                if done.is_ok() || !cancel.is_cancelled() {
                    return Committed::Done(done);
                }
                if location == WorkLocation::AgentRepository {
                    self.reap_later(task);
                }
                return self.cut_off();
            }
            () = cancel.cancelled() => false,
            () = tokio::time::sleep(limit) => true,
        };
        within.cancel();
        if location == WorkLocation::AgentRepository {
            // Wait until the container is removed, so that it does not work on the same files as the next container.
            let ended = tokio::time::timeout(ENDING, work).await;
            if let Ok(Ok(snapshot)) = ended {
                return Committed::Done(Ok(snapshot));
            }
            self.reap_later(task);
        }
        if is_late && !self.cancel.is_cancelled() {
            let message = format!("the commit took more than {} seconds", limit.as_secs());
            return Committed::Done(Err(RunError::new(ErrorCode::CommitFailed, message)));
        }
        self.cut_off()
    }

    fn reap_later(self: &Arc<Self>, task: &TaskRecord) {
        let (inner, id, env_id) = (Arc::clone(self), task.task_id, task.env_id);
        self.tracker.spawn(async move { inner.reap_containers(id, env_id).await });
    }

    /// Returns why the commit was interrupted.
    fn cut_off(&self) -> Committed {
        if self.cancel.is_cancelled() { Committed::ServerStops } else { Committed::Stopped }
    }

    async fn snapshot(
        &self,
        task: &TaskRecord,
        run: &RunRecord,
        last_message: Option<&str>,
        location: WorkLocation,
        cancel: &CancellationToken,
    ) -> Result<Snapshot, RunError> {
        let mirror = self.mirror_of(task.env_id)?;
        let thread = run.thread_id.or(task.thread_id).map(|thread| thread.to_string());
        let message = CommitMessage {
            subject: &run.prompt.first_line(72),
            body: last_message.unwrap_or_default(),
            trailers: RunTrailers {
                task_id: &task.task_id.to_string(),
                run: &run.number.0.to_string(),
                thread_id: thread.as_deref(),
            },
        };
        if location == WorkLocation::AgentRepository {
            return self.harvest_run(&mirror, task, message, cancel).await;
        }
        self.commit_run(&mirror, task, message).await
    }
}

fn limit_of(task: &TaskRecord, run: &RunRecord) -> Duration {
    match run.phase {
        _ if task.removing => LIMIT_OF_REMOVED,
        RunPhase::Stopping => LIMIT_OF_STOPPED,
        RunPhase::Queued | RunPhase::Preparing | RunPhase::Running | RunPhase::Ended(_) => LIMIT,
    }
}
