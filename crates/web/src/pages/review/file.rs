//! One file of a diff: its heading and its lines. The lines of a large file load when a user opens it.
//! Names and contents are always text. The URL of an image is made from its path and never comes from the diff.

use highlight::Language;
use markup::hunks::{RemainingLimits, View, hunk_part};
use markup::visible;
use maud::{Markup, html};
use model::diff::{FileDiff, FileStatus, Omitted, Picture, PictureKind};
use model::visible::{Of, Visible, has_hidden, path_key};

use super::{Pictures, ShownChanges};

/// The largest image that is shown, in bytes.
const IMAGE_LIMIT_BYTES: u64 = 10 * 1024 * 1024;

/// The longest heading of a hunk, in bytes. Git itself cuts headings earlier.
const HEADING_BYTES: usize = 200;

/// Renders a file. Without `lines`, they load when the file is opened.
pub(super) fn part(n: usize, file: &FileDiff, images: &Pictures, asked: &ShownChanges, lines: Option<&Markup>) -> Markup {
    let name = visible::name(file.path_bytes());
    let path = file.key();
    html! {
        div.file id={ "file-" (n) } data-mark=(mark(file, image_of(file, images).as_ref())) data-path=(path) {
          label.viewed { input type="checkbox" data-viewed; " Viewed" span.visually-hidden { ": " (name) } }
          details open[lines.is_some()] {
            summary {
                code { (name) }
                @if let (FileStatus::Renamed | FileStatus::Copied, Some(old)) = (file.status, file.old_path_bytes()) {
                    span.word { " from " code { (visible::name(old)) } }
                }
                @match file.status {
                    FileStatus::Added => span.word { "added" },
                    FileStatus::Deleted => span.word { "deleted" },
                    _ => {}
                }
                @if let Some(modes) = modes(file) { span.word { (modes) } }
                span.plus { "+" (file.additions) } span.minus { "−" (file.deletions) }
                (notes(file))
            }
            @if let Some(lines) = lines { (lines) } @else { (on_demand(&asked.address("/part", &[("path", &path)]), "Show lines")) }
          }
        }
    }
}

/// Renders warnings about a file. They are visible even if its lines are folded.
fn notes(file: &FileDiff) -> Markup {
    let has_odd_name = |path: Option<Vec<u8>>| path.is_some_and(|path| has_hidden(&path, Of::Name));
    html! {
        @if has_odd_name(Some(file.path_bytes())) || has_odd_name(file.old_path_bytes()) {
            span.flag { "the name contains control or invisible characters" }
        }
        @if file.has_hidden_characters { span.flag { "contains control or invisible characters" } }
        @if let Some(why) = &file.on_disk { span.flag { "the file on disk differs from this text: " (why) } }
        @if let Some(omitted) = file.omitted { span.flag { (omitted.reason(file.bytes)) } }
    }
}

/// Returns the type of a file, or the change of its type, unless it is an ordinary file.
fn modes(file: &FileDiff) -> Option<String> {
    let word = |mode: &str| match mode {
        "100644" => "file".to_owned(),
        "100755" => "executable".to_owned(),
        "120000" => "symbolic link".to_owned(),
        "160000" => "submodule".to_owned(),
        other => Visible::name(other).plain(),
    };
    let (old, new) = (file.old_mode.as_deref().map(word), file.new_mode.as_deref().map(word));
    match (old, new) {
        (Some(old), Some(new)) if old != new => Some(format!("{old} → {new}")),
        (old, new) => new.or(old).filter(|word| word != "file"),
    }
}

/// Renders a link to content that a script loads when the surrounding `details` element opens.
pub(in crate::pages) fn on_demand(address: &str, label: &str) -> Markup {
    html! {
        div.on-demand hx-get=(address) hx-trigger="toggle from:'closest details' once" hx-swap="outerHTML" {
            a href=(address) { (label) }
        }
    }
}

