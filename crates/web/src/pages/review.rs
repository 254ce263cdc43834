//! Review: what a task or one of its runs changed, file by file, and comments on lines that become the next prompt.
//! Large files are folded; what was looked at is ticked in the browser, for as long as the file's changes stay the same.

use axum::extract::{Path, Query, State};
use axum::response::Response;
use maud::{Markup, html};
use model::api::ResumeTask;
use model::codex::{printable, printable_line};
use model::diff::{DiffLine, DiffLineKind, FileDiff, FileStatus, Hunk};
use model::ids::RunNumber;
use serde::Deserialize;

use super::layout::{self, Place, form_token};
use super::session::{Signed, SignedForm};
use super::{Answer, Page, PageProblem, see};
use crate::router::Api;

/// A file with more changed lines than this is folded.
const FOLDED_LINES: u64 = 400;

/// More lines than this are not in the page.
const MOST_LINES: usize = 20_000;

#[derive(Deserialize)]
pub(crate) struct Which {
    run: Option<u32>,
}

pub(crate) async fn page(
    signed: Signed,
    State(api): State<Api>,
    Path(id): Path<String>,
    Query(Which { run }): Query<Which>,
) -> Answer {
    let view = api.engine.task(&id)?;
    let diff = api.engine.diff(&id, run.map(RunNumber)).await?;
    let mut left = MOST_LINES;
    let body = html! {
        p { a href={ "/tasks/" (id) } { "← " (printable_line(view.meta.title.as_str(), 100)) } }
        h1 { "Changes" }
        nav.runs aria-label="Which changes" {
            a href={ "/tasks/" (id) "/changes" } aria-current=[run.is_none().then_some("true")] { "all" }
            @for found in &view.meta.runs {
                @let number = found.number.0;
                a href={ "/tasks/" (id) "/changes?run=" (number) } aria-current=[(run == Some(number)).then_some("true")] { "run " (number) }
            }
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
            @for (n, file) in diff.files.iter().enumerate() { (file_part(n, file, &mut left)) }
            div.composer {
                label.visually-hidden for="comments" { "Comments" }
                textarea #comments name="comments" rows="2" data-grow data-send placeholder="Tap a line to comment on it, or write here" {}
                button.primary type="submit" { "Send to Codex" }
            }
        }
    };
    Ok(Page(layout::page("Changes", Place::Tasks, &body)))
}

fn file_part(n: usize, file: &FileDiff, left: &mut usize) -> Markup {
    let is_large = file.additions + file.deletions > FOLDED_LINES;
    let name = printable_line(file.path(), 300);
    html! {
        details.file id={ "file-" (n) } open[!is_large] data-mark=(mark(file)) {
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
                label.viewed { input type="checkbox" data-viewed; " viewed" }
            }
            @if file.binary { p.quiet { "A binary file." } }
            @for hunk in &file.hunks {
                table.diff {
                    caption { (printable_line(&hunk.heading, 200)) }
                    tbody { (hunk_part(file.path(), hunk, left)) }
                }
            }
            @if *left == 0 { p.warning { "There is more than a page can show. The whole patch: codex-orchestrator task diff" } }
        }
    }
}

fn hunk_part(path: &str, hunk: &Hunk, left: &mut usize) -> Markup {
    let shown = hunk.lines.len().min(*left);
    *left -= shown;
    let (mut old, mut new) = (hunk.old_start, hunk.new_start);
    let rows: Vec<Markup> = hunk.lines[..shown]
        .iter()
        .map(|line| {
            let numbers = match line.kind {
                DiffLineKind::Context => (Some(old), Some(new)),
                DiffLineKind::Added => (None, Some(new)),
                DiffLineKind::Removed => (Some(old), None),
            };
            old += u64::from(numbers.0.is_some());
            new += u64::from(numbers.1.is_some());
            line_part(path, line, numbers)
        })
        .collect();
    html! { @for row in &rows { (row) } }
}

fn line_part(path: &str, line: &DiffLine, (old, new): (Option<u64>, Option<u64>)) -> Markup {
    let (class, sign) = match line.kind {
        DiffLineKind::Context => ("", " "),
        DiffLineKind::Added => ("add", "+"),
        DiffLineKind::Removed => ("del", "−"),
    };
    html! {
        tr class=(class) data-path=(printable_line(path, 300)) data-line=[new.or(old)] {
            td.n { @if let Some(n) = old { (n) } }
            td.n { @if let Some(n) = new { (n) } }
            td.code { span.sign aria-hidden="true" { (sign) } (printable(&line.text)) }
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
        let html = file_part(0, &diff.files[0], &mut left).into_string();
        assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains('\u{202e}'), "{html}");
        assert!(html.contains("&lt;script&gt;") && html.contains("data-line=\"1\""), "{html}");
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
        let html = file_part(0, &Diff::parse(patch.as_bytes()).files[0], &mut left).into_string();
        assert_eq!(html.matches("<tr").count(), 10);
        assert!(html.contains("more than a page"));
    }
}
