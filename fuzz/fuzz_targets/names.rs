//! Fuzzes the values that people type and that other programs answer: URLs, branches, refs, prompts, titles, settings, variables and
//! IDs. A value must be safe to pass to a program, and a record with it must be readable again.
//!
//! The whole input is parsed as each kind of value. The part after the first newline is a branch that a pattern may match.

#![no_main]

use libfuzzer_sys::fuzz_target;
use model::forge::{ApiUrl, ProjectPath};
use model::ids::{ObjectId, TaskId};
use model::names::{
    BranchName, PROMPT_LIMIT_BYTES, Prompt, RefName, RepositoryUrl, Setting, TITLE_LIMIT_BYTES, Title, VariableName,
};
use model::sources::BranchPattern;
use serde::Serialize;
use serde::de::DeserializeOwned;

fuzz_target!(|text: &str| {
    url(text);
    branch(text);
    prompt(text);
    if let Ok(setting) = Setting::parse(text) {
        is_argument(setting.as_str());
        survives(&setting);
    }
    if let Ok(name) = VariableName::parse(text) {
        assert!(!name.as_str().contains('=') && !name.as_str().starts_with(|c: char| c.is_ascii_digit()));
        survives(&name);
    }
    if let Ok(id) = text.parse::<TaskId>() {
        assert_eq!(id.to_string().parse::<TaskId>().as_ref(), Ok(&id));
    }
    if let Ok(id) = text.parse::<ObjectId>() {
        assert_eq!(id.as_str(), text);
    }
    if let Ok(path) = ProjectPath::parse(text) {
        assert!(path.as_str().split('/').all(|part| !part.is_empty() && !part.starts_with(['.', '-'])), "{path:?}");
        survives(&path);
    }
    if let Ok(url) = ApiUrl::parse(text) {
        let plain = url.as_str().strip_prefix("http://").is_none_or(|rest| {
            ["localhost", "127.0.0.1", "[::1]"]
                .iter()
                .any(|host| rest.strip_prefix(host).is_some_and(|rest| rest.is_empty() || rest.starts_with([':', '/'])))
        });
        assert!(plain && !url.as_str().contains(char::is_whitespace), "{url:?}");
        survives(&url);
    }
});

/// A value that is written to a record and read again is the same.
fn survives<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(value: &T) {
    let written = serde_json::to_string(value).expect("a value can be written");
    let read: T = serde_json::from_str(&written).unwrap_or_else(|error| panic!("{written}: {error}"));
    assert_eq!(&read, value);
}

/// Programs do not mistake the text for an option, and it has no control characters.
fn is_argument(text: &str) {
    assert!(!text.is_empty() && !text.starts_with('-') && !text.contains(char::is_control), "{text:?}");
}

fn url(text: &str) {
    match RepositoryUrl::parse(text) {
        Ok(url) => {
            is_argument(url.as_str());
            survives(&url);
            let host = url.host().unwrap_or_default();
            assert!(
                !host.starts_with('-') && !host.contains(['@', '/', '?', '#', '\\']) || !url.as_str().contains("://"),
                "{url:?}"
            );
            assert!(!url.repository_name().is_empty() && !url.repository_name().contains('/'));
            if let Some((scheme, rest)) = url.as_str().split_once("://") {
                let authority = rest.split('/').next().unwrap_or_default();
                let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
                assert!(url.as_str().starts_with('/') || !user.contains(':'), "{scheme} {url:?}");
            }
            if let Ok(new) = RepositoryUrl::parse_new(text) {
                assert_eq!(new, url);
            }
        }
        Err(problem) => {
            // The message is shown in terminals and logs.
            assert!(!problem.report.message.contains(char::is_control), "{problem:?}");
            if let Some((user, _)) = text.trim().split_once("://").and_then(|(_, rest)| rest.split('/').next()?.rsplit_once('@'))
                && let Some((_, password)) = user.split_once(':')
                && password.len() > 20
                && problem.report.code == model::ErrorCode::UrlHasCredentials
            {
                assert!(!format!("{problem:?}").contains(password), "{problem:?}");
            }
        }
    }
}

fn branch(text: &str) {
    if let Ok(name) = RefName::parse(text) {
        is_argument(name.as_str());
        is_ref(name.as_str());
        survives(&name);
    }
    if let Ok(name) = BranchName::parse(text) {
        is_argument(name.as_str());
        is_ref(name.as_str());
        assert_ne!(name.as_str(), "HEAD");
        survives(&name);
        assert_eq!(RefName::parse(name.as_str()), Ok(name.into()));
    }
    let (pattern, branch) = text.split_once('\n').unwrap_or((text, text));
    if let Ok(pattern) = BranchPattern::parse(pattern) {
        is_argument(pattern.as_str());
        survives(&pattern);
        assert!(!pattern.matches("codex/x") && !pattern.matches("codex"));
        let is_task = branch == "codex" || branch.starts_with("codex/");
        assert_eq!(
            pattern.matches(branch),
            !is_task && glob(pattern.as_str().as_bytes(), branch.as_bytes()),
            "{pattern:?} {branch:?}"
        );
    }
}

/// Describes the names that `git check-ref-format` accepts.
fn is_ref(name: &str) {
    let has = ["..", "//", "@{", " ", "~", "^", ":", "?", "*", "[", "\\"].iter().find(|part| name.contains(**part));
    assert_eq!(has, None, "{name:?}");
    assert!(!name.starts_with('/') && !name.ends_with(['/', '.']) && name != "@", "{name:?}");
    assert!(name.split('/').all(|part| !part.starts_with('.') && !part.ends_with(".lock")), "{name:?}");
}

/// Describes how a pattern matches: `*` stands for any characters except `/`.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    // Whether the pattern up to each position matches the text so far.
    let mut matched = vec![false; text.len() + 1];
    matched[0] = true;
    for part in pattern {
        let mut next = vec![false; text.len() + 1];
        for at in 0..=text.len() {
            next[at] = if *part == b'*' {
                matched[at] || at > 0 && next[at - 1] && text[at - 1] != b'/'
            } else {
                at > 0 && matched[at - 1] && text[at - 1] == *part
            };
        }
        matched = next;
    }
    matched[text.len()]
}

fn prompt(text: &str) {
    if let Ok(prompt) = Prompt::parse(text) {
        assert!(prompt.as_str() == text && text.len() <= PROMPT_LIMIT_BYTES);
        for limit in [1, 7, 60] {
            let line = prompt.first_line(limit);
            assert!(line.chars().count() <= limit && !line.contains(char::is_control), "{line:?}");
        }
        let title = Title::of_prompt(&prompt);
        assert!(title.as_str().len() <= TITLE_LIMIT_BYTES && !title.as_str().trim().is_empty(), "{title:?}");
        survives(&prompt);
        survives(&title);
    }
    if let Ok(title) = Title::parse(text) {
        assert!(!title.as_str().contains(char::is_control));
        survives(&title);
    }
}
