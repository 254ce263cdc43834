//! Summarizes the events of a run.
//!
//! The summary is the same whether the events are read live or from the file after a restart. It contains only what the outcome
//! and the record need, not the whole log. An incomplete last line is ignored.

use std::collections::BTreeSet;

use super::event::CodexEvent;
use super::installs::is_install;
use super::item::{CommandExecution, Item, ItemKind};
use super::lines::LineSplitter;
use super::usage::UsageReport;

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TurnEnd {
    /// `turn.completed`, with its token usage if it was readable.
    Completed(Option<UsageReport>),
    /// `turn.failed`, with Codex's message.
    Failed(String),
}

/// The summary of a run so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JournalSummary {
    /// The thread ID from the last `thread.started` event.
    pub thread_id: Option<String>,
    /// Whether any turn started. If so, the thread can be resumed.
    pub turn_started: bool,
    /// How the last turn ended, or `None` if it has not ended.
    pub turn_end: Option<TurnEnd>,
    /// The agent's last message. After the end of the turn, this is its answer.
    pub last_message: Option<String>,
    /// The message of the last `error` event. `None` if an item started or ended afterwards, because Codex had then recovered.
    pub last_error: Option<String>,
    /// Number of lines read.
    pub lines: u64,
    /// Number of lines with unknown JSON or an unknown item.
    pub unknown: u64,
    /// Number of lines that were not JSON, including blank ones.
    pub notes: u64,
    /// Number of commands that ended.
    pub commands_run: u64,
    /// Number of commands that did not succeed.
    pub commands_failed: u64,
    /// Whether a command installed something that a setup could install.
    pub has_installs: bool,
    /// IDs of items that have started but not ended.
    pub open_items: BTreeSet<String>,
}

impl JournalSummary {
    /// Returns the summary of a complete log. Ignores an incomplete last line.
    pub fn of(journal: &[u8]) -> Self {
        let mut summary = Self::default();
        LineSplitter::new().feed(journal, |line| summary.observe(&line.event()));
        summary
    }

    /// Adds the next event.
    pub fn observe(&mut self, event: &CodexEvent) {
        self.lines += 1;
        match event {
            CodexEvent::ThreadStarted { thread_id } => self.thread_id = Some(thread_id.clone()),
            CodexEvent::TurnStarted => {
                self.turn_started = true;
                self.turn_end = None;
            }
            CodexEvent::TurnCompleted { usage } => self.turn_end = Some(TurnEnd::Completed(*usage)),
            CodexEvent::TurnFailed { message } => self.turn_end = Some(TurnEnd::Failed(message.clone())),
            CodexEvent::Error { message } => self.last_error = Some(message.clone()),
            CodexEvent::ItemStarted(item) => {
                self.open_items.insert(item.id.clone());
                self.take_progress(item);
            }
            CodexEvent::ItemUpdated(item) => self.take_progress(item),
            CodexEvent::ItemCompleted(item) => {
                self.open_items.remove(&item.id);
                self.take_progress(item);
                self.complete(&item.kind);
            }
            CodexEvent::Unknown(_) => self.unknown += 1,
            CodexEvent::Note(_) => self.notes += 1,
        }
    }

    /// Returns the token usage of the last turn, if the turn completed and reported its usage.
    pub fn usage(&self) -> Option<&UsageReport> {
        match &self.turn_end {
            Some(TurnEnd::Completed(usage)) => usage.as_ref(),
            Some(TurnEnd::Failed(_)) | None => None,
        }
    }

    /// Updates the summary with an item of any status.
    fn take_progress(&mut self, item: &Item) {
        match &item.kind {
            // A warning from Codex does not show that Codex has recovered.
            ItemKind::Error { .. } => {}
            ItemKind::Unknown(_) => self.unknown += 1,
            ItemKind::AgentMessage { .. }
            | ItemKind::Reasoning { .. }
            | ItemKind::CommandExecution(_)
            | ItemKind::FileChange(_)
            | ItemKind::McpToolCall(_)
            | ItemKind::CollabToolCall(_)
            | ItemKind::WebSearch { .. }
            | ItemKind::TodoList { .. } => self.last_error = None,
        }
    }

    fn complete(&mut self, kind: &ItemKind) {
        match kind {
            ItemKind::AgentMessage { text } => self.last_message = Some(text.clone()),
            ItemKind::CommandExecution(command) => self.count_command(command),
            ItemKind::Reasoning { .. }
            | ItemKind::FileChange(_)
            | ItemKind::McpToolCall(_)
            | ItemKind::CollabToolCall(_)
            | ItemKind::WebSearch { .. }
            | ItemKind::TodoList { .. }
            | ItemKind::Error { .. }
            | ItemKind::Unknown(_) => {}
        }
    }

    fn count_command(&mut self, command: &CommandExecution) {
        self.commands_run += 1;
        if command.ok() != Some(true) {
            self.commands_failed += 1;
        }
        self.has_installs = self.has_installs || is_install(command);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STARTED: &str = "{\"type\":\"turn.started\"}\n";
    const COMPLETED: &str = "{\"type\":\"turn.completed\",\"usage\":{\"input_tokens\":1}}\n";

    #[test]
    fn a_torn_last_line_has_not_happened_yet() {
        let torn = format!("{STARTED}{}", COMPLETED.trim_end());
        let summary = JournalSummary::of(torn.as_bytes());
        assert_eq!((summary.lines, summary.turn_started, summary.turn_end), (1, true, None));
    }

    #[test]
    fn a_second_turn_takes_the_end_of_the_first_back() {
        let ended = JournalSummary::of(format!("{STARTED}{COMPLETED}").as_bytes());
        assert!(matches!(ended.turn_end, Some(TurnEnd::Completed(Some(_)))) && ended.usage().is_some());
        let again = JournalSummary::of(format!("{STARTED}{COMPLETED}{STARTED}").as_bytes());
        assert_eq!((&again.turn_end, again.usage()), (&None, None));
    }

    #[test]
    fn an_error_that_codex_got_over_is_forgotten() {
        let retry = "{\"type\":\"error\",\"message\":\"Reconnecting... 1/5\"}\n";
        let warning = "{\"type\":\"item.completed\",\"item\":{\"id\":\"a\",\"type\":\"error\",\"message\":\"deprecated\"}}\n";
        let stuck = JournalSummary::of(format!("{STARTED}{retry}{warning}").as_bytes());
        assert_eq!(stuck.last_error.as_deref(), Some("Reconnecting... 1/5"));
        let message = "{\"type\":\"item.completed\",\"item\":{\"id\":\"b\",\"type\":\"agent_message\",\"text\":\"on\"}}\n";
        let recovered = JournalSummary::of(format!("{STARTED}{retry}{message}").as_bytes());
        assert_eq!((recovered.last_error, recovered.last_message.as_deref()), (None, Some("on")));
    }

    #[test]
    fn what_was_not_understood_is_counted() {
        let journal = b"banner\n\n{\"type\":\"x\"}\n{\"type\":\"item.updated\",\"item\":{\"id\":\"a\",\"type\":\"hologram\"}}\n";
        let summary = JournalSummary::of(journal);
        assert_eq!((summary.lines, summary.notes, summary.unknown), (4, 2, 2));
    }
}
