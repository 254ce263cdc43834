//! The parts of the local runner that do not concern a single run: its status, its containers and its images.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use durable::blocking;
use futures_util::future::BoxFuture;
use model::container::{ContainerSettings, ImageUsage};
use model::environment::EnvironmentRecord;
use model::ids::{EnvironmentId, ShellId, TaskId, ThreadId};
use model::problem::Problem;
use model::run::RunError;
use model::setup::SnapshotKey;
use model::size::parse_size;
use model::task::LayerGeneration;
use process::Redactor;
use protocol::WorkerStatus;
use store::ShellOrder;
use tokio_util::sync::CancellationToken;

use super::LocalRunner;
use super::set_up::setup_labels;
use crate::memory::RunMemory;
use crate::seam::{NeededImage, Preparation, Supply, Unreachable, Upkeep};
use crate::setup::OnStep;
use crate::spec::RunKey;
use crate::worker::{ImageRequest, SessionFolder, Worker, home_label, task_labels, told, was_read_only};

impl LocalRunner {
    /// Returns the memory of runs, if the container engine told how much there is.
    pub(super) fn run_memory(&self) -> Option<RunMemory> {
        let (check, _) = self.checks.last(self.config.image.as_deref()).filter(|_| self.checks_containers())?;
        Some(RunMemory::new(&self.config, check.status.engine?.memory_bytes?))
    }

    /// Returns the memory limit of a container with these settings in bytes, or `None` for the default of `codex-docker`.
    pub(super) fn memory_of(&self, settings: &ContainerSettings) -> Option<u64> {
        let named = settings.memory.as_deref().and_then(parse_size);
        named.or_else(|| self.run_memory().map(|memory| memory.needed(settings)))
    }

    /// Whether the status depends on checks of the container engine.
    fn checks_containers(&self) -> bool {
        self.worker.as_ref().is_ok_and(Worker::needs_container_engine)
    }
}

impl LocalRunner {
    /// Makes this server's user the owner of a folder, with a container of this image, or of the pinned one.
    pub(super) async fn give_back(&self, folder: &Path, image: Option<&str>) -> Result<(), Unreachable> {
        let label = home_label(self.home.layout.home());
        Ok(self.housekeeping(Redactor::default()).give_back(folder, image, &label).await?)
    }

    pub(super) fn runs_setups(&self) -> bool {
        self.worker.as_ref().is_ok_and(Worker::runs_setups)
    }
}

