//! What people see: aligned tables, short summaries, colours only on a terminal and never against `NO_COLOR`.
//!
//! Invariant: no text of somebody else (an agent, a remote, a file) reaches a terminal with its control characters. JSON is the
//! API's, unchanged, and what goes into a pipe is byte for byte.

use std::io::{IsTerminal as _, Write as _};

use model::codex::{EntryKind, TranscriptEntry, printable};
use model::problem::Problem;
use owo_colors::OwoColorize as _;
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

/// Between the columns of a table.
const GAP: usize = 2;

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
    remark(format!("{} {}", "error:".red().bold(), printable(&problem.detail)));
    for hint in &problem.hints {
        self::hint(hint);
    }
}

/// Prints what to do next.
pub(crate) fn hint(text: &str) {
    remark(format!("{}  {}", "hint:".cyan().bold(), printable(text)));
}

/// Prints a patch: readable on a terminal, and for `git apply` in a pipe.
pub(crate) fn patch(patch: &[u8]) {
    if std::io::stdout().is_terminal() {
        patch_for_people(patch).iter().for_each(line);
    } else {
        bytes(patch);
    }
}

fn patch_for_people(patch: &[u8]) -> Vec<String> {
    // A carriage return within a line would begin another one, which the patch does not have.
    let text = String::from_utf8_lossy(patch).replace("\r\n", "\n").replace('\r', "␍");
    text.lines().map(|line| coloured(&printable(line))).collect()
}

fn coloured(line: &str) -> String {
    const HEADINGS: [&str; 4] = ["diff --git ", "index ", "--- ", "+++ "];
    if HEADINGS.iter().any(|heading| line.starts_with(heading)) {
        return line.bold().to_string();
    }
    match line.as_bytes().first() {
        Some(b'+') => line.green().to_string(),
        Some(b'-') => line.red().to_string(),
        Some(b'@') => line.cyan().to_string(),
        _ => line.to_owned(),
    }
}

/// A piece of a table: what is measured, and what is shown.
pub(crate) struct Cell {
    plain: String,
    shown: String,
}

impl Cell {
    pub(crate) fn plain(text: impl Into<String>) -> Self {
        let plain = text.into();
        Self { shown: plain.clone(), plain }
    }

    pub(crate) fn status(word: &str) -> Self {
        Self { plain: word.to_owned(), shown: status(word) }
    }
}

/// Prints rows under a heading, aligned.
pub(crate) fn table(heading: &[&str], rows: &[Vec<Cell>]) {
    aligned(heading, rows).iter().for_each(line);
}

fn aligned(heading: &[&str], rows: &[Vec<Cell>]) -> Vec<String> {
    let heading: Vec<_> = heading.iter().map(|word| Cell::plain(word.to_uppercase())).collect();
    let all = || std::iter::once(&heading).chain(rows);
    let width = |column: usize| all().filter_map(|row| row.get(column)).map(|cell| cell.plain.width()).max().unwrap_or_default();
    let widths: Vec<_> = (0..heading.len()).map(width).collect();
    let row = |row: &Vec<Cell>| {
        let mut text = String::new();
        let mut gap = 0;
        for (cell, width) in row.iter().zip(&widths) {
            text.push_str(&" ".repeat(gap));
            text.push_str(&cell.shown);
            gap = width - cell.plain.width() + GAP;
        }
        text
    };
    all().map(row).collect()
}

/// A number of things, in words.
pub(crate) fn plural(number: usize, thing: &str) -> String {
    if number == 1 { format!("{number} {thing}") } else { format!("{number} {thing}s") }
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

/// Prints one entry of a transcript, whose text was made printable when it was made.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(lines: &[String]) -> Vec<String> {
        lines.iter().map(|line| printable(line).into_owned()).collect()
    }

    #[test]
    fn columns_are_aligned_with_and_without_colours() {
        let row = |id: &str, status: &str, title: &str| vec![Cell::plain(id), Cell::status(status), Cell::plain(title)];
        let lines = aligned(&["id", "status", "title"], &[row("01a2", "ready", "héllo"), row("01", "completed", "日本")]);
        assert!(lines[1].contains('\u{1b}'), "colours are there to be taken out again");
        assert_eq!(plain(&lines), ["ID    STATUS     TITLE", "01a2  ready      héllo", "01    completed  日本"]);
    }

    #[test]
    fn wide_characters_move_nothing() {
        let row = |name: &str| vec![Cell::plain(name), Cell::plain("x")];
        assert_eq!(aligned(&["n", "m"], &[row("日本"), row("abcd")]), ["N     M", "日本  x", "abcd  x"]);
    }

    #[test]
    fn a_patch_cannot_drive_the_terminal() {
        let lines = patch_for_people(b"+\x1b]0;owned\x07evil\n-\x1b[2Jgone\n @\xff\n+a\r-forged\r\n");
        assert_eq!(plain(&lines), ["+evil", "-gone", " @\u{fffd}", "+a␍-forged"]);
        assert!(!lines.join("").contains('\u{7}'));
    }

    #[test]
    fn what_was_added_and_removed_is_told_apart() {
        for (line, colour) in
            [("+new", "\u{1b}[32m"), ("-old", "\u{1b}[31m"), ("@@ -1 +1 @@", "\u{1b}[36m"), ("+++ b/x", "\u{1b}[1m")]
        {
            assert!(coloured(line).starts_with(colour), "{line}");
        }
        assert_eq!(coloured(" same"), " same");
    }

    #[test]
    fn things_are_counted_in_words() {
        assert_eq!([plural(0, "task"), plural(1, "task"), plural(2, "task")], ["0 tasks", "1 task", "2 tasks"]);
    }
}
