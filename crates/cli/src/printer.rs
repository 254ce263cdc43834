//! Prints text for people: aligned tables and short summaries. Colours appear only in a terminal, and not if `NO_COLOR` is set.
//!
//! Invariant: control characters in text from agents, remotes and files never reach a terminal, because [`line`] and [`remark`] remove
//! them. In JSON they are escaped. Only [`styled`] and [`bytes`] print text as it is: text with our own styles, patches and raw logs.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Write as _};

use model::codex::{EntryKind, TranscriptEntry};
use model::diff::Diff;
use model::problem::Problem;
use model::visible::is_invisible;
use owo_colors::OwoColorize as _;
use printable::printable;
use serde::Serialize;
use unicode_width::UnicodeWidthStr as _;

use crate::diff_lines::{self, Colours};

/// The number of spaces between columns.
const GAP: usize = 2;

/// One of the two outputs of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    /// Prints a line. It is not an error if the reader has closed the pipe.
    fn line(self, text: &str) {
        #[cfg(test)]
        if captured::keep_line(self, text) {
            return;
        }
        match self {
            Self::Stdout => {
                if writeln!(anstream::stdout().lock(), "{text}").is_err() {
                    tracing::debug!("stdout is closed");
                }
            }
            Self::Stderr => {
                if writeln!(anstream::stderr().lock(), "{text}").is_err() {
                    tracing::debug!("stderr is closed");
                }
            }
        }
    }

    fn is_terminal(self) -> bool {
        #[cfg(test)]
        if let Some(reader) = captured::reader() {
            return reader == captured::Reader::Terminal;
        }
        match self {
            Self::Stdout => std::io::stdout().is_terminal(),
            Self::Stderr => std::io::stderr().is_terminal(),
        }
    }
}

/// Prints a line on stdout.
pub(crate) fn line(text: impl AsRef<str>) {
    Stream::Stdout.line(&printable(text.as_ref()));
}

/// Prints a line with our own styles on stdout. All other text in it must already be printable.
pub(crate) fn styled(text: impl AsRef<str>) {
    Stream::Stdout.line(text.as_ref());
}

/// Prints a line on stderr: progress or a remark.
pub(crate) fn remark(text: impl AsRef<str>) {
    Stream::Stderr.line(&printable(text.as_ref()));
}

/// Prints bytes on stdout without changing them.
pub(crate) fn bytes(bytes: &[u8]) {
    #[cfg(test)]
    if captured::keep(Stream::Stdout, bytes) {
        return;
    }
    let mut out = std::io::stdout().lock();
    if out.write_all(bytes).and_then(|()| out.flush()).is_err() {
        tracing::debug!("stdout is closed");
    }
}

/// Prints a value of the API as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<(), Problem> {
    styled(harmless(&serde_json::to_string_pretty(value).map_err(Problem::internal)?));
    Ok(())
}

/// Escapes characters that JSON allows but a terminal may interpret. They occur only in strings.
fn harmless(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for letter in json.chars() {
        if letter == '\n' || !is_invisible(letter) {
            shown.push(letter);
        } else {
            let _ = letter.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(shown, "\\u{unit:04x}"));
        }
    }
    shown
}

/// Prints an error and its hints.
pub(crate) fn problem(problem: &Problem) {
    Stream::Stderr.line(&format!("{} {}", "error:".red().bold(), printable(&problem.report.message)));
    for hint in &problem.report.hints {
        self::hint(hint);
    }
}

/// Prints a hint.
pub(crate) fn hint(text: &str) {
    Stream::Stderr.line(&format!("{}  {}", "hint:".cyan().bold(), printable(text)));
}

/// Whether stdout is a terminal, where control characters must be escaped.
pub(crate) fn is_for_people() -> bool {
    Stream::Stdout.is_terminal()
}

/// Whether stderr is a terminal, which can show a progress bar.
pub(crate) fn shows_progress() -> bool {
    Stream::Stderr.is_terminal()
}

/// Prints a diff for people.
pub(crate) fn diff(diff: &Diff) {
    let has_colours = anstream::AutoStream::choice(&std::io::stdout()) != anstream::ColorChoice::Never;
    diff_lines::lines(diff, if has_colours { Colours::Shown } else { Colours::None }).for_each(styled);
}

/// A cell of a table, as plain text to measure its width and as coloured text to print.
pub(crate) struct Cell {
    plain: String,
    shown: String,
}

impl Cell {
    /// Creates a cell with any text. Control characters are removed, and line breaks become spaces.
    pub(crate) fn plain(text: impl AsRef<str>) -> Self {
        let plain = printable(text.as_ref()).replace(['\n', '\t'], " ");
        Self { shown: plain.clone(), plain }
    }

