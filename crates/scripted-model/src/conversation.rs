//! Finds the position of a conversation in a request: the user's messages, and the tool outputs after the last message.
//!
//! The server keeps no state for this, because the client sends the whole history each time. Messages that Codex adds as the user
//! (environment, instructions, warnings) do not count.

use serde_json::Value;

/// The position of a thread in its script.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Conversation {
    /// The user's messages, oldest first.
    pub user_messages: Vec<String>,
    /// The number of batches of tool outputs after the last user message, which is the index of the next step.
    pub step: usize,
}

impl Conversation {
    /// Reads the `input` of a request. Unknown items are ignored.
    pub(crate) fn read(body: &Value) -> Self {
        let mut conversation = Self { user_messages: Vec::new(), step: 0 };
        let mut calls_open = false;
        for item in body["input"].as_array().into_iter().flatten() {
            let kind = item["type"].as_str().unwrap_or("message");
            // A message between a call and its output is a warning that Codex adds as the user.
            if let Some(text) = user_text(kind, item).filter(|_| !calls_open) {
                conversation.user_messages.push(text);
                conversation.step = 0;
            } else if kind.ends_with("_call_output") {
                conversation.step += usize::from(calls_open);
                calls_open = false;
            } else if kind.ends_with("_call") && kind != "web_search_call" {
                calls_open = true;
            }
        }
        conversation
    }

    /// Returns the message to answer, or an empty string if there is no message.
    pub(crate) fn last_message(&self) -> &str {
        self.user_messages.last().map_or("", String::as_str)
    }

    /// Returns the name in the last `SCENARIO:<name>` marker of the last user message.
    pub(crate) fn scenario(&self) -> Option<&str> {
        let (_, rest) = self.last_message().rsplit_once("SCENARIO:")?;
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        Some(&rest[..end])
    }
}

/// Returns the user's own text in an item, or `None` if the item is not a message from the user.
fn user_text(kind: &str, item: &Value) -> Option<String> {
    if kind != "message" || item["role"] != "user" {
        return None;
    }
    let parts: Vec<&str> = match &item["content"] {
        Value::String(text) => vec![text],
        Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
        _ => return None,
    };
    let own: Vec<&str> = parts.into_iter().filter(|part| !is_context(part)).collect();
    (!own.is_empty()).then(|| own.concat())
}

/// Returns whether Codex added this text: a single element that contains the whole text, or the instructions of a repository.
fn is_context(text: &str) -> bool {
    let text = text.trim();
    if text.starts_with("# AGENTS.md instructions") {
        return true;
    }
    let Some((tag, _)) = text.strip_prefix('<').and_then(|rest| rest.split_once('>')) else {
        return false;
    };
    let name = tag.split_whitespace().next().unwrap_or_default();
    name.contains('_') && text.ends_with(&format!("</{name}>"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn user(text: &str) -> Value {
        json!({"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]})
    }

    fn call() -> Value {
        json!({"type": "function_call", "call_id": "c"})
    }

    fn output() -> Value {
        json!({"type": "function_call_output", "call_id": "c"})
    }

    fn read(input: &[Value]) -> Conversation {
        Conversation::read(&json!({"input": input}))
    }

    #[test]
    fn the_environment_is_not_the_user() {
        let conversation = read(&[
            user("<environment_context>\n  <cwd>/x</cwd>\n</environment_context>"),
            user("# AGENTS.md instructions for /x\n\n<INSTRUCTIONS>be kind</INSTRUCTIONS>"),
            user("fix it"),
            user("<turn_aborted>\nThe user interrupted\n</turn_aborted>"),
        ]);
        assert_eq!(conversation.user_messages, ["fix it"]);
    }

    #[test]
    fn a_user_may_speak_in_markup() {
        assert_eq!(read(&[user("<b>bold</b>")]).last_message(), "<b>bold</b>");
        assert_eq!(read(&[user("<env_a> is what I want")]).last_message(), "<env_a> is what I want");
    }

    #[test]
    fn context_inside_a_message_is_left_out_of_it() {
        let both = json!({"role": "user", "content": [
            {"type": "input_text", "text": "<environment_context>x</environment_context>"},
            {"type": "input_text", "text": "continue"},
        ]});
        assert_eq!(read(&[both]).user_messages, ["continue"]);
    }

    #[test]
    fn an_empty_prompt_is_still_a_message() {
        assert_eq!(read(&[user("")]).user_messages, [""]);
    }

    #[test]
    fn a_step_is_a_batch_of_outputs_however_many_calls_it_answers() {
        let check = |input: &[Value], expect| assert_eq!(read(input).step, expect, "{input:?}");
        check(&[user("a")], 0);
        check(&[user("a"), call(), output()], 1);
        check(&[user("a"), call(), call(), output(), output()], 1);
        check(&[user("a"), call(), output(), call(), output()], 2);
    }

    #[test]
    fn a_new_message_starts_at_the_first_step() {
        assert_eq!(read(&[user("a"), call(), output(), user("b")]).step, 0);
        assert_eq!(read(&[user("a"), call(), output(), user("b"), call(), output()]).step, 1);
    }

    #[test]
    fn a_warning_between_a_call_and_its_output_is_not_the_user() {
        let warning = user("Warning: apply_patch was requested via shell.");
        let conversation = read(&[user("a"), call(), warning, output()]);
        assert_eq!((conversation.last_message(), conversation.step), ("a", 1));
    }

    #[test]
    fn a_search_on_the_models_side_is_no_step() {
        assert_eq!(read(&[user("a"), json!({"type": "web_search_call"}), output()]).step, 0);
    }

    #[test]
    fn the_last_marker_of_the_last_message_names_the_scenario() {
        let check = |messages: &[&str], expect: Option<&str>| {
            let input: Vec<Value> = messages.iter().map(|text| user(text)).collect();
            assert_eq!(read(&input).scenario(), expect, "{messages:?}");
        };
        check(&["SCENARIO:plain"], Some("plain"));
        check(&["SCENARIO:plain then SCENARIO:cmd_ok, please"], Some("cmd_ok"));
        check(&["SCENARIO:plain", "and now by the script"], None);
        check(&[], None);
    }

    #[test]
    fn a_request_without_input_has_nothing_to_say() {
        assert_eq!(Conversation::read(&json!({"input": "text"})), Conversation { user_messages: vec![], step: 0 });
    }
}
