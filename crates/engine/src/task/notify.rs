//! Sends the pending notifications of a task. The record keeps a notification until it is sent.

use std::sync::Arc;

use durable::crash::{self, CrashPoint};
use model::notice::notice;
use model::task::TaskEvent;
use notifications::Delivered;
use spine::Mailbox as _;

use super::tasks::{TaskSlot, Tasks};

impl Tasks {
    /// Delivers the pending notifications, oldest first.
    pub(super) async fn notify(self: &Arc<Self>, slot: &Arc<TaskSlot>) {
        let _one_at_a_time = slot.notifying.lock().await;
        let task = slot.record();
        let (repository, public_url) = (self.environments.name_of(task.env_id), self.notifications.public_url());
        let mut delivered = vec![];
        for pending in &task.notices {
            match self.notifications.deliver(notice(&task, pending, &repository, public_url.as_deref())).await {
                Delivered::Done => delivered.push(pending.number),
                Delivered::Later => break,
            }
        }
        if !delivered.is_empty() {
            crash::point(CrashPoint::NoticeSent);
            self.post(slot, TaskEvent::Notified(delivered)).await;
        }
    }
}
