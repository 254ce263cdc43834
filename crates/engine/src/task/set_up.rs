//! The setup of a repository's environment: decides which snapshot a new task starts from, and has the runner create it.
//!
//! A setup belongs to its repository. Invariant: it runs in a commit of the default branch, or of a branch that the owner trusts or whose
//! description the owner accepted.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use durable::blocking;
use environments::EnvironmentSlot;
use futures_util::future::FutureExt as _;
use git::{Mirror, Worktree, WorktreeSpec};
use model::ErrorCode;
use model::environment::{EnvironmentEvent, EnvironmentRecord};
use model::ids::ObjectId;
use model::names::BranchName;
use model::run::RunError;
use model::setup::{
    SetupAttempt, SetupBasis, SetupGoal, SetupOutcome, SetupPhase, SetupScript, Snapshot, TakenEnvironment, TakenFiles,
};
use protocol::Progress;
use runner::spec::Sandbox;
use runner::{ImagesRequest, SetupRequest, SetupSpec, until_reached};
use setups::{PlanError, SetupPlan};
use spine::{Mailbox as _, SetupTurn, TurnState};
use tokio_util::sync::CancellationToken;

use super::image_build::progress as build_progress;
use super::launch::answered;
use super::tasks::{TaskSlot, Tasks};

/// The branch and the name under which the mirror keeps the commit of a setup while it runs.
const BRANCH: &str = "codex/setup";
const KEPT_AS: &str = "setup";

/// How often followers of the feed can hear about new output of a setup.
const OUTPUT_PERIOD: Duration = Duration::from_secs(1);

/// What a setup waits for while its memory does not fit.
const WAITS_FOR_MEMORY: &str = "Waiting for memory that runs and other setups may use";

/// What a new task starts from.
pub(super) enum StartPoint {
    /// A snapshot or the image alone, and services.
    Known(TakenEnvironment),
    /// A snapshot that does not exist yet.
    AfterSetup,
}

/// The setup that new tasks of a repository need.
pub(crate) enum PlannedSetup {
    /// None. Runs only have this environment.
    Nothing(TakenEnvironment),
    /// This one.
    Setup(Box<SetupPlan>),
    /// The description cannot be used.
    Refused(SetupGoal, RunError),
}

impl Tasks {
    /// Returns what a new task starts from. Starts the setup of its repository if that is necessary.
    pub(super) async fn start_point(
        &self,
        slot: &TaskSlot,
        mirror: &Mirror,
        cancel: &CancellationToken,
    ) -> Result<StartPoint, RunError> {
        let Some(environment) = self.environments.get(slot.env_id) else {
            return Ok(StartPoint::Known(TakenEnvironment::default()));
        };
        let branches = slot.record().environment_branches();
        let (key, event, services, files) = match self.planned_setup(mirror, &environment.record(), branches, cancel).await? {
            PlannedSetup::Nothing(environment) => return Ok(StartPoint::Known(environment)),
            PlannedSetup::Setup(plan) => {
                let goal = plan.goal();
                let SetupPlan { key, description, found, basis, .. } = *plan;
                let files = TakenFiles::of(&description, basis.trust);
                let services = description.services;
                let turn = cancel.run_until_cancelled(environment.taking_snapshot.lock()).await.ok_or_else(stopped)?;
                let snapshot = until_reached(cancel, || self.runner.snapshot(slot.env_id, &key)).await;
                if snapshot.ok_or_else(stopped)?.is_some() && found.missing.is_empty() {
                    slot.take_snapshot(Some(key.clone()));
                    return Ok(StartPoint::Known(TakenEnvironment {
                        snapshot: Some(key),
                        services,
                        files,
                        ..TakenEnvironment::default()
                    }));
                }
                drop(turn);
                (key, EnvironmentEvent::SetupWanted(goal), services, files)
            }
            PlannedSetup::Refused(goal, error) => {
                (goal.key.clone(), EnvironmentEvent::SetupRefused { goal, error }, BTreeMap::new(), None)
            }
        };
        if environment.record().setup_state.phase_of(&key) == Some(SetupPhase::Skipped) {
            return Ok(StartPoint::Known(TakenEnvironment { services, files, ..TakenEnvironment::default() }));
        }
        self.environments.post(&environment, event).await;
        Ok(StartPoint::AfterSetup)
    }