impl Upkeep for LocalRunner {
    fn ready<'a>(&'a self, repository: Option<&'a EnvironmentRecord>, image: NeededImage) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async move { self.worker()?.ready(self.site(), repository, image).await })
    }

    fn status(&self) -> WorkerStatus {
        match &self.worker {
            Ok(worker) if self.checks_containers() => {
                told(worker.status(), self.checks.last(self.config.image.as_deref()).map(|(check, _)| check))
            }
            Ok(worker) => worker.status(),
            Err(problem) => {
                let problem = problem.to_problem();
                WorkerStatus {
                    name: self.config.worker.clone().unwrap_or_else(|| "none".to_owned()),
                    program: None,
                    problem: Some(problem.report.message),
                    hints: problem.report.hints,
                    container: None,
                }
            }
        }
    }

    fn is_stale(&self) -> bool {
        let last = self.checks.last(self.config.image.as_deref());
        self.checks_containers() && !last.is_some_and(|(_, fresh)| fresh)
    }

    fn refresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {
            if self.checks_containers() {
                self.checks.fresh(self.config.image.as_deref()).await;
            }
        })
    }

    fn build_image<'a>(
        &'a self,
        repository: EnvironmentId,
        supply: &'a dyn Supply,
        on_step: OnStep<'a>,
        cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(async move {
            // Without a worker, every run fails when it starts.
            let Ok(worker) = &self.worker else { return Ok(()) };
            worker.build_image(self.site(), ImageRequest { repository, supply, on_step, cancel }).await
        })
    }

    fn keeps_caches(&self) -> bool {
        self.uses_agent_repositories() && !self.runs_setups()
    }

    fn sessions(&self, task: TaskId) -> Option<SessionFolder> {
        let of_task = self.home.layout.sessions(task);
        self.worker.as_ref().ok()?.sessions(Some(&of_task))
    }

    fn was_read_only(&self, task: TaskId, thread: ThreadId) -> BoxFuture<'_, io::Result<bool>> {
        let of_task = self.home.layout.sessions(task);
        let folder = self.worker.as_ref().ok().and_then(|worker| worker.session_folder(&of_task));
        Box::pin(async move {
            match folder {
                Some(folder) => blocking(move || was_read_only(&folder, thread)).await,
                None => Ok(false),
            }
        })
    }

    /// Ends abandoned containers of this home. The container of an active run is not abandoned, because its worker lives.
    fn sweep<'a>(&'a self, _active: &'a BTreeSet<RunKey>) -> BoxFuture<'a, Result<(), Unreachable>> {
        Box::pin(async {
            if self.uses_agent_repositories() {
                let label = [home_label(self.home.layout.home())];
                self.housekeeping(Redactor::default()).reap(&label).await?;
            }
            Ok(())
        })
    }

    fn clear_task(&self, task: TaskId, redactor: Redactor) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async move {
            if self.uses_agent_repositories() || self.home.layout.twin(task).is_dir() {
                let labels = task_labels(self.home.layout.home(), task);
                self.housekeeping(redactor).reap(&labels).await?;
            }
            Ok(())
        })
    }

    /// A container's root user may still own folders, because of an older version or an interrupted export.
    fn reclaim<'a>(&'a self, folder: &'a Path) -> BoxFuture<'a, Result<(), Unreachable>> {
        Box::pin(async move {
            if self.uses_agent_repositories() {
                self.give_back(folder, self.config.image.as_deref()).await?;
            }
            Ok(())
        })
    }

    fn forget_task(&self, task: TaskId) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async move {
            if self.runs_setups() {
                self.housekeeping(Redactor::default()).remove_kept(&task_labels(self.home.layout.home(), task), None).await?;
            }
            Ok(())
        })
    }

    fn discard_layers(&self, task: TaskId, current: LayerGeneration) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(
            async move { self.discard_earlier_layers(task, current).await.map_err(|error| Unreachable::new(error.to_string())) },
        )
    }

    fn forget_repository(&self, repository: EnvironmentId) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async move {
            if self.runs_setups() {
                self.housekeeping(Redactor::default())
                    .remove_kept(&setup_labels(self.home.layout.home(), repository), None)
                    .await?;
            }
            Ok(())
        })
    }

    fn discard_snapshots<'a>(
        &'a self,
        repository: EnvironmentId,
        needed: &'a BTreeSet<SnapshotKey>,
    ) -> BoxFuture<'a, Result<(), Unreachable>> {
        Box::pin(async move {
            if !self.runs_setups() {
                return Ok(());
            }
            self.discard_unneeded(repository, needed).await.map_err(|error| Unreachable::new(error.to_string()))
        })
    }

    fn delete_discarded_snapshots(&self, repository: EnvironmentId) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async move {
            if !self.runs_setups() {
                return Ok(());
            }
            self.delete_discarded(repository).await.map_err(|error| Unreachable::new(error.to_string()))
        })
    }

    fn open_shell<'a>(
        &'a self,
        preparation: Preparation<'a>,
        supply: &'a dyn Supply,
    ) -> BoxFuture<'a, Result<(ShellOrder, Vec<String>), RunError>> {
        Box::pin(async move { self.opened_shell(&preparation, supply).await })
    }

    fn close_shell(&self, repository: EnvironmentId, shell: ShellId) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(self.closed_shell(repository, shell))
    }

    fn image_usage<'a>(&'a self, ids: &'a BTreeSet<String>) -> BoxFuture<'a, Result<Vec<ImageUsage>, Unreachable>> {
        Box::pin(async { Ok(self.housekeeping(Redactor::default()).image_usage(ids).await?) })
    }

    fn remove_image<'a>(&'a self, id: &'a str, names: &'a BTreeSet<String>) -> BoxFuture<'a, Result<bool, Unreachable>> {
        Box::pin(async { Ok(self.housekeeping(Redactor::default()).remove_image(id, names).await?) })
    }
}
