//! The lines of a hunk as rows of a table: side by side or below each other, with their colours, and with what differs within a line
//! marked. A row knows its numbers alone: the script reads from them which line is meant.

use std::cell::Cell;
use std::ops::Range;

use maud::{Markup, html};
use model::code::Language;
use model::codex::printable;
use model::diff::{DiffLine, DiffLineKind, Hunk};
use similar::{ChangeTag, TextDiff};

use super::View;
use crate::pages::colour;

/// Lines that are longer than this are not compared word by word.
const WORDS_LIMIT_BYTES: usize = 1_000;

/// How many pairs of lines are compared word by word for one answer.
const MOST_PAIRS: u32 = 3_000;

/// How much may still be shown in an answer.
pub(super) struct Left {
    lines: Cell<usize>,
    pairs: Cell<u32>,
}

impl Left {
    pub(super) fn new(lines: usize) -> Self {
        Self { lines: Cell::new(lines), pairs: Cell::new(MOST_PAIRS) }
    }

    pub(super) fn is_nothing(&self) -> bool {
        self.lines.get() == 0
    }

    fn pair(&self) -> bool {
        let left = self.pairs.get();
        self.pairs.set(left.saturating_sub(1));
        left > 0
    }
}

/// A line with its number, and the markup of its text.
struct Line {
    number: u64,
    kind: DiffLineKind,
    text: Markup,
}

/// What stands in one row: a line of both files, or of one of them, or a removed one beside what took its place.
type Row = (Option<Line>, Option<Line>);

pub(super) fn hunk_part(hunk: &Hunk, language: Option<&'static Language>, sides: View, left: &Left) -> Markup {
    let shown = hunk.lines.len().min(left.lines.get());
    left.lines.set(left.lines.get() - shown);
    let rows = rows(hunk, language, shown, left);
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

/// Lines that were removed stand beside those that came in their place. Each side is read by itself, from the hunk's beginning.
fn rows(hunk: &Hunk, language: Option<&'static Language>, shown: usize, left: &Left) -> Vec<Row> {
    let texts: Vec<_> = hunk.lines[..shown].iter().map(|line| printable(&line.text)).collect();
    let lines: Vec<(&DiffLine, &str)> = hunk.lines.iter().zip(texts.iter().map(AsRef::as_ref)).collect();
    let side = |other: DiffLineKind| lines.iter().filter(move |(line, _)| line.kind != other).map(|(_, text)| *text);
    let read = |other| language.map(|language| colour::colours(language, side(other))).unwrap_or_default();
    let (olds, news) = (read(DiffLineKind::Added), read(DiffLineKind::Removed));
    // How many lines of each side are behind us.
    let (mut old, mut new) = (0, 0);
    let old_line = |n: usize, kind, text: &str, marked: &[Range<usize>]| {
        Some(Line { number: hunk.old_start + n as u64, kind, text: colour::line(text, olds.get(n), marked) })
    };
    let new_line = |n: usize, kind, text: &str, marked: &[Range<usize>]| {
        Some(Line { number: hunk.new_start + n as u64, kind, text: colour::line(text, news.get(n), marked) })
    };
    let mut rows = vec![];
    for block in lines.chunk_by(|a, b| (a.0.kind == DiffLineKind::Context) == (b.0.kind == DiffLineKind::Context)) {
        if block[0].0.kind == DiffLineKind::Context {
            for (line, text) in block {
                rows.push((old_line(old, line.kind, text, &[]), new_line(new, line.kind, text, &[])));
                (old, new) = (old + 1, new + 1);
            }
            continue;
        }
        let of = |kind: DiffLineKind| {
            block.iter().filter(move |(line, _)| line.kind == kind).map(|(_, text)| *text).collect::<Vec<_>>()
        };
        let (removed, added) = (of(DiffLineKind::Removed), of(DiffLineKind::Added));
        for n in 0..removed.len().max(added.len()) {
            let (was, is) = (removed.get(n), added.get(n));
            let (gone, came) = match (was, is) {
                (Some(was), Some(is)) if left.pair() => words(was, is),
                _ => (vec![], vec![]),
            };
            let was = was.and_then(|text| old_line(old + n, DiffLineKind::Removed, text, &gone));
            let is = is.and_then(|text| new_line(new + n, DiffLineKind::Added, text, &came));
            rows.push((was, is));
        }
        (old, new) = (old + removed.len(), new + added.len());
    }
    rows
}

/// What differs between two lines, as long as they have something in common.
fn words(old: &str, new: &str) -> (Vec<Range<usize>>, Vec<Range<usize>>) {
    if old.len().max(new.len()) > WORDS_LIMIT_BYTES {
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
    (side(ChangeTag::Delete), side(ChangeTag::Insert))
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

/// What was removed, then what was added.
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
        hunk_part(&diff.files[0].hunks[0], Language::of_file(name), sides, &Left::new(100)).into_string()
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
        let html =
            hunk_part(&Diff::parse(patch.as_bytes()).files[0].hunks[0], None, View::Split, &Left::new(10_000)).into_string();
        assert_eq!(html.matches("<mark>").count(), 6_000);
    }
}
