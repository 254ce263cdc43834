//! Launching: ensure that a keeper holds the run. A keeper that is there already is adopted.
//! It never waits for the run itself.

use std::sync::Arc;

use model::ids::Attempt;
use model::run::RunError;
use model::task::TaskEvent;

use super::TaskSlot;
use crate::engine::Inner;
use crate::keeper::{self, Order, RunFiles};
use crate::worker::RunCall;

impl Inner {
    pub(super) async fn launch(self: &Arc<Self>, slot: &Arc<TaskSlot>, attempt: Attempt) {
        let event = match self.launched(slot, attempt).await {
            Ok(started_at) => TaskEvent::Launched { attempt, started_at },
            Err(error) => TaskEvent::PreparationFailed { attempt, error },
        };
        self.post(slot, event).await;
    }

    async fn launched(&self, slot: &TaskSlot, attempt: Attempt) -> Result<jiff::Timestamp, RunError> {
        let task = slot.record();
        let run = task.last_run();
        let worker = self.worker.as_ref().map_err(|problem| RunError::from(problem.to_problem()))?;
        let worktree = self.home.layout.worktree(slot.id);
        let variables = self.environments.get(slot.env_id).map(|environment| environment.record().variables.clone());
        let call = worker.call(&RunCall {
            task_id: slot.id,
            run: run.number,
            attempt,
            model: run.model.as_ref(),
            effort: run.effort.as_ref(),
            resumes: run.resumes,
            variables: &variables.unwrap_or_default(),
        });
        let order = Order::new(slot.id, run.number, attempt, &call, &worktree, &self.config);
        let files = RunFiles::new(&self.home.layout.logs(slot.id), run.number);
        let launched = keeper::launch(&self.config.keeper_program, &files, &order, &call.environment, &self.watch).await;
        launched.map_err(|error| {
            RunError::new("keeper_failed", format!("the run's keeper could not be started: {error}"))
                .hint("the task is as it was; ask again with `task resume`, or create it anew")
        })
    }

    /// Asks whoever holds the attempt to end it: the preparation, the keeper, or both in turn.
    pub(super) async fn stop_run(self: &Arc<Self>, slot: &Arc<TaskSlot>, attempt: Attempt) {
        slot.cancel_preparation(attempt);
        let number = slot.record().last_run().number;
        let files = RunFiles::new(&self.home.layout.logs(slot.id), number);
        if let Err(error) = keeper::request_stop(&files, attempt).await {
            tracing::error!(task = %slot.id, %error, "could not tell a keeper to stop; asking again is harmless");
        }
    }
}
