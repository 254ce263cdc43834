//! Values that people type, with any text: what is accepted is safe and stays the same, and no error repeats a secret.

use std::fmt::Display;

use model::ids::{EnvironmentId, ObjectId, TaskId};
use model::names::{BranchName, Prompt, RefName, RepositoryUrl, Setting, TITLE_LIMIT_BYTES, Title, VariableName};
use model::problem::Problem;
use model::sources::BranchPattern;
use proptest::prelude::*;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Generates text that consists of parts with a meaning.
fn text() -> impl Strategy<Value = String> {
    let part = proptest::sample::select(vec![
        "main",
        "release",
        "codex/",
        "refs/heads/",
        "HEAD",
        "@",
        "@{",
        "~",
        "^",
        ":",
        "::",
        "?",
        "*",
        "[",
        "\\",
        "/",
        "//",
        ".",
        "..",
        ".lock",
        ".LOCK",
        "-",
        "--",
        " ",
        "\t",
        "\n",
        "\r",
        "\0",
        "\u{1b}[31m",
        "\u{7f}",
        "\u{85}",
        "\u{a0}",
        "\u{202e}",
        "\u{2028}",
        "é",
        "🦀",
        "0",
        "a",
        "_",
        "https://",
        "ssh://",
        "file://",
        "git@host:",
        "host",
        "user:pw@",
        ".git",
        "%2e",
        "=",
        "$(x)",
        "`",
    ]);
    let soup = proptest::collection::vec(part, 0..7).prop_map(|parts| parts.concat());
    prop_oneof![4 => soup, 1 => any::<String>(), 1 => "[ -~]{0,40}"]
}

/// Checks what holds for every value: it is the same when it is read again, and an error is short and printable.
fn check<T>(text: &str, parsed: Result<T, Problem>, again: fn(&str) -> Result<T, Problem>) -> Option<String>
where
    T: Display + Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    match parsed {
        Ok(value) => {
            let shown = value.to_string();
            assert_eq!(again(&shown).as_ref(), Ok(&value), "{text:?} is read as it is written");
            let json = serde_json::to_string(&value).expect("the value can be serialized");
            assert_eq!(serde_json::from_str::<T>(&json).ok().as_ref(), Some(&value), "{text:?} is read from a file");
            Some(shown)
        }
        Err(problem) => {
            let message = &problem.report.message;
            assert!(!message.is_empty() && message.chars().count() < 400, "{message:?}");
            assert!(!message.chars().any(char::is_control), "{message:?}");
            None
        }
    }
}

/// Whether a program could take the value for an option, or a terminal for a control sequence.
fn is_dangerous(value: &str) -> bool {
    value.starts_with('-') || value.is_empty() || value.chars().any(char::is_control)
}

