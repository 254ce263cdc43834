//! Turns events into a transcript: plain blocks of text for a terminal or a page.
//!
//! A transcript has structure but no colors. All text from an agent passes through [`printable()`], so it cannot control a terminal.
//! Only the end of a command's output is shown; the raw log contains the whole output.

use printable::{printable, printable_line};
use serde_json::Value;

use super::event::CodexEvent;
use super::item::{ChangeKind, CollabToolCall, CommandExecution, FileChange, Item, ItemKind, ItemStatus, McpToolCall, TodoItem};
use super::shell::unwrap_shell;
use super::usage::{UsageReport, UsageScope};
use crate::visible::Visible;

/// The maximum number of output lines to show, counted from the end.
const OUTPUT_LINES: usize = 20;

/// The maximum length of a line of output, a title or a raw value, in characters.
const LINE_LIMIT: usize = 400;

/// The maximum length of the description of the current activity, in characters.
const ACTIVITY_LIMIT: usize = 200;

/// The maximum number of bytes that are read from the end of an output, so that a line of a megabyte is cheap.
const OUTPUT_TAIL_BYTES: usize = 32 * 1024;

/// A block of a transcript.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TranscriptEntry {
    /// The kind of block.
    pub kind: EntryKind,
    /// The title: one line of text.
    pub title: String,
    /// The body: any number of lines, without a newline at the end. May be empty.
    pub body: String,
}

/// The kind of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A message from the agent.
    Agent,
    /// A summary of the agent's reasoning.
    Reasoning,
    /// A command.
    Command {
        /// Whether the command succeeded, or `None` while it runs.
        ok: Option<bool>,
    },
    /// Changed files.
    Files,
    /// A tool or a sub-agent.
    Tool,
    /// The plan.
    Plan,
    /// A web search.
    Search,
    /// A problem that does not end the run.
    Warning,
    /// The turn failed.
    Error,
    /// Text that was not understood, or that is not from Codex.
    Note,
    /// A thread or a turn started or ended.
    Lifecycle,
}

/// Returns the block for an event, or `None` if the event has nothing to show.
///
/// Commands and tools have a block when they start (`ok: None`) and another when they end. Callers that only want finished ones
/// drop the first. A plan has a block when it is created and when it changes, but not at the end of the turn.
pub fn transcribe(event: &CodexEvent) -> Option<TranscriptEntry> {
    match event {
        CodexEvent::ThreadStarted { thread_id } => Some(entry(EntryKind::Lifecycle, &format!("thread {thread_id}"), "")),
        CodexEvent::TurnStarted => Some(entry(EntryKind::Lifecycle, "turn started", "")),
        CodexEvent::TurnCompleted { usage } => {
            Some(entry(EntryKind::Lifecycle, "turn completed", &usage.as_ref().map(tokens).unwrap_or_default()))
        }
        CodexEvent::TurnFailed { message } => Some(entry(EntryKind::Error, "turn failed", message)),
        CodexEvent::Error { message } => Some(entry(EntryKind::Warning, "Codex reported a problem", message)),
        CodexEvent::ItemStarted(item) => begun(item),
        CodexEvent::ItemUpdated(item) => {
            let ItemKind::TodoList { items } = &item.kind else { return None };
            Some(plan(items))
        }
        CodexEvent::ItemCompleted(item) => over(item),
        CodexEvent::Unknown(value) => Some(unknown("event", value)),
        CodexEvent::Note(text) if text.trim().is_empty() => None,
        CodexEvent::Note(text) => Some(entry(EntryKind::Note, "note", &last_lines(text))),
    }
}

/// Describes in one line what the agent is doing, or returns `None` if the event does not show it.
pub fn activity(event: &CodexEvent) -> Option<String> {
    let found = transcribe(event)?;
    let first = || found.body.lines().find(|line| !line.trim().is_empty()).map(|line| printable_line(line, ACTIVITY_LIMIT));
    match found.kind {
        EntryKind::Agent | EntryKind::Reasoning => first(),
        EntryKind::Command { .. } | EntryKind::Files | EntryKind::Tool | EntryKind::Plan | EntryKind::Search => {
            Some(printable_line(&found.title, ACTIVITY_LIMIT))
        }
        EntryKind::Warning | EntryKind::Error => first().or(Some(found.title)),
        EntryKind::Note | EntryKind::Lifecycle => None,
    }
}

