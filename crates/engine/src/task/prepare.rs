//! Prepares a run: fetches the newest commits, and creates a worktree on the task's branch at its start commit.
//!
//! The code is the same for a first run and for a resumed one, whose worktree usually exists already. The content of
//! the worktree is never trusted.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Instant;

use durable::blocking;
use durable::crash::{self, CrashPoint};
use environments::{follow_settings, missing_history};
use futures_util::future::{FutureExt as _, join_all};
use git::{self, Mirror, Pool, WorktreeSpec};
use model::ErrorCode;
use model::ids::{Attempt, ObjectId};
use model::names::{BranchName, RepositoryUrl};
use model::run::RunError;
use model::run_times::{PreparationTimes, milliseconds};
use model::setup::TakenEnvironment;
use model::submodule::{Sources, canonical};
use model::task::{TaskEvent, TaskRecord, with_summary};
use protocol::{FeedEvent, Progress};
use runner::keeper::RunFiles;
use runner::{Preparation, until_reached};
use spine::{COUNTED, Mailbox as _};
use tokio_util::sync::CancellationToken;

use super::launch::answered;
use super::set_up::StartPoint;
use super::tasks::{TaskSlot, Tasks};

/// The result of a preparation.
enum Prepared {
    /// The worktree is at this commit, and the task starts in this environment.
    Ready(ObjectId, TakenEnvironment, PreparationTimes),
    /// The setup of the repository must end first.
    AwaitsSetup,
    /// The commit has submodules from URLs that are not trusted yet.
    Asks(Vec<RepositoryUrl>),
}

impl Tasks {
    pub(super) async fn prepare(self: &Arc<Self>, slot: &Arc<TaskSlot>, attempt: Attempt) {
        let cancel = slot.begin_work(attempt, &self.cancel);
        let prepared = self.prepared(slot, &cancel).await;
        slot.set_progress(None);
        if self.cancel.is_cancelled() {
            // The server is stopping. The record says `preparing`, and the next server prepares the run again.
            return;
        }
        crash::point(CrashPoint::Prepared);
        let event = match prepared {
            Ok(Prepared::Ready(base_sha, environment, times)) => TaskEvent::Prepared { attempt, base_sha, environment, times },
            Ok(Prepared::AwaitsSetup) => TaskEvent::AwaitsSetup { attempt },
            Ok(Prepared::Asks(urls)) => TaskEvent::Asked { attempt, urls },
            Err(error) => TaskEvent::PreparationFailed { attempt, error },
        };
        self.post(slot, event).await;
        slot.take_snapshot(None);
    }

