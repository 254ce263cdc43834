//! Prints the text of an item while Codex writes it, and then what is left of the complete item.
//!
//! At most one item is printed in this way at a time. The text of others appears when they are complete. Invariant: each text is printed
//! once.

use std::collections::HashSet;

use model::codex::app_server::LiveKind;
use model::codex::{CodexEvent, EntryKind, Item, ItemKind, TranscriptEntry, transcribe};
use printable::printable;
use protocol::RunDelta;

use crate::printer;

/// The part of a transcript that is printed while Codex writes it.
#[derive(Debug, Default)]
pub(crate) struct LiveItem {
    open: Option<OpenItem>,
    /// Items that were printed when they were complete. Text of them that arrives late is not printed.
    over: HashSet<String>,
    /// Messages that were printed when they were complete. Before that, they have other IDs.
    whole: Vec<String>,
}

#[derive(Debug)]
struct OpenItem {
    id: String,
    kind: LiveKind,
    /// What was received.
    text: String,
    /// How much of it was printed, in bytes: up to the end of a line.
    printed: usize,
}

impl LiveItem {
    /// Prints the complete lines of a text that belongs to the open item, or to a new one.
    pub(crate) fn text(&mut self, delta: &RunDelta) {
        if delta.complete || self.over.contains(&delta.item) {
            return;
        }
        let is_late = |text: &String| delta.kind != LiveKind::Command && delta.start == 0 && text.starts_with(&delta.text);
        if let Some(late) = self.whole.iter().position(is_late) {
            self.whole.remove(late);
            self.over.insert(delta.item.clone());
            return;
        }
        if self.open.is_none() && delta.start == 0 {
            self.open = Some(OpenItem { id: delta.item.clone(), kind: delta.kind, text: String::new(), printed: 0 });
        }
        let Some(open) = self.open.as_mut().filter(|open| open.id == delta.item) else { return };
        // After a reconnection, the server repeats text. After a gap, the rest is printed with the complete item.
        let known = usize::try_from(delta.start).ok().and_then(|start| open.text.len().checked_sub(start));
        if let Some(new) = known.and_then(|known| delta.text.get(known..)) {
            open.text.push_str(new);
            open.print();
        }
    }

    /// Prints an event, without what was printed of its item.
    pub(crate) fn event(&mut self, event: &CodexEvent) {
        let Some(entry) = transcribe(event) else { return };
        let entry = match event {
            CodexEvent::ItemCompleted(item) => self.completed(item, entry),
            _ => Some(entry),
        };
        if let Some(entry) = entry {
            printer::entry(&entry);
        }
    }

    /// Returns the entry of an item without what was printed of it, or prints the rest below it and returns nothing.
    fn completed(&mut self, item: &Item, entry: TranscriptEntry) -> Option<TranscriptEntry> {
        let whole = match &item.kind {
            ItemKind::CommandExecution(command) => &command.aggregated_output,
            ItemKind::AgentMessage { text } | ItemKind::Reasoning { text } => text,
            _ => return Some(entry),
        };
        // A message has another ID before it is complete.
        let is_it = |open: &OpenItem| match (open.kind, entry.kind) {
            (LiveKind::Command, _) => open.id == item.id,
            (LiveKind::Message, EntryKind::Agent) | (LiveKind::Reasoning, EntryKind::Reasoning) => whole.starts_with(&open.text),
            (LiveKind::Message | LiveKind::Reasoning, _) => false,
        };
        let Some(open) = self.open.take_if(|open| is_it(open)) else {
            match item.kind {
                ItemKind::CommandExecution(_) => drop(self.over.insert(item.id.clone())),
                _ => self.whole.push(whole.clone()),
            }
            return Some(entry);
        };
        self.over.insert(open.id);
        if open.printed == 0 {
            return Some(entry);
        }
        // Codex can omit the start of an output in what it reports while the command runs, and the middle in what it reports at the end.
        let body = match whole.find(&open.text) {
            Some(start) => printable(&format!("{}{}", &whole[..start], &whole[start + open.printed..])).trim_end().to_owned(),
            None => entry.body,
        };
        if open.kind == LiveKind::Command {
            return Some(TranscriptEntry { body, ..entry });
        }
        printer::body(&body);
        None
    }
}

