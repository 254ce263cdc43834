//! The state of notifications: settings, devices, held notifications and the last outcomes.
//! Invariant: the state in memory matches the files, except for outcomes, which are not stored.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use jiff::Timestamp;
use model::ErrorCode;
use model::damaged::Damaged;
use model::notice::{Notice, NoticeSettings, PushEndpoint};
use model::problem::Problem;
use model::secret::Secret;
use store::{DeviceRecord, Devices, Home, StoreError};

use super::seal::{BrowserKeys, seal};
use super::vapid::VapidKey;
use crate::{DeviceView, NoticeTarget, NoticesView, Outcome, PushSubscription};

/// The maximum number of devices.
const MOST_DEVICES: usize = 20;

/// The maximum number of held notifications. The oldest are dropped first.
const MOST_HELD: usize = 1000;

/// The longest `User-Agent` that is stored, in characters.
const LABEL_CHARS: usize = 120;

pub(crate) struct Registry {
    fixed: NoticeSettings,
    state: Mutex<State>,
    /// Notified when the settings or the held notifications change.
    pub(crate) changed: tokio::sync::Notify,
}

struct State {
    page: NoticeSettings,
    devices: Devices,
    /// The key is created when the page is first opened, and stored with the first device.
    key: Option<Arc<VapidKey>>,
    held: Vec<Notice>,
    outcomes: BTreeMap<NoticeTarget, Outcome>,
    damaged: Vec<Damaged>,
}

