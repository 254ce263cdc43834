//! The runner of this machine: the configured worker, supervised by a keeper for each run.
//!
//! Runs use the server's own files: the worktree, the log, and the folders next to them. Invariant: everything that depends on the
//! kind of the worker is decided by the worker itself.

mod agent_repository;
mod app_server;
mod artifacts;
mod context;
mod ending;
mod export;
mod host_setup;
mod images;
mod layers;
mod login;
mod mount_points;
mod placed_files;
mod remarks;
mod set_up;
mod shell;
mod start;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;

use async_stream::stream;
use config::Config;
use durable::blocking;
use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use jiff::Timestamp;
use model::codex::LineContent;
use model::codex::app_server::{LiveItems, LiveNews};
use model::ids::{EnvironmentId, TaskId};
use model::problem::Problem;
use model::setup::{Snapshot, SnapshotKey};
use process::Redactor;
use store::{CodexHome, Home};
use tokio_util::sync::CancellationToken;

use self::app_server::UnusableAppServers;

use crate::journal::{FolderWatch, Tail};
use crate::keeper::{self, KeeperState, RunFiles};
use crate::seam::{
    ExportError, ExportRequest, Exported, JournalNews, Preparation, RunRemains, RunRequest, RunState, Runner, RunnerCapacity,
    StartError, Supply, Unreachable,
};
use crate::setup::{EnvironmentImages, FoundImages, HostSetup, ImagesRequest, SetupRequest};
use crate::spec::{ContainerSandbox, RunKey, RunSpec, Sandbox};
use crate::worker::{ContainerChecks, Housekeeping, Site, Worker, WorkerProblem};

/// Executes runs on this machine.
pub struct LocalRunner {
    config: Config,
    home: Arc<Home>,
    worker: Result<Worker, WorkerProblem>,
    checks: Arc<ContainerChecks>,
    codex_home: CodexHome,
    watch: Arc<FolderWatch>,
    /// Repositories whose Codex has no usable app server.
    unusable_app_servers: Arc<UnusableAppServers>,
    /// Allows one renewal of the login's tokens at a time.
    login_turn: Arc<tokio::sync::Mutex<()>>,
}

impl LocalRunner {
    /// Finds the configured worker. If there is none, no run can start, and the status says why.
    pub fn new(config: &Config, home: Arc<Home>, codex_home: CodexHome, watch: Arc<FolderWatch>) -> Self {
        Self {
            worker: Worker::find(config),
            checks: Arc::new(ContainerChecks::new(config)),
            config: config.clone(),
            home,
            codex_home,
            watch,
            unusable_app_servers: Arc::default(),
            login_turn: Arc::default(),
        }
    }

    /// Returns this runner with the shells of a repository in place of the tasks.
    fn of_shells(&self, repository: EnvironmentId) -> Self {
        Self {
            config: self.config.clone(),
            home: Arc::new(self.home.of_shells(repository)),
            worker: self.worker.clone(),
            checks: Arc::clone(&self.checks),
            codex_home: self.codex_home.clone(),
            watch: Arc::clone(&self.watch),
            unusable_app_servers: Arc::clone(&self.unusable_app_servers),
            login_turn: Arc::clone(&self.login_turn),
        }
    }

    fn worker(&self) -> Result<&Worker, Problem> {
        self.worker.as_ref().map_err(WorkerProblem::to_problem)
    }

    fn site(&self) -> Site<'_> {
        Site { config: &self.config, home: &self.home, checks: &self.checks, codex_home: &self.codex_home }
    }

    /// Whether the work of runs is in agent repositories.
    fn uses_agent_repositories(&self) -> bool {
        self.worker.as_ref().is_ok_and(Worker::uses_agent_repository)
    }

    fn housekeeping(&self, redactor: Redactor) -> Housekeeping {
        Housekeeping::new(&self.config, redactor)
    }

    fn files(&self, key: RunKey) -> RunFiles {
        RunFiles::new(&self.home.layout.logs(key.task), key.run)
    }

    fn worktree_path(&self, task: TaskId) -> PathBuf {
        self.home.layout.worktree(task)
    }

    async fn stop(&self, key: RunKey) -> Result<(), Unreachable> {
        let Err(error) = keeper::request_stop(&self.files(key), key.attempt).await else { return Ok(()) };
        match self.state(key).await {
            // With a damaged record, the keeper cannot be found. Its processes are ended when the run is finished.
            RunState::Nobody | RunState::Ended { .. } => Ok(()),
            RunState::Held { .. } | RunState::Unreachable(_) => Err(error.into()),
        }
    }

    async fn state(&self, key: RunKey) -> RunState {
        let files = self.files(key);
        match blocking(move || keeper::observe(&files, key.attempt)).await {
            Ok(KeeperState::NeverStarted) => RunState::Nobody,
            Ok(KeeperState::Alive(record)) => RunState::Held { started_at: record.started_at },
            Ok(KeeperState::Gone { exit, .. }) => RunState::Ended { exit },
            Err(error) => RunState::Unreachable(error.into()),
        }
    }
}

/// Returns the current length of the log, or 0 if it does not exist yet.
fn length(files: &RunFiles) -> u64 {
    fs_err::metadata(files.journal()).map_or(0, |found| found.len())
}

impl Runner for LocalRunner {
    fn capacity(&self) -> RunnerCapacity {
        RunnerCapacity { most: None, memory: self.run_memory() }
    }