/// Renders a file's lines and images, and a form to comment on lines without a script.
pub(super) fn lines(file: &FileDiff, images: &Pictures, asked: &ShownChanges, left: &RemainingLimits) -> Markup {
    let image = image_of(file, images);
    let language = Language::of_file(file.path());
    html! {
        @if let Some(image) = &image { (pictures(file, image, asked)) }
        @if file.binary && file.hunks.is_empty() { (binary(file, asked)) }
        @if let (Some(omitted), true) = (file.omitted, file.hunks.is_empty()) { p.quiet { (omitted.reason(file.bytes)) } }
        @for hunk in &file.hunks {
            table.diff.split[asked.sides == View::Split] {
                caption { (visible::text(&Visible::new(hunk.heading.as_bytes(), Of::LastLine, HEADING_BYTES))) }
                tbody { (hunk_part(hunk, language, asked.sides, left)) }
            }
        }
        @if left.is_nothing() || (file.omitted == Some(Omitted::TooManyLines) && !file.hunks.is_empty()) {
            p.warning { "This file is too long for a page. To see all of it, run " code { "codex-orchestrator task diff" } "." }
        }
        @if !file.hunks.is_empty() { (by_number(file)) }
    }
}

/// Renders a note about a binary file. Git treats files with a NUL byte near the start as binary, but programs may still run them as text.
fn binary(file: &FileDiff, asked: &ShownChanges) -> Markup {
    html! {
        p.quiet {
            "Binary file" @if let Some(bytes) = file.bytes { " (" (model::size::bytes(bytes)) ")" } ". Its content is not shown as text."
        }
        @if file.omitted.is_none() {
            details.as-text {
                summary { "Show as text" }
                (on_demand(&asked.address("/part", &[("binary", "text"), ("path", &file.key())]), "Show lines"))
            }
        }
    }
}

/// Renders a form to comment on lines without a script.
fn by_number(file: &FileDiff) -> Markup {
    html! {
        details.by-number {
            summary { "Comment on a line…" }
            input type="hidden" name="path" value=(file.key());
            div.pair {
                label { "Line " input name="first" inputmode="numeric" autocomplete="off"; }
                label { "Version " select name="side" { option value="new" { "After" } option value="old" { "Before" } } }
            }
            label { "Comment " textarea name="text" rows="2" data-send {} }
        }
    }
}

/// Returns the image of a file before and after. Git lists an image that was renamed and changed under both names.
fn image_of(file: &FileDiff, images: &Pictures) -> Option<Picture> {
    PictureKind::of_name(file.path())?;
    let mut image = images.get(&file.key())?.clone();
    if let (None, Some(old)) = (image.old_bytes, file.old_path_bytes()) {
        image.old_bytes = images.get(&path_key(&old)).and_then(|before| before.old_bytes);
    }
    Some(image)
}

/// Renders an image before and after.
fn pictures(file: &FileDiff, image: &Picture, asked: &ShownChanges) -> Markup {
    let old_key = file.old_path_bytes().map(|path| path_key(&path)).filter(|_| file.status == FileStatus::Renamed);
    let one = |side: &str, label: &str, bytes: Option<u64>| {
        let key = old_key.clone().filter(|_| side == "old").unwrap_or_else(|| file.key());
        let address = asked.address("/image", &[("side", side), ("path", &key)]);
        html! {
            @if let Some(bytes) = bytes {
                figure {
                    @if bytes > IMAGE_LIMIT_BYTES {
                        p.quiet { "Too large to show" }
                    } @else {
                        img src=(address) loading="lazy" alt={ (Visible::short_name(file.path_bytes(), 200).plain()) ", " (label) };
                    }
                    figcaption { (label) ", " (bytes) @if bytes == 1 { " byte" } @else { " bytes" } }
                }
            }
        }
    };
    html! { div.pictures { (one("old", "Before", image.old_bytes)) (one("new", "After", image.new_bytes)) } }
}

