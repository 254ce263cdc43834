//! Parses a line of the log.
//!
//! [`CodexEvent::parse`] is total: it never fails or panics. Unknown JSON becomes `Unknown`, and a line that is not JSON becomes
//! `Note`. If a newer Codex or a worker prints other text, only the meaning of those lines is lost.

use serde_json::{Map, Value};

use super::item::Item;
use super::usage::UsageReport;

/// The meaning of a line of a run's stdout.
#[derive(Debug, Clone, PartialEq)]
pub enum CodexEvent {
    /// Codex reported the thread's ID. In a resumed run, it should be the requested ID, but Codex may silently start a new thread.
    ThreadStarted {
        /// The ID as Codex wrote it, which is a UUID in practice.
        thread_id: String,
    },
    /// The agent started to work. From now on, the thread can be resumed.
    TurnStarted,
    /// The agent finished its turn. Its commands may still have failed.
    TurnCompleted {
        /// The token usage, or `None` if the line has no readable figures. In either case, the turn is complete.
        usage: Option<UsageReport>,
    },
    /// The turn failed.
    TurnFailed {
        /// Codex's message, which may be empty.
        message: String,
    },
    /// A problem that Codex may still recover from ("Reconnecting… 1/5"). It does not end a turn.
    Error {
        /// Codex's message.
        message: String,
    },
    /// An item started.
    ItemStarted(Item),
    /// The state of an item changed. Currently, Codex reports this only for plans.
    ItemUpdated(Item),
    /// An item ended, or a message is complete.
    ItemCompleted(Item),
    /// Valid JSON of an unknown kind.
    Unknown(Value),
    /// A line that is not JSON, such as a banner of the worker. Invalid UTF-8 is replaced. A blank line is an empty note.
    Note(String),
}

impl CodexEvent {
    /// Parses a line, with or without its line ending.
    ///
    /// JSON nested deeper than 128 levels or with numbers beyond `f64` does not count as JSON and becomes a `Note`.
    pub fn parse(line: &[u8]) -> Self {
        let line = line.trim_ascii_end();
        if !matches!(line.trim_ascii_start().first(), Some(b'{' | b'[' | b'"' | b'-' | b'0'..=b'9' | b't' | b'f' | b'n')) {
            return Self::note(line);
        }
        // Parse to `Value` first: `web_search` items contain the key `id` twice, which a derived parser rejects.
        match serde_json::from_slice(line) {
            Ok(Value::Object(object)) => Self::understand(object),
            Ok(value) => Self::Unknown(value),
            Err(_not_json) => Self::note(line),
        }
    }

    fn note(line: &[u8]) -> Self {
        Self::Note(String::from_utf8_lossy(line).into_owned())
    }

    fn understand(mut object: Map<String, Value>) -> Self {
        match object.get("type").and_then(Value::as_str) {
            Some("thread.started") => match object.get_mut("thread_id") {
                Some(Value::String(thread_id)) => Self::ThreadStarted { thread_id: std::mem::take(thread_id) },
                Some(_) | None => Self::Unknown(Value::Object(object)),
            },
            Some("turn.started") => Self::TurnStarted,
            Some("turn.completed") => Self::TurnCompleted { usage: object.get("usage").and_then(UsageReport::read) },
            Some("turn.failed") => Self::TurnFailed { message: failure_message(&object) },
            Some("error") => match object.get_mut("message") {
                Some(Value::String(message)) => Self::Error { message: std::mem::take(message) },
                Some(_) | None => Self::Unknown(Value::Object(object)),
            },
            Some("item.started") => Self::with_item(object, Self::ItemStarted),
            Some("item.updated") => Self::with_item(object, Self::ItemUpdated),
            Some("item.completed") => Self::with_item(object, Self::ItemCompleted),
            Some(_) | None => Self::Unknown(Value::Object(object)),
        }
    }

    fn with_item(mut object: Map<String, Value>, event: fn(Item) -> Self) -> Self {
        match object.get_mut("item") {
            Some(Value::Object(item)) => event(Item::understand(std::mem::take(item))),
            Some(_) | None => Self::Unknown(Value::Object(object)),
        }
    }
}

/// Returns the reason of a `turn.failed` event: `error.message`, or else an `error` or `message` that is plain text.
fn failure_message(object: &Map<String, Value>) -> String {
    let error = object.get("error");
    let reasons = [error.and_then(|error| error.get("message")), error, object.get("message")];
    reasons.into_iter().flatten().find_map(Value::as_str).unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_line_that_is_not_json_is_a_note() {
        for (line, note) in [
            (&b"Starting container codex-1 ..."[..], "Starting container codex-1 ..."),
            (b"{\"type\":\"turn.started\"", "{\"type\":\"turn.started\""),
            (b"not json", "not json"),
            (b"bad \xff bytes\r\n", "bad \u{fffd} bytes"),
            (b"", ""),
            (b"  \r\n", ""),
        ] {
            assert_eq!(CodexEvent::parse(line), CodexEvent::Note(note.to_owned()));
        }
    }

    #[test]
    fn json_of_another_shape_is_kept_whole() {
        for value in [
            json!(7),
            json!(["turn.started"]),
            json!({"type": "turn.paused", "why": 1}),
            json!({"type": 3}),
            json!({"type": "thread.started"}),
            json!({"type": "thread.started", "thread_id": 7}),
            json!({"type": "error", "text": "?"}),
            json!({"type": "item.completed", "item": "none"}),
            json!({"type": "item.started"}),
        ] {
            assert_eq!(CodexEvent::parse(value.to_string().as_bytes()), CodexEvent::Unknown(value));
        }
    }

    #[test]
    fn extra_fields_and_line_endings_do_not_matter() {
        assert_eq!(CodexEvent::parse(b" {\"type\":\"turn.started\",\"new\":{}} \r\n"), CodexEvent::TurnStarted);
    }

    #[test]
    fn a_turn_that_ends_without_readable_details_has_ended_all_the_same() {
        for line in ["{\"type\":\"turn.completed\"}", "{\"type\":\"turn.completed\",\"usage\":{\"input_tokens\":-1}}"] {
            assert_eq!(CodexEvent::parse(line.as_bytes()), CodexEvent::TurnCompleted { usage: None });
        }
        for (line, message) in [
            ("{\"type\":\"turn.failed\"}", ""),
            ("{\"type\":\"turn.failed\",\"error\":\"plain\"}", "plain"),
            ("{\"type\":\"turn.failed\",\"error\":{\"message\":\"inner\"}}", "inner"),
        ] {
            assert_eq!(CodexEvent::parse(line.as_bytes()), CodexEvent::TurnFailed { message: message.to_owned() });
        }
    }

    #[test]
    fn json_that_is_nested_too_deep_is_a_note() {
        let line = "[".repeat(100_000);
        assert_eq!(CodexEvent::parse(line.as_bytes()), CodexEvent::Note(line));
    }
}
