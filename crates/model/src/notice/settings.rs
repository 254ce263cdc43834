//! Who is told what, and when: as `[notify]` of `config.toml` says it, or the page. What the file says is fixed; the page fills in
//! what it leaves open.

use std::collections::BTreeSet;
use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::push::split_port;
use super::{Notice, NoticeGroup, NoticeKind, QuietHours};
use crate::secret::Secret;

/// The most bytes of an address.
const URL_LIMIT_BYTES: usize = 2048;

/// The most bytes of a secret.
const SECRET_LIMIT_BYTES: usize = 1024;

/// What is shown in the place of a query.
const HIDDEN_QUERY: &str = "?***";

const PLAIN_WEBHOOK: &str =
    "must start with https://; plain HTTP is for this machine, and with `webhook_plain_http` for a private network";
const PLAIN_NTFY: &str =
    "must start with https://; plain HTTP is for this machine, and with `ntfy_plain_http` for a private network";

/// What can be set. Everything may be left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NoticeSettings {
    /// Gets each notice as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_url: Option<String>,
    /// Signs what the webhook gets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_secret: Option<Secret>,
    /// A topic of ntfy, such as `https://ntfy.sh/my-topic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ntfy_url: Option<String>,
    /// Whether the webhook may be reached by plain HTTP in a private network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook_plain_http: Option<bool>,
    /// The same for ntfy.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ntfy_plain_http: Option<bool>,
    /// How a browser reaches the pages, for the links.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// What is told; everything where it is not set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tell: Option<BTreeSet<NoticeGroup>>,
    /// When it is not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quiet_hours: Option<QuietHours>,
}

/// Where a receiver may be reached by plain HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlainHttp {
    /// Only on this machine.
    ThisMachine,
    /// Also at private addresses.
    PrivateNetwork,
}

/// A setting that cannot be used: which, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadSetting {
    /// Its name in `config.toml`.
    pub name: &'static str,
    /// The rest of the sentence.
    pub why: &'static str,
}

/// What becomes of a notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// It is told now.
    Tell,
    /// It is part of what is told when quiet hours end.
    Hold,
    /// Nobody wants to know it.
    Drop,
}

impl NoticeSettings {
    /// These, and what they leave open as others say it.
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

    /// Where the webhook may be reached by plain HTTP.
    pub fn webhook_plain_http(&self) -> PlainHttp {
        PlainHttp::of(self.webhook_plain_http)
    }

    /// Where ntfy may be reached by plain HTTP.
    pub fn ntfy_plain_http(&self) -> PlainHttp {
        PlainHttp::of(self.ntfy_plain_http)
    }

    /// Whether all of it can be used.
    pub fn check(&self) -> Result<(), BadSetting> {
        for (name, url) in [("webhook_url", &self.webhook_url), ("ntfy_url", &self.ntfy_url), ("public_url", &self.public_url)] {
            if url.as_ref().is_some_and(|url| !is_web_url(url)) {
                return Err(BadSetting { name, why: "is no http or https URL" });
            }
        }
        for (name, url, plain, hint) in [
            ("webhook_url", &self.webhook_url, self.webhook_plain_http(), PLAIN_WEBHOOK),
            ("ntfy_url", &self.ntfy_url, self.ntfy_plain_http(), PLAIN_NTFY),
        ] {
            let Some(url) = url else { continue };
            if url.contains(HIDDEN_QUERY) {
                return Err(BadSetting { name, why: "has *** in the place of its query; write the whole address again" });
            }
            if plain == PlainHttp::ThisMachine && url.strip_prefix("http://").is_some_and(|rest| !is_this_machine(rest)) {
                return Err(BadSetting { name, why: hint });
            }
        }
        if self.webhook_secret.as_ref().is_some_and(|secret| !(1..=SECRET_LIMIT_BYTES).contains(&secret.expose().len())) {
            return Err(BadSetting { name: "webhook_secret", why: "is empty, or has more than 1024 bytes" });
        }
        Ok(())
    }

    /// What is told.
    pub fn tells(&self, group: NoticeGroup) -> bool {
        self.tell.as_ref().is_none_or(|told| told.contains(&group))
    }

