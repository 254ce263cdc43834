//! Prepares and starts a run: creates what its container needs, and ensures that a keeper supervises its worker.
//!
//! An existing keeper is adopted. Starting never waits for the run itself.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use durable::crash::{self, CrashPoint};
use git::Mirror;
use jiff::Timestamp;
use model::ErrorCode;
use model::names::VariableName;
use model::run::RunError;
use model::secret::Secret;
use model::setup::{CachePath, Service, ServiceName};
use model::subdirectory::Subdirectory;

use super::layers::{Layers, task_image};
use super::mount_points::WORKTREE_INSIDE;
use super::placed_files::PlacedFiles;
use super::{LocalRunner, app_server};
use crate::keeper::{self, KeeperOrder};
use crate::seam::{Preparation, Supply};
use crate::spec::{Driver, RunKey, RunSpec};
use crate::worker::{ContainerFolders, ContainerRun, Otherwise, PrepareRequest, RunCall, ToRead, Worker};

/// The path where git-lfs looks for objects of a repository whose other objects are at [`super::agent_repository::OBJECTS_INSIDE`].
const LFS_INSIDE: &str = "/git/lfs";

impl LocalRunner {
    /// Creates the image, the agent repository and the folders that the worker's containers need.
    pub(super) async fn prepared(&self, preparation: &Preparation<'_>, supply: &dyn Supply) -> Result<(), RunError> {
        // Without a worker, the run fails when it starts.
        let Some(worker) = self.worker.as_ref().ok().filter(|worker| worker.uses_agent_repository()) else { return Ok(()) };
        let container = match preparation.spec.sandbox.container() {
            Some(container) => Some(self.container_from(container, preparation.spec)?),
            None => None,
        };
        let request =
            PrepareRequest { spec: preparation.spec, container: container.as_ref(), supply, cancel: preparation.cancel };
        worker.prepare(self.site(), request).await?;
        self.prepare_context(preparation, supply).await?;
        let redactor = supply.redactor(preparation.spec.source.repository);
        self.prepare_agent_repository(preparation, &redactor).await?;
        worker.write_overlays(self.site(), preparation.spec.key.task).await
    }

    pub(super) async fn started(&self, spec: &RunSpec, supply: &dyn Supply) -> Result<Timestamp, RunError> {
        let (attachments, call) = self.called(spec, supply, |worker, run| (worker.attachments(run), worker.call(run))).await?;
        self.complete_prompt(spec.key, &attachments).await.map_err(|error| {
            RunError::new(ErrorCode::HomeNotWritable, format!("could not add the attached files to the prompt: {error}"))
        })?;
        self.lend_login(spec.key.task, &call.environment).await?;
        let order = KeeperOrder::new(spec.key, spec.limits, &call, &self.worktree_path(spec.key.task));
        let program = &self.config.keeper_program;
        let launched = keeper::launch(program, &self.files(spec.key), &order, &call.environment, &self.watch).await;
        crash::point(CrashPoint::KeeperStarted);
        launched.map_err(|error| {
            RunError::new(ErrorCode::KeeperFailed, format!("could not start the run's keeper: {error}"))
                .hint("retry the task, or create it again")
        })
    }

    /// Prepares what the container of a run gets, and passes the worker's command to `call`.
    pub(super) async fn called<T: Send>(
        &self,
        spec: &RunSpec,
        supply: &dyn Supply,
        call: impl FnOnce(&Worker, &RunCall<'_>) -> T + Send,
    ) -> Result<T, RunError> {
        let RunKey { task, run, attempt } = spec.key;
        let worker = self.worker()?;
        let worktree = self.worktree_path(task);
        check_start_folder(&worktree, spec.source.subdirectory.as_ref()).await?;
        let turn = spec.driver.turn();
        let unusable = self.unusable_app_servers.reason(spec.source.repository);
        let (app_server, unusable) = match (&spec.driver, unusable) {
            (Driver::Exec(_), _) => (None, None),
            (Driver::AppServer(_), _) => (Some(Otherwise::Fail), None),
            (Driver::Auto(_), None) => (Some(Otherwise::Exec), None),
            (Driver::Auto(_), Some(reason)) => (None, Some(reason)),
        };
        let login = self.login().await?;
        let container = self.container(worker, spec, supply).await?;
        let of_prepared = |prepared: &PreparedContainer<'_>| {
            [&prepared.layers.notes[..], &prepared.files.notes, &prepared.context_notes].concat()
        };
        let prepared_notes = container.iter().flat_map(of_prepared);
        let prepared_notes = prepared_notes.collect::<Vec<_>>();
        let container = container.as_ref().map(|prepared| ContainerRun {
            settings: prepared.settings,
            image: prepared.image.as_deref(),
            login: login.as_ref(),
            broker: self.config.broker,
            model_url: self.config.model_url.as_deref(),
            codex_config: self.config.codex_config.as_deref(),
            home: self.home.layout.home(),
            folders: prepared.folders.clone(),
            to_read: prepared.to_read.clone(),
            layers: prepared.layers.layers.clone(),
            files: prepared.files.files.clone(),
            keep_as: prepared.keep_as.clone(),
            services: prepared.services.clone(),
            artifacts: prepared.artifacts.clone(),
            caches: prepared.caches.clone(),
            memory: self.memory_of(prepared.settings),
        });
        let mut notes = worker.notes(&spec.sandbox);
        notes.extend(prepared_notes);
        notes.extend(unusable.as_deref().map(app_server::note));
        let secrets = secrets(spec, supply);
        Ok(call(
            worker,
            &RunCall {
                task_id: task,
                run,
                attempt,
                model: turn.model.as_ref(),
                effort: turn.effort.as_ref(),
                app_server,
                resumes: turn.resumes,
                worktree: &worktree,
                subdirectory: spec.source.subdirectory.as_ref(),
                images: &turn.images,
                images_folder: (!turn.earlier_images.is_empty()).then(|| self.home.layout.images(task)),
                variables: &spec.variables,
                secrets: &secrets,
                notes,
                container,
            },
        ))
    }

