//! Notifications about tasks: sent to browsers by Web Push, to ntfy, and to a signed webhook.
//!
//! [`model::notice`] decides what to send and when. `registry` stores receivers and settings, `send` sends messages, and `seal` and
//! `vapid` implement the cryptography of Web Push. A receiver that fails is tried three times and does not delay others.
//! Invariant: a notification contains a title and a link, but no output of an agent.

mod registry;
mod seal;
mod send;
mod vapid;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use durable::blocking;
use durable::crash::{self, CrashPoint};
use futures_util::future::join_all;
use jiff::Timestamp;
use model::ErrorCode;
use model::damaged::Damaged;
use model::notice::{Delivery, Notice, NoticeSettings, summary};
use model::problem::Problem;
use store::{DeviceRecord, Home};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use registry::Registry;
use send::SendError;

/// How often the clock is checked while notifications are held, since a machine can sleep and its clock can change.
const CLOCK_CHECK: Duration = Duration::from_secs(30);

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

/// Whether a notification was delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivered {
    /// The notification was sent or saved, or nobody wants it. A receiver that failed three times does not get it.
    Done,
    /// The server is stopping, or the disk is full. Deliver the notification again later.
    Later,
}

/// Returns whether the browser session with this ID is still signed in.
pub type IsSignedIn = Box<dyn Fn(&str, Timestamp) -> bool + Send + Sync>;

