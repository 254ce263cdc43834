//! Formats a diff as lines for a terminal, with a mark for each invisible character.
//!
//! Marks are shown in reverse video. Without colours, a mark is plain text, and text in a file that looks like a mark is
//! escaped. This module prints nothing.

use model::diff::{Diff, DiffLine, DiffLineKind, FileDiff, FileStatus};
use model::visible::{Mark, Of, Visible, has_hidden};
use owo_colors::OwoColorize as _;

/// Whether the terminal shows colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    Shown,
    None,
}

/// The style of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LineStyle {
    Heading,
    Added,
    Removed,
    Place,
    Plain,
    Note,
}

/// Returns the lines of a diff.
pub(crate) fn lines(diff: &Diff, colours: Colours) -> impl Iterator<Item = String> {
    diff.files.iter().flat_map(move |file| {
        let heads = head(file).into_iter().map(move |(look, before, text)| styled(look, before, &text, colours));
        let hunks = file.hunks.iter().flat_map(move |hunk| {
            let numbers = format!("@@ -{},{} +{},{} @@ ", hunk.old_start, hunk.old_lines, hunk.new_start, hunk.new_lines);
            let place =
                styled(LineStyle::Place, &numbers, &Visible::new(hunk.heading.as_bytes(), Of::LastLine, usize::MAX), colours);
            std::iter::once(place).chain(hunk.lines.iter().flat_map(move |line| of_line(line, colours)))
        });
        heads.chain(hunks)
    })
}

fn of_line(line: &DiffLine, colours: Colours) -> Vec<String> {
    let (look, sign) = match line.kind {
        DiffLineKind::Context => (LineStyle::Plain, " "),
        DiffLineKind::Added => (LineStyle::Added, "+"),
        DiffLineKind::Removed => (LineStyle::Removed, "-"),
    };
    let mut lines = vec![styled(look, sign, &line.visible(usize::MAX), colours)];
    if line.no_newline {
        lines.push("\\ No newline at end of file".to_owned());
    }
    lines
}

/// Returns the lines that describe a file, before its hunks.
fn head(file: &FileDiff) -> Vec<(LineStyle, &'static str, Visible)> {
    let path = Visible::name(file.path_bytes());
    let old = file.old_path_bytes().map_or_else(|| path.clone(), Visible::name);
    let text = |text: &str| Visible::name(text);
    let mut head = vec![(LineStyle::Heading, "file ", path)];
    let moved = match file.status {
        FileStatus::Renamed => Some("renamed from "),
        FileStatus::Copied => Some("copied from "),
        FileStatus::Added | FileStatus::Deleted | FileStatus::Modified | FileStatus::ModeChanged | FileStatus::TypeChanged => {
            None
        }
    };
    head.extend(moved.map(|words| (LineStyle::Heading, words, old)));
    match (&file.old_mode, &file.new_mode) {
        (Some(old), Some(new)) if old != new => head.push((LineStyle::Heading, "mode ", text(&format!("{old} → {new}")))),
        (None, Some(new)) if file.status == FileStatus::Added => head.push((LineStyle::Heading, "new, mode ", text(new))),
        (Some(old), None) if file.status == FileStatus::Deleted => head.push((LineStyle::Heading, "deleted, mode ", text(old))),
        _ => {}
    }
    head.extend(notes(file).iter().map(|note| (LineStyle::Note, "! ", text(note))));
    head
}

/// Returns facts about a file that a reviewer cannot see in its lines.
pub(crate) fn notes(file: &FileDiff) -> Vec<String> {
    let mut notes = vec![];
    let mut note = |note: &str| notes.push(note.to_owned());
    if [Some(file.path_bytes()), file.old_path_bytes()].into_iter().flatten().any(|path| has_hidden(&path, Of::Name)) {
        note("its name contains control or invisible characters");
    }
    if file.has_hidden_characters {
        note("it contains control or invisible characters");
    }
    if let Some(why) = &file.on_disk {
        note(&format!("the file on disk differs from this diff: {why}"));
    }
    if let Some(omitted) = file.omitted {
        note(&omitted.reason(file.bytes));
    }
    if file.binary && file.hunks.is_empty() {
        let size = file.bytes.map(|bytes| format!(", {}", model::size::bytes(bytes))).unwrap_or_default();
        note(&format!("binary file{size}: not shown as text"));
    }
    notes
}

