//! Sends the notification that the setup of a repository failed. The record says that it is due until it is sent.

use std::sync::Arc;

use durable::crash::{self, CrashPoint};
use model::environment::EnvironmentEvent;
use model::notice::setup_notice;
use notifications::Delivered;
use spine::Mailbox as _;

use crate::environments::{EnvironmentSlot, Environments};

impl Environments {
    /// Delivers the notification, if it is due.
    pub(crate) async fn notify(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>) {
        let _one_at_a_time = slot.notifying.lock().await;
        let record = slot.record();
        let Some(failed) = record.setup_state.due_notice() else { return };
        let notice = setup_notice(&record, failed, self.notifications.public_url().as_deref());
        match self.notifications.deliver(notice).await {
            Delivered::Done => {
                crash::point(CrashPoint::NoticeSent);
                self.post(slot, EnvironmentEvent::SetupNotified { number: failed.number }).await;
            }
            // Recovery tries again.
            Delivered::Later => {}
        }
    }
}
