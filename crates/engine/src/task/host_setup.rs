//! Runs the setup on the machine of the server, if the worker has no containers and the owner of the server allowed it.
//!
//! It belongs to a task: it runs in the task's worktree before the first run, so its result is not shared. Invariants: nothing runs on the
//! host without the repository's setting, and nothing runs in a worktree in which an agent worked.

use futures_util::future::FutureExt as _;
use git::Mirror;
use model::ErrorCode;
use model::environment::EnvironmentRecord;
use model::run::RunError;
use protocol::{FeedEvent, Progress};
use runner::spec::Sandbox;
use runner::until_reached;
use setups::PlanError;
use tokio_util::sync::CancellationToken;

use super::launch::answered;
use super::set_up::{stopped, unreadable};
use super::spec::key_of;
use super::tasks::{TaskSlot, Tasks};

impl Tasks {
    /// Whether the setup of a repository runs on the machine of the server.
    pub(crate) fn sets_up_on_host(&self, record: &EnvironmentRecord) -> bool {
        record.runs.setup_on_host && self.runner.sandbox(self.container_of(Some(record))) == Sandbox::Host
    }

    /// Runs the setup in the worktree of a task, if it runs on the machine of the server and no run of the task has started yet.
    pub(super) async fn set_up_on_host(
        &self,
        slot: &TaskSlot,
        mirror: &Mirror,
        cancel: &CancellationToken,
    ) -> Result<(), RunError> {
        let (task, record) = (slot.record(), self.environments.record(slot.env_id));
        let Some(record) = record.filter(|record| task.base_sha.is_none() && self.sets_up_on_host(record)) else { return Ok(()) };
        let basis = setups::basis(mirror, &record, task.environment_branches()).await.map_err(|error| unreadable(&error))?;
        let Some(basis) = basis else { return Ok(()) };
        let effective = setups::effective(mirror, &record, &basis.commit).await.map_err(|error| match error {
            PlanError::Refused { detail, .. } => RunError::new(ErrorCode::DescriptionRefused, detail),
            PlanError::Git(error) => unreadable(&error),
        })?;
        let setup = effective.and_then(|found| setups::host_setup(&found.description, basis.trust, &record, key_of(&task)));
        let Some(setup) = setup else { return Ok(()) };
        let progress = Progress { phase: "Running the setup".to_owned(), percent: None };
        slot.set_progress(Some(progress.clone()));
        self.feed.publish(FeedEvent::TaskProgress { task_id: slot.id, progress });
        let run = || self.runner.set_up_on_host(&setup, self, cancel).map(answered).boxed();
        until_reached(cancel, run).await.ok_or_else(stopped)?
    }
}
