//! Review: what a task or one of its runs changed, file by file, and comments on lines that become the next prompt.
//! Large files are folded; what was looked at is ticked in the browser, for as long as the file's changes stay the same.

use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use engine::Changes;
use engine::git::Whitespace;
use maud::{Markup, html};
use model::api::ResumeTask;
use model::codex::{printable, printable_line};
use model::diff::{DiffLine, DiffLineKind, FileDiff, FileStatus, Hunk};
use model::ids::RunNumber;
use serde::Deserialize;
use similar::{ChangeTag, TextDiff};

use super::layout::{self, Place, form_token};
use super::session::{Signed, SignedForm};
use super::{Answer, Page, PageProblem, see};
use crate::router::Api;

/// A file with more changed lines than this is folded.
const FOLDED_LINES: u64 = 400;

/// More lines than this are not in the page.
const MOST_LINES: usize = 20_000;

/// Lines that are longer than this are not compared word by word.
const WORDS_LIMIT_BYTES: usize = 2_000;

#[derive(Deserialize)]
pub(crate) struct Which {
    run: Option<u32>,
    /// `split` or `unified`.
    view: Option<String>,
    /// `ignore` leaves out what changed in blanks alone.
    space: Option<String>,
}

/// How the two sides stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    Unified,
    Split,
}

impl View {
    /// As asked for; else beside each other, but on a phone.
    fn of(asked: Option<&str>, headers: &HeaderMap) -> Self {
        let agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match asked {
            Some("split") => Self::Split,
            Some("unified") => Self::Unified,
            Some(_) | None if agent.contains("Mobi") => Self::Unified,
            Some(_) | None => Self::Split,
        }
    }
}

pub(crate) async fn page(
    signed: Signed,
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(Which { run, view: asked_view, space }): Query<Which>,
    headers: HeaderMap,
) -> Answer {
    let view = api.engine.task(&id)?;
    let ignores_space = space.as_deref() == Some("ignore");
    let whitespace = if ignores_space { Whitespace::Ignored } else { Whitespace::Counts };
    let diff = api.engine.diff(&id, run.map_or(Changes::All, |run| Changes::Run(RunNumber(run))), whitespace).await?;
    let sides = View::of(asked_view.as_deref(), &headers);
    let address = |run: Option<u32>, sides: View, ignores_space: bool| {
        let run = run.map_or_else(String::new, |run| format!("run={run}&"));
        let sides = if sides == View::Split { "split" } else { "unified" };
        let space = if ignores_space { "&space=ignore" } else { "" };
        format!("/tasks/{id}/changes?{run}view={sides}{space}")
    };
    let mut left = MOST_LINES;
    let body = html! {
        p { a href={ "/tasks/" (id) } { "← " (printable_line(view.meta.title.as_str(), 100)) } }
        h1 { "Changes" }
        nav.runs aria-label="Which changes" {
            a href=(address(None, sides, ignores_space)) aria-current=[run.is_none().then_some("true")] { "all" }
            @for found in &view.meta.runs {
                @let number = found.number.0;
                a href=(address(Some(number), sides, ignores_space)) aria-current=[(run == Some(number)).then_some("true")] { "run " (number) }
            }
            @if sides == View::Split {
                a.quiet href=(address(run, View::Unified, ignores_space)) { "one below the other" }
            } @else {
                a.quiet href=(address(run, View::Split, ignores_space)) { "side by side" }
            }
            a.quiet href=(address(run, sides, !ignores_space)) { @if ignores_space { "with changes of blanks" } @else { "without changes of blanks" } }
        }
        p.facts { (diff.stats.files) @if diff.stats.files == 1 { " file" } @else { " files" } ", +" (diff.stats.additions) " −" (diff.stats.deletions) }
        @if diff.files.is_empty() { p.empty { "Nothing was changed." } }
        ul.file-list {
            @for (n, file) in diff.files.iter().enumerate() {
                li { a href={ "#file-" (n) } { (printable_line(file.path(), 200)) } " " span.plus { "+" (file.additions) } " " span.minus { "−" (file.deletions) } }
            }
        }
        form.review method="post" action={ "/tasks/" (id) "/changes" } data-review data-draft={ (id) "-review" } {
            (form_token(&signed))
            @for (n, file) in diff.files.iter().enumerate() { (file_part(n, file, sides, &mut left)) }
            div.composer {
                label.visually-hidden for="comments" { "Comments" }
                textarea #comments name="comments" rows="2" data-grow data-send placeholder="Tap a line to comment on it, or write here" {}
                button.primary type="submit" { "Send to Codex" }
            }
        }
    };
    Ok(Page(layout::page("Changes", Place::Tasks, &body)))
}

