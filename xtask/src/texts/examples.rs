//! Tests that the example of each error code is a message that the program can print.
//!
//! It compares the examples with the strings of the sources and never runs the program. A message of Codex or a model provider has
//! no string in the sources. Instead, the program must give a run that fails with this message the same code.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::Path;

use model::ErrorCode;
use model::codex::{Exit, JournalSummary, ProcessEnd, Verdict, classify};

use super::{lexer, walk};

/// A string with fewer letters outside of its placeholders is not a message: almost any text would match it.
const LETTERS: usize = 5;

/// A string with fewer letters outside of its placeholders is not recognized as a value within a message.
const LETTERS_OF_VALUES: usize = 3;

/// A string of the sources, split at its placeholders. Adjacent placeholders are one.
struct Template(Vec<String>);

impl Template {
    fn new(string: &str) -> Self {
        let mut parts = vec![String::new()];
        let mut after_placeholder = false;
        let mut rest = string;
        while let Some(next) = rest.chars().next() {
            let is_escaped = rest.starts_with("{{") || rest.starts_with("}}");
            let placeholder = (next == '{' && !is_escaped).then(|| rest.find('}')).flatten();
            if let Some(end) = placeholder {
                if !after_placeholder {
                    parts.push(String::new());
                }
                after_placeholder = true;
                rest = &rest[end + 1..];
            } else {
                parts.last_mut().expect("the list starts with a part").push(next);
                after_placeholder = false;
                rest = &rest[next.len_utf8() * if is_escaped { 2 } else { 1 }..];
            }
        }
        Self(parts)
    }

    fn letters(&self) -> usize {
        self.0.iter().flat_map(|part| part.chars()).filter(|c| c.is_alphabetic()).count()
    }

    /// Returns whether `text` is this string with a value for each placeholder.
    fn matches(&self, text: &str, is_value: &dyn Fn(&str) -> bool) -> bool {
        let [first, rest @ ..] = self.0.as_slice() else { return false };
        text.strip_prefix(first.as_str()).is_some_and(|text| matches_from(first, rest, text, is_value))
    }
}

/// Returns whether `text` is a value, the first of `parts`, another value, and so on. `before` is the part before `text`.
fn matches_from(before: &str, parts: &[String], text: &str, is_value: &dyn Fn(&str) -> bool) -> bool {
    let Some((next, rest)) = parts.split_first() else { return text.is_empty() };
    let is_quoted = before.ends_with('`') && next.starts_with('`');
    let fits = |value: &str| !value.is_empty() && (is_quoted || is_value(value));
    if rest.is_empty() {
        let Some(value) = text.strip_suffix(next.as_str()) else { return false };
        // A message may end with a cause, in the words of another program.
        let is_cause = next.is_empty() && !value.is_empty() && (before.ends_with(": ") || value.starts_with(": "));
        return is_cause || fits(value);
    }
    text.match_indices(next.as_str())
        .any(|(at, _)| fits(&text[..at]) && matches_from(next, rest, &text[at + next.len()..], is_value))
}

/// Returns whether `text` is a single word, apart from quoted values, or the exit status of a program.
fn is_plain(text: &str) -> bool {
    let outside: String = text.split('`').step_by(2).collect();
    let is_quoted_whole = text.matches('`').count().is_multiple_of(2);
    is_quoted_whole && outside.split_whitespace().count() <= 1 || text.starts_with("exit status: ")
}

/// Returns whether `text` is a single word or the start of a quoted value.
fn is_name(text: &str) -> bool {
    is_plain(text) || text.strip_prefix('`').is_some_and(|value| !value.contains('`'))
}

/// All strings of the product, except those in the catalogue of error codes.
struct Sources(Vec<Template>);

impl Sources {
    fn read(root: &Path) -> Self {
        let mut files = Vec::new();
        for name in super::product_crates(root) {
            walk(&root.join("crates").join(name).join("src"), &mut files).expect("the sources can be read");
        }
        let mut templates = Vec::new();
        for path in files {
            let file = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            if path.extension().is_some_and(|end| end == "rs") && !file.contains("/error_code/") {
                let content = std::fs::read_to_string(&path).expect("the file can be read");
                templates.extend(lexer::product_strings(&file, &content).iter().map(|string| Template::new(string)));
            }
        }
        Self(templates)
    }

