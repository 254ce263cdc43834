//! Runs the setup of a repository in a container of this machine, and puts its result into a snapshot.
//!
//! | this process is killed … | left behind | next step |
//! |---|---|---|
//! | while the setup runs | a container, and the folder `new` | both are removed, and the setup runs again |
//! | before the snapshot has its name | the folder `new`, and possibly an image | the folder is removed, and the setup runs again |
//! | after that | a complete snapshot | it is used |

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use durable::blocking;
use durable::crash::{self, CrashPoint};
use git::{Signature, TwinSpec};
use jiff::Timestamp;
use model::ErrorCode;
use model::ids::EnvironmentId;
use model::run::RunError;
use model::setup::{Snapshot, SnapshotKey};
use process::Redactor;

use super::LocalRunner;
use super::agent_repository::OBJECTS_INSIDE;
use super::placed_files::PlacedFiles;
use crate::seam::{Supply, Unreachable, Upkeep as _};
use crate::setup::{SetupRequest, SetupSpec};
use crate::worker::{Earlier, Housekeeping, SETUP_MARK, SetUp, SetUpError, container_limits, home_label};

/// The name under which the mirror keeps the commit of a setup.
const KEPT_AS: &str = "setup";

/// How long the processes of an earlier setup may take to die.
const KILL_LIMIT: Duration = Duration::from_secs(10);

impl LocalRunner {
    /// Runs a setup, unless its snapshot exists.
    pub(super) async fn set_up(&self, request: SetupRequest<'_>, supply: &dyn Supply) -> Result<Snapshot, RunError> {
        let SetupRequest { spec, cancel, .. } = request;
        let unusable = |error: &dyn std::fmt::Display| RunError::new(ErrorCode::SetupFailed, error.to_string());
        if let Some(found) = self.home.read_snapshot(spec.repository, &spec.key).map_err(|error| unusable(&error))? {
            return Ok(found);
        }
        let Some((text, worktree)) = spec.script.as_ref().zip(request.worktree) else {
            return self.land_image(spec).await.map_err(|error| unusable(&error));
        };
        let housekeeping = self.housekeeping(supply.redactor(spec.repository));
        let mut labels = setup_labels(self.home.layout.home(), spec.repository);
        labels.push(format!("snapshot={}", spec.key));
        self.end_setup(spec.repository, &housekeeping).await.map_err(|error| unusable(&error))?;
        let staging = self.home.layout.new_snapshot(spec.repository);
        let (twin, script) = (staging.join("agent.git"), staging.join("script"));
        let author = Signature::default();
        let twin_spec = TwinSpec {
            path: &twin,
            keep_base_as: KEPT_AS,
            objects_inside: OBJECTS_INSIDE,
            origin_url: &spec.origin,
            author: &author,
        };
        worktree.ensure_twin(twin_spec).await.map_err(|error| unusable(&error))?;
        fs_err::write(&script, text.as_str()).map_err(|error| unusable(&error))?;
        let earlier = match &spec.update {
            Some(update) => Some(self.earlier(spec.repository, &update.from).map_err(|error| unusable(&error))?),
            None => None,
        };
        let log = self.open_log(spec).map_err(|error| unusable(&error))?;
        let secrets =
            spec.secrets.iter().filter_map(|(name, reference)| Some((name.clone(), supply.secret(reference)?))).collect();
        let placed = PlacedFiles::new(worktree.path(), &spec.files, supply);
        if let Some(note) = placed.notes.into_iter().next() {
            return Err(
                RunError::new(ErrorCode::SetupFailed, note).hint("set the secret, or change `[files]` in the description")
            );
        }
        let image = match earlier.as_ref().and_then(|earlier| earlier.image.clone()).or_else(|| spec.image.clone()) {
            Some(image) => Some(image),
            None => self.worker()?.image(self.site(), &spec.container, spec.repository),
        };
        let objects = worktree.mirror().path().join("objects");
        let call = SetUp {
            mark: spec.repository.to_string(),
            spec,
            container: format!("codex-setup-{}-{}", spec.repository, spec.number),
            keep_as: image_name(spec),
            staging: &staging,
            checkout: worktree.path(),
            git: (&twin, &objects),
            script: &script,
            earlier: earlier.as_ref().map(|earlier| Earlier {
                folder: self.home.layout.snapshot(spec.repository, &earlier.key),
                image: earlier.image.as_deref(),
            }),
            folders: spec.folders.iter().cloned().collect(),
            image: image.as_deref(),
            settings: &spec.container.settings,
            memory: self.memory_of(&spec.container.settings),
            limits: container_limits(&self.config),
            network: spec.network,
            allow_hosts: &spec.allow_hosts,
            variables: &spec.variables,
            secrets: &secrets,
            files: placed.files,
            services: &spec.services,
            limit: Duration::from_secs(spec.seconds),
            labels,
            log,
        };
        let snapshot = housekeeping.set_up(&call, cancel.clone()).await.map_err(|error| failed(&error))?;
        let snapshot = Snapshot { base: spec.image.clone(), ..snapshot };
        crash::point(CrashPoint::SetUp);
        // The image of the settings may be missing.
        for folder in [worktree.path(), &twin] {
            self.give_back(folder, image.as_deref()).await.map_err(|error| unusable(&error))?;
        }
        self.land(spec, &snapshot, worktree.path(), &twin).await.map_err(|error| unusable(&error))?;
        Ok(snapshot)
    }