    /// Returns the setup that new tasks of a repository need. They could take their environment from these branches, if the owner allows
    /// it, or else from the default branch.
    pub(crate) async fn planned_setup(
        &self,
        mirror: &Mirror,
        record: &EnvironmentRecord,
        branches: impl IntoIterator<Item = BranchName>,
        cancel: &CancellationToken,
    ) -> Result<PlannedSetup, RunError> {
        let basis = setups::basis(mirror, record, branches).await.map_err(|error| unreadable(&error))?;
        let Some(basis) = basis else { return Ok(PlannedSetup::Nothing(TakenEnvironment::default())) };
        self.planned_at(mirror, record, &basis, cancel).await
    }

    /// Whether descriptions of environments have an effect. Workers without containers ignore them, because a setup would run on the
    /// machine itself.
    pub(crate) fn applies_descriptions(&self, record: &EnvironmentRecord) -> bool {
        matches!(self.runner.sandbox(self.container_of(Some(record))), Sandbox::Container(_))
    }

    /// Whether the folders in `[cache]` have an effect, although the rest of a description has none.
    pub(crate) fn keeps_caches(&self) -> bool {
        self.runner.keeps_caches()
    }

    /// Returns what a description means for a worker that runs no setups. One that cannot be used means nothing.
    async fn without_setup(
        &self,
        mirror: &Mirror,
        record: &EnvironmentRecord,
        basis: &SetupBasis,
    ) -> Result<TakenEnvironment, RunError> {
        if !self.keeps_caches() {
            return Ok(TakenEnvironment::default());
        }
        let caches = match setups::effective(mirror, record, &basis.commit).await {
            Ok(effective) => effective.map(|effective| effective.description.cache.paths).unwrap_or_default(),
            Err(PlanError::Refused { .. }) => BTreeSet::new(),
            Err(PlanError::Git(error)) => return Err(unreadable(&error)),
        };
        Ok(TakenEnvironment { caches, ..TakenEnvironment::default() })
    }

    async fn planned_at(
        &self,
        mirror: &Mirror,
        record: &EnvironmentRecord,
        basis: &SetupBasis,
        cancel: &CancellationToken,
    ) -> Result<PlannedSetup, RunError> {
        if !self.applies_descriptions(record) {
            return Ok(PlannedSetup::Nothing(self.without_setup(mirror, record, basis).await?));
        }
        let description = match setups::effective(mirror, record, &basis.commit).await {
            Ok(Some(effective)) if !effective.description.has_no_effect() => effective.description,
            Ok(_) => return Ok(PlannedSetup::Nothing(TakenEnvironment::default())),
            Err(error) => return unplanned(error, basis),
        };
        let images = match setups::images(mirror, record, &basis.commit, &description, self.container_of(Some(record))).await {
            Ok(images) => images,
            Err(error) => return unplanned(error, basis),
        };
        let ask = || self.runner.images(&images, self).map(answered).boxed();
        let Some(found) = until_reached(cancel, ask).await.ok_or_else(stopped)?? else {
            return Ok(PlannedSetup::Nothing(TakenEnvironment::default()));
        };
        if description.needs_no_setup() && found.missing.is_empty() {
            let files = TakenFiles::of(&description, basis.trust);
            let environment = TakenEnvironment { services: description.services, files, ..TakenEnvironment::default() };
            return Ok(PlannedSetup::Nothing(environment));
        }
        match setups::plan(mirror, record, basis, description, images, found).await {
            Ok(plan) => Ok(PlannedSetup::Setup(Box::new(plan))),
            Err(error) => unplanned(error, basis),
        }
    }

    /// Creates the images that a setup needs. Their steps are the repository's progress, and their output is in the setup's log.
    async fn create_images(&self, environment: &EnvironmentSlot, plan: &SetupPlan, number: u32) -> Result<(), RunError> {
        let cancel = &environment.cancel_work;
        let create = || {
            let on_step = Box::new(|step: &str| {
                environment.set_progress(Some(build_progress(step)));
                self.environments.publish(environment);
            });
            let request = ImagesRequest { wanted: &plan.images, number, on_step, cancel };
            self.runner.ensure_images(request, self).map(answered).boxed()
        };
        let created = until_reached(cancel, create).await;
        environment.set_progress(None);
        self.environments.publish(environment);
        created.ok_or_else(stopped)?
    }

