//! Runs the setup of a repository in a container of this machine, and puts its result into a snapshot.
//!
//! | this process is killed … | left behind | next step |
//! |---|---|---|
//! | while the setup runs | a container, and the folder `new` | both are removed, and the setup runs again |
//! | before the snapshot has its name | the folder `new`, and possibly an image | the folder is removed, and the setup runs again |
//! | after that | a complete snapshot | it is used |

use std::collections::BTreeSet;
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
use crate::seam::{Supply, Unreachable, Upkeep as _};
use crate::setup::{SetupRequest, SetupSpec};
use crate::worker::{Housekeeping, SETUP_MARK, SetUp, SetUpError, home_label};

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
        let log = self.home.layout.setup_log(spec.repository, spec.number);
        let log =
            fs_err::OpenOptions::new().create(true).append(true).open(log).map_err(|error| unusable(&error))?.into_parts().0;
        let secrets =
            spec.secrets.iter().filter_map(|(name, reference)| Some((name.clone(), supply.secret(reference)?))).collect();
        let image = match &spec.image {
            Some(image) => Some(image.clone()),
            None => self.worker()?.image(self.site(), &spec.container, spec.repository),
        };
        let objects = worktree.mirror().path().join("objects");
        let call = SetUp {
            mark: spec.repository.to_string(),
            key: &spec.key,
            container: format!("codex-setup-{}-{}", spec.repository, spec.number),
            keep_as: image_name(spec),
            staging: &staging,
            checkout: worktree.path(),
            git: (&twin, &objects),
            script: &script,
            folders: spec.folders.iter().cloned().collect(),
            image: image.as_deref(),
            settings: &spec.container.settings,
            memory: self.memory_of(&spec.container.settings),
            network: spec.network,
            allow_hosts: &spec.allow_hosts,
            variables: &spec.variables,
            secrets: &secrets,
            services: &spec.services,
            limit: Duration::from_secs(spec.seconds),
            labels,
            log,
        };
        let snapshot = housekeeping.set_up(&call, spec.commit.clone(), cancel.clone()).await.map_err(|error| failed(&error))?;
        let snapshot = Snapshot { base: spec.image.clone(), ..snapshot };
        crash::point(CrashPoint::SetUp);
        self.land(spec, &snapshot, worktree.path(), &twin).await.map_err(|error| unusable(&error))?;
        Ok(snapshot)
    }

    /// Creates the snapshot of an environment that only decides about the image.
    async fn land_image(&self, spec: &SetupSpec) -> Result<Snapshot, LandError> {
        let (key, commit, base) = (spec.key.clone(), spec.commit.clone(), spec.image.clone());
        let snapshot = Snapshot { key, commit, image: None, base, folders: vec![], created_at: Timestamp::now(), seconds: 0.0 };
        let (home, repository, landed) = (Arc::clone(&self.home), spec.repository, snapshot.clone());
        blocking(move || {
            durable::create_private_folder(&home.layout.new_snapshot(repository))?;
            Ok::<_, LandError>(home.land_snapshot(repository, &landed)?)
        })
        .await?;
        Ok(snapshot)
    }

    /// Removes what is not part of the snapshot, and gives the folder its name.
    async fn land(&self, spec: &SetupSpec, snapshot: &Snapshot, checkout: &Path, twin: &Path) -> Result<(), LandError> {
        for folder in [checkout, twin] {
            self.reclaim(folder).await?;
        }
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

    /// Deletes the snapshots of a repository that are not needed, with their images.
    pub(super) async fn discard_unneeded(
        &self,
        repository: EnvironmentId,
        needed: &BTreeSet<SnapshotKey>,
    ) -> Result<(), LandError> {
        let home = Arc::clone(&self.home);
        let snapshots = blocking(move || home.read_snapshots(repository)).await?;
        let housekeeping = self.housekeeping(Redactor::default());
        for Snapshot { key, .. } in snapshots.into_iter().filter(|snapshot| !needed.contains(&snapshot.key)) {
            let home = Arc::clone(&self.home);
            let discarded = key.clone();
            blocking(move || home.discard_snapshot(repository, &discarded)).await?;
            crash::point(CrashPoint::SnapshotDiscarded);
            housekeeping.remove_kept(&snapshot_labels(self.home.layout.home(), &key)).await.map_err(Unreachable::from)?;
        }
        // Includes those whose deletion was interrupted.
        for folder in self.home.discarded_snapshots(repository)? {
            self.reclaim(&folder).await?;
            blocking(move || remove_tree::remove_tree(&folder).map_err(|error| error.source)).await?;
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

/// Returns the labels of the image of a snapshot.
fn snapshot_labels(home: &Path, key: &SnapshotKey) -> Vec<String> {
    vec![home_label(home), format!("snapshot={key}")]
}

/// Returns the labels of all containers and images of a repository's setups.
pub(super) fn setup_labels(home: &Path, repository: EnvironmentId) -> Vec<String> {
    vec![home_label(home), format!("setup={repository}")]
}

fn failed(error: &SetUpError) -> RunError {
    RunError::new(ErrorCode::SetupFailed, error.to_string())
}