/// Whether a star in the pattern can stand for some letters, none of which is a slash, so that both are equal.
fn stands_for(pattern: &[u8], name: &[u8]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        ([b'*', pattern @ ..], _) if stands_for(pattern, name) => true,
        ([b'*', ..], [letter, name @ ..]) if *letter != b'/' => stands_for(pattern, name),
        ([one, pattern @ ..], [other, name @ ..]) if one == other && *one != b'*' => stands_for(pattern, name),
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn names_of_branches_and_refs_are_safe_arguments(text in text()) {
        if let Some(name) = check(&text, BranchName::parse(&text), BranchName::parse) {
            prop_assert!(!is_dangerous(&name) && name != "HEAD" && !name.starts_with("refs/heads/"), "{:?}", name);
            prop_assert!(RefName::parse(&name).is_ok(), "{:?}", name);
        }
        if let Some(name) = check(&text, RefName::parse(&text), RefName::parse) {
            prop_assert!(!is_dangerous(&name), "{:?}", name);
            let never = [" ", "..", "~", "^", ":", "?", "*", "[", "\\", "@{", "//", "/."];
            prop_assert!(!never.iter().any(|part| name.contains(part)), "{:?}", name);
            prop_assert!(!name.to_ascii_lowercase().ends_with(".lock") && !name.ends_with(['.', '/']), "{:?}", name);
        }
    }

    #[test]
    fn urls_run_no_program_and_contain_no_password(text in text()) {
        if let Some(url) = check(&text, RepositoryUrl::parse(&text), RepositoryUrl::parse) {
            prop_assert!(!is_dangerous(&url), "{:?}", url);
            prop_assert!(url.starts_with('/') || url.contains("://") || !url.contains("::"), "{:?}", url);
            if let Some((_, rest)) = url.split_once("://").filter(|_| !url.starts_with('/')) {
                let authority = rest.split('/').next().unwrap_or(rest);
                let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
                prop_assert!(!user.contains(':'), "{:?}", url);
            }
            let url = RepositoryUrl::parse(&url).expect("the URL is valid");
            prop_assert!(!url.repository_name().is_empty());
            let host = url.host().unwrap_or("host");
            prop_assert!(!is_dangerous(host) && !host.contains(['/', '@']), "{:?}", url);
            let title = Title::of_repository(&url);
            prop_assert_eq!(Title::parse(title.as_str()), Ok(title));
        }
    }

    #[test]
    fn titles_and_settings_are_one_safe_line(text in text()) {
        if let Some(title) = check(&text, Title::parse(&text), Title::parse) {
            prop_assert!(title.trim() == title && title.len() <= TITLE_LIMIT_BYTES && !title.chars().any(char::is_control));
        }
        if let Some(setting) = check(&text, Setting::parse(&text), Setting::parse) {
            prop_assert!(!is_dangerous(&setting) && setting.is_ascii() && setting == text, "{:?}", setting);
        }
        if let Some(name) = check(&text, VariableName::parse(&text), VariableName::parse) {
            prop_assert!(!is_dangerous(&name) && !name.contains(['=', '\0', ' ']) && name == text, "{:?}", name);
        }
    }

    #[test]
    fn a_pattern_matches_what_its_stars_may_stand_for(pattern in "[ab*/]{1,8}", branch in "[ab/]{1,8}", text in text()) {
        if let Ok(pattern) = BranchPattern::parse(&pattern) {
            let expected = stands_for(pattern.as_str().as_bytes(), branch.as_bytes());
            prop_assert_eq!(pattern.matches(&branch), expected, "{:?} {:?}", pattern, branch);
        }
        if let Ok(pattern) = BranchPattern::parse(&text) {
            prop_assert!(!is_dangerous(pattern.as_str()), "{:?}", pattern);
            prop_assert!(!pattern.matches("codex/0189") && !pattern.matches("codex"), "{:?}", pattern);
            prop_assert_eq!(BranchPattern::parse(pattern.as_str()), Ok(pattern));
        }
    }

    #[test]
    fn ids_have_one_spelling(text in prop_oneof![text(), "[0-9a-fA-F-]{36}", "[0-9a-f]{40}", "[0-9a-fA-F]{39,41}"]) {
        if let Ok(id) = text.parse::<TaskId>() {
            prop_assert_eq!(id.to_string(), text.as_str());
        }
        if let Ok(id) = text.parse::<EnvironmentId>() {
            prop_assert_eq!(id.to_string(), text.as_str());
        }
        if let Ok(id) = text.parse::<ObjectId>() {
            prop_assert_eq!(id.as_str(), text.as_str());
            prop_assert!(text.starts_with(id.short()));
        }
    }

    #[test]
    fn every_prompt_has_a_title(text in prop_oneof![text(), "\\PC{0,300}", "(?s).{0,300}"]) {
        if let Ok(prompt) = Prompt::parse(&text) {
            prop_assert_eq!(prompt.as_str(), text.as_str());
            let title = Title::of_prompt(&prompt);
            prop_assert_eq!(Title::parse(title.as_str()), Ok(title.clone()), "{:?}", text);
            prop_assert!(title.as_str().chars().count() <= 60);
            let start = title.as_str().trim_end_matches('…');
            let printable: String = text.chars().filter(|c| !c.is_control()).collect();
            prop_assert!(title.as_str() == "untitled" || printable.contains(start), "{:?} {:?}", title, text);
        } else {
            prop_assert!(text.trim().is_empty() || text.contains('\0'), "{:?}", text);
        }
    }

    #[test]
    fn no_error_repeats_a_secret(
        scheme in proptest::sample::select(vec!["https://", "http://", "ssh://", "git://", "ftp://", "ext::", "HTTPS://", "-https://"]),
        user in proptest::sample::select(vec!["me:hunter2@", "me:hunter2@me:hunter2@", "me:x@hunter2@", ":hunter2@", "ghp_hunter2@"]),
        host in proptest::sample::select(vec!["host", "", "-host", "host%2e", "host:1", "h\nost", "host\\"]),
        path in proptest::sample::select(vec!["/owner/repo", "", "/", "/a\u{1b}b", "/owner/repo?key=hunter2", "?key=hunter2"]),
    ) {
        let url = format!("{scheme}{user}{host}{path}");
        // In an ssh URL, this is the name of an account. It is sent without encryption to no one else.
        let is_account = user.starts_with("ghp_") && !scheme.starts_with("http");
        match RepositoryUrl::parse(&url) {
            Ok(accepted) => prop_assert!(is_account, "{}", accepted),
            Err(problem) => prop_assert!(!format!("{problem:?}").contains("hunter2"), "{} {:?}", url, problem),
        }
        if let Err(problem) = RepositoryUrl::parse_new(&url) {
            prop_assert!(!format!("{problem:?}").contains("hunter2"), "{} {:?}", url, problem);
        }
    }

    #[test]
    fn the_parts_of_a_url_are_found(
        scheme in proptest::sample::select(vec!["https", "http", "ssh", "git"]), user in "(?:[a-z]{1,8}@)?", host in "[a-z][a-z0-9.]{0,12}",
        port in proptest::option::of(any::<u16>()), owner in "[a-z0-9_]{1,8}", name in "[a-z0-9_]{1,8}", end in "(?:\\.git)?/{0,2}"
    ) {
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        let url = RepositoryUrl::parse(&format!("{scheme}://{user}{host}{port}/{owner}/{name}{end}")).expect("the URL is valid");
        prop_assert_eq!(url.host(), Some(host.as_str()));
        prop_assert_eq!(url.repository_name(), name.as_str());
        let path = format!("{owner}/{name}{}", end.trim_end_matches('/'));
        prop_assert_eq!(url.project_path(), Some(path.as_str()));
        let scp = RepositoryUrl::parse(&format!("{user}{host}:{owner}/{name}{end}")).expect("the URL is valid");
        prop_assert_eq!((scp.host(), scp.project_path()), (Some(host.as_str()), Some(path.as_str())));
        let local = RepositoryUrl::parse(&format!("/{owner}/{name}{end}")).expect("the path is valid");
        prop_assert_eq!((local.host(), local.project_path(), local.repository_name()), (None, None, name.as_str()));
    }
}