    async fn prepared(self: &Arc<Self>, slot: &Arc<TaskSlot>, cancel: &CancellationToken) -> Result<Prepared, RunError> {
        let mirror = self.environments.mirror_of(slot.env_id)?;
        self.check_ended(slot).await;
        self.finish_update(slot).await?;
        self.check_session(slot).await?;
        let task = slot.record();
        // Rebuild git's files about the worktree if they are damaged. The worktree may contain work that exists nowhere else.
        self.worktree_of(&mirror, &task).await?;
        let started = Instant::now();
        if task.needs_environment() {
            self.fetch_for(&mirror, slot, cancel).await?;
            self.fetch_context(slot, cancel).await;
        }
        let fetch_ms = task.needs_environment().then(|| milliseconds(started.elapsed()));
        let base = match &task.base_sha {
            Some(base) => base.clone(),
            None => self.newest_base(&mirror, &task).await?,
        };
        mirror.complete(&base, cancel).await.map_err(|error| error.to_run_error())?;
        let environment = if task.needs_environment() {
            match self.start_point(slot, &mirror, cancel).await? {
                StartPoint::Known(environment) => environment,
                StartPoint::AfterSetup => return Ok(Prepared::AwaitsSetup),
            }
        } else {
            task.environment.clone()
        };
        // The branch must not point to a commit that a power cut can destroy.
        mirror.sync().await.map_err(|error| not_synced(&error))?;
        let branch = BranchName::of_task(task.task_id);
        let last = AtomicU8::new(u8::MAX);
        let progress = |step: git::Progress| {
            if last.swap(step.percent, Ordering::Relaxed) != step.percent {
                self.preparation_progressed(slot, &step);
            }
        };
        let path = self.home.layout.worktree(slot.id);
        let cone = self.environments.get(slot.env_id).map(|environment| environment.record().cone()).unwrap_or_default();
        let spec = WorktreeSpec { path: &path, branch: branch.as_str(), base: &base, cone: &cone };
        let sources = self.sources_of(&mirror, slot).await?;
        if mirror.find_worktree(spec.path, spec.branch).map_err(|error| unreadable(&error))?.is_none() {
            let mut urls = mirror.untrusted_urls(&base, &sources).await.map_err(|error| unreadable(&error))?;
            urls.retain(|url| !task.skipped_urls.iter().any(|skipped| canonical(skipped) == canonical(url)));
            if !urls.is_empty() {
                return Ok(Prepared::Asks(urls));
            }
        }
        let pool = Pool::new(&mirror, self.home.layout.prepared(slot.env_id), cone.clone());
        let ensured = mirror.ensure_worktree_from(Some(&pool), spec, &sources, &progress, cancel.clone()).await;
        let (worktree, start) = ensured.map_err(|error| {
            RunError::new(ErrorCode::WorktreeFailed, format!("could not create the worktree: {error}"))
                .hint("check that the home directory is writable and has free space, then create the task again")
        })?;
        count(start);
        let spec = self.run_spec(&task, &base, &environment);
        let prepare = || {
            let preparation = Preparation { spec: &spec, worktree: &worktree, cancel };
            self.runner.prepare(preparation, self.as_ref()).map(answered).boxed()
        };
        until_reached(cancel, prepare).await.ok_or_else(stopped)??;
        self.check_images(&task).await?;
        self.set_up_on_host(slot, &mirror, cancel).await?;
        self.write_prompt(&task).await?;
        mirror.sync().await.map_err(|error| not_synced(&error))?;
        let snapshot_created_at = match &environment.snapshot {
            Some(key) => {
                let found = until_reached(cancel, || self.runner.snapshot(slot.env_id, key)).await.ok_or_else(stopped)?;
                found.map(|snapshot| snapshot.created_at)
            }
            None => None,
        };
        Ok(Prepared::Ready(base, environment, PreparationTimes { fetch_ms, snapshot_created_at }))
    }

    /// Returns the URLs that submodules are fetched from without asking, according to the repository's settings and mirror.
    async fn sources_of(&self, mirror: &Mirror, slot: &TaskSlot) -> Result<Sources, RunError> {
        let Some(environment) = self.environments.get(slot.env_id) else { return Ok(Sources::default()) };
        follow_settings(&environment).await.map_err(|error| unreadable(&error))?;
        mirror.trusted_sources(&environment.record().sources).await.map_err(|error| unreadable(&error))
    }

    fn preparation_progressed(&self, slot: &TaskSlot, step: &git::Progress) {
        let progress = Progress { phase: step.phase.as_str().to_owned(), percent: Some(step.percent) };
        slot.set_progress(Some(progress.clone()));
        self.feed.publish(FeedEvent::TaskProgress { task_id: slot.id, progress });
    }

    /// Waits for a fetch that started after the task was requested.
    async fn fetch_for(&self, mirror: &Mirror, slot: &TaskSlot, cancel: &CancellationToken) -> Result<(), RunError> {
        let task = slot.record();
        // A run that returned to the queue may have waited there for days.
        let asked = slot.asked().filter(|_| task.last_run().attempt == Attempt::FIRST);
        let ticket = asked.unwrap_or_else(|| mirror.fetch_ticket());
        let mut steps = mirror.fetch_progress();
        let mut fetch = pin!(mirror.fetch_since(ticket, self.config.fetch_time_limit, self.cancel.clone()));
        let mut last = u8::MAX;
        loop {
            tokio::select! {
                fetched = &mut fetch => break fetched.map_err(|error| error.to_run_error())?,
                () = cancel.cancelled() => return Err(stopped()),
                Ok(()) = steps.changed() => {
                    let step = *steps.borrow_and_update();
                    if let Some(step) = step.filter(|step| std::mem::replace(&mut last, step.percent) != step.percent) {
                        self.preparation_progressed(slot, &step);
                    }
                }
            }
        }
        slot.set_progress(None);
        Ok(())
    }

