//! Quiet hours: the start, the end, the time zone, and the notifications that are still sent.
//! The current time is an argument, and the time zone database is built into the program.

use std::collections::BTreeSet;
use std::ops::Range;

use jiff::Timestamp;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::NoticeGroup;

/// A daily period without notifications. If `to` is before `from`, the period spans midnight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "QuietHoursText", into = "QuietHoursText")]
pub struct QuietHours {
    from: Time,
    to: Time,
    zone: TimeZone,
    let_through: BTreeSet<NoticeGroup>,
}

/// Quiet hours as written in files.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct QuietHoursText {
    from: String,
    to: String,
    zone: String,
    #[serde(default)]
    let_through: BTreeSet<NoticeGroup>,
}

/// Why quiet hours are invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuietError {
    /// A time is invalid, such as `22.00`.
    #[error("invalid time `{0}`; use a form like 22:30")]
    Time(String),
    /// The time zone is unknown, such as `Mars/Olympus`.
    #[error("invalid time zone `{0}`; use a name like Europe/Berlin")]
    Zone(String),
    /// The start and the end are the same.
    #[error("quiet hours must start and end at different times")]
    Empty,
}

impl QuietHours {
    /// Parses times such as `22:00` and `07:00`, and a time zone such as `Europe/Berlin`.
    pub fn parse(from: &str, to: &str, zone: &str, let_through: BTreeSet<NoticeGroup>) -> Result<Self, QuietError> {
        let (from, to) = (time(from)?, time(to)?);
        if from == to {
            return Err(QuietError::Empty);
        }
        let shown = || QuietError::Zone(zone.chars().take(60).collect());
        let zone = TimeZone::get(zone.trim()).map_err(|_| shown())?;
        zone.iana_name().ok_or_else(shown)?;
        Ok(Self { from, to, zone, let_through })
    }

    /// Returns the start, such as `22:00`.
    pub fn from(&self) -> String {
        self.from.strftime("%H:%M").to_string()
    }

    /// Returns the end, such as `07:00`.
    pub fn to(&self) -> String {
        self.to.strftime("%H:%M").to_string()
    }

    /// Returns the name of the time zone.
    pub fn zone(&self) -> &str {
        self.zone.iana_name().unwrap_or("UTC")
    }

    /// Returns whether notifications of a group are still sent.
    pub fn lets_through(&self, group: NoticeGroup) -> bool {
        self.let_through.contains(&group)
    }

    /// Returns the end of the current quiet hours, or `None` outside quiet hours.
    pub fn ends(&self, now: Timestamp) -> Option<Timestamp> {
        let today = now.to_zoned(self.zone.clone()).date();
        // Quiet hours that span midnight started yesterday.
        let days = [today.yesterday().ok(), Some(today)].into_iter().flatten();
        days.filter_map(|day| self.on(day)).filter(|hours| hours.contains(&now)).map(|hours| hours.end).max()
    }

    /// Returns the quiet hours that start on this day. When the clock changes, they start at the first occurrence of a repeated
    /// time, end at the second one, and move a skipped time by the length of the gap.
    fn on(&self, first: Date) -> Option<Range<Timestamp>> {
        let last = if self.to < self.from { first.tomorrow().ok()? } else { first };
        let start = self.zone.to_ambiguous_timestamp(first.to_datetime(self.from)).compatible().ok()?;
        let end = self.zone.to_ambiguous_timestamp(last.to_datetime(self.to)).later().ok()?;
        Some(start..end)
    }
}

fn time(text: &str) -> Result<Time, QuietError> {
    let refused = || QuietError::Time(text.chars().take(20).collect());
    let (hour, minute) = text.trim().split_once(':').ok_or_else(refused)?;
    let number = |text: &str| {
        let is_number = (1..=2).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<i8>().ok()).flatten().ok_or_else(refused)
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).map_err(|_| refused())
}

impl TryFrom<QuietHoursText> for QuietHours {
    type Error = QuietError;

    fn try_from(written: QuietHoursText) -> Result<Self, QuietError> {
        Self::parse(&written.from, &written.to, &written.zone, written.let_through)
    }
}