    /// What becomes of a notice of this kind.
    pub fn way(&self, event: NoticeKind, now: Timestamp) -> Way {
        let Some(group) = event.group() else { return Way::Tell };
        if !self.tells(group) {
            return Way::Drop;
        }
        match &self.quiet_hours {
            Some(hours) if hours.ends(now).is_some() && !hours.lets_through(group) => Way::Hold,
            Some(_) | None => Way::Tell,
        }
    }
}

impl PlainHttp {
    fn of(setting: Option<bool>) -> Self {
        if setting == Some(true) { Self::PrivateNetwork } else { Self::ThisMachine }
    }

    /// Whether an address may be reached by plain HTTP. Checked for the address that a request goes to, whatever its name is.
    pub fn allows(self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_private = match address {
            IpAddr::V4(v4) => v4.is_private() || matches!(v4.octets(), [100, 64..=127, ..]),
            IpAddr::V6(v6) => v6.is_unique_local(),
        };
        address.is_loopback() || (self == Self::PrivateNetwork && is_private)
    }
}

/// Whether what follows `http://` names this machine, however it is resolved.
fn is_this_machine(rest: &str) -> bool {
    let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    let Some((host, _)) = split_port(host) else { return false };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

/// An address as it is shown: without its query and its password, which may be secret.
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

/// What is told in one when quiet hours have ended: how much of what came. One alone is told as it is.
pub fn summary(held: &[Notice], public_url: Option<&str>) -> Option<Notice> {
    let (first, others) = held.split_first()?;
    if others.is_empty() {
        return Some(first.clone());
    }
    let count = |wanted: NoticeGroup| held.iter().filter(|notice| notice.event.group() == Some(wanted)).count();
    let parts = [
        (count(NoticeGroup::NeedsYou), "need you"),
        (count(NoticeGroup::Failed), "failed or were cut off"),
        (count(NoticeGroup::Finished), "finished"),
    ];
    let parts: Vec<_> = parts.into_iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    Some(Notice {
        event: NoticeKind::Summary,
        task_id: None,
        environment: String::new(),
        title: format!("{} notices from your quiet hours", held.len()),
        text: format!("Of your tasks: {}.", parts.join(", ")),
        url: public_url.map(str::to_owned),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet(let_through: &[NoticeGroup]) -> NoticeSettings {
        let hours = QuietHours::parse("22:00", "07:00", "UTC", let_through.iter().copied().collect()).expect("sound");
        NoticeSettings { quiet_hours: Some(hours), ..NoticeSettings::default() }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a time")
    }

    #[test]
    fn what_nobody_wants_is_dropped_and_what_is_quiet_is_held() {
        let (day, night) = (at("2026-01-10T12:00:00Z"), at("2026-01-10T23:00:00Z"));
        let all = NoticeSettings::default();
        assert_eq!(all.way(NoticeKind::Finished, night), Way::Tell);
        let some = NoticeSettings { tell: Some([NoticeGroup::Failed].into()), ..quiet(&[NoticeGroup::NeedsYou]) };
        assert_eq!(some.way(NoticeKind::Finished, day), Way::Drop);
        assert_eq!((some.way(NoticeKind::Failed, day), some.way(NoticeKind::Interrupted, night)), (Way::Tell, Way::Hold));
        let urgent = quiet(&[NoticeGroup::NeedsYou]);
        assert_eq!((urgent.way(NoticeKind::NeedsYou, night), urgent.way(NoticeKind::Finished, night)), (Way::Tell, Way::Hold));
        assert_eq!((urgent.way(NoticeKind::Test, night), urgent.way(NoticeKind::Finished, day)), (Way::Tell, Way::Tell));
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
        let told = summary(&held, Some("https://box.example/")).expect("something");
        assert_eq!(told.title, "3 notices from your quiet hours");
        assert_eq!(told.text, "Of your tasks: 2 failed or were cut off, 1 finished.");
        assert_eq!((told.path().as_str(), told.url.as_deref()), ("/", Some("https://box.example/")));
    }
}