fn begun(item: &Item) -> Option<TranscriptEntry> {
    match &item.kind {
        ItemKind::CommandExecution(command) => {
            let (first, more) = command_lines(&command.command);
            Some(entry(EntryKind::Command { ok: None }, &format!("running {first}"), &more))
        }
        ItemKind::McpToolCall(call) => Some(entry(EntryKind::Tool, &format!("calling {}.{}", call.server, call.tool), "")),
        ItemKind::CollabToolCall(call) => {
            Some(entry(EntryKind::Tool, &format!("agents: {} …", call.tool), call.prompt.as_deref().unwrap_or_default()))
        }
        ItemKind::TodoList { items } => Some(plan(items)),
        ItemKind::AgentMessage { .. }
        | ItemKind::Reasoning { .. }
        | ItemKind::FileChange(_)
        | ItemKind::WebSearch { .. }
        | ItemKind::Error { .. }
        | ItemKind::Unknown(_) => None,
    }
}

fn over(item: &Item) -> Option<TranscriptEntry> {
    Some(match &item.kind {
        ItemKind::AgentMessage { text } => entry(EntryKind::Agent, "agent", text),
        ItemKind::Reasoning { text } => entry(EntryKind::Reasoning, "reasoning", text),
        ItemKind::CommandExecution(command) => command_over(command),
        ItemKind::FileChange(change) => files(change),
        ItemKind::McpToolCall(call) => mcp_over(call),
        ItemKind::CollabToolCall(call) => collab_over(call),
        ItemKind::WebSearch { query, .. } => entry(EntryKind::Search, &format!("searched the web: {query}"), ""),
        ItemKind::TodoList { .. } => return None,
        ItemKind::Error { message } => entry(EntryKind::Warning, "warning", message),
        ItemKind::Unknown(value) => unknown("item", value),
    })
}

fn entry(kind: EntryKind, title: &str, body: &str) -> TranscriptEntry {
    TranscriptEntry { kind, title: printable_line(title, LINE_LIMIT), body: printable(body).trim_end().to_owned() }
}

/// Returns the first line of a command, and the other lines formatted for a body.
fn command_lines(command: &str) -> (String, String) {
    let command = unwrap_shell(command);
    let (first, more) = command.trim().split_once('\n').unwrap_or((command.trim(), ""));
    let first = if more.is_empty() { first.to_owned() } else { format!("{first} …") };
    let more: Vec<String> = more.lines().map(|line| format!("> {line}")).collect();
    (first, more.join("\n"))
}

fn command_over(command: &CommandExecution) -> TranscriptEntry {
    let (first, more) = command_lines(&command.command);
    let outcome = match &command.status {
        ItemStatus::Declined => " (declined)".to_owned(),
        ItemStatus::Failed if command.exit_code.is_none() => " (failed)".to_owned(),
        ItemStatus::InProgress | ItemStatus::Completed | ItemStatus::Failed | ItemStatus::Other(_) => {
            command.exit_code.filter(|code| *code != 0).map(|code| format!(" (exit code {code})")).unwrap_or_default()
        }
    };
    // Keep the outcome visible after a long command.
    let title = format!("{}{outcome}", printable_line(&first, LINE_LIMIT - 40));
    let output = last_lines(&command.aggregated_output);
    let body = if more.is_empty() { output } else { format!("{more}\n{output}") };
    entry(EntryKind::Command { ok: command.ok() }, &title, &body)
}

fn files(change: &FileChange) -> TranscriptEntry {
    let what = match &change.status {
        ItemStatus::Failed | ItemStatus::Declined => "could not change",
        ItemStatus::InProgress | ItemStatus::Completed | ItemStatus::Other(_) => "changed",
    };
    let count = change.changes.len();
    let title = format!("{what} {count} file{}", if count == 1 { "" } else { "s" });
    let lines = change.changes.iter().map(|change| {
        let sign = match &change.kind {
            ChangeKind::Add => "A",
            ChangeKind::Delete => "D",
            ChangeKind::Update => "M",
            ChangeKind::Other(_) => "?",
        };
        format!("{sign} {}", Visible::short_name(&change.path, LINE_LIMIT).plain())
    });
    entry(EntryKind::Files, &title, &lines.collect::<Vec<_>>().join("\n"))
}

