//! Refreshes of a task's environment: deletes the layers from before a refresh, in the background.
//!
//! No run uses these layers, so nothing waits for this. If it fails, recovery retries.

use std::sync::Arc;

use durable::crash::{self, CrashPoint};
use model::task::TaskEvent;
use spine::Mailbox as _;

use super::tasks::{TaskSlot, Tasks};

impl Tasks {
    /// Ensures that no layers of earlier generations exist.
    pub(super) async fn discard_layers(self: &Arc<Self>, slot: &Arc<TaskSlot>) {
        let current = slot.record().refreshes.generation;
        match self.runner.discard_layers(slot.id, current).await {
            Ok(()) => {
                crash::point(CrashPoint::LayersDiscarded);
                self.post(slot, TaskEvent::LayersDiscarded(current)).await;
            }
            Err(error) => {
                tracing::warn!(task = %slot.id, %error, "could not delete what a task installed before its environment was refreshed; recovery retries");
            }
        }
    }
}
