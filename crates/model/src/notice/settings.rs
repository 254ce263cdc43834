//! Notification settings, from `[notify]` in `config.toml` and from the settings page.
//! Settings in the file take precedence over those from the page.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::push::split_port;
use super::{Notice, NoticeGroup, NoticeKind, QuietHours};
use crate::secret::Secret;

/// The maximum length of a URL in bytes.
const URL_LIMIT_BYTES: usize = 2048;

/// The maximum length of a secret in bytes.
const SECRET_LIMIT_BYTES: usize = 1024;

/// The replacement for the query of a URL for display.
const HIDDEN_QUERY: &str = "?***";

const PLAIN_WEBHOOK: &str =
    "must start with https://; plain HTTP is allowed only on this machine, or in private networks with `webhook_plain_http`";
const PLAIN_NTFY: &str =
    "must start with https://; plain HTTP is allowed only on this machine, or in private networks with `ntfy_plain_http`";

/// Notification settings. All of them are optional.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoticeSettings {
    /// The URL that receives each notification as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
    /// The secret that signs requests to the webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<Secret>,
    /// The URL of an ntfy topic, such as `https://ntfy.sh/my-topic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ntfy_url: Option<String>,
    /// Whether the webhook can use plain HTTP in private networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_plain_http: Option<bool>,
    /// Whether ntfy can use plain HTTP in private networks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ntfy_plain_http: Option<bool>,
    /// The public URL of the pages, for links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// The groups that are sent. All groups if omitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tell: Option<BTreeSet<NoticeGroup>>,
    /// The period in which notifications are held.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
}

/// The hosts that may receive notifications over plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainHttp {
    /// Only this machine.
    ThisMachine,
    /// This machine and private addresses.
    PrivateNetwork,
}

/// An invalid setting and the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSetting {
    /// The name of the setting in `config.toml`.
    pub name: &'static str,
    /// The reason, as the end of a sentence that starts with the name.
    pub why: &'static str,
}

/// What to do with a notification.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// Send the notification now.
    Tell,
    /// Hold the notification for the summary after quiet hours.
    Hold,
    /// Drop the notification because its group is turned off.
    Drop,
}

impl NoticeSettings {
    /// Returns these settings, with values from `others` for settings that are not set.
    pub fn over(&self, others: &Self) -> Self {
        let (mine, theirs) = (self.clone(), others.clone());
        Self {
            webhook_url: mine.webhook_url.or(theirs.webhook_url),
            webhook_secret: mine.webhook_secret.or(theirs.webhook_secret),
            ntfy_url: mine.ntfy_url.or(theirs.ntfy_url),
            webhook_plain_http: mine.webhook_plain_http.or(theirs.webhook_plain_http),
            ntfy_plain_http: mine.ntfy_plain_http.or(theirs.ntfy_plain_http),
            public_url: mine.public_url.or(theirs.public_url),
            tell: mine.tell.or(theirs.tell),
            quiet_hours: mine.quiet_hours.or(theirs.quiet_hours),
        }
    }

    /// Returns the hosts to which the webhook may use plain HTTP.
    pub fn webhook_plain_http(&self) -> PlainHttp {
        PlainHttp::of(self.webhook_plain_http)
    }

    /// Returns the hosts to which ntfy may use plain HTTP.
    pub fn ntfy_plain_http(&self) -> PlainHttp {
        PlainHttp::of(self.ntfy_plain_http)
    }

    /// Checks all settings.
    pub fn check(&self) -> Result<(), BadSetting> {
        for (name, url) in [("webhook_url", &self.webhook_url), ("ntfy_url", &self.ntfy_url), ("public_url", &self.public_url)] {
            if url.as_ref().is_some_and(|url| !is_web_url(url)) {
                return Err(BadSetting { name, why: "is not an http or https URL" });
            }
        }
        for (name, url, plain, hint) in [
            ("webhook_url", &self.webhook_url, self.webhook_plain_http(), PLAIN_WEBHOOK),
            ("ntfy_url", &self.ntfy_url, self.ntfy_plain_http(), PLAIN_NTFY),
        ] {
            let Some(url) = url else { continue };
            if url.contains(HIDDEN_QUERY) {
                return Err(BadSetting { name, why: "contains *** instead of its query; enter the whole URL again" });
            }
            if plain == PlainHttp::ThisMachine && url.strip_prefix("http://").is_some_and(|rest| !is_this_machine(rest)) {
                return Err(BadSetting { name, why: hint });
            }
        }
        if self.webhook_secret.as_ref().is_some_and(|secret| !(1..=SECRET_LIMIT_BYTES).contains(&secret.expose().len())) {
            return Err(BadSetting { name: "webhook_secret", why: "must have 1 to 1024 bytes" });
        }
        Ok(())
    }

