//! What people see: aligned tables, short summaries, colours only on a terminal and never against `NO_COLOR`.
//!
//! Texts that an agent wrote are made printable before they come here. JSON is the API's, unchanged.

use std::io::Write as _;

use comfy_table::{Table, presets};
use model::codex::{EntryKind, TranscriptEntry};
use model::problem::Problem;
use owo_colors::OwoColorize as _;
use serde::Serialize;

/// Prints a line. A reader that went away is no error of ours.
pub(crate) fn line(text: impl AsRef<str>) {
    let mut out = anstream::stdout().lock();
    if writeln!(out, "{}", text.as_ref()).is_err() {
        tracing::debug!("nobody reads our output any more");
    }
}

/// Prints a line for people on stderr: progress and remarks, which are not the answer.
pub(crate) fn remark(text: impl AsRef<str>) {
    let mut out = anstream::stderr().lock();
    if writeln!(out, "{}", text.as_ref()).is_err() {
        tracing::debug!("nobody reads our remarks any more");
    }
}

/// Prints bytes as they are.
pub(crate) fn bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        tracing::debug!("nobody reads our output any more");
    }
}

/// Prints the API's JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Problem> {
    line(serde_json::to_string_pretty(value).map_err(Problem::internal)?);
    Ok(())
}

/// Prints an error and what to do next.
pub(crate) fn problem(problem: &Problem) {
    remark(format!("{} {}", "error:".red().bold(), problem.detail));
    for hint in &problem.hints {
        remark(format!("{}  {hint}", "hint:".cyan().bold()));
    }
}

/// Prints rows under a heading, aligned.
pub(crate) fn table(heading: &[&str], rows: Vec<Vec<String>>) {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(heading.iter().map(|word| word.to_uppercase()));
    table.add_rows(rows);
    for row in table.to_string().lines() {
        line(row.trim_end());
    }
}

/// A status as a word and a colour.
pub(crate) fn status(word: &str) -> String {
    match word {
        "completed" | "ready" => word.green().to_string(),
        "failed" | "interrupted" => word.red().to_string(),
        "stopped" | "removing" => word.yellow().to_string(),
        _ => word.cyan().to_string(),
    }
}

/// Prints one entry of a transcript.
pub(crate) fn entry(entry: &TranscriptEntry) {
    let mark = match entry.kind {
        EntryKind::Agent => "●".green().to_string(),
        EntryKind::Reasoning => "…".dimmed().to_string(),
        EntryKind::Command { ok: Some(false) } => "✗".red().to_string(),
        EntryKind::Command { ok: Some(true) } => "$".green().to_string(),
        EntryKind::Command { ok: None } => "$".dimmed().to_string(),
        EntryKind::Files => "±".yellow().to_string(),
        EntryKind::Tool | EntryKind::Search => "⚙".cyan().to_string(),
        EntryKind::Plan => "☰".cyan().to_string(),
        EntryKind::Warning => "!".yellow().to_string(),
        EntryKind::Error => "✗".red().bold().to_string(),
        EntryKind::Note | EntryKind::Lifecycle => "·".dimmed().to_string(),
    };
    line(format!("{mark} {}", entry.title));
    for text in entry.body.lines() {
        line(format!("  {}", text.dimmed()));
    }
}
