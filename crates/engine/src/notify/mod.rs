//! Notifications about tasks: sent to browsers by Web Push, to ntfy, and to a signed webhook.
//!
//! [`model::notice`] decides what to send and when. `book` stores receivers and settings, `send` sends messages, and `seal` and `vapid`
//! implement the cryptography of Web Push. A receiver that fails is tried three times and does not delay others.
//! Invariant: a notification contains a title and a link, but no output of an agent.

mod book;
mod seal;
mod send;
mod vapid;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use durable::blocking;
use durable::crash::{self, CrashPoint};
use store::DeviceRecord;

pub(crate) use book::Notices;
use futures_util::future::join_all;
use jiff::Timestamp;
use model::ErrorCode;
use model::api::Damaged;
use model::notice::{Notice, NoticeSettings, Way, notice, summary};
use model::problem::Problem;
use model::task::TaskRecord;
use send::NotTold;

use crate::engine::Inner;

/// How often the clock is checked while notifications are held, since a machine can sleep and its clock can change.
const LOOK: Duration = Duration::from_secs(30);

/// A receiver of notifications.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeTarget {
    /// The ntfy topic.
    Ntfy,
    /// The webhook.
    Webhook,
    /// A browser, with the ID of its device.
    Device(String),
}

/// The outcome of the last notification to a receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// When the notification was sent.
    pub at: Timestamp,
    /// Why sending failed, or `None` if it succeeded.
    pub why_not: Option<String>,
}

/// A browser's subscription to push notifications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushSubscription {
    /// The URL at which the browser's push service accepts messages.
    pub endpoint: String,
    /// The browser's public key, in base64url.
    pub p256dh: String,
    /// The browser's authentication secret, in base64url.
    pub auth: String,
    /// The server's public key that the browser subscribed with.
    pub server_key: String,
    /// The browser's `User-Agent`.
    pub label: String,
}

/// A browser that receives push notifications.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    /// The device's ID in URLs.
    pub id: String,
    /// The browser's `User-Agent`.
    pub label: String,
    /// The ID of the browser's session.
    pub session: String,
    /// When the browser subscribed.
    pub created_at: Timestamp,
    /// The origin of the browser's push service.
    pub push_service: String,
}

/// The content of the notifications page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticesView {
    /// The settings in effect.
    pub settings: NoticeSettings,
    /// The settings in `config.toml`.
    pub fixed: NoticeSettings,
    /// The end of the current quiet hours, if any.
    pub quiet_until: Option<Timestamp>,
    /// The number of notifications that are held until quiet hours end.
    pub held: usize,
    /// The devices with push notifications, oldest first.
    pub devices: Vec<DeviceView>,
    /// The last outcome of each receiver since the server started.
    pub outcomes: BTreeMap<NoticeTarget, Outcome>,
    /// The files that could not be read.
    pub damaged: Vec<Damaged>,
}

impl Inner {
    /// Sends or holds the notification for a change of a task, if there is one and it is turned on.
    pub(crate) fn tell(self: &Arc<Self>, before: &TaskRecord, after: &TaskRecord) {
        if !self.notices.has_receivers() {
            return;
        }
        let settings = self.notices.settings();
        let environment = self.environments.get(after.env_id).map(|slot| slot.record().name.to_string()).unwrap_or_default();
        let Some(notice) = notice(before, after, &environment, settings.public_url.as_deref()) else { return };
        let inner = Arc::clone(self);
        match settings.way(notice.event, Timestamp::now()) {
            Way::Drop => {}
            Way::Tell => {
                self.tracker.spawn(async move {
                    let told = inner.tell_all(&notice);
                    // If the server stops while a notification is being sent, the notification is lost.
                    inner.cancel.run_until_cancelled(told).await
                });
            }
            Way::Hold => {
                self.tracker.spawn(blocking(move || {
                    if let Err(error) = inner.notices.hold(&inner.home, notice) {
                        tracing::warn!(%error, "could not save a notification for the end of quiet hours");
                    }
                }));
            }
        }
    }

    /// Sends a summary of held notifications whenever quiet hours end. Runs until the server ends.
    pub(crate) fn keep_telling_what_was_held(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.tracker.spawn(async move {
            let telling = async {
                loop {
                    let held = inner.notices.held();
                    let settings = inner.notices.settings();
                    let is_quiet = settings.quiet_hours.as_ref().is_some_and(|hours| hours.ends(Timestamp::now()).is_some());
                    if held.is_empty() {
                        inner.notices.changed.notified().await;
                    } else if is_quiet {
                        // Wakes up after a change, or to check the clock again.
                        let _either = tokio::time::timeout(LOOK, inner.notices.changed.notified()).await;
                    } else {
                        if let Some(notice) = summary(&held, settings.public_url.as_deref()) {
                            inner.tell_all(&notice).await;
                        }
                        crash::point(CrashPoint::HeldTold);
                        inner.let_go(held).await;
                    }
                }
            };
            inner.cancel.run_until_cancelled(telling).await
        });
    }

