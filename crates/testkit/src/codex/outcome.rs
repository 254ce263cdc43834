//! What a run of Codex printed and how it ended, with the questions that tests ask of it.
//!
//! It reads the lines as plain JSON on purpose: the product's own reader is what is tested against them.

use serde_json::Value;

/// A run of Codex that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// Its exit code; none when a signal ended it.
    pub exit_code: Option<i32>,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl Outcome {
    /// The lines of stdout that are JSON.
    pub fn events(&self) -> Vec<Value> {
        self.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The types of the events, in order.
    pub fn kinds(&self) -> Vec<String> {
        self.events().iter().filter_map(|event| event["type"].as_str().map(str::to_owned)).collect()
    }

    /// The thread, as `thread.started` names it.
    pub fn thread_id(&self) -> Option<String> {
        let started = self.events().into_iter().find(|event| event["type"] == "thread.started")?;
        started["thread_id"].as_str().map(str::to_owned)
    }

    /// The completed items of one type.
    pub fn items(&self, kind: &str) -> Vec<Value> {
        let events = self.events().into_iter();
        let completed = events.filter(|event| event["type"] == "item.completed").map(|mut event| event["item"].take());
        completed.filter(|item| item["type"] == kind).collect()
    }

    /// The texts of the agent's messages.
    pub fn messages(&self) -> Vec<String> {
        self.items("agent_message").iter().filter_map(|item| item["text"].as_str().map(str::to_owned)).collect()
    }

    /// The message of `turn.failed`.
    pub fn failure(&self) -> Option<String> {
        let failed = self.events().into_iter().find(|event| event["type"] == "turn.failed")?;
        failed["error"]["message"].as_str().map(str::to_owned)
    }
}