fn styled(look: LineStyle, before: &str, text: &Visible, colours: Colours) -> String {
    if colours == Colours::None {
        return format!("{before}{}", text.plain());
    }
    let colour = |piece: &str| match look {
        LineStyle::Heading => piece.bold().to_string(),
        LineStyle::Added => piece.green().to_string(),
        LineStyle::Removed => piece.red().to_string(),
        LineStyle::Place => piece.cyan().to_string(),
        LineStyle::Note => piece.yellow().to_string(),
        LineStyle::Plain => piece.to_owned(),
    };
    let mut line = colour(before);
    for (piece, mark) in text.pieces() {
        match mark {
            None => line.push_str(&colour(piece)),
            Some(Mark::Hidden) => line.push_str(&piece.reversed().to_string()),
            Some(Mark::LineEnd | Mark::Cut) => line.push_str(&piece.dimmed().to_string()),
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(patch: &[u8], colours: Colours) -> Vec<String> {
        lines(&Diff::parse(patch), colours).collect()
    }

    /// A patch that adds a file with these lines.
    fn added(lines: &[&[u8]]) -> Vec<u8> {
        let head = format!("diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -0,0 +1,{} @@\n", lines.len());
        let lines = lines.iter().map(|line| [b"+", *line, b"\n"].concat());
        [head.into_bytes()].into_iter().chain(lines).collect::<Vec<_>>().concat()
    }

    #[test]
    fn a_patch_cannot_drive_the_terminal_or_hide_a_line() {
        let patch = added(&[
            b"\x1b]0;owned\x07evil",
            b"\x1b[2Jgone",
            b"\xff",
            b"a\r-forged\r",
            "\u{9d}x\u{9c}\u{202e}y\u{200b}".as_bytes(),
            "␛<U+202E>".as_bytes(),
        ]);
        let plain = shown(&patch, Colours::None);
        assert_eq!(
            plain,
            [
                "file f",
                "! it contains control or invisible characters",
                "@@ -0,0 +1,6 @@ ",
                "+␛]0;owned␇evil",
                "+␛[2Jgone",
                "+<0xFF>",
                "+a␍-forged␍",
                "+<U+009D>x<U+009C><U+202E>y<U+200B>",
                "+<U+241B><U+003C>U+202E>",
            ]
        );
        let styled = shown(&patch, Colours::Shown);
        assert!(styled[3].contains("\u{1b}[7m␛\u{1b}[0m"), "{:?}", styled[3]);
        assert!(!styled[8].contains("\u{1b}[7m") && styled[8].contains('␛'), "this text is not a mark: {:?}", styled[8]);
        let codes = |line: &str| line.split('\u{1b}').skip(1).all(|code| code.starts_with('[') && code.contains('m'));
        assert!(styled.iter().all(|line| codes(line)), "{styled:?}");
        assert!(!styled.concat().chars().any(|letter| letter != '\u{1b}' && model::visible::is_invisible(letter)));
    }

    #[test]
    fn additions_removals_and_positions_have_their_own_colours() {
        let lines = shown(b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@ f\n same\n-old\n+new\n", Colours::Shown);
        for (line, colour) in [(0, "\u{1b}[1m"), (1, "\u{1b}[36m"), (3, "\u{1b}[31m"), (4, "\u{1b}[32m")] {
            assert!(lines[line].starts_with(colour), "{lines:?}");
        }
        assert_eq!(lines[2], " same");
    }

    #[test]
    fn facts_about_a_file_come_before_its_lines() {
        let mut diff = Diff::parse(
            b"diff --git a/old b/n\x07w\nold mode 100644\nnew mode 100755\nrename from old\nrename to \"n\\aw\"\nBinary files a/old and b/new differ\n",
        );
        diff.files[0].bytes = Some(3 << 40);
        diff.files[0].on_disk = Some("encoding UTF-7".to_owned());
        diff.files[0].omitted = Some(model::diff::Omitted::TooLarge);
        assert_eq!(
            lines(&diff, Colours::None).collect::<Vec<_>>(),
            [
                "file n␇w",
                "renamed from old",
                "mode 100644 → 100755",
                "! its name contains control or invisible characters",
                "! the file on disk differs from this diff: encoding UTF-7",
                "! 3.0 TiB, too large to show",
                "! binary file, 3.0 TiB: not shown as text",
            ]
        );
    }

    #[test]
    fn every_way_to_change_a_file_has_its_heading() {
        let check = |patch: &str, expect: &[&str]| assert_eq!(shown(patch.as_bytes(), Colours::None), expect, "{patch}");
        check(
            "diff --git a/x b/x\nnew file mode 100755\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+x\n",
            &["file x", "new, mode 100755", "@@ -0,0 +1,1 @@ ", "+x"],
        );
        check(
            "diff --git a/x b/x\ndeleted file mode 100644\n--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\n",
            &["file x", "deleted, mode 100644", "@@ -1,1 +0,0 @@ ", "-x"],
        );
        check("diff --git a/x b/x\nold mode 100644\nnew mode 100755\n", &["file x", "mode 100644 → 100755"]);
        check("diff --git a/x b/y\nsimilarity index 100%\ncopy from x\ncopy to y\n", &["file y", "copied from x"]);
        check(
            "diff --git a/l b/l\ndeleted file mode 100644\n--- a/l\n+++ /dev/null\n@@ -1 +0,0 @@\n-x\ndiff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+target\n\\ No newline at end of file\n",
            &[
                "file l",
                "mode 100644 → 120000",
                "@@ -1,1 +0,0 @@ ",
                "-x",
                "@@ -0,0 +1,1 @@ ",
                "+target",
                "\\ No newline at end of file",
            ],
        );
    }

    #[test]
    fn a_missing_newline_at_the_end_is_shown_for_both_sides() {
        let patch = b"diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n\\ No newline at end of file\n+b\n\\ No newline at end of file\n";
        let marker = "\\ No newline at end of file";
        assert_eq!(shown(patch, Colours::None)[2..], ["-a", marker, "+b", marker]);
    }

    #[test]
    fn a_heading_of_a_hunk_and_wide_text_are_kept() {
        let patch = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -10,2 +10,2 @@ fn main() \u{1b}[2J{\n-日本\n+e\u{301} 🦀\n";
        let lines = shown(patch.as_bytes(), Colours::None);
        assert_eq!(lines[1], "@@ -10,2 +10,2 @@ fn main() ␛[2J{");
        assert_eq!(lines[2..], ["-日本", "+e\u{301} 🦀"]);
    }

    #[test]
    fn a_very_long_line_is_complete() {
        let long = "x".repeat(100_000);
        let lines = shown(&added(&[long.as_bytes()]), Colours::Shown);
        assert_eq!(lines.last().map(|line| line.matches('x').count()), Some(100_000));
    }

    #[test]
    fn nothing_is_printed_for_no_changes() {
        assert_eq!(shown(b"", Colours::Shown), [""; 0]);
    }

    #[test]
    fn a_name_cannot_forge_a_heading() {
        let patch = b"diff --git \"a/x\\nfile other\" \"b/x\\nfile other\"\n--- \"a/x\\nfile other\"\n+++ \"b/x\\nfile other\"\n@@ -1 +1 @@\n-a\n+b\n";
        let lines = shown(patch, Colours::None);
        assert_eq!(lines.iter().filter(|line| line.starts_with("file ")).count(), 1, "{lines:?}");
        assert!(lines[0].contains('␊') && lines[1] == "! its name contains control or invisible characters", "{lines:?}");
    }
}