    pub(crate) fn status(word: &str) -> Self {
        Self { plain: word.to_owned(), shown: status(word) }
    }
}

/// Prints a table with aligned columns.
pub(crate) fn table(heading: &[&str], rows: &[Vec<Cell>]) {
    aligned(heading, rows).iter().for_each(styled);
}

/// Returns the lines of a table with aligned columns.
pub(crate) fn aligned(heading: &[&str], rows: &[Vec<Cell>]) -> Vec<String> {
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

/// Formats a count, e.g. `1 task` or `2 tasks`.
pub(crate) fn plural(number: usize, thing: &str) -> String {
    if number == 1 { format!("{number} {thing}") } else { format!("{number} {thing}s") }
}

/// Colours the name of a status.
pub(crate) fn status(word: &str) -> String {
    match word {
        "completed" | "ready" => word.green().to_string(),
        "failed" | "interrupted" => word.red().to_string(),
        "stopped" | "removing" => word.yellow().to_string(),
        _ => word.cyan().to_string(),
    }
}

/// Prints an entry of a transcript. Its text is already printable.
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
    styled(format!("{mark} {}", entry.title));
    for text in entry.body.lines() {
        styled(format!("  {}", text.dimmed()));
    }
}

/// Keeps what a test prints, instead of printing it.
#[cfg(test)]
pub(crate) mod captured {
    use std::cell::RefCell;

    use super::Stream;

    /// The reader of the output.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Reader {
        /// A program, which gets no colours.
        Pipe,
        /// A person.
        Terminal,
    }

    /// The kept output.
    #[derive(Debug)]
    pub(crate) struct Captured {
        reader: Reader,
        pub(crate) stdout: Vec<u8>,
        pub(crate) stderr: Vec<u8>,
    }

    thread_local! {
        static CAPTURED: RefCell<Option<Captured>> = const { RefCell::new(None) };
    }

    /// Returns the output of a future and what it prints on this thread.
    pub(crate) async fn during<F: Future>(reader: Reader, future: F) -> (F::Output, Captured) {
        CAPTURED.set(Some(Captured { reader, stdout: vec![], stderr: vec![] }));
        let output = future.await;
        (output, CAPTURED.take().expect("only one future at a time is captured"))
    }

    pub(super) fn reader() -> Option<Reader> {
        CAPTURED.with_borrow(|captured| captured.as_ref().map(|captured| captured.reader))
    }

    /// Returns whether the line was kept. As in [`anstream`], colours are only for terminals.
    pub(super) fn keep_line(stream: Stream, text: &str) -> bool {
        reader().is_some_and(|reader| {
            let text = match reader {
                Reader::Pipe => anstream::adapter::strip_str(text).to_string(),
                Reader::Terminal => text.to_owned(),
            };
            keep(stream, format!("{text}\n").as_bytes())
        })
    }

    /// Returns whether the bytes were kept.
    pub(super) fn keep(stream: Stream, bytes: &[u8]) -> bool {
        CAPTURED.with_borrow_mut(|captured| {
            let Some(captured) = captured else { return false };
            match stream {
                Stream::Stdout => captured.stdout.extend_from_slice(bytes),
                Stream::Stderr => captured.stderr.extend_from_slice(bytes),
            }
            true
        })
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
        assert!(lines[1].contains('\u{1b}'), "a terminal shows colours");
        assert_eq!(plain(&lines), ["ID    STATUS     TITLE", "01a2  ready      héllo", "01    completed  日本"]);
    }

    #[test]
    fn wide_characters_keep_columns_aligned() {
        let row = |name: &str| vec![Cell::plain(name), Cell::plain("x")];
        assert_eq!(aligned(&["n", "m"], &[row("日本"), row("abcd")]), ["N     M", "日本  x", "abcd  x"]);
    }

    #[test]
    fn json_contains_no_control_characters_and_keeps_its_meaning() {
        let value = "a\u{1b}]\u{9b}2J\u{7f}\u{202e}\u{e0041}é\n";
        let shown = harmless(&serde_json::to_string_pretty(&[value]).expect("strings can be serialized"));
        assert!(!shown.chars().any(|letter| letter != '\n' && model::visible::is_invisible(letter)), "{shown:?}");
        assert!(shown.contains("\\u009b2J\\u007f\\u202e\\udb40\\udc41é"), "{shown}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&shown).expect("the output is still JSON"), [value]);
    }

    #[test]
    fn counts_have_a_plural() {
        assert_eq!([plural(0, "task"), plural(1, "task"), plural(2, "task")], ["0 tasks", "1 task", "2 tasks"]);
    }
}
