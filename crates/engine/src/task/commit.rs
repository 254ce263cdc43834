//! Committing what a run left, in bounded time: a stop ends it at once, and what was not committed stays in the worktree.
//!
//! What an agent left can make git slow in ways that nobody has thought of. Invariant: nothing that a person asks of a task waits for
//! a commit.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use model::run::{RunError, RunPhase, RunRecord};
use model::task::TaskRecord;
use tokio_util::sync::CancellationToken;

use crate::engine::Inner;
use crate::git::{CommitMessage, RunTrailers, Snapshot};

/// How long the commit of a run may take.
const LIMIT: Duration = Duration::from_mins(15);

/// The same for a run that was stopped: somebody waits for its end.
const LIMIT_OF_STOPPED: Duration = Duration::from_mins(1);

/// The same for a task that is being removed. The trash keeps its worktree.
const LIMIT_OF_REMOVED: Duration = Duration::from_secs(20);

/// How long a harvest that is cut off may take to remove its container.
const ENDING: Duration = Duration::from_secs(5);

/// What became of a run's work.
pub(super) enum Committed {
    /// It was committed, or could not be.
    Done(Result<Snapshot, RunError>),
    /// Somebody asked for the run's end meanwhile.
    Stopped,
    /// The server stops. The next one commits it.
    ServerStops,
}

impl Inner {
    /// Commits the work of a run.
    pub(super) async fn commit_in_time(
        self: &Arc<Self>,
        task: &TaskRecord,
        last_message: Option<&str>,
        contained: bool,
        cancel: &CancellationToken,
    ) -> Committed {
        let run = task.last_run();
        let limit = limit_of(task, run);
        let within = cancel.child_token();
        let mut work = pin!(self.snapshot(task, run, last_message, contained, &within));
        let is_late = tokio::select! {
            done = &mut work => {
                // A call that was cut off fails, which does not mean that the work cannot be committed.
                if done.is_ok() || !cancel.is_cancelled() {
                    return Committed::Done(done);
                }
                if contained {
                    self.reap_later(task);
                }
                return self.cut_off();
            }
            () = cancel.cancelled() => false,
            () = tokio::time::sleep(limit) => true,
        };
        within.cancel();
        if contained {
            // The container goes first, so that it does not work on the same files as the next one.
            let ended = tokio::time::timeout(ENDING, work).await;
            if let Ok(Ok(snapshot)) = ended {
                return Committed::Done(Ok(snapshot));
            }
            self.reap_later(task);
        }
        if is_late && !self.cancel.is_cancelled() {
            let message = format!("committing it took more than {} seconds", limit.as_secs());
            return Committed::Done(Err(RunError::new("commit_failed", message)));
        }
        self.cut_off()
    }

    fn reap_later(self: &Arc<Self>, task: &TaskRecord) {
        let (inner, id, env_id) = (Arc::clone(self), task.task_id, task.env_id);
        self.tracker.spawn(async move { inner.reap_containers(id, env_id).await });
    }

    /// What a commit that was cut off means.
    fn cut_off(&self) -> Committed {
        if self.cancel.is_cancelled() { Committed::ServerStops } else { Committed::Stopped }
    }

    async fn snapshot(
        &self,
        task: &TaskRecord,
        run: &RunRecord,
        last_message: Option<&str>,
        contained: bool,
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
        if contained {
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
