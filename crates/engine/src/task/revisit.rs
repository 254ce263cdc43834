//! Continues with a task whose runner did not answer, as soon as the runner answers again.
//!
//! Recovery would do the same on its timer. Invariant: only one visit of a task is planned at a time.

use std::sync::Arc;

use model::ids::TaskId;
use runner::{Backoff, RunState};
use spine::Mailbox as _;

use super::spec::key_of;
use super::tasks::Tasks;

impl Tasks {
    /// Reconciles a task as soon as its runner answers and nothing else works on the task.
    pub(crate) fn revisit(self: &Arc<Self>, id: TaskId) {
        if self.cancel.is_cancelled() || !self.revisits.begin(id) {
            return;
        }
        let inner = Arc::clone(self);
        self.tracker.spawn(async move {
            let answered = inner.cancel.run_until_cancelled(inner.until_answered(id)).await;
            inner.revisits.end(id);
            if let (Some(()), Some(slot)) = (answered, inner.table.get(id)) {
                inner.reconcile_one(&slot).await;
            }
        });
    }

    async fn until_answered(&self, id: TaskId) {
        let mut backoff = Backoff::default();
        loop {
            tokio::time::sleep(backoff.longer()).await;
            let Some(slot) = self.table.get(id) else { return };
            if slot.is_busy() {
                continue;
            }
            match self.runner.observe(key_of(&slot.record())).await {
                RunState::Unreachable(_) => {}
                RunState::Nobody | RunState::Held { .. } | RunState::Ended { .. } => return,
            }
        }
    }
}
