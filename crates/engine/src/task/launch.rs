//! Launches a run: ensures that its runner has started it. A run that has started is adopted. Launching never waits for the run
//! itself.

use std::sync::Arc;

use futures_util::future::FutureExt as _;
use jiff::Timestamp;
use model::ids::Attempt;
use model::run::RunError;
use model::task::TaskEvent;
use runner::{RunKey, RunRequest, StartError, until_reached};
use spine::Mailbox as _;
use tokio_util::sync::CancellationToken;

use super::spec::key_of;
use super::tasks::{TaskSlot, Tasks};

impl Tasks {
    pub(super) async fn launch(self: &Arc<Self>, slot: &Arc<TaskSlot>, attempt: Attempt) {
        let cancel = slot.begin_work(attempt, &self.cancel);
        let event = match self.launched(slot, &cancel).await {
            Some(Ok(started_at)) => TaskEvent::Launched { attempt, started_at },
            Some(Err(error)) => TaskEvent::PreparationFailed { attempt, error },
            // The run may have started. Its runner knows, once it can be reached.
            None => return self.revisit(slot.id),
        };
        self.post(slot, event).await;
    }

    async fn launched(&self, slot: &TaskSlot, cancel: &CancellationToken) -> Option<Result<Timestamp, RunError>> {
        let spec = match self.started_spec(&slot.record()) {
            Ok(spec) => spec,
            Err(error) => return Some(Err(error)),
        };
        let start = || self.runner.ensure_started(&spec, self).map(answered).boxed();
        until_reached(cancel, start).await
    }

    /// Stops the current step of an attempt: its preparation, its run, or the commit of its work.
    pub(super) async fn stop_run(self: &Arc<Self>, slot: &Arc<TaskSlot>, attempt: Attempt) {
        slot.cancel_work(attempt);
        let key = RunKey { attempt, ..key_of(&slot.record()) };
        until_reached(&self.cancel, || self.runner.request(key, RunRequest::Stop)).await;
    }
}

/// Separates an answer from the lack of one.
pub(super) fn answered<T>(result: Result<T, StartError>) -> Result<Result<T, RunError>, runner::Unreachable> {
    match result {
        Ok(started) => Ok(Ok(started)),
        Err(StartError::Failed(error)) => Ok(Err(error)),
        Err(StartError::Unreachable(unreachable)) => Err(unreachable),
    }
}
