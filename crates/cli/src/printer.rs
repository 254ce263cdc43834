//! Prints text for people: aligned tables and short summaries. Colours appear only in a terminal, and not if `NO_COLOR` is set.
//!
//! Invariant: control characters in text from agents, remotes and files never reach a terminal, because [`line()`] and [`remark`] remove
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
    body(&entry.body);
}

/// Prints lines of an entry's body.
pub(crate) fn body(text: &str) {
    for text in text.lines() {
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
    use super::captured::Reader;
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

    async fn printed(reader: Reader, print: impl FnOnce()) -> (String, String) {
        let ((), captured) = captured::during(reader, async { print() }).await;
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (text(captured.stdout), text(captured.stderr))
    }

    #[tokio::test]
    async fn every_line_is_printable() {
        let evil = "\u{1b}[2Jone\u{1b}]0;title\u{7}\u{202e}two\u{9b}5m\rthree\tfour";
        for reader in [Reader::Pipe, Reader::Terminal] {
            let (stdout, stderr) = printed(reader, || {
                line(evil);
                remark(evil);
            })
            .await;
            assert_eq!((stdout.as_str(), stderr.as_str()), ("onetwo\nthree\tfour\n", "onetwo\nthree\tfour\n"));
        }
    }

    #[tokio::test]
    async fn only_a_terminal_gets_colours() {
        let refused = Problem::new(model::ErrorCode::Usage, "no prompt given").hint("pass it in quotes");
        let print = || {
            styled(status("failed"));
            problem(&refused);
        };
        let (stdout, stderr) = printed(Reader::Pipe, print).await;
        assert_eq!((stdout.as_str(), stderr.as_str()), ("failed\n", "error: no prompt given\nhint:  pass it in quotes\n"));
        let (stdout, stderr) = printed(Reader::Terminal, print).await;
        assert_eq!(stdout, "\u{1b}[31mfailed\u{1b}[39m\n");
        assert!(stderr.starts_with("\u{1b}[1m\u{1b}[31merror:") && stderr.contains("\u{1b}[36mhint:"), "{stderr:?}");
    }

    #[tokio::test]
    async fn bytes_are_not_changed() {
        let patch = "+\u{1b}[31mred\u{202e}\r\n";
        for reader in [Reader::Pipe, Reader::Terminal] {
            assert_eq!(printed(reader, || bytes(patch.as_bytes())).await.0, patch);
        }
    }

    #[tokio::test]
    async fn each_kind_of_entry_has_a_mark_and_an_indented_body() {
        let kinds = [
            (EntryKind::Agent, '●'),
            (EntryKind::Reasoning, '…'),
            (EntryKind::Command { ok: Some(false) }, '✗'),
            (EntryKind::Command { ok: Some(true) }, '$'),
            (EntryKind::Command { ok: None }, '$'),
            (EntryKind::Files, '±'),
            (EntryKind::Tool, '⚙'),
            (EntryKind::Search, '⚙'),
            (EntryKind::Plan, '☰'),
            (EntryKind::Warning, '!'),
            (EntryKind::Error, '✗'),
            (EntryKind::Note, '·'),
            (EntryKind::Lifecycle, '·'),
        ];
        for (kind, mark) in kinds {
            let shown = TranscriptEntry { kind, title: "title".to_owned(), body: "one\n\ntwo".to_owned() };
            let (stdout, _) = printed(Reader::Pipe, || entry(&shown)).await;
            assert_eq!(stdout, format!("{mark} title\n  one\n  \n  two\n"), "{kind:?}");
        }
        let (marks, _) = printed(Reader::Terminal, || {
            for ok in [Some(false), Some(true), None] {
                entry(&TranscriptEntry { kind: EntryKind::Command { ok }, title: String::new(), body: String::new() });
            }
        })
        .await;
        let distinct: std::collections::BTreeSet<_> = marks.lines().collect();
        assert_eq!(distinct.len(), 3, "a command that runs, succeeded or failed looks different: {marks:?}");
    }

    #[test]
    fn a_cell_is_one_line_without_control_characters() {
        let rows =
            [vec![Cell::plain("a\u{1b}[2J\nforged\tcell\r\u{202e}"), Cell::plain("b")], vec![Cell::plain("c"), Cell::plain("d")]];
        assert_eq!(aligned(&["one", "two"], &rows), ["ONE             TWO", "a forged cell   b", "c               d"]);
    }

    #[test]
    fn a_table_has_no_trailing_spaces_and_copes_with_missing_cells() {
        assert_eq!(aligned(&["a", "b"], &[]), ["A  B"]);
        let rows =
            [vec![Cell::plain(""), Cell::plain("x")], vec![Cell::plain("only one")], vec![Cell::plain("long"), Cell::plain("")]];
        assert_eq!(aligned(&["a", "b"], &rows), ["A         B", "          x", "only one", "long      "]);
    }

    #[test]
    fn combining_and_invisible_characters_use_no_column() {
        let row = |name: &str| vec![Cell::plain(name), Cell::plain("|")];
        let lines = aligned(&["n", ""], &[row("e\u{301}e\u{301}"), row("a\u{200b}b"), row("🦀"), row("ab")]);
        assert_eq!(lines[1..], ["e\u{301}e\u{301}  |", "a\u{200b}b  |", "🦀  |", "ab  |"]);
    }

    #[test]
    fn each_status_has_its_colour() {
        let colour = |word: &str| status(word).split('m').next().unwrap_or_default().to_owned();
        for (words, code) in [
            (&["completed", "ready"][..], "\u{1b}[32"),
            (&["failed", "interrupted"], "\u{1b}[31"),
            (&["stopped", "removing"], "\u{1b}[33"),
            (&["queued", "running", "cloning", "a later status"], "\u{1b}[36"),
        ] {
            for word in words {
                assert_eq!((colour(word).as_str(), status(word).contains(word)), (code, true), "{word}");
            }
        }
    }
}
