//! Checks that `LOGGING.md` lists every field and message of the product's log.
//!
//! Pure: source code and a document in, complaints out. It also finds entries in the document that no code uses.

use std::collections::BTreeMap;

/// The document that lists fields and messages.
pub(super) const DOCUMENT: &str = "LOGGING.md";

/// The macros that log an event, each with the name of its level in the document.
const MACROS: [(&str, &str); 5] = [
    ("tracing::trace!(", "TRACE"),
    ("tracing::debug!(", "DEBUG"),
    ("tracing::info!(", "INFO"),
    ("tracing::warn!(", "WARN"),
    ("tracing::error!(", "ERROR"),
];

/// The fields that every event has.
const COMMON: [&str; 4] = ["timestamp", "level", "target", "message"];

/// An event in the source code.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Event {
    level: &'static str,
    fields: Vec<String>,
    /// The message, unless it is only known at run time.
    message: Option<String>,
}

/// Whether the log of the product contains the events of a file.
pub(super) fn is_product(file: &str) -> bool {
    let is_tool = ["crates/testkit/", "crates/scripted-model/"].iter().any(|folder| file.starts_with(folder));
    file.starts_with("crates/") && !is_tool
}

/// Finds the events that `source` logs.
pub(super) fn events(source: &str) -> Vec<Event> {
    let mut found = Vec::new();
    for (start, level) in MACROS {
        for (at, _) in source.match_indices(start) {
            found.push(event(level, arguments(&source[at + start.len()..])));
        }
    }
    found
}

/// Compares the events of all files with the document.
pub(super) fn complaints(document: &str, events: &[Event]) -> Vec<String> {
    let mut fields: BTreeMap<String, bool> = COMMON.iter().map(|name| ((*name).to_owned(), true)).collect();
    let mut messages: BTreeMap<String, bool> = BTreeMap::new();
    let mut complaints = Vec::new();
    for event in events {
        let hidden = event.fields.iter().filter(|name| COMMON.contains(&name.as_str()));
        complaints.extend(hidden.map(|name| format!(": an event must not have its own field `{name}`")));
        fields.extend(event.fields.iter().filter(|name| !COMMON.contains(&name.as_str())).map(|name| (name.clone(), false)));
        messages.extend(event.message.iter().map(|text| (format!("{text} | {}", event.level), false)));
    }
    for line in document.lines() {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [_, first, second, ..] = cells[..] else { continue };
        let (known, name) = if ["string", "number"].contains(&second) {
            (&mut fields, first.trim_matches('`').to_owned())
        } else if MACROS.iter().any(|(_, level)| *level == second) && !first.starts_with('`') {
            (&mut messages, format!("{first} | {second}"))
        } else {
            continue;
        };
        match known.get_mut(&name) {
            Some(is_listed) => *is_listed = true,
            None => complaints.push(format!(": no code logs `{name}`")),
        }
    }
    let missing = |kind: &str, names: BTreeMap<String, bool>| -> Vec<String> {
        let names = names.into_iter().filter(|(_, is_listed)| !is_listed);
        names.map(|(name, _)| format!(": does not list the {kind} `{name}`")).collect()
    };
    complaints.extend(missing("field", fields));
    complaints.extend(missing("message", messages));
    complaints
}

/// Splits the arguments of a macro at its commas. The text starts after the opening bracket.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut is_string, mut is_escaped, mut start) = (0, false, false, 0);
    let mut found = Vec::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_string => is_escaped = true,
            b'"' => is_string = !is_string,
            _ if is_string => {}
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' if depth > 0 => depth -= 1,
            b')' => {
                found.push(text[start..at].trim());
                break;
            }
            b',' if depth == 0 => {
                found.push(text[start..at].trim());
                start = at + 1;
            }
            _ => {}
        }
    }
    found.retain(|argument| !argument.is_empty());
    found
}

fn event(level: &'static str, arguments: Vec<&str>) -> Event {
    let mut event = Event { level, fields: vec![], message: None };
    for argument in arguments {
        if let Some(text) = argument.strip_prefix('"') {
            let text = text.trim_end_matches('"');
            event.message = (!text.contains('{')).then(|| text.to_owned());
        } else {
            let name = argument.split_once(" = ").map_or(argument, |(name, _)| name);
            event.fields.push(name.trim_start_matches(['%', '?']).to_owned());
        }
    }
    event
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = "| `level` | string | severity |\n| `task` | string | task ID |\n| run finished | INFO | Nothing. |\n";

    #[test]
    fn fields_and_messages_are_found_in_calls() {
        let source = "tracing::warn!(task = %slot.id, ?removed, path = f(a, \"x, y\"), \"removed (stale) locks\");\n\
                      tracing::error!(%error, \"{what}\");";
        let expect = [
            Event {
                level: "WARN",
                fields: ["task", "removed", "path"].map(str::to_owned).to_vec(),
                message: Some("removed (stale) locks".to_owned()),
            },
            Event { level: "ERROR", fields: vec!["error".to_owned()], message: None },
        ];
        assert_eq!(events(source), expect);
    }

    #[test]
    fn the_document_and_the_code_must_list_the_same() {
        let check = |source: &str, expect: &[&str]| {
            let found = complaints(&(DOCUMENT.to_owned() + "| `timestamp` | string | |\n"), &events(source));
            assert_eq!(found, expect, "{source}");
        };
        check("tracing::info!(%task, \"run finished\")", &[]);
        check(
            "tracing::warn!(%task, \"run finished\")",
            &[": no code logs `run finished | INFO`", ": does not list the message `run finished | WARN`"],
        );
        check("tracing::info!(%task, run, \"run finished\")", &[": does not list the field `run`"]);
        check("tracing::info!(%task, message = \"x\", \"run finished\")", &[": an event must not have its own field `message`"]);
        check("tracing::info!(\"run finished\")", &[": no code logs `task`"]);
    }
}
