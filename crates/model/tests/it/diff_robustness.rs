//! Tests the patch parser: no input causes a panic, and every line of a generated patch is parsed.

use std::fmt::Write as _;

use model::diff::{Diff, DiffLineKind};
use proptest::collection::vec;
use proptest::prelude::*;

/// Generates lines that look like parts of a patch, in any order.
fn fragments() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        Just("diff --git a/x b/x"),
        Just("diff --git \"a/\\303\" \"b/\\4"),
        Just("--- a/x"),
        Just("+++ \"b/x"),
        Just("@@ -1,3 +1,2 @@ f"),
        Just("@@ -0,0 +1,18446744073709551615 @@"),
        Just("rename from a"),
        Just("old mode 1"),
        Just("index a..b 100644"),
        Just("GIT binary patch"),
        Just("deleted file mode 100644"),
        Just("new file mode 120000"),
        Just("\\ No newline at end of file"),
        Just("+x"),
        Just("-x"),
        Just(" x"),
        Just(""),
    ];
    let line = prop_oneof![4 => text.prop_map(|text| text.as_bytes().to_vec()), 1 => vec(any::<u8>(), 0..20)];
    vec(line, 0..40).prop_map(|lines| lines.join(&b'\n'))
}

proptest! {
    #[test]
    fn any_bytes_are_some_diff(patch in prop_oneof![fragments(), vec(any::<u8>(), 0..300)]) {
        let diff = Diff::parse(&patch);
        let lines: usize = diff.files.iter().flat_map(|file| &file.hunks).map(|hunk| hunk.lines.len()).sum();
        prop_assert!(lines <= patch.split(|byte| *byte == b'\n').count());
        for hunk in diff.files.iter().flat_map(|file| &file.hunks) {
            let old = hunk.lines.iter().filter(|line| line.kind != DiffLineKind::Added).count() as u64;
            let new = hunk.lines.iter().filter(|line| line.kind != DiffLineKind::Removed).count() as u64;
            prop_assert!(old <= hunk.old_lines && new <= hunk.new_lines, "{:?}", hunk);
        }
    }

    #[test]
    fn a_patch_is_read_back_line_by_line(
        files in vec((vec(any::<bool>(), 1..20), "[^\n]{0,12}"), 1..6),
    ) {
        let mut patch = String::new();
        for (number, (signs, text)) in files.iter().enumerate() {
            let added = signs.iter().filter(|sign| **sign).count();
            let removed = signs.len() - added;
            let head = format!("diff --git a/{number} b/{number}\n--- a/{number}\n+++ b/{number}\n");
            writeln!(patch, "{head}@@ -1,{removed} +1,{added} @@").expect("writing to a string cannot fail");
            for sign in signs {
                writeln!(patch, "{}{text}", if *sign { '+' } else { '-' }).expect("writing to a string cannot fail");
            }
        }
        let diff = Diff::parse(patch.as_bytes());
        prop_assert_eq!(diff.files.len(), files.len());
        for (file, (signs, text)) in diff.files.iter().zip(&files) {
            let read: Vec<bool> = file.hunks[0].lines.iter().map(|line| line.kind == DiffLineKind::Added).collect();
            prop_assert_eq!(&read, signs);
            prop_assert!(file.hunks[0].lines.iter().all(|line| line.text == *text));
        }
    }
}

#[test]
fn a_large_patch_takes_time_in_proportion() {
    // With a quadratic algorithm, this test would take minutes for these 40 MB.
    let line = format!("+{}\n", "diff --git a/x b/x ".repeat(100));
    let lines = 20_000;
    let patch = format!("diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -0,0 +1,{lines} @@\n{}", line.repeat(lines));
    let diff = Diff::parse(patch.as_bytes());
    assert_eq!(diff.stats.additions, lines as u64);
    let one_line = format!("diff --git {}", " b/".repeat(5_000_000));
    assert_eq!(Diff::parse(one_line.as_bytes()).files.len(), 1);
}
