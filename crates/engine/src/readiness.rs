//! Checks whether a new task could start: the worker, and what its containers need.
//!
//! Readers get the state of the last check without waiting for a new one. Invariant: a task is rejected while no worker could
//! run it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use durable::blocking;
use model::environment::EnvironmentRecord;
use model::problem::Problem;
use model::queue::Blocker;
use model::{ErrorCode, Report};
use protocol::WorkerStatus;
use runner::worker::{Worker, WorkerKind, WorkerProblem, open_network_only, problem, told, unreachable_model};
use store::free_bytes;

use crate::inner::Inner;

/// How long a starting server waits for a container engine that may be slow or hang.
const START_PATIENCE: Duration = Duration::from_secs(3);

impl Inner {
    /// Returns the image for a repository's runs: its own, or the server's. `None` means the pinned image.
    pub(crate) fn image_of<'a>(&'a self, environment: &'a EnvironmentRecord) -> Option<&'a str> {
        environment.container.image.as_deref().or(self.config.image.as_deref())
    }

    /// Returns the worker, if it could run a task of the repository now.
    pub(crate) async fn able_worker(&self, environment: Option<&EnvironmentRecord>) -> Result<&Worker, Problem> {
        let worker = self.worker.as_ref().map_err(WorkerProblem::to_problem)?;
        match worker.kind() {
            WorkerKind::Host | WorkerKind::Custom => return Ok(worker),
            WorkerKind::Script => return environment.and_then(open_network_only).map_or(Ok(worker), Err),
            WorkerKind::Container => {}
        }
        let image = environment.map_or(self.config.image.as_deref(), |environment| self.image_of(environment));
        let check = self.checks.fresh(image).await;
        // An image with the repository's own Dockerfile is built when a run needs it.
        let builds = environment.is_some_and(|environment| environment.container.dockerfile.is_some());
        match problem(&check) {
            Some(problem) if !(builds && check.status.engine.is_some()) => return Err(problem),
            Some(_) | None => {}
        }
        // The run reports a login that cannot be read.
        let login = self.login().await.ok().flatten();
        match environment.and_then(|environment| unreachable_model(environment, &self.config, login.as_ref())) {
            Some(problem) => Err(problem),
            None => Ok(worker),
        }
    }

    /// Returns a problem if the home has less free space than required.
    pub(crate) async fn low_disk(&self) -> Option<Blocker> {
        let (home, floor) = (self.home.layout.home().to_owned(), self.config.free_space_floor);
        let shown = home.display().to_string();
        match blocking(move || free_bytes(&home)).await {
            Ok(free) if free < floor => {
                let (free, floor) = (free >> 20, floor >> 20);
                let detail = format!("only {free} MiB are free on the disk of `{shown}`, less than the required {floor} MiB");
                Some(Report::new(ErrorCode::DiskLow, detail).hint("free up disk space: `codex-orchestrator gc --all` empties the trash, and `codex-orchestrator disk` shows disk usage").hint("or lower `free_space_floor`").into())
            }
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(%error, "could not measure free disk space");
                None
            }
        }
    }

    /// Looks for problems that a person must fix, and stores them for readers.
    pub(crate) async fn look_for_troubles(&self) {
        let mut troubles: Vec<_> = self.low_disk().await.into_iter().collect();
        let home = Arc::clone(&self.home);
        if let Err(error) = blocking(move || home.probe()).await {
            let report = Report::new(ErrorCode::HomeUnwritable, error.to_string())
                .hint("new work is rejected until the home directory is writable again; active runs continue");
            troubles.push(report.into());
        }
        let damaged = self.damaged_tasks.iter().chain(&self.environments.damaged);
        troubles.extend(damaged.map(|damaged| Blocker {
            code: ErrorCode::Damaged.into(),
            detail: format!("cannot read `{}`: {}", damaged.path, damaged.reason),
            hints: damaged.hints.clone(),
        }));
        *self.troubles.lock().unwrap_or_else(PoisonError::into_inner) = troubles;
    }

    /// Returns the status of the last check for the API. Starts a new check in the background if the last one is old.
    pub(crate) fn worker_status(self: &Arc<Self>) -> WorkerStatus {
        let worker = match &self.worker {
            Ok(worker) => worker,
            Err(problem) => {
                let problem = problem.to_problem();
                let name = self.config.worker.clone().unwrap_or_else(|| "none".to_owned());
                return WorkerStatus {
                    name,
                    program: None,
                    problem: Some(problem.report.message),
                    hints: problem.report.hints,
                    container: None,
                };
            }
        };
        match worker.kind() {
            WorkerKind::Host | WorkerKind::Script | WorkerKind::Custom => worker.status(),
            WorkerKind::Container => {
                let last = self.checks.last(self.config.image.as_deref());
                if !last.as_ref().is_some_and(|(_, fresh)| *fresh) {
                    let inner = Arc::clone(self);
                    self.tracker.spawn(async move { inner.hear().await });
                }
                told(worker.status(), last.map(|(check, _)| check))
            }
        }
    }

    /// Checks the container engine, unless it was checked a moment ago.
    pub(crate) async fn hear(&self) {
        if self.worker.as_ref().is_ok_and(|worker| worker.kind() == WorkerKind::Container) {
            let asked = self.checks.fresh(self.config.image.as_deref());
            self.cancel.run_until_cancelled(asked).await;
        }
    }

    /// Checks the container engine when a server starts, and waits only briefly for the result.
    pub(crate) async fn hear_of_the_engine(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        let heard = self.tracker.spawn(async move { inner.hear().await });
        if tokio::time::timeout(START_PATIENCE, heard).await.is_err() {
            tracing::warn!("the container engine is slow to respond; the server does not wait for it");
        }
    }
}