/// Returns the key of a file's "Viewed" checkbox. It changes with the content.
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
        let (asked, left) = (ShownChanges { sides: View::Unified, ..ShownChanges::of_run("t", 3) }, RemainingLimits::new(lines));
        let inner = super::lines(&diff.files[0], &Pictures::new(), &asked, &left);
        part(0, &diff.files[0], &Pictures::new(), &asked, Some(&inner)).into_string()
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
        assert!(html.contains("too long for a page"));
    }

    #[test]
    fn what_is_not_in_the_page_is_a_link_that_loads() {
        let patch = "diff --git a/a&b#.rs b/a&b#.rs\n--- a/a&b#.rs\n+++ b/a&b#.rs\n@@ -1 +1 @@\n-x\n+y\n";
        let diff = Diff::parse(patch.as_bytes());
        let html = part(0, &diff.files[0], &Pictures::new(), &ShownChanges::of_run("t", 3), None).into_string();
        assert!(html.contains("/tasks/t/changes/part?run=3&amp;view=split&amp;path=a%26b%23.rs"), "{html}");
        assert!(!html.contains("<tr") && !html.contains("<details open"), "{html}");
    }

    #[test]
    fn what_a_file_hides_is_said_even_when_it_is_folded() {
        let patch = "diff --git \"a/x\\302\\233.sh\" \"b/x\\302\\233.sh\"\nold mode 100644\nnew mode 100755\n--- \"a/x\\302\\233.sh\"\n+++ \"b/x\\302\\233.sh\"\n\
            @@ -1 +1 @@ \u{1b}]x\n-x\n+: '\u{1b}]'; evil; : '\u{7}'\n";
        let mut file = Diff::parse(patch.as_bytes()).files.remove(0);
        file.on_disk = Some("encoding UTF-7".to_owned());
        let html = part(0, &file, &Pictures::new(), &ShownChanges::of_run("t", 1), None).into_string();
        for words in [
            "the name contains control or invisible characters",
            "contains control or invisible characters",
            "the file on disk differs from this text: encoding UTF-7",
            "file → executable",
            "x<span class=\"unseen\">&lt;U+009B&gt;</span>.sh",
        ] {
            assert!(html.contains(words), "{words}: {html}");
        }
        let lines = super::lines(&file, &Pictures::new(), &ShownChanges::of_run("t", 1), &RemainingLimits::new(9)).into_string();
        assert!(lines.contains("<caption><span class=\"unseen\">␛</span>]x</caption>"), "{lines}");
    }

    #[test]
    fn a_file_without_lines_says_why() {
        let file = FileDiff {
            bytes: Some(5 << 29),
            ..FileDiff::without_lines(FileStatus::Added, None, Some(b"big"), Omitted::TooLarge)
        };
        let lines = super::lines(&file, &Pictures::new(), &ShownChanges::of_run("t", 1), &RemainingLimits::new(9)).into_string();
        assert!(lines.contains("2.5 GiB, too large to show") && !lines.contains("hx-get"), "{lines}");
        let binary = "diff --git a/f b/f\nindex 1..2 100644\nBinary files a/f and b/f differ\n";
        let html = super::lines(
            &Diff::parse(binary.as_bytes()).files[0],
            &Pictures::new(),
            &ShownChanges::of_run("t", 1),
            &RemainingLimits::new(9),
        );
        assert!(html.into_string().contains("Show as text"));
    }

    #[test]
    fn an_image_is_shown_as_new_as_gone_and_under_both_of_its_names() {
        let image = |path: &str, old_bytes, new_bytes| (path.to_owned(), Picture { path: path.to_owned(), old_bytes, new_bytes });
        let images =
            Pictures::from([image("a.png", None, Some(1)), image("old.png", Some(2), None), image("new.png", None, Some(3))]);
        let sizes = |old: Option<&str>, new: Option<&str>| {
            let (old, new) = (old.map(str::as_bytes), new.map(str::as_bytes));
            let file = FileDiff::without_lines(FileStatus::Renamed, old, new, Omitted::NotCompared);
            image_of(&file, &images).map(|image| (image.old_bytes, image.new_bytes))
        };
        assert_eq!(sizes(None, Some("a.png")), Some((None, Some(1))));
        assert_eq!(sizes(Some("old.png"), None), Some((Some(2), None)));
        assert_eq!(sizes(Some("old.png"), Some("new.png")), Some((Some(2), Some(3))));
        assert_eq!(sizes(None, Some("other.png")), None);
    }
}