    /// Runs the setup that the repository's record calls running, after any setup that this process already runs.
    pub(super) async fn run_setup(&self, environment: &Arc<EnvironmentSlot>) {
        let only = environment.setting_up.lock().await;
        let record = environment.record();
        let Some(attempt) = record.setup_state.running() else { return };
        let work = Box::pin(self.set_up(environment, &record, attempt));
        let outcome = self.announcing_output(environment, attempt.number, work).await.unwrap_or_else(SetupOutcome::Failed);
        // The next setup may start as soon as this one is recorded.
        drop(only);
        if environment.cancel_work.is_cancelled() {
            // The record still says `running`, and the next server runs the setup again.
            return;
        }
        if let SetupOutcome::Failed(error) = &outcome {
            tracing::warn!(environment = %environment.id, code = error.code.as_str(), error = error.message, "setup failed");
        }
        let log = self.home.layout.setup_log(environment.id, attempt.number);
        if let Err(error) = blocking(move || put_on_disk(&log)).await {
            tracing::warn!(environment = %environment.id, %error, "could not sync the output of a setup");
        }
        self.environments.post(environment, EnvironmentEvent::SetupEnded { number: attempt.number, outcome }).await;
    }

    /// Waits for a setup. Until then, tells followers of the feed about new output.
    async fn announcing_output<T>(&self, environment: &EnvironmentSlot, number: u32, setup: impl Future<Output = T>) -> T {
        let log = self.home.layout.setup_log(environment.id, number);
        let mut setup = std::pin::pin!(setup);
        let (mut seen, mut tick) = (0, tokio::time::interval(OUTPUT_PERIOD));
        loop {
            tokio::select! {
                ended = &mut setup => return ended,
                _ = tick.tick() => {}
            }
            let path = log.clone();
            // The file does not exist before the first output.
            let size = blocking(move || fs_err::metadata(path).map_or(0, |found| found.len())).await;
            if size != seen {
                seen = size;
                self.environments.publish(environment);
            }
        }
    }

    async fn set_up(
        &self,
        environment: &EnvironmentSlot,
        record: &EnvironmentRecord,
        attempt: &SetupAttempt,
    ) -> Result<SetupOutcome, RunError> {
        let cancel = &environment.cancel_work;
        let mirror = self.environments.mirror_of(environment.id)?;
        let basis = setups::basis_of(&mirror, record, &attempt.commit, attempt.branch.as_ref()).await;
        let Some(basis) = basis.map_err(|error| unreadable(&error))? else { return Ok(SetupOutcome::Outdated) };
        let plan = match self.planned_at(&mirror, record, &basis, cancel).await? {
            PlannedSetup::Setup(plan) if plan.key == attempt.key => plan,
            PlannedSetup::Setup(_) | PlannedSetup::Nothing(..) | PlannedSetup::Refused(..) => return Ok(SetupOutcome::Outdated),
        };
        self.create_images(environment, &plan, attempt.number).await?;
        let plan = if plan.found.missing.is_empty() {
            plan
        } else {
            match self.planned_at(&mirror, record, &basis, cancel).await? {
                PlannedSetup::Setup(plan) => plan,
                PlannedSetup::Nothing(..) => {
                    return Ok(SetupOutcome::Ready(attempt.key.clone(), SetupScript::Setup));
                }
                PlannedSetup::Refused(..) => return Ok(SetupOutcome::Outdated),
            }
        };
        let spec = setups::spec(&plan, attempt, record, self.container_of(Some(record)));
        let _memory = self.memory_turn(environment, &spec).await?;
        let newest = until_reached(cancel, || self.runner.newest_snapshot(environment.id, &plan.family)).await;
        let made = match setups::update(&plan, &spec, newest.ok_or_else(stopped)?.as_ref()) {
            None => self.make_snapshot(environment, record, &mirror, &spec).await,
            Some(update) => match self.make_snapshot(environment, record, &mirror, &update).await {
                Err(error) if !cancel.is_cancelled() => {
                    tracing::warn!(environment = %environment.id, error = error.message, "could not update a snapshot; running the setup");
                    let spec = SetupSpec { replaces: Some(error.message), ..spec };
                    self.make_snapshot(environment, record, &mirror, &spec).await
                }
                made => made,
            },
        };
        if let Err(error) = self.discard_setup(environment, &mirror).await {
            // The next setup removes them.
            tracing::warn!(environment = %environment.id, error = error.message, "could not remove the files of a setup");
        }
        made.map(|snapshot| {
            let script = snapshot.script();
            SetupOutcome::Ready(snapshot.key, script)
        })
    }

