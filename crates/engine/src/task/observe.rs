//! Observes the actual state of a task's run, for recovery.

use std::io;
use std::sync::Arc;

use model::task::{Holder, Observation, TaskRecord};
use runner::{RunState, Unreachable};

use super::spec::key_of;
use super::tasks::{TaskSlot, Tasks};

impl Tasks {
    /// Observes the actual state of a task's last run.
    pub(crate) async fn observed(self: &Arc<Self>, slot: &TaskSlot, record: &TaskRecord) -> io::Result<Observation> {
        let busy = slot.is_busy();
        let run = record.last_run();
        if busy || !run.is_active() {
            return Ok(Observation { busy, holder: Holder::Nobody });
        }
        if self.revisits.includes(slot.id) {
            // A person who stops the task must not wait for another answer.
            return Ok(Observation { busy, holder: Holder::Unreachable });
        }
        let holder = match self.runner.observe(key_of(record)).await {
            RunState::Nobody => Holder::Nobody,
            RunState::Held { started_at } => Holder::Keeper { started_at },
            RunState::Ended { .. } => Holder::Gone,
            RunState::Unreachable(error) => {
                tracing::warn!(kind = "task", id = %slot.id, %error, "could not inspect the actual state; left it unchanged");
                self.revisit(slot.id);
                Holder::Unreachable
            }
        };
        Ok(Observation { busy, holder })
    }

    /// Has the runner end what belongs to no active run, such as abandoned containers.
    pub(crate) async fn sweep_runner(&self) -> Result<(), Unreachable> {
        let tasks = self.table.all().into_iter().map(|slot| slot.record());
        let active = tasks.filter(|task| task.last_run().is_active()).map(|task| key_of(&task)).collect();
        self.runner.sweep(&active).await
    }
}
