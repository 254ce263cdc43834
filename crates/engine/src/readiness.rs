//! Checks whether a new task could start: the worker, and what its containers need.
//!
//! Readers get the state of the last check without waiting for a new one. Invariant: a task is rejected while no worker could
//! run it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use config::Config;
use durable::blocking;
use environments::Environments;
use model::environment::EnvironmentRecord;
use model::problem::Problem;
use model::queue::Blocker;
use model::{ErrorCode, Report};
use protocol::{Damaged, WorkerStatus};
use runner::{NeededImage, RunMemory, Runner};
use spine::Common;
use store::{Home, free_bytes};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a starting server waits for a container engine that may be slow or hang.
const START_PATIENCE: Duration = Duration::from_secs(3);

/// What runs need, and the problems that a person must fix.
pub(crate) struct Readiness {
    config: Arc<Config>,
    home: Arc<Home>,
    runner: Arc<dyn Runner>,
    environments: Arc<Environments>,
    damaged_tasks: Vec<Damaged>,
    tracker: TaskTracker,
    cancel: CancellationToken,
    /// Problems that a person must fix, as of the last check.
    troubles: Mutex<Vec<Blocker>>,
}

impl Readiness {
    /// Creates the checks of a server. `damaged_tasks` are the records of tasks that could not be read.
    pub(crate) fn new(
        common: Common,
        runner: Arc<dyn Runner>,
        environments: Arc<Environments>,
        damaged_tasks: Vec<Damaged>,
    ) -> Self {
        let Common { config, home, tracker, cancel, .. } = common;
        Self { config, home, runner, environments, damaged_tasks, tracker, cancel, troubles: Mutex::default() }
    }

    /// Returns the problems that the last check found.
    pub(crate) fn troubles(&self) -> Vec<Blocker> {
        self.troubles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails if no worker could run a task of the repository now, whatever the image of the task is.
    pub(crate) async fn able_worker(&self, environment: Option<&EnvironmentRecord>) -> Result<(), Problem> {
        self.runner.ready(environment, NeededImage::Other).await
    }

    /// Returns a problem if the image of the repository's or the server's settings is missing. Runs may use another one.
    pub(crate) async fn missing_image(&self, environment: &EnvironmentRecord) -> Option<Problem> {
        self.runner.ready(Some(environment), NeededImage::OfSettings).await.err()
    }

    /// Returns how many runs can be executed at the same time.
    pub(crate) fn most_runs(&self) -> usize {
        self.runner.capacity().most.map_or(self.config.max_parallel_runs, |most| most.min(self.config.max_parallel_runs))
    }

    /// Returns the memory that runs may use, if it is known.
    pub(crate) fn run_memory(&self) -> Option<RunMemory> {
        self.runner.capacity().memory
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
        if self.runner.is_stale() {
            let inner = Arc::clone(self);
            self.tracker.spawn(async move { inner.hear().await });
        }
        self.runner.status()
    }

    /// Checks the status of the runner, unless it was checked a moment ago.
    pub(crate) async fn hear(&self) {
        self.cancel.run_until_cancelled(self.runner.refresh()).await;
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