    /// Waits until the memory of a setup's containers fits. It is the setup's as long as the turn is held. A setup without a script has no
    /// container.
    async fn memory_turn(&self, environment: &EnvironmentSlot, spec: &SetupSpec) -> Result<Option<SetupTurn<'_>>, RunError> {
        if spec.script.is_none() {
            return Ok(None);
        }
        let mut turn = self.queue.ask_for_setup(environment.id, 1 + spec.services.len() as u64);
        let mut wait = async || {
            if turn.decided().await == TurnState::Waiting {
                self.show_progress(environment, Some(WAITS_FOR_MEMORY));
                turn.started().await;
            }
        };
        let started = environment.cancel_work.run_until_cancelled(wait()).await;
        self.show_progress(environment, None);
        started.ok_or_else(stopped)?;
        Ok(Some(turn))
    }

    /// Shows what a setup does or waits for.
    fn show_progress(&self, environment: &EnvironmentSlot, phase: Option<&str>) {
        environment.set_progress(phase.map(|phase| Progress { phase: phase.to_owned(), percent: None }));
        self.environments.publish(environment);
    }

    /// Runs a setup, in a new worktree if it has a script.
    async fn make_snapshot(
        &self,
        environment: &EnvironmentSlot,
        record: &EnvironmentRecord,
        mirror: &Mirror,
        spec: &SetupSpec,
    ) -> Result<Snapshot, RunError> {
        let cancel = &environment.cancel_work;
        self.discard_setup(environment, mirror).await?;
        let worktree = match spec.script {
            Some(_) => Some(self.setup_worktree(environment, record, mirror, &spec.commit).await?),
            None => None,
        };
        let request = SetupRequest { spec, worktree: worktree.as_ref(), cancel };
        until_reached(cancel, || self.runner.ensure_set_up(request, self).map(answered).boxed()).await.ok_or_else(stopped)?
    }

    /// Creates the worktree in which a setup runs.
    async fn setup_worktree(
        &self,
        environment: &EnvironmentSlot,
        record: &EnvironmentRecord,
        mirror: &Mirror,
        commit: &ObjectId,
    ) -> Result<Worktree, RunError> {
        let path = self.home.layout.setup_worktree(environment.id);
        durable::create_private_folder(path.parent().unwrap_or(&path)).map_err(|error| not_prepared(&error))?;
        mirror.sync().await.map_err(|error| not_prepared(&error))?;
        let sources = mirror.trusted_sources(&record.sources).await.map_err(|error| not_prepared(&error))?;
        let cone = record.cone();
        let worktree = WorktreeSpec { path: &path, branch: BRANCH, base: commit, cone: &cone };
        let worktree = mirror.ensure_worktree(worktree, &sources, &|_| {}, environment.cancel_work.clone()).await;
        worktree.map_err(|error| not_prepared(&error))
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

/// Syncs the output of a setup, if there is any. Blocks.
fn put_on_disk(log: &Path) -> std::io::Result<()> {
    durable::sync_file_if_there(log)?;
    log.parent().filter(|folder| folder.exists()).map_or(Ok(()), durable::sync_folder)
}

pub(super) fn stopped() -> RunError {
    RunError::new(ErrorCode::Cancelled, "stopped before the setup ended")
}

fn unplanned(error: PlanError, basis: &SetupBasis) -> Result<PlannedSetup, RunError> {
    match error {
        PlanError::Refused { key, detail } => {
            Ok(PlannedSetup::Refused(basis.goal(key), RunError::new(ErrorCode::DescriptionRefused, detail)))
        }
        PlanError::Git(error) => Err(unreadable(&error)),
    }
}

pub(super) fn unreadable(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::MirrorUnreadable, format!("could not read the mirror: {error}"))
}

fn not_prepared(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::WorktreeFailed, format!("could not create the worktree of the setup: {error}"))
}

fn not_removed(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::WorktreeFailed, format!("could not remove the files of an earlier setup: {error}"))
}
