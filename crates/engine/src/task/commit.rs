//! Commits a run's work within a time limit. A stop ends the commit immediately, and uncommitted work stays in the
//! worktree. Work that is not on this machine is committed later instead.
//!
//! An agent can leave files that make git slow in unexpected ways. Invariant: no request to a task waits for a commit.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use git::{CommitMessage, Makers, RunTrailers, Snapshot};
use model::ErrorCode;
use model::ids::{EnvironmentId, TaskId};
use model::run::{RunError, RunPhase, RunRecord};
use model::task::TaskRecord;
use runner::WorkLocation;
use runner::keeper::RunFiles;
use secret_forms::{Parts, SecretSearch};
use tokio_util::sync::CancellationToken;

use super::export::Work;
use super::tasks::Tasks;

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
    /// The server is stopping, or the runner did not answer. The work is committed later.
    Later,
}

impl Tasks {
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
        let mut work = pin!(self.snapshot(task, run, last_message, &within));
        let is_late = tokio::select! {
            done = &mut work => {
                let Some(done) = done else { return self.cut_off(location) };
                // An interrupted call fails, but that does not mean that the work cannot be committed.
                if done.is_ok() || !cancel.is_cancelled() {
                    return Committed::Done(done);
                }
                if location != WorkLocation::InPlace {
                    self.clear_later(task);
                }
                return self.cut_off(location);
            }
            () = cancel.cancelled() => false,
            () = tokio::time::sleep(limit) => true,
        };
        within.cancel();
        if location != WorkLocation::InPlace {
            // Wait until the container is removed, so that it does not work on the same files as the next container.
            match tokio::time::timeout(ENDING, work).await {
                Ok(Some(Ok(snapshot))) => return Committed::Done(Ok(snapshot)),
                // The time limit of the commit does not apply to a runner that cannot be reached.
                Ok(None) if is_late => return Committed::Later,
                Ok(Some(Err(_)) | None) | Err(_) => self.clear_later(task),
            }
        }
        if is_late && !self.cancel.is_cancelled() {
            let message = format!("the commit took more than {} seconds", limit.as_secs());
            return Committed::Done(Err(RunError::new(ErrorCode::CommitFailed, message)));
        }
        self.cut_off(location)
    }

    fn clear_later(self: &Arc<Self>, task: &TaskRecord) {
        let (inner, id, env_id) = (Arc::clone(self), task.task_id, task.env_id);
        self.tracker.spawn(async move { inner.clear_task(id, env_id).await });
    }

    /// Ends everything of a task that is omittedside of its runs, such as the container of an export.
    pub(super) async fn clear_task(&self, task: TaskId, env_id: EnvironmentId) {
        if let Err(error) = self.runner.clear_task(task, self.redaction.redactor(env_id)).await {
            tracing::warn!(%task, %error, "could not look for containers of a task during its removal");
        }
    }

    /// Returns why the commit was interrupted.
    fn cut_off(&self, location: WorkLocation) -> Committed {
        match location {
            WorkLocation::InPlace | WorkLocation::AgentRepository if !self.cancel.is_cancelled() => Committed::Stopped,
            // Otherwise, the work would be lost when its runner forgets the run.
            WorkLocation::InPlace | WorkLocation::AgentRepository | WorkLocation::Elsewhere => Committed::Later,
        }
    }

    async fn snapshot(
        &self,
        task: &TaskRecord,
        run: &RunRecord,
        last_message: Option<&str>,
        cancel: &CancellationToken,
    ) -> Option<Result<Snapshot, RunError>> {
        let mirror = match self.environments.mirror_of(task.env_id) {
            Ok(mirror) => mirror,
            Err(error) => return Some(Err(error)),
        };
        let thread = run.thread_id.or(task.thread_id).map(|thread| thread.to_string());
        let settings = self.environments.commit_settings(task.env_id);
        let message = CommitMessage {
            subject: &run.prompt.first_line(72),
            body: last_message.unwrap_or_default(),
            trailers: RunTrailers {
                task_id: &task.task_id.to_string(),
                run: &run.number.0.to_string(),
                thread_id: thread.as_deref(),
            },
            people: &settings.trailers(),
        };
        let (choices, makers) = (task.choices(settings.limits()), Makers::from(&settings));
        let omitted = RunFiles::new(&self.home.layout.logs(task.task_id), run.number).omitted();
        let secrets = self.placed_secrets(task);
        self.commit_work(Work { mirror: &mirror, task, message, makers, choices, secrets, omitted, cancel }).await
    }

    /// Returns a search for the secrets that were placed in files of a task. A value that was replaced in the meantime has no name.
    fn placed_secrets(&self, task: &TaskRecord) -> Option<SecretSearch> {
        let repository = self.environments.get(task.env_id)?.record();
        let names: BTreeSet<_> = task.placed_files.values().collect();
        if names.is_empty() {
            return None;
        }
        let current = repository.secrets.iter().filter(|(name, _)| names.contains(name));
        let current = current.map(|(name, secret)| (name.as_str(), secret.expose()));
        let former = repository.former_secrets.iter().map(|secret| ("an earlier secret", secret.expose()));
        SecretSearch::new(current.chain(former), Parts::Lines)
    }
}

fn limit_of(task: &TaskRecord, run: &RunRecord) -> Duration {
    match run.phase {
        _ if task.removing => LIMIT_OF_REMOVED,
        RunPhase::Stopping => LIMIT_OF_STOPPED,
        RunPhase::Queued | RunPhase::Preparing | RunPhase::Running | RunPhase::Ended(_) => LIMIT,
    }
}