impl OpenItem {
    /// Prints the complete lines that were not printed yet.
    fn print(&mut self) {
        let Some(end) = self.text[self.printed..].rfind('\n').map(|at| self.printed + at) else { return };
        let body = printable(&self.text[self.printed..end]).trim_end().to_owned();
        let entry = |kind, title: &str| TranscriptEntry { kind, title: title.to_owned(), body: body.clone() };
        match (self.printed, self.kind) {
            // The start of a command has its own entry.
            (1.., _) | (0, LiveKind::Command) => printer::body(&body),
            (0, LiveKind::Message) => printer::entry(&entry(EntryKind::Agent, "agent")),
            (0, LiveKind::Reasoning) => printer::entry(&entry(EntryKind::Reasoning, "reasoning")),
        }
        self.printed = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::printer::captured::{Reader, during};

    fn delta(item: &str, kind: LiveKind, start: u64, text: &str) -> RunDelta {
        let end = start + text.len() as u64;
        RunDelta { item: item.to_owned(), kind, start, end, text: text.to_owned(), complete: false }
    }

    fn message(id: &str, text: &str) -> Value {
        json!({ "type": "item.completed", "item": { "id": id, "type": "agent_message", "text": text } })
    }

    fn command(kind: &str, output: &str) -> Value {
        json!({ "type": kind, "item": { "id": "item_0", "type": "command_execution", "command": "make", "aggregated_output": output,
            "exit_code": 0, "status": "completed" } })
    }

    /// Returns the lines that are printed for these deltas and events.
    async fn printed(steps: &[Result<RunDelta, Value>]) -> Vec<String> {
        let print = async {
            let mut live = LiveItem::default();
            for step in steps {
                match step {
                    Ok(delta) => live.text(delta),
                    Err(event) => live.event(&CodexEvent::parse(event.to_string().as_bytes())),
                }
            }
        };
        let ((), captured) = during(Reader::Pipe, print).await;
        String::from_utf8(captured.stdout).expect("text").lines().map(str::to_owned).collect()
    }

    #[tokio::test]
    async fn lines_of_a_command_are_printed_as_they_come_and_once() {
        let steps = [
            Err(command("item.started", "")),
            Ok(delta("item_0", LiveKind::Command, 0, "one\ntw")),
            Ok(delta("item_0", LiveKind::Command, 6, "o\nthree")),
            // After a reconnection, the server repeats the text.
            Ok(delta("item_0", LiveKind::Command, 0, "one\ntwo\nthree")),
            Ok(delta("item_9", LiveKind::Command, 0, "of another command\n")),
            Err(command("item.completed", "one\ntwo\nthree\nfour\n")),
            Ok(delta("item_0", LiveKind::Command, 13, "\nfour\n")),
        ];
        assert_eq!(printed(&steps).await, ["$ running make", "  one", "  two", "$ make", "  three", "  four"]);
    }

    #[tokio::test]
    async fn what_was_not_reported_while_a_command_ran_is_printed_at_its_end() {
        let steps = [
            Ok(delta("item_0", LiveKind::Command, 0, "two\n")),
            // A gap.
            Ok(delta("item_0", LiveKind::Command, 90, "late\n")),
            Err(command("item.completed", "one\ntwo\nthree\n")),
        ];
        assert_eq!(printed(&steps).await, ["  two", "$ make", "  one", "  three"]);
        let shortened = [Ok(delta("item_0", LiveKind::Command, 0, "two\n")), Err(command("item.completed", "[…]\nthree\n"))];
        assert_eq!(printed(&shortened).await, ["  two", "$ make", "  […]", "  three"]);
    }

    #[tokio::test]
    async fn a_message_is_printed_by_lines_and_late_text_is_not_printed_again() {
        let steps = [
            Ok(delta("live_1", LiveKind::Message, 0, "one\ntw")),
            Err(message("item_0", "one\ntwo")),
            Err(message("item_1", "three")),
            Ok(delta("live_2", LiveKind::Message, 0, "thr")),
            Ok(delta("live_2", LiveKind::Message, 3, "ee\n")),
        ];
        assert_eq!(printed(&steps).await, ["● agent", "  one", "  two", "● agent", "  three"]);
    }
}
