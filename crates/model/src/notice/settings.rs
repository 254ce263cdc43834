//! Who is told what, and when: as `[notify]` of `config.toml` says it, or the page. What the file says is fixed; the page fills in
//! what it leaves open.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Notice, NoticeGroup, NoticeKind, QuietHours};
use crate::secret::Secret;

/// The most bytes of an address.
const URL_LIMIT_BYTES: usize = 2048;

/// The most bytes of a secret.
const SECRET_LIMIT_BYTES: usize = 1024;

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
            public_url: mine.public_url.or(theirs.public_url),
            tell: mine.tell.or(theirs.tell),
            quiet_hours: mine.quiet_hours.or(theirs.quiet_hours),
        }
    }

    /// Whether all of it can be used.
    pub fn check(&self) -> Result<(), BadSetting> {
        for (name, url) in [("webhook_url", &self.webhook_url), ("ntfy_url", &self.ntfy_url), ("public_url", &self.public_url)] {
            if url.as_ref().is_some_and(|url| !is_web_url(url)) {
                return Err(BadSetting { name, why: "is no http or https URL" });
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