impl From<QuietHours> for QuietHoursText {
    fn from(hours: QuietHours) -> Self {
        Self { from: hours.from(), to: hours.to(), zone: hours.zone().to_owned(), let_through: hours.let_through }
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;

    fn hours(from: &str, to: &str, zone: &str) -> QuietHours {
        QuietHours::parse(from, to, zone, BTreeSet::new()).expect("the quiet hours are valid")
    }

    fn at(text: &str) -> Timestamp {
        text.parse().expect("the time is valid")
    }

    #[track_caller]
    fn check(hours: &QuietHours, now: &str, ends: Option<&str>) {
        assert_eq!(hours.ends(at(now)), ends.map(at), "{now}");
    }

    #[test]
    fn a_night_goes_over_midnight_in_its_own_time_zone() {
        let night = hours("22:00", "7:00", "Europe/Berlin");
        check(&night, "2026-01-10T20:59:59Z", None);
        check(&night, "2026-01-10T21:00:00Z", Some("2026-01-11T06:00:00Z"));
        check(&night, "2026-01-11T05:59:59Z", Some("2026-01-11T06:00:00Z"));
        check(&night, "2026-01-11T06:00:00Z", None);
        check(&night, "2026-07-10T20:00:00Z", Some("2026-07-11T05:00:00Z"));
        let noon = hours("12:00", "13:30", "UTC");
        check(&noon, "2026-01-10T11:59:59Z", None);
        check(&noon, "2026-01-10T12:00:00Z", Some("2026-01-10T13:30:00Z"));
        check(&noon, "2026-01-10T13:30:00Z", None);
    }

    #[test]
    fn a_night_of_a_changed_clock_has_one_end() {
        // The clock moves from 2:00 to 3:00 in March, and from 3:00 back to 2:00 in October.
        let night = hours("22:00", "02:30", "Europe/Berlin");
        check(&night, "2026-03-28T23:00:00Z", Some("2026-03-29T01:30:00Z"));
        check(&night, "2026-10-24T23:00:00Z", Some("2026-10-25T01:30:00Z"));
        check(&night, "2026-10-25T01:29:59Z", Some("2026-10-25T01:30:00Z"));
        check(&night, "2026-10-25T01:30:00Z", None);
        // The first occurrence of 2:45 is between the two occurrences of the end.
        check(&night, "2026-10-25T00:45:00Z", Some("2026-10-25T01:30:00Z"));
        // In March, 2:30 is skipped.
        check(&night, "2026-03-29T01:15:00Z", Some("2026-03-29T01:30:00Z"));
        check(&night, "2026-03-29T01:30:00Z", None);
        let morning = hours("02:30", "07:00", "Europe/Berlin");
        check(&morning, "2026-10-25T00:30:00Z", Some("2026-10-25T06:00:00Z"));
        check(&morning, "2026-10-25T01:15:00Z", Some("2026-10-25T06:00:00Z"));
        check(&morning, "2026-03-29T01:29:59Z", None);
        check(&morning, "2026-03-29T01:30:00Z", Some("2026-03-29T05:00:00Z"));
    }

    #[test]
    fn what_is_no_time_or_zone_is_named() {
        let none = BTreeSet::new;
        for text in ["", "22", "22.00", "24:00", "12:60", "-1:00", "+1:00", "1:2:3", "ab:cd"] {
            let found = QuietHours::parse(text, "07:00", "UTC", none());
            assert_eq!(found, Err(QuietError::Time(text.to_owned())));
        }
        assert_eq!(QuietHours::parse("7:00", "07:00", "UTC", none()), Err(QuietError::Empty));
        for zone in ["", "Mars/Olympus", "+02:00", "../etc/passwd"] {
            assert_eq!(QuietHours::parse("1:00", "2:00", zone, none()), Err(QuietError::Zone(zone.to_owned())));
        }
    }

    #[test]
    fn they_are_read_as_they_are_written() {
        let text = r#"{"from":"22:00","to":"07:05","zone":"America/New_York","let_through":["failed"]}"#;
        let hours: QuietHours = serde_json::from_str(text).expect("the quiet hours are valid");
        assert!(hours.lets_through(NoticeGroup::Failed) && !hours.lets_through(NoticeGroup::NeedsYou));
        assert_eq!(serde_json::to_string(&hours).expect("quiet hours can be serialized"), text);
    }

    /// Returns the Sundays around which the clocks of these zones change in 2026, as the first second of the day before.
    fn changes() -> [(&'static str, i64); 9] {
        let day = |text: &str| at(&format!("{text}T00:00:00Z")).as_second();
        [
            ("Europe/Berlin", day("2026-03-28")),
            ("Europe/Berlin", day("2026-10-24")),
            ("America/New_York", day("2026-03-07")),
            ("America/New_York", day("2026-10-31")),
            ("Australia/Lord_Howe", day("2026-04-04")),
            ("Australia/Lord_Howe", day("2026-10-03")),
            ("Africa/Casablanca", day("2026-02-14")),
            ("America/Santiago", day("2026-09-05")),
            ("Asia/Kathmandu", day("2026-05-01")),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn an_announced_end_is_kept_also_when_the_clock_changes(from in 0..96_i32, length in 1..96_i32, place in 0..9_usize) {
            let (zone, first) = changes()[place];
            let text = |quarter: i32| format!("{:02}:{:02}", quarter % 96 / 4, quarter % 4 * 15);
            let hours = hours(&text(from), &text(from + length), zone);
            let zone = TimeZone::get(zone).expect("the time zone is known");
            let mut announced: Option<Timestamp> = None;
            let mut quiet = 0;
            for minute in (0..4 * 1440).step_by(5) {
                let now = Timestamp::from_second(first + minute * 60).expect("the time is valid");
                let end = hours.ends(now);
                let local = now.to_zoned(zone.clone());
                if let Some(before) = announced.filter(|before| now < *before) {
                    prop_assert!(end.is_some_and(|end| end >= before), "{} is before {}, but quiet hours end at {:?}", local, before, end);
                }
                if let Some(end) = end {
                    quiet += 1;
                    prop_assert!(end > now);
                    let is_named = end.to_zoned(zone.clone()).strftime("%H:%M").to_string() == hours.to();
                    let is_after_change = zone.to_offset(end) != zone.to_offset(end - SignedDuration::from_hours(2));
                    prop_assert!(is_named || is_after_change, "quiet hours end at {}", end);
                }
                announced = end;
            }
            let expected = length * 3 * 4;
            prop_assert!((expected - 40..=expected + 40).contains(&quiet), "{} five minutes are quiet instead of {}", quiet, expected);
        }
    }

    proptest! {
        #[test]
        fn an_end_is_ahead_and_less_than_a_day_and_a_clocks_change_away(
            from in 0..1440_i32, length in 1..1440_i32, zone in 0..4_usize, second in 1_700_000_000_i64..1_800_000_000
        ) {
            let zone = ["Europe/Berlin", "America/St_Johns", "Australia/Lord_Howe", "UTC"][zone];
            let text = |minute: i32| format!("{:02}:{:02}", minute % 1440 / 60, minute % 60);
            let hours = hours(&text(from), &text(from + length), zone);
            let now = Timestamp::from_second(second).expect("the time is valid");
            if let Some(end) = hours.ends(now) {
                prop_assert!(end > now && end.duration_since(now).as_hours() <= 25, "{now} {end}");
            }
        }
    }
}