    /// Adds the list of attached files to the prompt, unless it is there.
    async fn complete_prompt(&self, key: RunKey, list: &str) -> std::io::Result<()> {
        if list.is_empty() {
            return Ok(());
        }
        let (path, list) = (self.files(key).prompt(), list.to_owned());
        durable::blocking(move || {
            let prompt = fs_err::read_to_string(&path)?;
            if prompt.ends_with(&list) { Ok(()) } else { durable::write_atomically(&path, (prompt + &list).as_bytes()) }
        })
        .await
    }

    /// Returns what the container of a run gets, or `None` if the worker has no agent repository.
    async fn container<'a>(
        &self,
        worker: &Worker,
        spec: &'a RunSpec,
        supply: &dyn Supply,
    ) -> Result<Option<PreparedContainer<'a>>, RunError> {
        let Some(container) = spec.sandbox.container().filter(|_| worker.uses_agent_repository()) else { return Ok(None) };
        let mirror = supply.mirror(spec.source.repository)?;
        let (context, context_notes) = self.context_of(spec);
        let mut to_read = self.to_read(&mirror, spec).map_err(|error| {
            let message = format!("could not read the mirror's data about the worktree: {error}");
            RunError::new(ErrorCode::WorktreeFailed, message)
        })?;
        to_read.extend(context);
        let runs_setups = worker.runs_setups();
        let snapshot = if runs_setups { self.snapshot_of(spec)? } else { None };
        let layers = match &snapshot {
            Some(snapshot) => self.layers(spec, snapshot, &mirror).await?,
            None => Layers::default(),
        };
        let image = snapshot.and_then(|snapshot| snapshot.image.or(snapshot.base));
        let artifacts = self.open_artifacts(spec).await.map_err(|error| {
            RunError::new(ErrorCode::WorktreeFailed, format!("could not create the folder for artifacts: {error}"))
        })?;
        Ok(Some(PreparedContainer {
            settings: &container.settings,
            image: image.or_else(|| worker.image(self.site(), container, spec.source.repository)),
            layers,
            files: PlacedFiles::new(&self.worktree_path(spec.key.task), &spec.files, supply),
            keep_as: runs_setups.then(|| task_image(spec.key.task, spec.layers)),
            services: (runs_setups && !spec.services.is_empty()).then(|| (&spec.services, self.files(spec.key).services())),
            folders: ContainerFolders::new(&self.home.layout, spec.key.task, mirror.path()),
            to_read,
            context_notes,
            artifacts: Some(artifacts),
            caches: if runs_setups { vec![] } else { self.caches(spec)? },
        }))
    }

    /// Returns additional folders that a run may read: large files of the repository, and submodules.
    fn to_read(&self, mirror: &Mirror, spec: &RunSpec) -> std::io::Result<Vec<ToRead>> {
        let lfs = mirror.path().join("lfs");
        let mut to_read = vec![];
        if lfs.is_dir() {
            to_read.push(ToRead { path: lfs, inside: LFS_INSIDE.to_owned() });
        }
        let path = self.worktree_path(spec.key.task);
        let Some(worktree) = mirror.find_worktree(&path, &spec.source.branch)? else { return Ok(to_read) };
        for submodule in worktree.submodules()? {
            let path = worktree.path().join(&submodule);
            // In a run without a container, an agent may have put something else there.
            if fs_err::canonicalize(&path).is_ok_and(|real| real == path && real.is_dir()) {
                to_read.push(ToRead { path, inside: format!("{WORKTREE_INSIDE}/{submodule}") });
            }
        }
        Ok(to_read)
    }
}

/// Checks that the folder that an agent starts in exists and is in the worktree. An earlier run can have replaced it with a link.
async fn check_start_folder(worktree: &Path, subdirectory: Option<&Subdirectory>) -> Result<(), RunError> {
    let Some(subdirectory) = subdirectory else { return Ok(()) };
    let (worktree, folder) = (worktree.to_owned(), worktree.join(subdirectory.as_str()));
    let is_inside = move || {
        let real = fs_err::canonicalize(folder)?;
        Ok::<_, std::io::Error>(real.is_dir() && real.starts_with(fs_err::canonicalize(worktree)?))
    };
    if durable::blocking(is_inside).await.is_ok_and(|is_inside| is_inside) {
        return Ok(());
    }
    let message = format!("the branch does not contain the folder `{subdirectory}`");
    Err(RunError::new(ErrorCode::SubdirectoryMissing, message)
        .hint("change the repository's setting `subdirectory`, or start the task from another branch"))
}

/// What the container of a run gets.
struct PreparedContainer<'a> {
    settings: &'a model::container::ContainerSettings,
    image: Option<String>,
    folders: ContainerFolders,
    to_read: Vec<ToRead>,
    context_notes: Vec<String>,
    layers: Layers,
    files: PlacedFiles,
    keep_as: Option<String>,
    services: Option<(&'a BTreeMap<ServiceName, Service>, PathBuf)>,
    artifacts: Option<PathBuf>,
    caches: Vec<(PathBuf, CachePath)>,
}

/// Returns the secrets of a run. A secret that was deleted in the meantime is omitted.
fn secrets(spec: &RunSpec, supply: &dyn Supply) -> BTreeMap<VariableName, Secret> {
    let resolve = |(name, reference)| Some((VariableName::clone(name), supply.secret(reference)?));
    spec.secrets.iter().filter_map(resolve).collect()
}
