//! The text of items while they are written: the output of a running command, and messages of the agent.
//!
//! This text is only for people who watch. The complete item follows in the log.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::text;
use super::translate::Translator;

/// What a piece of text belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum LiveKind {
    /// The output of a command.
    Command,
    /// A message of the agent.
    Message,
    /// A summary of the agent's reasoning.
    Reasoning,
}

/// What happened to the text of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LiveNews {
    /// The item has more text.
    Text {
        /// The ID of the item in the log, or another one if the log has no event for the start of the item.
        item: String,
        /// What the text belongs to.
        kind: LiveKind,
        /// The text.
        text: String,
    },
    /// The item is complete.
    Complete {
        /// The ID of the item.
        item: String,
    },
}

/// Text of an item that is still being written. This is the data of the `delta` events in a run's event stream.
///
/// A slow client can miss such events. The event of the complete item follows in any case.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunDelta {
    /// The ID of the item in the log, or `live_` and a number for an item that has no event before it is complete.
    pub item: String,
    /// What the text belongs to.
    pub kind: LiveKind,
    /// The position of the text within the item's text, in bytes. If it is not the end of the text that you have, replace your text.
    pub start: u64,
    /// The position after the text, in bytes.
    pub end: u64,
    /// The text.
    pub text: String,
    /// Whether the item is complete. Its event in the log replaces this text.
    pub complete: bool,
}

/// The methods of messages with text of items that are not complete yet.
const PARTIAL: [&str; 10] = [
    "item/agentMessage/delta",
    "item/commandExecution/outputDelta",
    "item/commandExecution/terminalInteraction",
    "item/fileChange/outputDelta",
    "item/mcpToolCall/progress",
    "item/plan/delta",
    "item/reasoning/summaryPartAdded",
    "item/reasoning/summaryTextDelta",
    "item/reasoning/textDelta",
    "command/exec/outputDelta",
];

/// Whether a message with this start has text of an item that is not complete yet. The complete item repeats the text.
pub fn is_partial(start: &[u8]) -> bool {
    let method = start.strip_prefix(b"{\"method\":\"").unwrap_or_default();
    PARTIAL.iter().any(|known| method.strip_prefix(known.as_bytes()).is_some_and(|rest| rest.starts_with(b"\"")))
}

/// Finds the text of items in the messages of one process.
#[derive(Debug, Default)]
pub struct LiveItems {
    translator: Translator,
    /// Our IDs of the items that are not in the log before they are complete.
    unlogged: HashMap<String, String>,
    count: usize,
}

impl LiveItems {
    /// Takes the next message.
    pub fn receive(&mut self, message: &Value) -> Option<LiveNews> {
        let news = self.news(message);
        self.translator.translate(message);
        news
    }

    fn news(&mut self, message: &Value) -> Option<LiveNews> {
        let params = message.get("params").filter(|params| self.translator.is_about_own_thread(params))?;
        let kind = match text(message, "method")? {
            "item/commandExecution/outputDelta" => LiveKind::Command,
            "item/agentMessage/delta" => LiveKind::Message,
            "item/reasoning/summaryTextDelta" => LiveKind::Reasoning,
            "item/completed" => {
                let given = text(params.get("item")?, "id")?;
                let item = self.unlogged.remove(given).or_else(|| self.translator.open_id(given).map(str::to_owned))?;
                return Some(LiveNews::Complete { item });
            }
            _ => return None,
        };
        let (given, text) = (text(params, "itemId")?, text(params, "delta")?.to_owned());
        let item = match kind {
            LiveKind::Command => self.translator.open_id(given)?.to_owned(),
            LiveKind::Message | LiveKind::Reasoning => self.unlogged(given),
        };
        Some(LiveNews::Text { item, kind, text })
    }

    fn unlogged(&mut self, given: &str) -> String {
        let count = &mut self.count;
        let id = self.unlogged.entry(given.to_owned()).or_insert_with(|| {
            *count += 1;
            format!("live_{count}")
        });
        id.clone()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Returns the news from notifications about the thread `a`, after it was opened.
    fn news(notifications: &[(&str, Value)]) -> Vec<LiveNews> {
        let mut items = LiveItems::default();
        items.receive(&json!({ "id": super::super::id::THREAD, "result": { "thread": { "id": "a" } } }));
        let of = |(method, params): &(&str, Value)| items.receive(&json!({ "method": method, "params": params }));
        notifications.iter().filter_map(of).collect()
    }

    fn delta(kind: &'static str, item: &str, text: &str) -> (&'static str, Value) {
        (kind, json!({ "threadId": "a", "itemId": item, "delta": text }))
    }

    #[test]
    fn the_output_of_a_command_has_the_id_of_its_entry_in_the_log() {
        let item = json!({ "threadId": "a", "item": { "type": "commandExecution", "id": "call", "status": "inProgress" } });
        let found = news(&[
            ("item/started", item.clone()),
            delta("item/commandExecution/outputDelta", "call", "tick\n"),
            delta("item/commandExecution/outputDelta", "unknown", "x"),
            ("item/completed", item),
        ]);
        let text = LiveNews::Text { item: "item_0".to_owned(), kind: LiveKind::Command, text: "tick\n".to_owned() };
        assert_eq!(found, [text, LiveNews::Complete { item: "item_0".to_owned() }]);
    }

    #[test]
    fn a_message_has_an_id_of_its_own_until_it_is_complete() {
        let item = json!({ "threadId": "a", "item": { "type": "agentMessage", "id": "m", "text": "Hello" } });
        let found = news(&[
            delta("item/agentMessage/delta", "m", "Hel"),
            delta("item/reasoning/summaryTextDelta", "r", "Why"),
            delta("item/agentMessage/delta", "m", "lo"),
            ("item/completed", item),
        ]);
        let text = |item: &str, kind, text: &str| LiveNews::Text { item: item.to_owned(), kind, text: text.to_owned() };
        let expected = [
            text("live_1", LiveKind::Message, "Hel"),
            text("live_2", LiveKind::Reasoning, "Why"),
            text("live_1", LiveKind::Message, "lo"),
            LiveNews::Complete { item: "live_1".to_owned() },
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn text_of_other_threads_is_not_that_of_the_run() {
        let other = json!({ "threadId": "b", "itemId": "m", "delta": "x" });
        assert_eq!(news(&[("item/agentMessage/delta", other), ("turn/started", json!({ "threadId": "a" }))]), []);
    }
}