    /// Creates the snapshot of an environment that only decides about the image.
    async fn land_image(&self, spec: &SetupSpec) -> Result<Snapshot, LandError> {
        let snapshot = Snapshot {
            key: spec.key.clone(),
            commit: spec.commit.clone(),
            image: None,
            base: spec.image.clone(),
            folders: vec![],
            family: None,
            updated_from: None,
            updates: 0,
            created_at: Timestamp::now(),
            seconds: 0.0,
        };
        let (home, repository, landed) = (Arc::clone(&self.home), spec.repository, snapshot.clone());
        blocking(move || {
            durable::create_private_folder(&home.layout.new_snapshot(repository))?;
            Ok::<_, LandError>(home.land_snapshot(repository, &landed)?)
        })
        .await?;
        Ok(snapshot)
    }

    /// Returns the snapshot that an update starts from.
    fn earlier(&self, repository: EnvironmentId, key: &SnapshotKey) -> Result<Snapshot, LandError> {
        let found = self.home.read_snapshot(repository, key)?;
        found.ok_or_else(|| LandError::Files(std::io::Error::other(format!("the snapshot {} is missing", key.short()))))
    }

    /// Opens the file for the output of a setup, and writes which script runs if that is not obvious.
    fn open_log(&self, spec: &SetupSpec) -> std::io::Result<File> {
        let path = self.home.layout.setup_log(spec.repository, spec.number);
        // The output of images comes first.
        let mut log = fs_err::File::options().create(true).append(true).open(path)?;
        if let Some(why) = &spec.replaces {
            writeln!(log, "[the update failed: {why}]\n[running the setup script instead]")?;
        }
        if let Some(update) = &spec.update {
            writeln!(log, "[updating the snapshot {} with the maintain script]", update.from.short())?;
        }
        Ok(log.into_file())
    }

    /// Removes what is not part of the snapshot, and gives the folder its name.
    async fn land(&self, spec: &SetupSpec, snapshot: &Snapshot, checkout: &Path, twin: &Path) -> Result<(), LandError> {
        let (home, repository, landed) = (Arc::clone(&self.home), spec.repository, snapshot.clone());
        let folders = [checkout.to_owned(), twin.to_owned()];
        blocking(move || {
            for folder in folders {
                remove_tree::remove_tree(&folder).map_err(|error| error.source)?;
            }
            home.land_snapshot(repository, &landed)?;
            Ok(())
        })
        .await
    }

    /// Takes the names of the snapshots of a repository away that are not needed.
    pub(super) async fn discard_unneeded(
        &self,
        repository: EnvironmentId,
        needed: &BTreeSet<SnapshotKey>,
    ) -> Result<(), LandError> {
        let home = Arc::clone(&self.home);
        let snapshots = blocking(move || home.read_snapshots(repository)).await?;
        for Snapshot { key, .. } in snapshots.into_iter().filter(|snapshot| !needed.contains(&snapshot.key)) {
            let home = Arc::clone(&self.home);
            blocking(move || home.discard_snapshot(repository, &key)).await?;
            crash::point(CrashPoint::SnapshotDiscarded);
        }
        Ok(())
    }

    /// Deletes the files and images of snapshots that no longer exist, even of those whose deletion was interrupted.
    pub(super) async fn delete_discarded(&self, repository: EnvironmentId) -> Result<(), LandError> {
        let discarded = self.home.discarded_snapshots(repository)?;
        if discarded.is_empty() {
            return Ok(());
        }
        let home = Arc::clone(&self.home);
        let existing = blocking(move || home.read_snapshots(repository)).await?;
        self.remove_setup_images(repository, &existing).await?;
        for folder in discarded {
            self.reclaim(&folder).await?;
            blocking(move || remove_tree::remove_tree(&folder).map_err(|error| error.source)).await?;
        }
        Ok(())
    }

    /// Removes the images of a repository's setups that none of these snapshots uses. An update may share the image of the snapshot
    /// that it started from, and an image that others are based on stays until these are removed.
    async fn remove_setup_images(&self, repository: EnvironmentId, existing: &[Snapshot]) -> Result<(), Unreachable> {
        let housekeeping = self.housekeeping(Redactor::default());
        let used: BTreeSet<_> = existing.iter().filter_map(|snapshot| snapshot.image.as_deref()).collect();
        for image in housekeeping.kept(&setup_labels(self.home.layout.home(), repository)).await? {
            if !used.contains(image.id.as_str()) {
                housekeeping.remove_image(&image.id, &image.names).await?;
            }
        }
        Ok(())
    }

    /// Ends the setup of an earlier server.
    async fn end_setup(&self, repository: EnvironmentId, housekeeping: &Housekeeping) -> Result<(), LandError> {
        let mark = repository.to_string();
        process::kill_all(|| process::processes_with_environment(SETUP_MARK, &mark), KILL_LIMIT).await?;
        housekeeping.reap(&setup_labels(self.home.layout.home(), repository)).await.map_err(Unreachable::from)?;
        Ok(())
    }
}

/// Why the result of a setup did not become a snapshot.
#[derive(Debug, thiserror::Error)]
pub(super) enum LandError {
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
    #[error(transparent)]
    Files(#[from] std::io::Error),
    #[error(transparent)]
    Kill(#[from] process::KillError),
    #[error(transparent)]
    Store(#[from] store::StoreError),
}

/// Returns the name of the image with the result of a setup.
fn image_name(spec: &SetupSpec) -> String {
    format!("codex-orchestrator-setup:{}-{}", spec.repository, spec.key.short())
}

/// Returns the labels of all containers and images of a repository's setups.
pub(super) fn setup_labels(home: &Path, repository: EnvironmentId) -> Vec<String> {
    vec![home_label(home), format!("setup={repository}")]
}

fn failed(error: &SetUpError) -> RunError {
    RunError::new(ErrorCode::SetupFailed, error.to_string())
}
