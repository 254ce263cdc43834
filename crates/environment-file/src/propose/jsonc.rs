//! Parses JSON with comments and trailing commas, as editors write it.
//!
//! The text is made plain JSON first, in linear time. Text in quotes stays as it is.

use serde_json::Value;

/// Parses an object. `None` means that the text is something else.
pub(super) fn object(text: &str) -> Option<Value> {
    let value: Value = serde_json::from_str(&plain(text)).ok()?;
    value.is_object().then_some(value)
}

/// Removes comments, and commas before a closing bracket.
fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    // The position of a comma that only white space follows so far.
    let mut comma: Option<usize> = None;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '"' => string_length(rest),
            '/' if rest.starts_with("//") => {
                rest = rest.find('\n').map_or("", |end| &rest[end..]);
                continue;
            }
            '/' if rest.starts_with("/*") => {
                rest = rest[2..].find("*/").map_or("", |end| &rest[2 + end + 2..]);
                continue;
            }
            other => other.len_utf8(),
        };
        match next {
            ',' => comma = Some(plain.len()),
            '}' | ']' => {
                if let Some(at) = comma.take() {
                    plain.remove(at);
                }
            }
            space if space.is_ascii_whitespace() => {}
            _ => comma = None,
        }
        let (taken, after) = rest.split_at(length);
        plain.push_str(taken);
        rest = after;
    }
    plain
}

/// Returns the length of a text in quotes, which starts with one.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let is_end = *c == '"' && !is_escaped;
        is_escaped = *c == '\\' && !is_escaped;
        is_end
    });
    end.map_or(text.len(), |(at, _)| at + 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn comments_and_trailing_commas_are_ignored() {
        let text = r#"// first
            {
                "a": [1, 2, /* not last */], // "x"
                "b": "// no /* comment */, \"]", /* , */
                "c": {"d": "\\",},
            }"#;
        assert_eq!(object(text), Some(json!({"a": [1, 2], "b": "// no /* comment */, \"]", "c": {"d": "\\"}})));
    }

    #[test]
    fn other_text_is_no_object() {
        for text in ["", "[]", "{", "{\"a\"", "/*", "/", "{,,}", "{\"a\": 1,,}", "//", "\"\\", &"[".repeat(100_000)] {
            assert_eq!(object(text), None, "{text}");
        }
    }

    #[test]
    fn many_commas_are_removed_in_linear_time() {
        let text = format!("{{\"a\": [{}]}}", "[1,],".repeat(20_000));
        assert!(object(&text).is_some());
    }
}
