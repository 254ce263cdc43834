//! Parses YAML as JSON whose scalars are all texts, so that the version `3.10` stays `3.10`.
//!
//! Invariant: the result is at most as large as the text. Aliases, which could multiply it, are not supported.

use granit_parser::{Event, Parser};
use serde_json::{Map, Value};

/// Parses the first document, whose top level is a mapping. `None` means that it has another form, or that it uses aliases.
pub(super) fn mapping(text: &str) -> Option<Value> {
    let mut open: Vec<Open> = Vec::new();
    for event in Parser::new_from_str(text) {
        let (event, _) = event.ok()?;
        let finished = match event {
            Event::Scalar(text, ..) => Value::String(text.into_owned()),
            Event::SequenceStart(..) => {
                open.push(Open::Sequence(Vec::new()));
                continue;
            }
            Event::MappingStart(..) => {
                open.push(Open::Mapping(Map::new(), None));
                continue;
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop()?.closed(),
            Event::Alias(_) => return None,
            _ => continue,
        };
        match open.last_mut() {
            Some(outer) => outer.insert(finished)?,
            None => return finished.is_object().then_some(finished),
        }
    }
    None
}

/// A sequence or mapping that is not complete yet.
enum Open {
    Sequence(Vec<Value>),
    /// The entries, and the key of the next entry.
    Mapping(Map<String, Value>, Option<String>),
}

impl Open {
    fn insert(&mut self, value: Value) -> Option<()> {
        match self {
            Self::Sequence(items) => items.push(value),
            Self::Mapping(entries, key) => match key.take() {
                Some(key) => {
                    entries.insert(key, value);
                }
                None => match value {
                    Value::String(text) => *key = Some(text),
                    Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => return None,
                },
            },
        }
        Some(())
    }

    fn closed(self) -> Value {
        match self {
            Self::Sequence(items) => Value::Array(items),
            Self::Mapping(entries, _) => Value::Object(entries),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_are_texts() {
        let text = "a: 3.10\nb: [x, {c: true}]\nd: |\n  one\n  two\n\"e\": # comment\n  - f: ''\n";
        let expect = json!({"a": "3.10", "b": ["x", {"c": "true"}], "d": "one\ntwo\n", "e": [{"f": ""}]});
        assert_eq!(mapping(text), Some(expect));
    }

    #[test]
    fn other_forms_are_refused() {
        for text in
            ["", "a", "- a", "a: &x 1\nb: *x", "{[a]: b}", "a: [", "\t", "a: 'x", &"[".repeat(100_000), &"- ".repeat(100_000)]
        {
            assert_eq!(mapping(text), None, "{text}");
        }
    }
}