    /// Returns whether a string of the sources, with values or other strings for its placeholders, is this message.
    ///
    /// A name may come before the message, and a cause after it. The program joins them with forms without letters, such as
    /// `{name}: {error}`.
    fn has_message(&self, text: &str) -> bool {
        let candidates = self.0.iter().filter(|template| template.0.iter().all(|part| text.contains(part.as_str())));
        let message = Message { candidates: candidates.collect(), values: RefCell::default() };
        let after_name = [": ", "` "].iter().filter_map(|end| text.split_once(end)).find(|(name, _)| is_name(name));
        let starts = [Some(text), after_name.map(|(_, rest)| rest)];
        starts.iter().flatten().any(|text| {
            let before_causes = text.match_indices(": ").map(|(at, _)| &text[..at]);
            before_causes.chain([*text]).any(|text| message.is_message(text))
        })
    }
}

/// The strings that a message can consist of, and the values that were looked up.
struct Message<'a> {
    candidates: Vec<&'a Template>,
    values: RefCell<HashMap<String, bool>>,
}

impl Message<'_> {
    fn is_message(&self, text: &str) -> bool {
        text.contains(' ') && self.matches(text, LETTERS)
    }

    fn matches(&self, text: &str, least_letters: usize) -> bool {
        let is_value = |value: &str| self.is_value(value);
        let mut long = self.candidates.iter().filter(|template| template.letters() >= least_letters);
        long.any(|template| template.matches(text, &is_value))
    }

    /// Returns whether a text is a word or a string of the sources. Each is shorter than the text that contains it.
    fn is_value(&self, text: &str) -> bool {
        if is_plain(text) {
            return true;
        }
        let known = self.values.borrow().get(text).copied();
        known.unwrap_or_else(|| {
            let is_value = self.matches(text, LETTERS_OF_VALUES);
            self.values.borrow_mut().insert(text.to_owned(), is_value);
            is_value
        })
    }
}

/// Returns whether a run fails with this code and message if the words come from Codex, a model provider or a container engine.
fn is_recognized(code: ErrorCode, message: &str) -> bool {
    let event = serde_json::json!({ "type": "turn.failed", "error": { "message": message } });
    let end = ProcessEnd { exit: Exit::Code(1), stop_requested: false, expected_thread: None };
    match classify(&JournalSummary::of(format!("{event}\n").as_bytes()), &end, "") {
        Verdict::Failed(report) => report.code == code && report.message == message && code != ErrorCode::TurnFailed,
        Verdict::Completed | Verdict::Stopped | Verdict::Interrupted(_) => false,
    }
}

#[test]
fn every_example_is_a_message_of_the_program() {
    let sources = Sources::read(crate::root());
    let is_message = |code: &ErrorCode| sources.has_message(code.example()) || is_recognized(*code, code.example());
    let wrong: Vec<_> = ErrorCode::ALL.iter().filter(|code| !is_message(code)).collect();
    let list: Vec<_> = wrong.iter().map(|code| format!("{code:?}: {}", code.example())).collect();
    assert!(list.is_empty(), "no message of the program matches these examples:\n{}", list.join("\n"));
}

#[test]
fn paraphrases_are_no_messages() {
    let sources = Sources::read(crate::root());
    let check = |text: &str, expect: bool| assert_eq!(sources.has_message(text), expect, "{text}");
    check("no task has the ID 0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5", true);
    check("there is no task with the ID 0198c2f0-7a31-7c52-9d0e-3f4b6a81c2d5", false);
    check("`nope` is not a task ID (a UUID)", true);
    check("`nope` is not the ID of a task", false);
    check("GitHub: the host is unreachable: no response within 30 s", true);
    check("GitHub: connecting to api.github.com did not work", false);
    check("could not build `x:1`: a command failed with exit code 7", true);
    check("could not do anything with this image: a command failed with exit code 7", false);
}

#[test]
fn placeholders_are_found_and_escaped_braces_are_text() {
    let parts = |string: &str| Template::new(string).0;
    assert_eq!(parts("a {b} c {}{d:?}"), ["a ", " c ", ""]);
    assert_eq!(parts("{{a}} {b}"), ["{a} ", ""]);
    assert_eq!(parts("{0}: x"), ["", ": x"]);
}
