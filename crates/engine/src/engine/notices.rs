//! The part of the facade about notifications: receivers, settings, and recent deliveries. `notify` does the work.

use jiff::Timestamp;
use model::notice::NoticeSettings;
use model::problem::Problem;

use super::Engine;
use crate::notify::{NoticeTarget, NoticesView, PushSubscription};

impl Engine {
    /// Returns the settings and receivers of notifications. They include the secret of the webhook, which must not be shown.
    pub fn notices(&self) -> NoticesView {
        self.inner.notices.view(Timestamp::now())
    }

    /// Whether any receiver is configured.
    pub fn has_receivers(&self) -> bool {
        self.inner.notices.has_receivers()
    }

    /// Returns the public URL that notifications link to, if one is set.
    pub fn public_url(&self) -> Option<String> {
        self.inner.notices.settings().public_url
    }

    /// Changes the settings of the page *Notifications*, with immediate effect. `config.toml` takes precedence.
    pub fn edit_notices(&self, edit: impl FnOnce(&NoticeSettings) -> NoticeSettings) -> Result<(), Problem> {
        self.inner.notices.edit(&self.inner.home, edit)
    }

    /// Returns the public key with which browsers subscribe.
    pub fn push_key(&self) -> Result<String, Problem> {
        Ok(self.inner.notices.key()?.public())
    }

    /// Subscribes a browser for as long as its session lasts.
    pub fn subscribe(&self, secret: &str, wish: PushSubscription) -> Result<(), Problem> {
        self.inner.notices.subscribe(&self.inner.home, self.session_id(secret), wish, Timestamp::now())
    }

    /// Removes a device. Doing it twice is harmless.
    pub fn forget_device(&self, id: &str) -> Result<(), Problem> {
        Ok(self.inner.notices.keep_devices(&self.inner.home, |device| device.id != id)?)
    }

    /// Sends a test notification. The view shows the result.
    pub async fn test_notice(&self, target: NoticeTarget) -> Result<(), Problem> {
        self.inner.tell_for_a_test(target).await
    }
}