impl Registry {
    pub(crate) fn open(home: &Home, fixed: NoticeSettings) -> Self {
        let (page, damaged_page) = home.read_notice_settings();
        let (devices, damaged_devices) = home.read_devices();
        let (held, damaged_held) = home.read_held_notices();
        let key = devices.key.as_ref().and_then(VapidKey::read).map(Arc::new);
        let damaged = [damaged_page, damaged_devices, damaged_held].into_iter().flatten().collect();
        let state = State { page, devices, key, held, outcomes: BTreeMap::new(), damaged };
        Self { fixed, state: Mutex::new(state), changed: tokio::sync::Notify::new() }
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        // Every statement leaves the state consistent, even if another thread panicked.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the settings in effect. Settings in the file take precedence over those of the page.
    pub(crate) fn settings(&self) -> NoticeSettings {
        self.fixed.over(&self.locked().page)
    }

    /// Returns whether there is any receiver.
    pub(crate) fn has_receivers(&self) -> bool {
        let settings = self.settings();
        settings.webhook_url.is_some() || settings.ntfy_url.is_some() || !self.locked().devices.devices.is_empty()
    }

    pub(crate) fn view(&self, now: Timestamp) -> NoticesView {
        let settings = self.settings();
        let state = self.locked();
        let device = |device: &DeviceRecord| DeviceView {
            id: device.id.clone(),
            label: device.label.clone(),
            session: device.session.clone(),
            created_at: device.created_at,
            push_service: device.endpoint.origin(),
        };
        NoticesView {
            quiet_until: settings.quiet_hours.as_ref().and_then(|hours| hours.ends(now)),
            settings,
            fixed: self.fixed.clone(),
            devices: state.devices.devices.iter().map(device).collect(),
            held: state.held.len(),
            outcomes: state.outcomes.clone(),
            damaged: state.damaged.clone(),
        }
    }

    /// Changes the settings of the page. They take effect immediately.
    pub(crate) fn edit(&self, home: &Home, edit: impl FnOnce(&NoticeSettings) -> NoticeSettings) -> Result<(), Problem> {
        let mut state = self.locked();
        let page = edit(&state.page);
        page.check().map_err(|bad| {
            let detail = format!("`{}` {}", bad.name, bad.why);
            Problem::new(ErrorCode::NoticesRefused, detail).hint("go back and use a form like https://ntfy.sh/a-topic")
        })?;
        home.write_notice_settings(&page)?;
        state.is_whole(&home.layout.notices());
        state.page = page;
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Returns the key that identifies this server to push services.
    pub(crate) fn key(&self) -> Result<Arc<VapidKey>, Problem> {
        let mut state = self.locked();
        if let Some(key) = &state.key {
            return Ok(Arc::clone(key));
        }
        let key = Arc::new(VapidKey::make().map_err(|_| Problem::internal("could not create a key for push services"))?);
        state.key = Some(Arc::clone(&key));
        Ok(key)
    }

    /// Subscribes a browser. The new subscription replaces an earlier one with the same session or endpoint.
    pub(crate) fn subscribe(&self, home: &Home, session: String, wish: PushSubscription, now: Timestamp) -> Result<(), Problem> {
        let refused = |detail: String| Problem::new(ErrorCode::SubscriptionRefused, detail).hint("reload the page and try again");
        let endpoint = PushEndpoint::parse(&wish.endpoint).map_err(|error| refused(error.to_string()))?;
        let keys = browser_keys(&wish.p256dh, &wish.auth).filter(|keys| seal(b"", keys).is_ok());
        keys.ok_or_else(|| refused("invalid browser keys".to_owned()))?;
        let key = self.key()?;
        if wish.server_key != key.public() {
            return Err(refused("the page was loaded before the server's key changed".to_owned()));
        }
        let mut state = self.locked();
        let mut devices = state.devices.clone();
        devices.devices.retain(|known| known.session != session && known.endpoint != endpoint);
        if devices.devices.len() >= MOST_DEVICES {
            let detail = format!("all {MOST_DEVICES} device subscriptions are in use");
            return Err(Problem::new(ErrorCode::TooManyDevices, detail).hint("remove a device first"));
        }
        devices.key = Some(key.kept().clone());
        devices.devices.push(DeviceRecord {
            id: uuid::Uuid::new_v4().simple().to_string(),
            endpoint,
            p256dh: wish.p256dh,
            auth: Secret::new(wish.auth),
            label: wish.label.chars().filter(|c| !c.is_control()).take(LABEL_CHARS).collect(),
            session,
            created_at: now,
        });
        home.write_devices(&devices)?;
        state.is_whole(&home.layout.devices());
        state.devices = devices;
        Ok(())
    }

    /// Returns all devices.
    pub(crate) fn devices(&self) -> Vec<DeviceRecord> {
        self.locked().devices.devices.clone()
    }

    /// Removes devices that do not match. Writes nothing if all match.
    pub(crate) fn keep_devices(&self, home: &Home, is_kept: impl Fn(&DeviceRecord) -> bool) -> Result<(), StoreError> {
        let mut state = self.locked();
        let mut devices = state.devices.clone();
        devices.devices.retain(is_kept);
        if devices != state.devices {
            home.write_devices(&devices)?;
            state.outcomes.retain(|target, _| match target {
                NoticeTarget::Device(id) => devices.devices.iter().any(|device| device.id == *id),
                NoticeTarget::Ntfy | NoticeTarget::Webhook => true,
            });
            state.devices = devices;
        }
        Ok(())
    }

    /// Holds a notification until quiet hours end. Holding it twice has no further effect.
    pub(crate) fn hold(&self, home: &Home, notice: Notice) -> Result<(), StoreError> {
        let mut state = self.locked();
        if notice.id.is_some() && state.held.iter().any(|held| held.id == notice.id) {
            return Ok(());
        }
        let mut held = state.held.clone();
        held.push(notice);
        let surplus = held.len().saturating_sub(MOST_HELD);
        held.drain(..surplus);
        home.write_held_notices(&held)?;
        state.is_whole(&home.layout.held_notices());
        state.held = held;
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    pub(crate) fn held(&self) -> Vec<Notice> {
        self.locked().held.clone()
    }

    /// Drops held notifications that were sent, and keeps those that came later.
    pub(crate) fn drop_held(&self, home: &Home, sent: &[Notice]) -> Result<(), StoreError> {
        let mut state = self.locked();
        let held: Vec<_> = state.held.iter().filter(|notice| !sent.contains(notice)).cloned().collect();
        home.write_held_notices(&held)?;
        state.held = held;
        Ok(())
    }

    pub(crate) fn record(&self, target: NoticeTarget, sent: &Result<(), Problem>, now: Timestamp) {
        let why_not = sent.as_ref().err().map(|problem| problem.report.message.clone());
        self.locked().outcomes.insert(target, Outcome { at: now, why_not });
    }
}

impl State {
    /// Removes the report of a damaged file, because the file was written again.
    fn is_whole(&mut self, path: &std::path::Path) {
        let path = path.display().to_string();
        self.damaged.retain(|damaged| damaged.path != path);
    }
}

/// Decodes the keys of a browser. Returns `None` if their lengths are wrong.
pub(crate) fn browser_keys(p256dh: &str, auth: &str) -> Option<BrowserKeys> {
    let p256dh = BASE64.decode(p256dh.trim_end_matches('=')).ok()?.try_into().ok()?;
    let auth = BASE64.decode(auth.trim_end_matches('=')).ok()?.try_into().ok()?;
    Some(BrowserKeys { p256dh, auth })
}

#[cfg(test)]
mod tests {
    use super::*;

    const P256DH: &str = "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";

    fn now() -> Timestamp {
        "2026-01-02T03:04:05Z".parse().expect("a time")
    }

    fn wish(notices: &Registry, n: usize) -> PushSubscription {
        PushSubscription {
            endpoint: format!("https://push.example/{n}"),
            p256dh: P256DH.to_owned(),
            auth: "BTBZMqHH6r4Tts7J_aSIgg".to_owned(),
            server_key: notices.key().expect("made").public(),
            label: "Phone\n".to_owned(),
        }
    }

    fn stage() -> (tempfile::TempDir, Home, Registry) {
        let folder = tempfile::tempdir().expect("a folder");
        let home = Home::open(folder.path()).expect("a home");
        let notices = Registry::open(&home, NoticeSettings::default());
        (folder, home, notices)
    }

    #[test]
    fn a_browser_has_one_place_and_the_key_stays() {
        let (_folder, home, notices) = stage();
        assert!(!home.layout.devices().exists(), "no browser has subscribed yet");
        let key = notices.key().expect("made").public();
        for (session, n) in [("a", 1), ("b", 2), ("a", 3), ("c", 2)] {
            notices.subscribe(&home, session.to_owned(), wish(&notices, n), now()).expect("taken");
        }
        let again = Registry::open(&home, NoticeSettings::default());
        let found: Vec<_> =
            again.devices().into_iter().map(|it| (it.session, it.endpoint.as_str().to_owned(), it.label)).collect();
        let row = |session: &str, n: u32| (session.to_owned(), format!("https://push.example/{n}"), "Phone".to_owned());
        assert_eq!(found, [row("a", 3), row("c", 2)]);
        assert_eq!(again.key().expect("kept").public(), key);
        again.keep_devices(&home, |device| device.session == "c").expect("written");
        assert_eq!(Registry::open(&home, NoticeSettings::default()).devices().len(), 1);
    }

    #[test]
    fn what_no_browser_sends_is_refused() {
        let (_folder, home, notices) = stage();
        let refused = |change: &dyn Fn(&mut PushSubscription)| {
            let mut wish = wish(&notices, 1);
            change(&mut wish);
            notices.subscribe(&home, "a".to_owned(), wish, now()).expect_err("refused").report.code
        };
        assert_eq!(refused(&|it| it.endpoint = "http://push.example/x".to_owned()), ErrorCode::SubscriptionRefused);
        assert_eq!(refused(&|it| it.endpoint = String::new()), ErrorCode::SubscriptionRefused);
        assert_eq!(refused(&|it| it.auth = "AAAA".to_owned()), ErrorCode::SubscriptionRefused);
        assert_eq!(refused(&|it| it.p256dh = "x".repeat(100_000)), ErrorCode::SubscriptionRefused);
        assert_eq!(refused(&|it| it.p256dh = P256DH.replace("BCVx", "BCVy")), ErrorCode::SubscriptionRefused);
        assert_eq!(refused(&|it| it.server_key = P256DH.to_owned()), ErrorCode::SubscriptionRefused);
        for n in 0..MOST_DEVICES {
            notices.subscribe(&home, n.to_string(), wish(&notices, n), now()).expect("taken");
        }
        assert_eq!(refused(&|it| it.endpoint = "https://push.example/more".to_owned()), ErrorCode::TooManyDevices);
    }

    #[test]
    fn a_damaged_file_is_told_until_it_is_written_anew() {
        let (_folder, home, _) = stage();
        for path in [home.layout.devices(), home.layout.notices(), home.layout.held_notices()] {
            fs_err::write(path, "{").expect("written");
        }
        let notices = Registry::open(&home, NoticeSettings::default());
        assert_eq!(notices.view(now()).damaged.len(), 3);
        notices.subscribe(&home, "a".to_owned(), wish(&notices, 1), now()).expect("taken");
        notices.edit(&home, |_| NoticeSettings::default()).expect("written");
        notices.hold(&home, Notice::test(None)).expect("written");
        assert!(notices.view(now()).damaged.is_empty());
    }

    #[test]
    fn held_notices_outlive_the_server_and_are_let_go_once_told() {
        let (_folder, home, notices) = stage();
        let notice = |title: &str| Notice { title: title.to_owned(), ..Notice::test(None) };
        notices.hold(&home, notice("one")).expect("written");
        let again = Registry::open(&home, NoticeSettings::default());
        let told = again.held();
        again.hold(&home, notice("two")).expect("written");
        again.drop_held(&home, &told).expect("written");
        assert_eq!(Registry::open(&home, NoticeSettings::default()).held(), [notice("two")]);
    }
}