/// Sends and holds notifications, and owns their receivers and settings.
pub struct Notifications {
    registry: Registry,
    home: Arc<Home>,
    is_signed_in: IsSignedIn,
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Notifications {
    /// Reads the settings and receivers of a home. `fixed` are the settings in `config.toml`, which take precedence. Sending stops
    /// when `cancel` is cancelled, and `tracker` knows what is being sent.
    pub fn open(
        home: Arc<Home>,
        fixed: NoticeSettings,
        is_signed_in: IsSignedIn,
        tracker: TaskTracker,
        cancel: CancellationToken,
    ) -> Arc<Self> {
        let registry = Registry::open(&home, fixed);
        Arc::new(Self { registry, home, is_signed_in, tracker, cancel })
    }

    /// Returns the settings and receivers. They include the secret of the webhook, which must not be shown.
    pub fn view(&self) -> NoticesView {
        self.registry.view(Timestamp::now())
    }

    /// Whether any receiver is configured.
    pub fn has_receivers(&self) -> bool {
        self.registry.has_receivers()
    }

    /// Returns the public URL that notifications link to, if one is set.
    pub fn public_url(&self) -> Option<String> {
        self.registry.settings().public_url
    }

    /// Changes the settings of the page *Notifications*, with immediate effect. `config.toml` takes precedence.
    pub fn edit(&self, edit: impl FnOnce(&NoticeSettings) -> NoticeSettings) -> Result<(), Problem> {
        self.registry.edit(&self.home, edit)
    }

    /// Returns the public key with which browsers subscribe.
    pub fn push_key(&self) -> Result<String, Problem> {
        Ok(self.registry.key()?.public())
    }

    /// Subscribes the browser of a session, for as long as the session lasts.
    pub fn subscribe(&self, session: String, subscription: PushSubscription) -> Result<(), Problem> {
        self.registry.subscribe(&self.home, session, subscription, Timestamp::now())
    }

    /// Removes a device. Doing it twice is harmless.
    pub fn forget_device(&self, id: &str) -> Result<(), Problem> {
        Ok(self.registry.keep_devices(&self.home, |device| device.id != id)?)
    }

    /// Removes the devices whose browsers are no longer signed in.
    pub fn forget_signed_out_devices(&self) -> Result<(), Problem> {
        let now = Timestamp::now();
        Ok(self.registry.keep_devices(&self.home, |device| (self.is_signed_in)(&device.session, now))?)
    }

    /// Sends or holds a notification, according to the settings. Sending a notification twice is harmless, because receivers can
    /// recognize its ID.
    pub async fn deliver(self: &Arc<Self>, notice: Notice) -> Delivered {
        if !self.registry.has_receivers() {
            return Delivered::Done;
        }
        match self.registry.settings().way(notice.event, Timestamp::now()) {
            Delivery::Drop => Delivered::Done,
            Delivery::Tell => match self.cancel.run_until_cancelled(self.send_to_all(&notice)).await {
                Some(()) => Delivered::Done,
                None => Delivered::Later,
            },
            Delivery::Hold => {
                let this = Arc::clone(self);
                match blocking(move || this.registry.hold(&this.home, notice)).await {
                    Ok(()) => Delivered::Done,
                    Err(error) => {
                        tracing::warn!(%error, "could not save a notification for the end of quiet hours; retrying");
                        Delivered::Later
                    }
                }
            }
        }
    }

    /// Sends a summary of held notifications whenever quiet hours end, until the server stops.
    pub fn keep_sending_held(self: &Arc<Self>) {
        let this = Arc::clone(self);
        self.tracker.spawn(async move {
            let sending = async {
                loop {
                    let held = this.registry.held();
                    let settings = this.registry.settings();
                    let is_quiet = settings.quiet_hours.as_ref().is_some_and(|hours| hours.ends(Timestamp::now()).is_some());
                    if held.is_empty() {
                        this.registry.changed.notified().await;
                    } else if is_quiet {
                        // Wakes up after a change, or to check the clock again.
                        let _either = tokio::time::timeout(CLOCK_CHECK, this.registry.changed.notified()).await;
                    } else {
                        if let Some(notice) = summary(&held, settings.public_url.as_deref()) {
                            this.send_to_all(&notice).await;
                        }
                        crash::point(CrashPoint::HeldTold);
                        this.drop_held(held).await;
                    }
                }
            };
            this.cancel.run_until_cancelled(sending).await
        });
    }

    /// Drops held notifications that were sent. If that cannot be recorded, they are sent again after a pause.
    async fn drop_held(self: &Arc<Self>, sent: Vec<Notice>) {
        let this = Arc::clone(self);
        let written = blocking(move || this.registry.drop_held(&this.home, &sent)).await;
        if let Err(error) = written {
            tracing::warn!(%error, "could not record that held notifications were sent");
            tokio::time::sleep(CLOCK_CHECK).await;
        }
    }

    /// Sends a notification to all receivers.
    async fn send_to_all(&self, notice: &Notice) {
        let settings = self.registry.settings();
        let devices = self.devices_signed_in();
        let targets = [
            settings.ntfy_url.as_ref().map(|_| NoticeTarget::Ntfy),
            settings.webhook_url.as_ref().map(|_| NoticeTarget::Webhook),
        ];
        let targets = targets.into_iter().flatten().chain(devices.into_iter().map(|device| NoticeTarget::Device(device.id)));
        let sent = join_all(targets.map(|target| self.send_to(target, notice, send::TRIES))).await;
        for problem in sent.into_iter().filter_map(Result::err) {
            tracing::warn!(%problem, "could not send a notification");
        }
    }

    /// Sends a test notification to a receiver. The view contains the outcome. Returns an error if the receiver does not exist.
    pub async fn send_test(&self, target: NoticeTarget) -> Result<(), Problem> {
        let settings = self.registry.settings();
        let exists = match &target {
            NoticeTarget::Ntfy => settings.ntfy_url.is_some(),
            NoticeTarget::Webhook => settings.webhook_url.is_some(),
            NoticeTarget::Device(id) => self.devices_signed_in().iter().any(|device| device.id == *id),
        };
        if !exists {
            let problem = Problem::new(ErrorCode::NoSuchReceiver, "no notification receiver of this kind is configured");
            return Err(problem.hint("set its URL or subscribe a device, then try again"));
        }
        // The outcome is recorded, and the page shows it.
        let _recorded = self.send_to(target, &Notice::test(settings.public_url.as_deref()), send::ONCE).await;
        Ok(())
    }

    async fn send_to(&self, target: NoticeTarget, notice: &Notice, tries: u32) -> Result<(), Problem> {
        let settings = self.registry.settings();
        let sent = match &target {
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
        let sent = sent.map_err(|error| error.problem);
        self.registry.record(target, &sent, Timestamp::now());
        sent
    }

    async fn push(&self, settings: &NoticeSettings, id: &str, notice: &Notice, tries: u32) -> Result<(), SendError> {
        let Some(device) = self.devices_signed_in().into_iter().find(|device| device.id == id) else { return Ok(()) };
        let key = self.registry.key()?;
        let sent = send::push(settings, &key, &device, notice, tries).await;
        if sent.as_ref().is_err_and(|error| error.is_gone) {
            tracing::info!(device = device.label, "removed a device whose push subscription has expired");
            self.registry.keep_devices(&self.home, |known| known.id != device.id).map_err(Problem::from)?;
        }
        sent
    }

    /// Returns the devices whose browsers are signed in. Other devices receive nothing, even if they are not removed yet.
    fn devices_signed_in(&self) -> Vec<DeviceRecord> {
        let now = Timestamp::now();
        self.registry.devices().into_iter().filter(|device| (self.is_signed_in)(&device.session, now)).collect()
    }
}
