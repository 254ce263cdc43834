//! Checks whether the image that a run would use is missing.
//!
//! Only the image of the settings can be missing: an image of a description is downloaded or built by the setup, and its snapshot keeps
//! it. Invariant: an image that is not known yet keeps no task from starting.

use model::environment::EnvironmentRecord;
use model::names::{BranchName, RefName};
use model::problem::Problem;
use model::queue::Blocker;
use model::setup::{SetupPhase, TakenEnvironment};
use model::task::TaskRecord;
use runner::until_reached;

use super::set_up::PlannedSetup;
use super::tasks::{TaskSlot, Tasks};

/// What decides about the image of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImageSource {
    /// The environment that a task or a shell has.
    Taken(TakenEnvironment),
    /// The environment that a new task gets, which it may take from these branches.
    New(Vec<BranchName>),
}

impl ImageSource {
    /// Returns what decides about the image of a task's next run.
    fn of(task: &TaskRecord) -> Self {
        if task.needs_environment() { Self::New(task.environment_branches()) } else { Self::Taken(task.environment.clone()) }
    }

    /// Returns what decides about the image of a new task that starts from this ref.
    pub(crate) fn new_task(git_ref: &RefName) -> Self {
        Self::New(BranchName::parse(git_ref.as_str()).ok().into_iter().collect())
    }
}

impl Tasks {
    /// Fails if no worker could run a task now.
    pub(crate) async fn ready_to_run(&self, repository: Option<&EnvironmentRecord>, source: &ImageSource) -> Result<(), Problem> {
        self.readiness.able_worker(repository).await?;
        let Some(repository) = repository else { return Ok(()) };
        let Some(problem) = self.missing_image(repository, source).await else { return Ok(()) };
        // The newest commit may describe another image.
        if let (ImageSource::New(_), Ok(mirror)) = (source, self.environments.mirror_of(repository.env_id)) {
            let fetched = mirror.fetch_since(mirror.fetch_ticket(), self.config.fetch_time_limit, self.cancel.clone()).await;
            if fetched.is_ok() && self.missing_image(repository, source).await.is_none() {
                return Ok(());
            }
        }
        Err(problem)
    }

    /// Fails if no worker could run the task now.
    pub(crate) async fn ready_to_go_on(&self, slot: &TaskSlot) -> Result<(), Problem> {
        self.ready_to_run(self.environments.record(slot.env_id).as_deref(), &ImageSource::of(&slot.record())).await
    }

    /// Returns why the waiting run of a task may not start although a worker can run tasks: its image is missing.
    pub(crate) async fn hold_of(&self, slot: &TaskSlot) -> Option<Blocker> {
        let repository = self.environments.record(slot.env_id)?;
        // A run reports what else is wrong with its repository.
        self.readiness.able_worker(Some(&repository)).await.ok()?;
        let problem = self.missing_image(&repository, &ImageSource::of(&slot.record())).await?;
        Some(Blocker::from(problem.report))
    }

    /// Returns a problem if a run would use the image of the settings, and that is missing.
    pub(crate) async fn missing_image(&self, repository: &EnvironmentRecord, source: &ImageSource) -> Option<Problem> {
        let problem = self.readiness.missing_image(repository).await?;
        self.uses_image_of_settings(repository, source).await.then_some(problem)
    }

    /// Whether a run uses the image of the settings, as far as this is known.
    async fn uses_image_of_settings(&self, repository: &EnvironmentRecord, source: &ImageSource) -> bool {
        let (environment, cancel) = (repository.env_id, &self.cancel);
        let branches = match source {
            ImageSource::Taken(TakenEnvironment { snapshot: None, .. }) => return true,
            ImageSource::Taken(TakenEnvironment { snapshot: Some(key), .. }) => {
                // A run whose snapshot is missing says so.
                let found = until_reached(cancel, || self.runner.snapshot(environment, key)).await.flatten();
                return found.is_some_and(|snapshot| snapshot.image.is_none() && snapshot.base.is_none());
            }
            ImageSource::New(branches) => branches.iter().cloned(),
        };
        // A new task fails if its repository cannot be read.
        let Ok(mirror) = self.environments.mirror_of(environment) else { return false };
        let key = match self.planned_setup(&mirror, repository, branches, cancel).await {
            Ok(PlannedSetup::Nothing(_)) => return true,
            Ok(PlannedSetup::Setup(plan)) => plan.key,
            Ok(PlannedSetup::Refused(goal, _)) => goal.key,
            Err(_) => return false,
        };
        // Without its setup, a task only has the image of the settings.
        repository.setup_state.phase_of(&key) == Some(SetupPhase::Skipped)
    }
}