    /// Returns whether notifications of a group are sent.
    pub fn tells(&self, group: NoticeGroup) -> bool {
        self.tell.as_ref().is_none_or(|told| told.contains(&group))
    }

    /// Decides whether to send a notification of this kind now.
    pub fn way(&self, event: NoticeKind, now: Timestamp) -> Delivery {
        let Some(group) = event.group() else { return Delivery::Tell };
        if !self.tells(group) {
            return Delivery::Drop;
        }
        match &self.quiet_hours {
            Some(hours) if hours.ends(now).is_some() && !hours.lets_through(group) => Delivery::Hold,
            Some(_) | None => Delivery::Tell,
        }
    }
}

impl PlainHttp {
    fn of(setting: Option<bool>) -> Self {
        if setting == Some(true) { Self::PrivateNetwork } else { Self::ThisMachine }
    }

    /// Returns whether plain HTTP to an address is allowed. Check the resolved address of a request, not its host name.
    pub fn allows(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_private = match address {
            IpAddr::V4(v4) => v4.is_private() || matches!(v4.octets(), [100, 64..=127, ..]),
            IpAddr::V6(v6) => v6.is_unique_local(),
        };
        address.is_loopback() || (self == Self::PrivateNetwork && is_private)
    }
}

/// Returns whether the text after `http://` refers to this machine. Does not resolve names.
fn is_this_machine(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let Some((host, _)) = split_port(host) else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// Returns a URL for display, without its query and password, which may be secret.
pub fn shown_address(url: &str) -> String {
    let (before, has_query) = url.split_once(['?', '#']).map_or((url, false), |(before, _)| (before, true));
    let mut shown = match before.split_once("://") {
        Some((scheme, rest)) => {
            let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            match authority.rsplit_once('@') {
                Some((_, host)) => format!("{scheme}://***@{host}{path}"),
                None => before.to_owned(),
            }
        }
        None => before.to_owned(),
    };
    if has_query {
        shown.push_str(HIDDEN_QUERY);
    }
    shown
}

fn is_web_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    let is_plain = url.len() <= URL_LIMIT_BYTES && url.bytes().all(|byte| byte.is_ascii_graphic());
    is_plain && rest.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '['))
}