    fn sandbox(&self, container: ContainerSandbox) -> Sandbox {
        // Without a worker, the run fails when it starts.
        self.worker.as_ref().map_or(Sandbox::Host, |worker| worker.sandbox(container))
    }

    fn prepare<'a>(&'a self, preparation: Preparation<'a>, supply: &'a dyn Supply) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async move { self.prepared(&preparation, supply).await.map_err(StartError::Failed) })
    }

    fn ensure_started<'a>(&'a self, spec: &'a RunSpec, supply: &'a dyn Supply) -> BoxFuture<'a, Result<Timestamp, StartError>> {
        Box::pin(async move { self.started(spec, supply).await.map_err(StartError::Failed) })
    }

    fn observe(&self, key: RunKey) -> BoxFuture<'_, RunState> {
        Box::pin(self.state(key))
    }

    /// The worker writes to the server's copy of the log, so there is nothing to deliver.
    fn journal(&self, key: RunKey, _from: u64) -> BoxStream<'_, Result<JournalNews, Unreachable>> {
        let files = self.files(key);
        Box::pin(stream! {
            let mut interest = self.watch.watch(files.folder());
            yield Ok(JournalNews::InPlace { length: length(&files) });
            let mut gone = Box::pin(keeper::until_gone(&files, key.attempt));
            let mut login = Box::pin(self.keep_login_current(key.task));
            loop {
                let ended = tokio::select! {
                    () = &mut login => continue,
                    ended = &mut gone => Some(ended),
                    () = interest.changed() => None,
                };
                yield Ok(JournalNews::InPlace { length: length(&files) });
                if let Some(ended) = ended {
                    yield ended.map(|()| JournalNews::Ended).map_err(Unreachable::from);
                    return;
                }
            }
        })
    }

    fn live(&self, key: RunKey) -> BoxStream<'_, LiveNews> {
        let files = self.files(key);
        Box::pin(stream! {
            let mut interest = self.watch.watch(files.folder());
            let (mut tail, mut items) = (Tail::from(files.messages(), 0), LiveItems::default());
            loop {
                let mut news = vec![];
                let read = tail.read(|line| {
                    if let LineContent::Whole(text) = line.content && let Ok(message) = serde_json::from_slice(text) {
                        news.extend(items.receive(&message));
                    }
                });
                match read.await {
                    Ok(true) => {}
                    Ok(false) => interest.changed().await,
                    Err(error) => {
                        tracing::warn!(task = %key.task, %error, "could not read what a run is writing; only complete items are shown");
                        return;
                    }
                }
                for news in news {
                    yield news;
                }
            }
        })
    }

    fn request(&self, key: RunKey, request: RunRequest) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async move {
            match request {
                RunRequest::Stop => self.stop(key).await,
            }
        })
    }

    fn ensure_ended<'a>(&'a self, spec: &'a RunSpec, supply: &'a dyn Supply) -> BoxFuture<'a, Result<RunRemains, Unreachable>> {
        Box::pin(async move { Ok(self.remains(spec, &supply.redactor(spec.source.repository)).await?) })
    }

    fn ensure_exported<'a>(
        &'a self,
        request: ExportRequest<'a>,
        supply: &'a dyn Supply,
    ) -> BoxFuture<'a, Result<Exported, ExportError>> {
        Box::pin(async move { self.exported(&request, &supply.redactor(request.spec.source.repository)).await })
    }

    fn images<'a>(
        &'a self,
        wanted: &'a EnvironmentImages,
        supply: &'a dyn Supply,
    ) -> BoxFuture<'a, Result<Option<FoundImages>, StartError>> {
        Box::pin(async move { self.found_images(wanted, supply).await.map_err(StartError::Failed) })
    }

    fn ensure_images<'a>(&'a self, request: ImagesRequest<'a>, supply: &'a dyn Supply) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async move { self.created_images(request, supply).await.map_err(StartError::Failed) })
    }

    fn snapshot<'a>(
        &'a self,
        repository: EnvironmentId,
        key: &'a SnapshotKey,
    ) -> BoxFuture<'a, Result<Option<Snapshot>, Unreachable>> {
        let (home, key) = (Arc::clone(&self.home), key.clone());
        Box::pin(async move {
            blocking(move || home.read_snapshot(repository, &key)).await.map_err(|error| Unreachable::new(error.to_string()))
        })
    }

    fn newest_snapshot<'a>(
        &'a self,
        repository: EnvironmentId,
        family: &'a SnapshotKey,
    ) -> BoxFuture<'a, Result<Option<Snapshot>, Unreachable>> {
        let (home, family) = (Arc::clone(&self.home), family.clone());
        Box::pin(async move {
            let found = blocking(move || home.read_snapshots(repository)).await;
            let found = found.map_err(|error| Unreachable::new(error.to_string()))?;
            Ok(found.into_iter().find(|snapshot| snapshot.family.as_ref() == Some(&family)))
        })
    }

    fn ensure_set_up<'a>(
        &'a self,
        request: SetupRequest<'a>,
        supply: &'a dyn Supply,
    ) -> BoxFuture<'a, Result<Snapshot, StartError>> {
        Box::pin(async move { self.set_up(request, supply).await.map_err(StartError::Failed) })
    }

    fn set_up_on_host<'a>(
        &'a self,
        setup: &'a HostSetup,
        supply: &'a dyn Supply,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async move { self.ran_on_host(setup, supply, cancel).await.map_err(StartError::Failed) })
    }

    /// The files of a run belong to its task, so they are kept.
    fn forget(&self, _key: RunKey) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async { Ok(()) })
    }
}
