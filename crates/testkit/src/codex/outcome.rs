//! The output and exit code of a Codex run, with helpers for tests.
//!
//! The lines are parsed as plain JSON on purpose, because the tests check the product's own parser.

use serde_json::Value;

/// A Codex run that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The exit code, or `None` if a signal ended it.
    pub exit_code: Option<i32>,
    /// Everything that Codex printed to stdout.
    pub stdout: String,
    /// Everything that Codex printed to stderr.
    pub stderr: String,
}

impl Outcome {
    /// Returns the lines of stdout that are JSON.
    pub fn events(&self) -> Vec<Value> {
        self.stdout.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Returns the types of the events, in order.
    pub fn kinds(&self) -> Vec<String> {
        self.events().iter().filter_map(|event| event["type"].as_str().map(str::to_owned)).collect()
    }

    /// Returns the thread in `thread.started`.
    pub fn thread_id(&self) -> Option<String> {
        let started = self.events().into_iter().find(|event| event["type"] == "thread.started")?;
        started["thread_id"].as_str().map(str::to_owned)
    }

    /// Returns the completed items of a type.
    pub fn items(&self, kind: &str) -> Vec<Value> {
        let events = self.events().into_iter();
        let completed = events.filter(|event| event["type"] == "item.completed").map(|mut event| event["item"].take());
        completed.filter(|item| item["type"] == kind).collect()
    }

    /// Returns the texts of the agent's messages.
    pub fn messages(&self) -> Vec<String> {
        self.items("agent_message").iter().filter_map(|item| item["text"].as_str().map(str::to_owned)).collect()
    }

    /// Returns the message of `turn.failed`.
    pub fn failure(&self) -> Option<String> {
        let failed = self.events().into_iter().find(|event| event["type"] == "turn.failed")?;
        failed["error"]["message"].as_str().map(str::to_owned)
    }
}
