//! The setup of a repository's environment: decides which snapshot a new task starts from, and has the runner create it.
//!
//! A setup belongs to its repository. Invariant: it runs in a commit of the default branch, never in that of a task.

use std::sync::Arc;

use futures_util::future::FutureExt as _;
use git::{Mirror, WorktreeSpec};
use model::ErrorCode;
use model::environment::{EnvironmentEvent, EnvironmentRecord};
use model::ids::ObjectId;
use model::run::RunError;
use model::setup::{SetupAttempt, SetupOutcome, SetupPhase, SnapshotKey};
use runner::SetupRequest;
use setups::{PlanError, SetupPlan};
use tokio_util::sync::CancellationToken;

use super::launch::answered;
use super::tasks::{TaskSlot, Tasks};
use crate::environment::EnvironmentSlot;
use crate::reach::until_reached;
use crate::spine::Mailbox as _;

/// The branch and the name under which the mirror keeps the commit of a setup while it runs.
const BRANCH: &str = "codex/setup";
const KEPT_AS: &str = "setup";

/// What a new task starts from.
pub(super) enum StartPoint {
    /// A snapshot, or the image alone.
    Known(Option<SnapshotKey>),
    /// A snapshot that does not exist yet.
    AfterSetup,
}

/// The setup that new tasks of a repository need.
pub(crate) enum PlannedSetup {
    /// None.
    Nothing,
    /// This one.
    Setup(Box<SetupPlan>),
    /// The description cannot be used.
    Refused(SnapshotKey, ObjectId, RunError),
}

impl Tasks {
    /// Returns what a new task starts from. Starts the setup of its repository if that is necessary.
    pub(super) async fn start_point(
        &self,
        slot: &TaskSlot,
        mirror: &Mirror,
        cancel: &CancellationToken,
    ) -> Result<StartPoint, RunError> {
        let Some(environment) = self.environments.get(slot.env_id) else { return Ok(StartPoint::Known(None)) };
        let (key, event) = match self.planned_setup(mirror, &environment.record(), cancel).await? {
            PlannedSetup::Nothing => return Ok(StartPoint::Known(None)),
            PlannedSetup::Setup(plan) => {
                let SetupPlan { key, commit, .. } = *plan;
                let found = until_reached(cancel, || self.runner.snapshot(slot.env_id, &key)).await;
                if found.ok_or_else(stopped)?.is_some() {
                    return Ok(StartPoint::Known(Some(key)));
                }
                (key.clone(), EnvironmentEvent::SetupWanted { key, commit })
            }
            PlannedSetup::Refused(key, commit, error) => (key.clone(), EnvironmentEvent::SetupRefused { key, commit, error }),
        };
        if environment.record().setup_state.phase_of(&key) == Some(SetupPhase::Skipped) {
            return Ok(StartPoint::Known(None));
        }
        self.environments.post(&environment, event).await;
        Ok(StartPoint::AfterSetup)
    }

    /// Returns the setup that new tasks of a repository need.
    pub(crate) async fn planned_setup(
        &self,
        mirror: &Mirror,
        record: &EnvironmentRecord,
        cancel: &CancellationToken,
    ) -> Result<PlannedSetup, RunError> {
        let Some(commit) = default_commit(mirror, record).await? else { return Ok(PlannedSetup::Nothing) };
        self.planned_at(mirror, record, &commit, cancel).await
    }

    async fn planned_at(
        &self,
        mirror: &Mirror,
        record: &EnvironmentRecord,
        commit: &ObjectId,
        cancel: &CancellationToken,
    ) -> Result<PlannedSetup, RunError> {
        match setups::effective(mirror, record, commit).await {
            Ok(Some(effective)) if !effective.description.needs_no_setup() => {}
            Ok(_) => return Ok(PlannedSetup::Nothing),
            Err(error) => return unplanned(error, commit),
        }
        let container = self.container_of(Some(record));
        let ask = || self.runner.setup_image(&container, record.env_id, self).map(answered).boxed();
        let Some(image) = until_reached(cancel, ask).await.ok_or_else(stopped)?? else { return Ok(PlannedSetup::Nothing) };
        match setups::plan(mirror, record, commit, &image).await {
            Ok(Some(plan)) => Ok(PlannedSetup::Setup(Box::new(plan))),
            Ok(None) => Ok(PlannedSetup::Nothing),
            Err(error) => unplanned(error, commit),
        }
    }