fn file_part(n: usize, file: &FileDiff, sides: View, left: &mut usize) -> Markup {
    let is_large = file.additions + file.deletions > FOLDED_LINES;
    let name = printable_line(file.path(), 300);
    html! {
        div.file id={ "file-" (n) } data-mark=(mark(file)) {
          label.viewed { input type="checkbox" data-viewed; " viewed" span.visually-hidden { ": " (name) } }
          details open[!is_large] {
            summary {
                code { (name) }
                @if let (FileStatus::Renamed | FileStatus::Copied, Some(old)) = (file.status, &file.old_path) {
                    span.word { " from " (printable_line(old, 300)) }
                }
                @match file.status {
                    FileStatus::Added => span.word { "new" },
                    FileStatus::Deleted => span.word { "deleted" },
                    _ => {}
                }
                span.plus { "+" (file.additions) } span.minus { "−" (file.deletions) }
            }
            @if file.binary { p.quiet { "A binary file." } }
            @for hunk in &file.hunks {
                table.diff.split[sides == View::Split] {
                    caption { (printable_line(&hunk.heading, 200)) }
                    tbody { (hunk_part(file.path(), hunk, sides, left)) }
                }
            }
            @if *left == 0 { p.warning { "There is more than a page can show. The whole patch: codex-orchestrator task diff" } }
          }
        }
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

fn hunk_part(path: &str, hunk: &Hunk, sides: View, left: &mut usize) -> Markup {
    let shown = hunk.lines.len().min(*left);
    *left -= shown;
    let rows = rows(hunk, &hunk.lines[..shown]);
    html! {
        @match sides {
            View::Split => @for (old, new) in &rows { (split_row(path, old.as_ref(), new.as_ref())) },
            View::Unified => @for block in rows.chunk_by(|a, b| is_context(a) == is_context(b)) { (unified_block(path, block)) },
        }
    }
}

fn is_context((_, new): &Row) -> bool {
    new.as_ref().is_some_and(|line| line.kind == DiffLineKind::Context)
}

/// Lines that were removed stand beside those that came in their place.
fn rows(hunk: &Hunk, lines: &[DiffLine]) -> Vec<Row> {
    let (mut old, mut new) = (hunk.old_start, hunk.new_start);
    let mut rows = vec![];
    for block in lines.chunk_by(|a, b| (a.kind == DiffLineKind::Context) == (b.kind == DiffLineKind::Context)) {
        if block[0].kind == DiffLineKind::Context {
            for line in block {
                let side = |number| Some(Line { number, kind: line.kind, text: html! { (printable(&line.text)) } });
                rows.push((side(old), side(new)));
                (old, new) = (old + 1, new + 1);
            }
            continue;
        }
        let of = |kind: DiffLineKind| block.iter().filter(move |line| line.kind == kind).collect::<Vec<_>>();
        let (removed, added) = (of(DiffLineKind::Removed), of(DiffLineKind::Added));
        for n in 0..removed.len().max(added.len()) {
            let (was, is) = (removed.get(n), added.get(n));
            let (was_text, is_text) = words(was.map(|line| line.text.as_str()), is.map(|line| line.text.as_str()));
            let side = |line: Option<&&DiffLine>, next: &mut u64, text: Markup| {
                line.map(|line| {
                    *next += 1;
                    Line { number: *next - 1, kind: line.kind, text }
                })
            };
            rows.push((side(was, &mut old, was_text), side(is, &mut new, is_text)));
        }
    }
    rows
}

/// Two lines with what differs between them marked, as long as they have something in common.
fn words(was: Option<&str>, is: Option<&str>) -> (Markup, Markup) {
    let plain = |text: Option<&str>| html! { (text.map(printable).unwrap_or_default()) };
    let (Some(old), Some(new)) = (was, is) else { return (plain(was), plain(is)) };
    if old.len().max(new.len()) > WORDS_LIMIT_BYTES {
        return (plain(was), plain(is));
    }
    let (old, new) = (printable(old), printable(new));
    let (old, new): (&str, &str) = (&old, &new);
    let diff = TextDiff::from_words(old, new);
    if diff.ratio() < 0.4 {
        return (plain(was), plain(is));
    }
    let side = |wanted: ChangeTag| {
        let parts: Vec<_> =
            diff.iter_all_changes().filter(|change| matches!(change.tag(), ChangeTag::Equal) || change.tag() == wanted).collect();
        html! {
            @for part in &parts {
                @if part.tag() == ChangeTag::Equal { (part.value()) } @else { mark { (part.value()) } }
            }
        }
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

fn split_row(path: &str, old: Option<&Line>, new: Option<&Line>) -> Markup {
    let cells = |line: Option<&Line>| {
        html! {
            td.n { @if let Some(line) = line { (line.number) } }
            @if let Some(line) = line {
                td class={ "code " (class(line.kind)) } { (line.text) }
            } @else {
                td.code.none {}
            }
        }
    };
    let number = new.or(old).map(|line| line.number);
    html! { tr data-path=(printable_line(path, 300)) data-line=[number] { (cells(old)) (cells(new)) } }
}

/// What was removed, then what was added.
fn unified_block(path: &str, block: &[Row]) -> Markup {
    let row = |line: &Line, old: Option<u64>, new: Option<u64>| {
        let sign = match line.kind {
            DiffLineKind::Context => " ",
            DiffLineKind::Added => "+",
            DiffLineKind::Removed => "−",
        };
        html! {
            tr class=(class(line.kind)) data-path=(printable_line(path, 300)) data-line=[new.or(old)] {
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

/// What a tick belongs to: another content is another mark.
fn mark(file: &FileDiff) -> String {
    let text = serde_json::to_vec(file).unwrap_or_default();
    let digest = ring::digest::digest(&ring::digest::SHA256, &text);
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

#[derive(Deserialize)]
pub(crate) struct Comments {
    comments: String,
}

/// All comments together are one follow-up.
pub(crate) async fn comment(
    State(api): State<Api>,
    Path(id): Path<String>,
    SignedForm(_, Comments { comments }): SignedForm<Comments>,
) -> Result<Response, PageProblem> {
    let prompt = format!("Comments on your changes. Address each of them.\n\n{}", comments.replace("\r\n", "\n"));
    let prompt = if comments.trim().is_empty() { String::new() } else { prompt };
    api.engine.add_follow_up(&id, ResumeTask { prompt, ..ResumeTask::default() }).await?;
    Ok(see(&format!("/tasks/{id}")))
}

#[cfg(test)]
mod tests {
    use model::diff::Diff;

    use super::*;

    #[test]
    fn a_planted_name_or_line_is_text() {
        let patch = "diff --git a/<b> b/<b>\nindex 0000000..1111111 100644\n--- a/<b>\n+++ b/<b>\n@@ -1 +1 @@\n-x\n+</td><script>alert(1)</script>\u{202e}\n";
        let diff = Diff::parse(patch.as_bytes());
        let mut left = 10;
        let html = file_part(0, &diff.files[0], View::Unified, &mut left).into_string();
        assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains('\u{202e}'), "{html}");
        assert!(html.contains("&lt;script&gt;") && html.contains("data-line=\"1\""), "{html}");
    }

    #[test]
    fn what_differs_within_a_line_is_marked_on_both_sides() {
        let patch = "diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1,3 +1,4 @@\n same\n-let x = one(a);\n-gone\n+let x = two(a);\n+<b>\n+more\n";
        let hunk = &Diff::parse(patch.as_bytes()).files[0].hunks[0];
        let split = hunk_part("f", hunk, View::Split, &mut 99).into_string();
        assert!(split.contains("<td class=\"code del\">let x = <mark>one(a);</mark></td>"), "{split}");
        assert!(
            split.contains("<td class=\"code add\">let x = <mark>two(a);</mark></td>") && split.contains("&lt;b&gt;"),
            "{split}"
        );
        assert_eq!(split.matches("<tr").count(), 4, "{split}");
        let unified = hunk_part("f", hunk, View::Unified, &mut 99).into_string();
        let order: Vec<_> =
            ["same", "one(a)", "gone", "two(a)", "&lt;b&gt;", "more"].iter().map(|text| unified.find(text)).collect();
        assert!(order.is_sorted() && order.iter().all(Option::is_some), "{unified}");
    }

    #[test]
    fn beside_each_other_at_a_desk_and_below_each_other_on_a_phone() {
        let of = |asked, agent: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::USER_AGENT, agent.parse().expect("a header"));
            View::of(asked, &headers)
        };
        assert_eq!(of(None, "Mozilla/5.0 (X11; Linux x86_64) Firefox/140"), View::Split);
        assert_eq!(of(None, "Mozilla/5.0 (iPhone) Mobile/15E148 Safari"), View::Unified);
        assert_eq!(of(Some("split"), "Mobile"), View::Split);
    }

    #[test]
    fn a_mark_changes_with_the_content() {
        let of = |line: &str| {
            let patch = format!("diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-x\n+{line}\n");
            mark(&Diff::parse(patch.as_bytes()).files[0])
        };
        assert!(of("a") == of("a") && of("a") != of("b"));
    }

    #[test]
    fn a_page_does_not_hold_more_lines_than_a_browser_can() {
        let lines = "+line\n".repeat(100);
        let patch = format!("diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -0,0 +1,100 @@\n{lines}");
        let mut left = 10;
        let html = file_part(0, &Diff::parse(patch.as_bytes()).files[0], View::Unified, &mut left).into_string();
        assert_eq!(html.matches("<tr").count(), 10);
        assert!(html.contains("more than a page"));
    }
}
