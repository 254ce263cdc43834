//! Tests the catalogue of error codes: every code is used and documented in the house style, and the JSON does not change.
//!
//! The first test reads the sources of all crates. Remove a code from the catalogue if no product code uses it.

#![expect(clippy::disallowed_methods, reason = "the tests read sources and documents")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use model::container::ContainerCheck;
use model::problem::{Problem, ProblemKind};
use model::queue::Blocker;
use model::{ErrorCode, Report};
use protocol::ProblemView;

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder exists") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Returns the names of all variants that product code outside the catalogue uses.
fn used() -> BTreeSet<String> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the crate is in a folder");
    let mut files = Vec::new();
    for entry in fs::read_dir(crates).expect("the crates can be listed") {
        let path = entry.expect("the crates can be listed").path();
        if !path.ends_with("scripted-model") && !path.ends_with("testkit") {
            sources(&path.join("src"), &mut files);
        }
    }
    let in_catalogue =
        |path: &PathBuf| path.components().any(|part| part.as_os_str().to_string_lossy().starts_with("error_code"));
    let mut used = BTreeSet::new();
    for path in files.iter().filter(|path| !in_catalogue(path)) {
        let text = fs::read_to_string(path).expect("the source file can be read");
        let product = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let names = product.split("ErrorCode::").skip(1);
        used.extend(names.map(|rest| rest.chars().take_while(char::is_ascii_alphanumeric).collect::<String>()));
    }
    used
}

#[test]
fn product_code_can_produce_every_code() {
    let used = used();
    let dead: Vec<_> = ErrorCode::ALL.iter().filter(|code| !used.contains(&format!("{code:?}"))).collect();
    assert!(dead.is_empty(), "no product code uses {dead:?}");
}

#[test]
fn every_code_is_documented_in_the_house_style() {
    for code in ErrorCode::ALL {
        let (name, meaning, example) = (code.as_str(), code.meaning(), code.example());
        assert!(name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'), "{name}");
        assert!(meaning.ends_with('.') && meaning.starts_with(|c: char| c.is_uppercase() || c == '`'), "{name}: {meaning}");
        assert!(!example.is_empty(), "{name} has no example");
        assert!(!code.advice().is_empty(), "{name} has no advice");
        for advice in code.advice() {
            let is_lower = advice.starts_with(|c: char| c.is_lowercase() || c == '`');
            assert!(is_lower && !advice.ends_with('.'), "{name}: {advice}");
        }
        assert_eq!(ErrorCode::parse(name), Some(*code));
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("the value can be serialized")
}

#[test]
fn the_json_of_every_report_stays_what_it_is() {
    let report = Report::new(ErrorCode::DiskLow, "no room").hint("make some");
    let bare = Report::new(ErrorCode::DiskLow, "no room");
    assert_eq!(json(&report), r#"{"code":"disk_low","message":"no room","hints":["make some"]}"#);
    assert_eq!(json(&bare), r#"{"code":"disk_low","message":"no room"}"#);
    assert_eq!(json(&Blocker::from(report.clone())), r#"{"code":"disk_low","detail":"no room","hints":["make some"]}"#);
    assert_eq!(json(&Blocker::from(bare.clone())), r#"{"code":"disk_low","detail":"no room"}"#);
    let check = ContainerCheck { problem: Some(bare.clone().into()), ..ContainerCheck::default() };
    assert_eq!(
        json(&check),
        r#"{"usable":false,"engine":null,"image":null,"problem":{"code":"disk_low","detail":"no room","hints":[]}}"#
    );
    let problem = Problem::new(ErrorCode::RunActive, "a run is active").hint("wait");
    assert_eq!(
        json(&ProblemView::from(&problem)),
        r#"{"type":"about:blank","title":"Conflict","status":409,"code":"run_active","detail":"a run is active","hints":["wait"]}"#
    );
}

#[test]
fn a_code_of_another_version_is_passed_on_unchanged() {
    for text in [r#"{"code":"of_a_later_version","message":"x"}"#, r#"{"code":"lost","message":"x","hints":["y"]}"#] {
        let report: Report = serde_json::from_str(text).expect("the report is valid");
        assert_eq!(
            (report.code.known(), serde_json::to_string(&report).expect("a report can be serialized").as_str()),
            (None, text)
        );
    }
}

#[test]
fn statuses_agree_with_the_kinds() {
    for code in ErrorCode::ALL {
        let all_are_errors = code.statuses().iter().all(|status| (400..600).contains(status));
        assert!(all_are_errors, "{code}");
    }
    assert_eq!(ErrorCode::PasswordRefused.statuses(), [401, 422]);
    assert_eq!(ErrorCode::NotJson.statuses(), [415]);
    assert_eq!(Problem::new(ErrorCode::NoSuchReceiver, "x").with_kind(ProblemKind::NotFound).kind.status(), 404);
}