    /// Fetches the other repositories that the task can read. If that fails, the task reads what the server has.
    async fn fetch_context(&self, slot: &TaskSlot, cancel: &CancellationToken) {
        let Some(repository) = self.environments.record(slot.env_id) else { return };
        let sources = self.context_of(&repository).0;
        let mirrors = sources.into_iter().filter_map(|source| self.environments.mirror_of(source.repository).ok());
        let fetches = mirrors.map(|mirror| async move {
            let fetch = mirror.fetch_since(mirror.fetch_ticket(), self.config.fetch_time_limit, self.cancel.clone());
            if let Some(Err(error)) = cancel.run_until_cancelled(fetch).await {
                tracing::warn!(task = %slot.id, %error, "could not fetch a repository that a task can read");
            }
        });
        join_all(fetches).await;
    }

    /// Returns the commit that the task's ref names.
    async fn newest_base(&self, mirror: &Mirror, task: &TaskRecord) -> Result<ObjectId, RunError> {
        let found = mirror.resolve_ref(task.git_ref.as_str()).await.map_err(|error| unreadable(&error))?;
        if let Some(found) = found {
            return Ok(found);
        }
        let branches = mirror.branches().await.map_err(|error| unreadable(&error))?;
        let named: Vec<_> =
            branches.iter().filter(|branch| !branch.starts_with("codex/")).take(20).map(|b| format!("`{b}`")).collect();
        let error =
            RunError::new(ErrorCode::RefNotFound, format!("no branch, tag or commit `{}` in this repository", task.git_ref));
        let error = missing_history(mirror).into_iter().fold(error, RunError::hint);
        Err(error.hint(format!("existing branches: {}", named.join(", "))))
    }

    /// Checks that all images of the prompt can be read, because Codex ignores an image that it cannot read.
    async fn check_images(&self, task: &TaskRecord) -> Result<(), RunError> {
        let (home, id, images) = (Arc::clone(&self.home), task.task_id, task.last_run().images.clone());
        let checked = blocking(move || images.iter().try_for_each(|image| home.read_image(id, image).map(drop))).await;
        checked.map_err(|error| {
            RunError::new(ErrorCode::ImageUnreadable, format!("could not read an image of the prompt: {error}"))
                .hint("attach the image to a new prompt")
        })
    }

    async fn write_prompt(&self, task: &TaskRecord) -> Result<(), RunError> {
        let run = task.last_run();
        let path = RunFiles::new(&self.home.layout.logs(task.task_id), run.number).prompt();
        let prompt = if run.lost_thread.is_some() { with_summary(task) } else { run.prompt.as_str().to_owned() };
        let written = blocking(move || durable::write_atomically(&path, prompt.as_bytes())).await;
        written.map_err(|error| RunError::new(ErrorCode::HomeNotWritable, format!("could not write the prompt: {error}")))
    }
}

/// Counts a worktree that a task needed.
fn count(start: git::Start) {
    match start {
        git::Start::Prepared => drop(COUNTED.pool_hits.inc()),
        git::Start::Written => drop(COUNTED.pool_misses.inc()),
        git::Start::Existing => {}
    }
}

fn stopped() -> RunError {
    RunError::new(ErrorCode::Cancelled, "stopped before the worktree was created")
}

fn unreadable(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::MirrorUnreadable, format!("could not read the mirror: {error}"))
}

fn not_synced(error: &std::io::Error) -> RunError {
    RunError::new(ErrorCode::WorktreeFailed, format!("could not sync the mirror to disk: {error}"))
        .hint("check the disk of the home directory, then retry the task")
}