    /// Drops held notifications that were sent. If that cannot be recorded, they are sent again after a pause.
    async fn let_go(self: &Arc<Self>, told: Vec<Notice>) {
        let inner = Arc::clone(self);
        let written = blocking(move || inner.notices.let_go(&inner.home, &told)).await;
        if let Err(error) = written {
            tracing::warn!(%error, "could not record that held notifications were sent");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Sends a notification to all receivers.
    async fn tell_all(&self, notice: &Notice) {
        let settings = self.notices.settings();
        let devices = self.devices_signed_in();
        let targets = [
            settings.ntfy_url.as_ref().map(|_| NoticeTarget::Ntfy),
            settings.webhook_url.as_ref().map(|_| NoticeTarget::Webhook),
        ];
        let targets = targets.into_iter().flatten().chain(devices.into_iter().map(|device| NoticeTarget::Device(device.id)));
        let told = join_all(targets.map(|target| self.tell_one(target, notice, send::TRIES))).await;
        for problem in told.into_iter().filter_map(Result::err) {
            tracing::warn!(%problem, "could not send a notification");
        }
    }

    /// Sends a test notification to a receiver. The view contains the outcome. Returns an error if the receiver does not exist.
    pub(crate) async fn tell_for_a_test(&self, target: NoticeTarget) -> Result<(), Problem> {
        let settings = self.notices.settings();
        let is_there = match &target {
            NoticeTarget::Ntfy => settings.ntfy_url.is_some(),
            NoticeTarget::Webhook => settings.webhook_url.is_some(),
            NoticeTarget::Device(id) => self.devices_signed_in().iter().any(|device| device.id == *id),
        };
        if !is_there {
            let problem = Problem::new(ErrorCode::NoSuchReceiver, "no notification receiver of this kind is configured");
            return Err(problem.hint("set its URL or subscribe a device, then try again"));
        }
        // The outcome is recorded, and the page shows it.
        let _noted = self.tell_one(target, &Notice::test(settings.public_url.as_deref()), send::ONCE).await;
        Ok(())
    }

    async fn tell_one(&self, target: NoticeTarget, notice: &Notice, tries: u32) -> Result<(), Problem> {
        let settings = self.notices.settings();
        let told = match &target {
            NoticeTarget::Ntfy => match &settings.ntfy_url {
                Some(url) => send::ntfy(&settings, url, notice, tries).await,
                None => return Ok(()),
            },
            NoticeTarget::Webhook => match &settings.webhook_url {
                Some(url) => send::webhook(&settings, url, notice, tries).await,
                None => return Ok(()),
            },
            NoticeTarget::Device(id) => self.push(&settings, id, notice, tries).await,
        };
        let told = told.map_err(|not| not.problem);
        self.notices.note(target, &told, Timestamp::now());
        told
    }

    async fn push(&self, settings: &NoticeSettings, id: &str, notice: &Notice, tries: u32) -> Result<(), NotTold> {
        let Some(device) = self.devices_signed_in().into_iter().find(|device| device.id == id) else { return Ok(()) };
        let key = self.notices.key()?;
        let told = send::push(settings, &key, &device, notice, tries).await;
        if told.as_ref().is_err_and(|not| not.is_gone) {
            tracing::info!(device = device.label, "removed a device whose push subscription has expired");
            self.notices.keep_devices(&self.home, |known| known.id != device.id).map_err(Problem::from)?;
        }
        told
    }

    /// Returns the devices whose browsers are signed in. Other devices receive nothing, even if they are not removed yet.
    fn devices_signed_in(&self) -> Vec<DeviceRecord> {
        let now = Timestamp::now();
        self.notices.devices().into_iter().filter(|device| self.sessions.holds(&device.session, now)).collect()
    }

    /// Removes the devices whose browsers are no longer signed in.
    pub(crate) fn forget_signed_out_devices(&self) -> Result<(), Problem> {
        let now = Timestamp::now();
        Ok(self.notices.keep_devices(&self.home, |device| self.sessions.holds(&device.session, now))?)
    }
}
