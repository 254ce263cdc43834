//! One file of a difference: its head, and its lines, which a large file shows only once somebody opens it.
//! Its name and its content are text; a picture is named by its path and never by an address of somebody else's.

use maud::{Markup, html};
use model::code::Language;
use model::codex::printable_line;
use model::diff::{FileDiff, FileStatus, Picture};

use super::lines::{Left, hunk_part};
use super::{Asked, View, shown_path};

/// A picture of more bytes is not shown.
const IMAGE_LIMIT_BYTES: u64 = 10 * 1024 * 1024;

/// A file with its head. Without `lines`, they come when it is opened.
pub(super) fn part(n: usize, file: &FileDiff, images: &[Picture], asked: &Asked, lines: Option<&Markup>) -> Markup {
    let name = printable_line(file.path(), 300);
    let path = shown_path(file);
    html! {
        div.file id={ "file-" (n) } data-mark=(mark(file, image_of(file, images))) data-path=(path) {
          label.viewed { input type="checkbox" data-viewed; " viewed" span.visually-hidden { ": " (name) } }
          details open[lines.is_some()] {
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
            @if let Some(lines) = lines { (lines) } @else { (on_demand(&asked.address("/part", &[("path", &path)]))) }
          }
        }
    }
}

/// What is loaded when the `details` around it is opened. Without a script it is a link.
pub(in crate::pages) fn on_demand(address: &str) -> Markup {
    html! {
        div.on-demand hx-get=(address) hx-trigger="toggle from:'closest details' once" hx-swap="outerHTML" {
            a href=(address) { "Show the lines" }
        }
    }
}

/// A file's lines and pictures, and a way to comment on lines without a script.
pub(super) fn lines(file: &FileDiff, images: &[Picture], asked: &Asked, left: &Left) -> Markup {
    let image = image_of(file, images);
    let language = Language::of_file(file.path());
    html! {
        @if file.binary && image.is_none() { p.quiet { "A binary file." } }
        @if let Some(image) = image { (pictures(file, image, asked)) }
        @for hunk in &file.hunks {
            table.diff.split[asked.sides == View::Split] {
                caption { (printable_line(&hunk.heading, 200)) }
                tbody { (hunk_part(hunk, language, asked.sides, left)) }
            }
        }
        @if left.is_nothing() { p.warning { "There is more than a page can show. The whole patch: codex-orchestrator task diff" } }
        @if !file.hunks.is_empty() { (by_number(file)) }
    }
}

/// For whoever has no script, or names a line rather than tapping it.
fn by_number(file: &FileDiff) -> Markup {
    html! {
        details.by-number {
            summary { "Comment by line number" }
            input type="hidden" name="path" value=(shown_path(file));
            div.pair {
                label { "Line " input name="first" inputmode="numeric" autocomplete="off"; }
                label { "of " select name="side" { option value="new" { "the new file" } option value="old" { "the old file" } } }
            }
            label { "Comment " textarea name="text" rows="2" data-send {} }
        }
    }
}

fn image_of<'a>(file: &FileDiff, images: &'a [Picture]) -> Option<&'a Picture> {
    images.iter().find(|image| image.path == file.path())
}

/// What a picture was beside what it is.
fn pictures(file: &FileDiff, image: &Picture, asked: &Asked) -> Markup {
    let one = |side: &str, words: &str, bytes: Option<u64>| {
        let address = asked.address("/image", &[("side", side), ("path", file.path())]);
        html! {
            @if let Some(bytes) = bytes {
                figure {
                    @if bytes > IMAGE_LIMIT_BYTES {
                        p.quiet { "too large to show" }
                    } @else {
                        img src=(address) loading="lazy" alt={ (printable_line(file.path(), 200)) ", " (words) };
                    }
                    figcaption { (words) ", " (bytes) @if bytes == 1 { " byte" } @else { " bytes" } }
                }
            }
        }
    };
    html! { div.pictures { (one("old", "before", image.old_bytes)) (one("new", "after", image.new_bytes)) } }
}

/// What a tick belongs to: another content is another mark.
fn mark(file: &FileDiff, image: Option<&Picture>) -> String {
    let sizes = image.map(|image| (image.old_bytes, image.new_bytes));
    let text = serde_json::to_vec(&(file, sizes)).unwrap_or_default();
    let digest = ring::digest::digest(&ring::digest::SHA256, &text);
    hex::encode(&digest.as_ref()[..8])
}

#[cfg(test)]
mod tests {
    use model::diff::Diff;

    use super::*;

    fn shown(patch: &str, lines: usize) -> String {
        let diff = Diff::parse(patch.as_bytes());
        let (asked, left) = (Asked { sides: View::Unified, ..Asked::of_run("t", 3) }, Left::new(lines));
        let inner = super::lines(&diff.files[0], &[], &asked, &left);
        part(0, &diff.files[0], &[], &asked, Some(&inner)).into_string()
    }

    #[test]
    fn a_planted_name_or_line_is_text() {
        let patch = "diff --git a/<b>.rs b/<b>.rs\nindex 0000000..1111111 100644\n--- a/<b>.rs\n+++ b/<b>.rs\n@@ -1 +1 @@\n-x\n+</td><script>alert(1)</script>\u{202e}\n";
        let html = shown(patch, 10);
        assert!(!html.contains("<script") && !html.contains("<b>") && !html.contains('\u{202e}'), "{html}");
        assert!(html.contains("&lt;script&gt;") || html.contains("&gt;&lt;"), "{html}");
    }

    #[test]
    fn a_mark_changes_with_the_content() {
        let of = |line: &str| {
            let patch = format!("diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1 +1 @@\n-x\n+{line}\n");
            mark(&Diff::parse(patch.as_bytes()).files[0], None)
        };
        assert!(of("a") == of("a") && of("a") != of("b"));
        let picture = |bytes| {
            let patch = "diff --git a/f.png b/f.png\nindex 1..2 100644\nBinary files a/f.png and b/f.png differ\n";
            let image = Picture { path: "f.png".to_owned(), old_bytes: Some(1), new_bytes: Some(bytes) };
            mark(&Diff::parse(patch.as_bytes()).files[0], Some(&image))
        };
        assert_ne!(picture(1), picture(2));
    }

    #[test]
    fn a_page_does_not_hold_more_lines_than_a_browser_can() {
        let lines = "+line\n".repeat(100);
        let html = shown(&format!("diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -0,0 +1,100 @@\n{lines}"), 10);
        assert_eq!(html.matches("<tr").count(), 10);
        assert!(html.contains("more than a page"));
    }

    #[test]
    fn what_is_not_in_the_page_is_a_link_that_loads() {
        let patch = "diff --git a/a&b#.rs b/a&b#.rs\n--- a/a&b#.rs\n+++ b/a&b#.rs\n@@ -1 +1 @@\n-x\n+y\n";
        let diff = Diff::parse(patch.as_bytes());
        let html = part(0, &diff.files[0], &[], &Asked::of_run("t", 3), None).into_string();
        assert!(html.contains("/tasks/t/changes/part?run=3&amp;view=split&amp;path=a%26b%23.rs"), "{html}");
        assert!(!html.contains("<tr") && !html.contains("<details open"), "{html}");
    }
}