fn mcp_over(call: &McpToolCall) -> TranscriptEntry {
    let failed = matches!(call.status, ItemStatus::Failed | ItemStatus::Declined) || call.error.is_some();
    let title = format!("{}.{}{}", call.server, call.tool, if failed { " (failed)" } else { "" });
    let result = call.error.clone().or_else(|| call.result.as_ref().map(mcp_text)).unwrap_or_default();
    entry(EntryKind::Tool, &title, &format!("{}\n{}", shortened(&call.arguments), last_lines(&result)))
}

/// Returns the texts in a tool's result, or the raw result if it contains no text.
fn mcp_text(result: &Value) -> String {
    let contents = result.get("content").and_then(Value::as_array);
    let texts: Vec<&str> = contents.into_iter().flatten().filter_map(|content| content.get("text")?.as_str()).collect();
    if texts.is_empty() { shortened(result) } else { texts.join("\n") }
}

fn collab_over(call: &CollabToolCall) -> TranscriptEntry {
    let lines = call.agents.iter().map(|agent| {
        let message = agent.message.as_deref().map(|message| format!(": {message}")).unwrap_or_default();
        printable_line(&format!("{} {}{message}", agent.thread_id, agent.status), LINE_LIMIT)
    });
    entry(EntryKind::Tool, &format!("agents: {}", call.tool), &lines.collect::<Vec<_>>().join("\n"))
}

fn plan(items: &[TodoItem]) -> TranscriptEntry {
    let done = items.iter().filter(|item| item.completed).count();
    let lines = items.iter().map(|item| {
        let mark = if item.completed { "[x]" } else { "[ ]" };
        format!("{mark} {}", printable_line(&item.text, LINE_LIMIT))
    });
    entry(EntryKind::Plan, &format!("plan: {done} of {} done", items.len()), &lines.collect::<Vec<_>>().join("\n"))
}

fn unknown(what: &str, value: &Value) -> TranscriptEntry {
    let name = value.get("type").and_then(Value::as_str).unwrap_or("without a type");
    entry(EntryKind::Note, &format!("unknown {what} {name}"), &shortened(value))
}

fn tokens(usage: &UsageReport) -> String {
    let figures = &usage.figures;
    let scope = match usage.scope {
        UsageScope::Thread => "in this thread so far",
        UsageScope::Process => "in this run",
    };
    format!("{} tokens in ({} cached), {} out, {scope}", figures.input_tokens, figures.cached_input_tokens, figures.output_tokens)
}

fn shortened(value: &Value) -> String {
    if value.is_null() { String::new() } else { printable_line(&value.to_string(), LINE_LIMIT) }
}

/// Returns the last lines of an output, each cut to the limit, with a note if lines were omitted.
fn last_lines(output: &str) -> String {
    let tail = printable(tail_of(output));
    let lines: Vec<&str> = tail.trim_end().lines().collect();
    let shown = &lines[lines.len().saturating_sub(OUTPUT_LINES)..];
    let mut text = String::new();
    if shown.len() < lines.len() || tail_of(output).len() < output.len() {
        text.push_str("… see the log for earlier output\n");
    }
    for line in shown {
        let cut = line.char_indices().nth(LINE_LIMIT).map(|(at, _)| at);
        text.push_str(&line[..cut.unwrap_or(line.len())]);
        text.push_str(if cut.is_some() { "…\n" } else { "\n" });
    }
    text.truncate(text.trim_end().len());
    text
}

fn tail_of(output: &str) -> &str {
    let mut start = output.len().saturating_sub(OUTPUT_TAIL_BYTES);
    while !output.is_char_boundary(start) {
        start += 1;
    }
    &output[start..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_agent_does_is_a_line() {
        let of = |line: &str| activity(&CodexEvent::parse(line.as_bytes()));
        let item = |kind: &str, rest: &str| format!(r#"{{"type":"item.{kind}","item":{{"id":"a",{rest}}}}}"#);
        let command = r#""type":"command_execution","command":"/bin/bash -lc 'cargo test'","status":"in_progress""#;
        assert_eq!(of(&item("started", command)).as_deref(), Some("running cargo test"));
        let said = item("completed", r#""type":"agent_message","text":"\n\nFound it.\nMore.""#);
        assert_eq!(of(&said).as_deref(), Some("Found it."));
        assert_eq!(of(r#"{"type":"turn.started"}"#), None);
        assert_eq!(of("noise"), None);
        assert_eq!(of(r#"{"type":"error","message":"stream lost"}"#).as_deref(), Some("stream lost"));
    }
}
