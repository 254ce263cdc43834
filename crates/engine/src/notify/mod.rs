//! Telling people that something of theirs has ended or needs them: browsers by Web Push, ntfy, and a signed webhook.
//!
//! What is told, and when, is decided by [`model::notice`]; `book` knows who is told, `send` says it, `seal` and `vapid` are what Web
//! Push asks for. A receiver that does not answer is tried three times and holds up nothing.
//! Invariant: a notice has a title and a link, and nothing of what an agent printed.

mod book;
mod seal;
mod send;
mod vapid;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use book::Notices;
use futures_util::future::join_all;
use jiff::Timestamp;
use model::ErrorCode;
use model::api::Damaged;
use model::notice::{Notice, NoticeSettings, Way, notice, summary};
use model::problem::Problem;
use model::task::TaskRecord;
use send::NotTold;

use crate::crash::{self, CrashPoint};
use crate::engine::{Inner, blocking};
use crate::store::DeviceRecord;

/// How often the clock is looked at while something is held: a machine may sleep, and its clock may be set.
const LOOK: Duration = Duration::from_secs(30);

/// Who can be told.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoticeTarget {
    /// ntfy.
    Ntfy,
    /// The webhook.
    Webhook,
    /// A browser, by its device's id.
    Device(String),
}

/// How the last word to somebody arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// When.
    pub at: Timestamp,
    /// Why it did not; none where it did.
    pub why_not: Option<String>,
}

/// What a browser gives that wants notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushSubscription {
    /// Where its push service takes messages.
    pub endpoint: String,
    /// Its public key, in base64url.
    pub p256dh: String,
    /// What it shares with us besides, in base64url.
    pub auth: String,
    /// The key of ours that it was told.
    pub server_key: String,
    /// What it calls itself.
    pub label: String,
}

/// A browser that gets notices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceView {
    /// What it is called in addresses.
    pub id: String,
    /// What it called itself.
    pub label: String,
    /// The session that it belongs to, as in the list of sessions.
    pub session: String,
    /// Since when.
    pub created_at: Timestamp,
    /// Whose push service carries its messages.
    pub push_service: String,
}

/// Everything about notices that a person may see.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoticesView {
    /// What holds.
    pub settings: NoticeSettings,
    /// What of it `config.toml` says.
    pub fixed: NoticeSettings,
    /// Where it is quiet now, until when.
    pub quiet_until: Option<Timestamp>,
    /// How many notices wait for that.
    pub held: usize,
    /// Who gets pushes, oldest first.
    pub devices: Vec<DeviceView>,
    /// How the last words arrived since the server started.
    pub outcomes: BTreeMap<NoticeTarget, Outcome>,
    /// Files that could not be read.
    pub damaged: Vec<Damaged>,
}

impl Inner {
    /// Tells what follows from a change of a task, if anybody wants to know it.
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
                    // What is cut off here is told by nobody: the server ends.
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

    /// Tells what was held when quiet hours have ended.
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
                        // Either it is over, or the clock is looked at again.
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

    /// Held notices were told. Where that cannot be written down, they are told again rather than never, but not at once.
    async fn let_go(self: &Arc<Self>, told: Vec<Notice>) {
        let inner = Arc::clone(self);
        let written = blocking(move || inner.notices.let_go(&inner.home, &told)).await;
        if let Err(error) = written {
            tracing::warn!(%error, "could not record that held notifications were sent");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Tells everybody.
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

    /// Tells somebody something to try whether they hear it. The outcome is in the view; an error means that there is nobody.
    pub(crate) async fn tell_for_a_test(&self, target: NoticeTarget) -> Result<(), Problem> {
        let settings = self.notices.settings();
        let is_there = match &target {
            NoticeTarget::Ntfy => settings.ntfy_url.is_some(),
            NoticeTarget::Webhook => settings.webhook_url.is_some(),
            NoticeTarget::Device(id) => self.devices_signed_in().iter().any(|device| device.id == *id),
        };
        if !is_there {
            let problem = Problem::new(ErrorCode::NoSuchReceiver, "nobody of this kind is told anything");
            return Err(problem.hint("set an address, or subscribe a device, and try it again"));
        }
        // How it went is noted, and shown by the page.
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

    /// A device whose browser was signed out hears nothing, whether or not it was forgotten already.
    fn devices_signed_in(&self) -> Vec<DeviceRecord> {
        let now = Timestamp::now();
        self.notices.devices().into_iter().filter(|device| self.sessions.holds(&device.session, now)).collect()
    }

    /// Forgets the devices whose browsers are signed in no more.
    pub(crate) fn forget_signed_out_devices(&self) -> Result<(), Problem> {
        let now = Timestamp::now();
        Ok(self.notices.keep_devices(&self.home, |device| self.sessions.holds(&device.session, now))?)
    }
}