/// Combines the notifications that were held during quiet hours into one. A single notification is returned unchanged.
pub fn summary(held: &[Notice], public_url: Option<&str>) -> Option<Notice> {
    let (first, others) = held.split_first()?;
    if others.is_empty() {
        return Some(first.clone());
    }
    let count = |wanted: NoticeGroup| held.iter().filter(|notice| notice.event.group() == Some(wanted)).count();
    let parts = [
        (count(NoticeGroup::NeedsYou), "needs your attention", "need your attention"),
        (count(NoticeGroup::Failed), "failed or was interrupted", "failed or were interrupted"),
        (count(NoticeGroup::Finished), "finished", "finished"),
    ];
    let parts = parts.into_iter().filter(|(n, ..)| *n > 0);
    let parts: Vec<_> = parts.map(|(n, one, more)| format!("{n} {}", if n == 1 { one } else { more })).collect();
    Some(Notice {
        id: None,
        event: NoticeKind::Summary,
        task_id: None,
        env_id: None,
        environment: String::new(),
        title: format!("{} notifications from quiet hours", held.len()),
        text: format!("Tasks: {}.", parts.join(", ")),
        url: public_url.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(let_through: &[NoticeGroup]) -> NoticeSettings {
        let hours =
            QuietHours::parse("22:00", "07:00", "UTC", let_through.iter().copied().collect()).expect("the quiet hours are valid");
        NoticeSettings { quiet_hours: Some(hours), ..NoticeSettings::default() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("the time is valid")
    }

    #[test]
    fn what_nobody_wants_is_dropped_and_what_is_quiet_is_held() {
        let (day, night) = (at("2026-01-10T12:00:00Z"), at("2026-01-10T23:00:00Z"));
        let all = NoticeSettings::default();
        assert_eq!(all.way(NoticeKind::Finished, night), Delivery::Tell);
        let some = NoticeSettings { tell: Some([NoticeGroup::Failed].into()), ..quiet(&[NoticeGroup::NeedsYou]) };
        assert_eq!(some.way(NoticeKind::Finished, day), Delivery::Drop);
        assert_eq!(
            (some.way(NoticeKind::Failed, day), some.way(NoticeKind::Interrupted, night)),
            (Delivery::Tell, Delivery::Hold)
        );
        let urgent = quiet(&[NoticeGroup::NeedsYou]);
        assert_eq!(
            (urgent.way(NoticeKind::NeedsYou, night), urgent.way(NoticeKind::Finished, night)),
            (Delivery::Tell, Delivery::Hold)
        );
        assert_eq!(
            (urgent.way(NoticeKind::Test, night), urgent.way(NoticeKind::Finished, day)),
            (Delivery::Tell, Delivery::Tell)
        );
    }

    #[test]
    fn the_file_stands_above_the_page() {
        let some = |url: &str| NoticeSettings { ntfy_url: Some(url.to_owned()), ..NoticeSettings::default() };
        let page = NoticeSettings { public_url: Some("https://box.example".to_owned()), ..some("https://page") };
        let both = some("https://file").over(&page);
        assert_eq!((both.ntfy_url.as_deref(), both.public_url), (Some("https://file"), page.public_url.clone()));
        assert_eq!(NoticeSettings::default().over(&page), page);
    }

    #[test]
    fn an_address_is_one() {
        for (url, is_one) in [
            ("https://ntfy.sh/topic", true),
            ("http://[::1]:8080/x", true),
            ("http://localhost/x", true),
            ("http://me:pw@127.0.0.2:80/x", true),
            ("http://ntfy.sh/topic", false),
            ("http://localhost.evil.example/x", false),
            ("http://localhost@evil.example/x", false),
            ("http://192.168.1.2/x", false),
            ("https://a/?***", false),
            ("https://", false),
            ("ntfy.sh/topic", false),
            ("file:///etc/passwd", false),
            ("https://a b", false),
            ("https://a\n", false),
            ("HTTPS://a", false),
        ] {
            let settings = NoticeSettings { webhook_url: Some(url.to_owned()), ..NoticeSettings::default() };
            assert_eq!(settings.check().is_ok(), is_one, "{url}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_and_by_choice_for_a_private_network() {
        let settings = |allowed| NoticeSettings {
            ntfy_url: Some("http://ntfy.lan/topic".to_owned()),
            ntfy_plain_http: allowed,
            ..NoticeSettings::default()
        };
        assert!(
            settings(None).check().is_err() && settings(Some(false)).check().is_err() && settings(Some(true)).check().is_ok()
        );
        for (address, of_machine, of_network) in [
            ("127.0.0.1", true, true),
            ("::1", true, true),
            ("::ffff:127.0.0.1", true, true),
            ("192.168.1.2", false, true),
            ("10.0.0.1", false, true),
            ("100.64.1.1", false, true),
            ("fd00::1", false, true),
            ("::ffff:10.0.0.1", false, true),
            ("169.254.169.254", false, false),
            ("fe80::1", false, false),
            ("0.0.0.0", false, false),
            ("9.9.9.9", false, false),
            ("2001:db8::1", false, false),
        ] {
            let address = address.parse().expect(address);
            assert_eq!(PlainHttp::ThisMachine.allows(address), of_machine, "{address}");
            assert_eq!(PlainHttp::PrivateNetwork.allows(address), of_network, "{address}");
        }
    }

    #[test]
    fn a_query_and_a_password_are_not_shown() {
        for (url, shown) in [
            ("https://ntfy.sh/topic", "https://ntfy.sh/topic"),
            ("https://hooks.example/x?token=hush", "https://hooks.example/x?***"),
            ("https://hooks.example/x#hush", "https://hooks.example/x?***"),
            ("https://me:hush@ntfy.example/topic", "https://***@ntfy.example/topic"),
        ] {
            assert_eq!(shown_address(url), shown);
        }
    }

    #[test]
    fn a_summary_counts_and_one_alone_is_itself() {
        let one = |event| Notice { event, ..Notice::test(None) };
        assert_eq!(summary(&[], None), None);
        assert_eq!(summary(&[one(NoticeKind::Failed)], None), Some(one(NoticeKind::Failed)));
        let held = [one(NoticeKind::Failed), one(NoticeKind::Finished), one(NoticeKind::Interrupted)];
        let told = summary(&held, Some("https://box.example/")).expect("there is a summary");
        assert_eq!(told.title, "3 notifications from quiet hours");
        assert_eq!(told.text, "Tasks: 2 failed or were interrupted, 1 finished.");
        assert_eq!((told.path().as_str(), told.url.as_deref()), ("/", Some("https://box.example/")));
    }
}