    /// Runs the setup that the repository's record calls running, after any setup that this process already runs.
    pub(super) async fn run_setup(&self, environment: &Arc<EnvironmentSlot>) {
        let only = environment.setting_up.lock().await;
        let record = environment.record();
        let Some(attempt) = record.setup_state.running() else { return };
        let outcome = self.set_up(environment, &record, attempt).await.unwrap_or_else(SetupOutcome::Failed);
        // The next setup may start as soon as this one is recorded.
        drop(only);
        if environment.cancel_work.is_cancelled() {
            // The record still says `running`, and the next server runs the setup again.
            return;
        }
        if let SetupOutcome::Failed(error) = &outcome {
            tracing::warn!(environment = %environment.id, code = error.code.as_str(), error = error.message, "setup failed");
        }
        self.environments.post(environment, EnvironmentEvent::SetupEnded { number: attempt.number, outcome }).await;
    }

    async fn set_up(
        &self,
        environment: &EnvironmentSlot,
        record: &EnvironmentRecord,
        attempt: &SetupAttempt,
    ) -> Result<SetupOutcome, RunError> {
        let cancel = &environment.cancel_work;
        let mirror = self.environments.mirror_of(environment.id)?;
        let plan = match self.planned_at(&mirror, record, &attempt.commit, cancel).await? {
            PlannedSetup::Setup(plan) if plan.key == attempt.key => plan,
            PlannedSetup::Setup(_) | PlannedSetup::Nothing | PlannedSetup::Refused(..) => return Ok(SetupOutcome::Outdated),
        };
        let spec = setups::spec(&plan, attempt, record, self.container_of(Some(record)));
        self.discard_setup(environment, &mirror).await?;
        let path = self.home.layout.setup_worktree(environment.id);
        durable::create_private_folder(path.parent().unwrap_or(&path)).map_err(|error| not_prepared(&error))?;
        mirror.sync().await.map_err(|error| not_prepared(&error))?;
        let sources = mirror.trusted_sources(&record.sources).await.map_err(|error| not_prepared(&error))?;
        let worktree = WorktreeSpec { path: &path, branch: BRANCH, base: &attempt.commit };
        let worktree = mirror.ensure_worktree(worktree, &sources, &|_| {}, cancel.clone()).await;
        let worktree = worktree.map_err(|error| not_prepared(&error))?;
        let request = SetupRequest { spec: &spec, worktree: &worktree, cancel };
        let set_up = until_reached(cancel, || self.runner.ensure_set_up(request, self).map(answered).boxed()).await;
        if let Err(error) = self.discard_setup(environment, &mirror).await {
            // The next setup removes them.
            tracing::warn!(environment = %environment.id, error = error.message, "could not remove the files of a setup");
        }
        match set_up {
            Some(Ok(_)) => Ok(SetupOutcome::Ready),
            Some(Err(error)) => Err(error),
            None => Err(stopped()),
        }
    }

    /// Removes what is left of a setup that has ended: its worktree, and what did not become a snapshot.
    async fn discard_setup(&self, environment: &EnvironmentSlot, mirror: &Mirror) -> Result<(), RunError> {
        let (new, worktree) = (self.home.layout.new_snapshot(environment.id), self.home.layout.setup_worktree(environment.id));
        if new.exists() {
            self.runner.reclaim(&new).await.map_err(|error| not_removed(&error))?;
        }
        mirror.remove_worktree(&worktree, BRANCH, KEPT_AS).await.map_err(|error| not_removed(&error))?;
        mirror.forget(KEPT_AS).await.map_err(|error| not_removed(&error))?;
        durable::blocking(move || git::remove_tree(&new)).await.map_err(|error| not_removed(&error))
    }
}

/// Returns the newest commit of the default branch.
pub(crate) async fn default_commit(mirror: &Mirror, record: &EnvironmentRecord) -> Result<Option<ObjectId>, RunError> {
    let Some(branch) = &record.default_branch else { return Ok(None) };
    mirror.resolve_branch(branch.as_str()).await.map_err(|error| unreadable(&error))
}

fn stopped() -> RunError {
    RunError::new(ErrorCode::Cancelled, "stopped before the setup ended")
}

fn unplanned(error: PlanError, commit: &ObjectId) -> Result<PlannedSetup, RunError> {
    match error {
        PlanError::Refused { key, detail } => {
            Ok(PlannedSetup::Refused(key, commit.clone(), RunError::new(ErrorCode::DescriptionRefused, detail)))
        }
        PlanError::Git(error) => Err(unreadable(&error)),
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::MirrorUnreadable, format!("could not read the mirror: {error}"))
}

fn not_prepared(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::WorktreeFailed, format!("could not create the worktree of the setup: {error}"))
}

fn not_removed(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::WorktreeFailed, format!("could not remove the files of an earlier setup: {error}"))
}
