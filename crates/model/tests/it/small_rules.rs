//! Small rules with random input: sizes, suggestions, and waits after wrong passwords.

use std::time::Duration;

use model::near::near;
use model::size::{bytes, parse_size};
use model::tries::Tries;
use proptest::prelude::*;

/// The bytes of each unit.
const UNITS: [(&str, u64); 5] = [("", 1), ("k", 1 << 10), ("m", 1 << 20), ("g", 1 << 30), ("t", 1 << 40)];

const LONGEST_WAIT: Duration = Duration::from_mins(15);

/// Returns the smallest and the largest number of tenths of a byte that a text such as `1.5 KiB` stands for.
fn range(shown: &str) -> Option<(u128, u128)> {
    let (number, unit) = shown.split_once(' ')?;
    let Some(place) = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"].iter().position(|name| *name == unit) else {
        let count = number.parse::<u128>().ok()? * 10;
        return Some((count, count + 10));
    };
    let (whole, tenth) = number.split_once('.')?;
    let tenths = whole.parse::<u128>().ok()? * 10 + tenth.parse::<u128>().ok()?;
    let unit = 1_u128 << (10 * (place + 1));
    Some((tenths * unit, (tenths + 1) * unit))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_size_is_its_number_times_its_unit(count in prop_oneof![0..2000_u64, any::<u64>()], unit in 0..5_usize, end in 0..3_usize, is_upper in any::<bool>()) {
        let (letter, factor) = UNITS[unit];
        let end = match (letter, end) {
            ("", 0 | 2) | (_, 0) => "",
            (_, 1) => "b",
            _ => "ib",
        };
        let text = format!(" {count}{letter}{end}\n");
        let text = if is_upper { text.to_ascii_uppercase() } else { text };
        prop_assert_eq!(parse_size(&text), count.checked_mul(factor), "{:?}", text);
    }

    #[test]
    fn what_is_no_size_is_none(text in prop_oneof![any::<String>(), "[0-9kmgtib. +-]{0,8}"]) {
        if parse_size(&text).is_some() {
            let digits = text.trim().trim_end_matches(|letter: char| !letter.is_ascii_digit());
            prop_assert!(digits.trim_start_matches('+').bytes().all(|byte| byte.is_ascii_digit()), "{:?}", text);
        }
    }

    #[test]
    fn a_shown_size_is_rounded_down_to_a_tenth(shift in 0..64_u32, noise in any::<u64>()) {
        let count = noise >> shift;
        let shown = bytes(count);
        let (least, most) = range(&shown).expect("a size has a number and a unit");
        let tenths = u128::from(count) * 10;
        prop_assert!(least <= tenths && tenths < most, "{} {}", count, shown);
    }

    #[test]
    fn suggestions_are_names_and_the_name_itself_comes_first(
        names in proptest::collection::btree_set("[a-cA-C/]{1,6}", 0..12), asked in "[a-cA-C/é]{0,6}", most in 0..5_usize
    ) {
        let listed = || names.iter().map(String::as_str);
        let found = near(&asked, listed(), most);
        prop_assert!(found.len() <= most && found.iter().all(|name| names.contains(*name)));
        let mut unique = found.clone();
        unique.sort_unstable();
        unique.dedup();
        prop_assert_eq!(unique.len(), found.len());
        let reversed: Vec<&str> = listed().collect::<Vec<_>>().into_iter().rev().collect();
        prop_assert_eq!(&near(&asked, reversed, most), &found, "the order of the names does not matter");
        let is_listed = names.iter().any(|name| name.eq_ignore_ascii_case(&asked));
        if is_listed && most > 0 {
            prop_assert!(found[0].eq_ignore_ascii_case(&asked), "{:?} {:?}", asked, found);
        }
        let more = near(&asked, listed(), most + 1);
        prop_assert!(more.starts_with(&found), "a longer list begins with the shorter one");
    }

    #[test]
    fn waits_grow_up_to_a_limit_and_end(gaps in proptest::collection::vec(0..2000_u64, 0..30)) {
        let mut tries = Tries::default();
        let mut now = Duration::ZERO;
        let mut longest = Duration::ZERO;
        for (wrong, gap) in (1..).zip(gaps) {
            now += Duration::from_secs(gap);
            tries.was_wrong(now);
            let wait = tries.wait(now).unwrap_or_default();
            prop_assert_eq!(wait.is_zero(), wrong < 5, "{} wrong guesses: {:?}", wrong, wait);
            prop_assert!(wait >= longest && wait <= LONGEST_WAIT);
            prop_assert!(wrong < 12 || wait == LONGEST_WAIT);
            longest = wait;
            prop_assert_eq!(tries.wait(now + wait), None, "a wait ends");
            if !wait.is_zero() {
                let moment = Duration::from_nanos(1);
                prop_assert_eq!(tries.wait(now + wait.saturating_sub(moment)), Some(moment));
            }
        }
        tries.was_right();
        prop_assert_eq!((tries.wait(now), tries), (None, Tries::default()));
    }
}
