//! The facade's part about notices: who is told, what, and how the last words arrived.
//! How it is done is in `notify`.

use jiff::Timestamp;
use model::notice::NoticeSettings;
use model::problem::Problem;

use super::Engine;
use crate::notify::{NoticeTarget, NoticesView, PushSubscription};

impl Engine {
    /// Everything about notices that a person may see. The secret of the webhook is in it, and is not to be shown.
    pub fn notices(&self) -> NoticesView {
        self.inner.notices.view(Timestamp::now())
    }

    /// Whether anybody is told of ends.
    pub fn has_receivers(&self) -> bool {
        self.inner.notices.has_receivers()
    }

    /// The address of the pages that notifications link to, if one is set.
    pub fn public_url(&self) -> Option<String> {
        self.inner.notices.settings().public_url
    }

    /// Changes what the page sets. It takes effect at once; what `config.toml` says stays above it.
    pub fn edit_notices(&self, edit: impl FnOnce(&NoticeSettings) -> NoticeSettings) -> Result<(), Problem> {
        self.inner.notices.edit(&self.inner.home, edit)
    }

    /// What a browser is given to subscribe with.
    pub fn push_key(&self) -> Result<String, Problem> {
        Ok(self.inner.notices.key()?.public())
    }

    /// A browser wants notices, for as long as its session lasts.
    pub fn subscribe(&self, secret: &str, wish: PushSubscription) -> Result<(), Problem> {
        self.inner.notices.subscribe(&self.inner.home, self.session_id(secret), wish, Timestamp::now())
    }

    /// Forgets a device. Doing it twice is fine.
    pub fn forget_device(&self, id: &str) -> Result<(), Problem> {
        Ok(self.inner.notices.keep_devices(&self.inner.home, |device| device.id != id)?)
    }

    /// Tells somebody something to try whether they hear it. How it went is in the view.
    pub async fn test_notice(&self, target: NoticeTarget) -> Result<(), Problem> {
        self.inner.tell_for_a_test(target).await
    }
}
