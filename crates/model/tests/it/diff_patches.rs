//! Tests the parser with patches that git 2.47 printed.

use model::diff::{Diff, DiffLineKind, FileDiff, FileStatus, LineLimits, Omitted};

/// Formats a file as one line: its status, paths, modes and counts.
fn told(file: &FileDiff) -> String {
    let path = |path: &Option<String>| path.clone().unwrap_or_else(|| "-".to_owned());
    let status = serde_json::to_value(file.status).expect("a status can be serialized");
    format!(
        "{} {} > {} | {} > {} | +{} -{}{}",
        status.as_str().unwrap_or_default(),
        path(&file.old_path),
        path(&file.new_path),
        path(&file.old_mode),
        path(&file.new_mode),
        file.additions,
        file.deletions,
        if file.binary { " binary" } else { "" },
    )
}

#[track_caller]
fn check(patch: &str, expect: &[&str]) -> Diff {
    let diff = Diff::parse(patch.as_bytes());
    assert_eq!(diff.files.iter().map(told).collect::<Vec<_>>(), expect);
    assert_eq!(diff.stats.files, expect.len() as u64);
    assert_eq!(diff.stats.additions, diff.files.iter().map(|file| file.additions).sum::<u64>());
    assert_eq!(diff.stats.deletions, diff.files.iter().map(|file| file.deletions).sum::<u64>());
    diff
}

/// Returns the lines of a file as in the patch, with hunk headers.
fn lines(file: &FileDiff) -> Vec<String> {
    let mut lines = Vec::new();
    for hunk in &file.hunks {
        let heading = if hunk.heading.is_empty() { String::new() } else { format!(" {}", hunk.heading) };
        lines.push(format!("@@ -{},{} +{},{} @@{heading}", hunk.old_start, hunk.old_lines, hunk.new_start, hunk.new_lines));
        for line in &hunk.lines {
            let sign = match line.kind {
                DiffLineKind::Context => ' ',
                DiffLineKind::Added => '+',
                DiffLineKind::Removed => '-',
            };
            lines.push(format!("{sign}{}{}", line.text, if line.no_newline { "⏎̸" } else { "" }));
        }
    }
    lines
}

#[test]
fn a_change_in_two_places_has_two_hunks_with_their_headings() {
    let diff = check(
        "\
diff --git a/code.rs b/code.rs
index c2f968fdadbfb8a8562c916abde8254b18bc4212..2f6b63de95a45b0dfc52b1de7e7dcd24e1ea1930 100644
--- a/code.rs
+++ b/code.rs
@@ -3,7 +3,7 @@ fn one() {
 }
 
 fn two() {
-    2
+    22
 }
 
 fn three() {
@@ -12,4 +12,5 @@ fn three() {
 
 fn four() {
     4
+    44
 }
",
        &["modified code.rs > code.rs | 100644 > 100644 | +2 -1"],
    );
    assert_eq!(
        lines(&diff.files[0]),
        [
            "@@ -3,7 +3,7 @@ fn one() {",
            " }",
            " ",
            " fn two() {",
            "-    2",
            "+    22",
            " }",
            " ",
            " fn three() {",
            "@@ -12,4 +12,5 @@ fn three() {",
            " ",
            " fn four() {",
            "     4",
            "+    44",
            " }"
        ]
    );
}

#[test]
fn a_file_that_contains_a_patch_is_one_file() {
    let diff = check(
        "\
diff --git a/a.patch b/a.patch
index 3ff8ef144668fde821c2d6bf6691aa4604e660fd..949f70f4976a0195f5dfcca0c60de3036b53e5c3 100644
--- a/a.patch
+++ b/a.patch
@@ -2,7 +2,8 @@ mail:
 
 diff --git a/x b/x
 --- a/x
-+++ b/x
++++ b/y
 @@ -1 +1 @@
 -x
 +y
+--- deleted
diff --git a/next b/next
old mode 100644
new mode 100755
",
        &["modified a.patch > a.patch | 100644 > 100644 | +2 -1", "mode_changed next > next | 100644 > 100755 | +0 -0"],
    );
    assert_eq!(lines(&diff.files[0])[4..6], ["-+++ b/x", "++++ b/y"]);
}

#[test]
fn lines_at_the_edge_of_a_hunk_are_not_headers() {
    // Removed lines `-- a/y` and `-- /dev/null` look like the header of a different file.
    let diff = check(
        "\
diff --git a/q.sql b/q.sql
index 3ff8ef144668fde821c2d6bf6691aa4604e660fd..949f70f4976a0195f5dfcca0c60de3036b53e5c3 100644
--- a/q.sql
+++ b/q.sql
@@ -1,2 +1 @@
--- a/y
--- /dev/null
+++ b/y
@@ -9 +8 @@
-x
+y
",
        &["modified q.sql > q.sql | 100644 > 100644 | +2 -3"],
    );
    assert_eq!(diff.files[0].hunks.len(), 2);
}

#[test]
fn renames_copies_and_modes_are_told_apart() {
    check(
        "\
diff --git a/before.txt b/after.txt
similarity index 87%
rename from before.txt
rename to after.txt
index 71ac1b5791204c80666ab1a4f9886b79e982739c..b9a82af054004ae75bdcf37f94b0215ab84fae9f 100644
--- a/before.txt
+++ b/after.txt
@@ -5,4 +5,4 @@ d
 e
 f
 g
-h
+H
diff --git a/moved.txt b/dir b/moved b.txt
similarity index 100%
rename from moved.txt
rename to dir b/moved b.txt
diff --git a/empty-gone b/empty new
similarity index 100%
rename from empty-gone
rename to empty new
diff --git a/code.rs b/copy.rs
similarity index 100%
copy from code.rs
copy to copy.rs
diff --git a/script.sh b/script.sh
old mode 100644
new mode 100755
diff --git a/x b b/x b
old mode 100644
new mode 100755
index 71ac1b5791204c80666ab1a4f9886b79e982739c..b9a82af054004ae75bdcf37f94b0215ab84fae9f
--- a/x b\t
+++ b/x b\t
@@ -1 +1 @@
-1
+2
",
        &[
            "renamed before.txt > after.txt | 100644 > 100644 | +1 -1",
            "renamed moved.txt > dir b/moved b.txt | - > - | +0 -0",
            "renamed empty-gone > empty new | - > - | +0 -0",
            "copied code.rs > copy.rs | - > - | +0 -0",
            "mode_changed script.sh > script.sh | 100644 > 100755 | +0 -0",
            "modified x b > x b | 100644 > 100755 | +1 -1",
        ],
    );
}

#[test]
fn new_and_deleted_files_have_one_path() {
    let diff = check(
        "\
diff --git a/gone.txt b/gone.txt
deleted file mode 100644
index 0906fbadffba7c7e7d20ac432b32475f96fbec30..0000000000000000000000000000000000000000
--- a/gone.txt
+++ /dev/null
@@ -1 +0,0 @@
-old line
diff --git a/dir b/empty new b/dir b/empty new
new file mode 100644
index 0000000000000000000000000000000000000000..e69de29bb2d1d6434b8b29ae775ad8c2e48c5391
diff --git a/sub b/sub
new file mode 160000
index 0000000000000000000000000000000000000000..1111111111111111111111111111111111111111
--- /dev/null
+++ b/sub
@@ -0,0 +1 @@
+Subproject commit 1111111111111111111111111111111111111111
",
        &[
            "deleted gone.txt > - | 100644 > - | +0 -1",
            "added - > dir b/empty new | - > 100644 | +0 -0",
            "added - > sub | - > 160000 | +1 -0",
        ],
    );
    assert_eq!(diff.files.iter().map(FileDiff::path).collect::<Vec<_>>(), ["gone.txt", "dir b/empty new", "sub"]);
}

#[test]
fn a_file_that_became_a_link_is_one_file() {
    let diff = check(
        "\
diff --git a/becomes-link b/becomes-link
deleted file mode 100644
index eb5a316cbd195d26e3f768c7dd8e1b47299e17f8..0000000000000000000000000000000000000000
--- a/becomes-link
+++ /dev/null
@@ -1 +0,0 @@
-target
diff --git a/becomes-link b/becomes-link
new file mode 120000
index 0000000000000000000000000000000000000000..af8249ce02d49ae6b383ef107d9f62e4471a5b20
--- /dev/null
+++ b/becomes-link
@@ -0,0 +1 @@
+code.rs
\\ No newline at end of file
",
        &["type_changed becomes-link > becomes-link | 100644 > 120000 | +1 -1"],
    );
    assert_eq!(lines(&diff.files[0]), ["@@ -1,1 +0,0 @@", "-target", "@@ -0,0 +1,1 @@", "+code.rs⏎̸"]);
}

#[test]
fn unusual_paths_are_themselves_again() {
    check(
        "\
diff --git \"a/tab\\there\\303\\251.txt\" \"b/tab\\there\\303\\251.txt\"
index 8cc35a3d55c810ba1f998f398e475feb0e5f6b8a..bac686ba1956d186ccb4e299f1ffc08211f25b18 100644
--- \"a/tab\\there\\303\\251.txt\"
+++ \"b/tab\\there\\303\\251.txt\"
@@ -1 +1 @@
-tab
+tab2
diff --git \"a/q\\\"uote\" \"b/q\\\"uote\"
old mode 100644
new mode 100755
diff --git a/plain \"b/new\\nline\"
similarity index 100%
rename from plain
rename to \"new\\nline\"
diff --git a/dir b/with space.txt b/dir b/with space.txt
index 5626abf0f72e58d7a153368ba57db4c673c0e171..f719efd430d52bcfc8566a43b2eb655688d38871 100644
--- a/dir b/with space.txt\t
+++ b/dir b/with space.txt\t
@@ -1 +1 @@
-one
+two
",
        &[
            "modified tab\thereé.txt > tab\thereé.txt | 100644 > 100644 | +1 -1",
            "mode_changed q\"uote > q\"uote | 100644 > 100755 | +0 -0",
            "renamed plain > new\nline | - > - | +0 -0",
            "modified dir b/with space.txt > dir b/with space.txt | 100644 > 100644 | +1 -1",
        ],
    );
}

#[test]
fn the_missing_newline_belongs_to_the_line_before_it() {
    let diff = check(
        "\
diff --git a/noend.txt b/noend.txt
index d514c78b7520813632e783961fe3647f1e889fa8..739de3228dd85d05419195216225b18367528257 100644
--- a/noend.txt
+++ b/noend.txt
@@ -1 +1 @@
-no end
\\ No newline at end of file
+no end
diff --git a/noend2.txt b/noend2.txt
new file mode 100644
index 0000000000000000000000000000000000000000..7da395dcaac7841aa9ce5f6b704e8496fd541043
--- /dev/null
+++ b/noend2.txt
@@ -0,0 +1 @@
+new no end
\\ No newline at end of file
",
        &["modified noend.txt > noend.txt | 100644 > 100644 | +1 -1", "added - > noend2.txt | - > 100644 | +1 -0"],
    );
    assert_eq!(lines(&diff.files[0]), ["@@ -1,1 +1,1 @@", "-no end⏎̸", "+no end"]);
    assert_eq!(lines(&diff.files[1]), ["@@ -0,0 +1,1 @@", "+new no end⏎̸"]);
}

#[test]
fn binary_files_have_no_hunks_in_either_form() {
    check(
        "\
diff --git a/blob.bin b/blob.bin
index 88768efdf77ec78c9a995f94881793be6a41752b..3e3315e1b02129d197721a8a0b56dd88862f454d 100644
Binary files a/blob.bin and b/blob.bin differ
diff --git a/new.bin b/new.bin
new file mode 100644
index 0000000000000000000000000000000000000000..f9e371ff2657e5d2bd4389e3b323fe0550e3a860
GIT binary patch
literal 4
LcmZR`ODzWg0*?Vp

literal 0
HcmV?d00001

diff --git a/after b/after
old mode 100755
new mode 100644
",
        &[
            "modified blob.bin > blob.bin | 100644 > 100644 | +0 -0 binary",
            "added - > new.bin | - > 100644 | +0 -0 binary",
            "mode_changed after > after | 100755 > 100644 | +0 -0",
        ],
    );
}

#[test]
fn carriage_returns_stay_and_other_encodings_are_replaced() {
    let mut patch =
        b"diff --git a/crlf.txt b/crlf.txt\n--- a/crlf.txt\n+++ b/crlf.txt\n@@ -1,2 +1,2 @@\n r1\r\n-r2\r\n+r\xe9\r\n".to_vec();
    let diff = Diff::parse(&patch);
    let texts: Vec<&str> = diff.files[0].hunks[0].lines.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["r1\r", "r2\r", "r\u{fffd}\r"]);
    patch.truncate(patch.len() - 1);
    assert_eq!(Diff::parse(&patch), diff, "the last newline does not matter");
}

#[test]
fn what_is_no_patch_is_skipped() {
    for text in ["", "\n", "warning: something\n", "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n"] {
        check(text, &[]);
    }
    let diff = check(
        "noise\ndiff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1,9 +1,9 @@\n a\n-cut off\n",
        &["modified x > x | - > - | +0 -1"],
    );
    assert_eq!(diff.files[0].hunks[0].lines.len(), 2);
}

#[test]
fn a_diff_survives_the_way_over_json() {
    let diff =
        Diff::parse(b"diff --git a/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+a\n\\ No newline\n");
    let json = serde_json::to_value(&diff).expect("a diff can be serialized");
    assert_eq!(json["files"][0]["status"], "added");
    assert_eq!(json["files"][0]["old_path"], serde_json::Value::Null);
    assert_eq!(json["files"][0]["hunks"][0]["lines"][0], serde_json::json!({"kind": "added", "text": "a", "no_newline": true}));
    assert_eq!(json["stats"], serde_json::json!({"files": 1, "additions": 1, "deletions": 0}));
    assert_eq!(serde_json::from_value::<Diff>(json).expect("the JSON is valid"), diff);
    assert_eq!(diff.files[0].status, FileStatus::Added);
}

#[test]
fn lines_beyond_the_limits_are_counted_and_checked_but_not_kept() {
    let file = |name: &str, last: &str| {
        format!(
            "diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n@@ -0,0 +1,4 @@\n+1\n+2\n+3\n+{last}\n@@ -9,1 +12,1 @@\n-x\n+y\n"
        )
    };
    let patch = [file("a", "4"), file("b", "\u{1b}]"), file("c", "4")].concat();
    let diff = Diff::parse_within(patch.as_bytes(), LineLimits { per_file: 3, total: 4 });
    let kept: Vec<_> = diff.files.iter().map(lines).collect();
    assert_eq!(kept, [vec!["@@ -0,0 +1,4 @@", "+1", "+2", "+3"], vec!["@@ -0,0 +1,4 @@", "+1"], vec![]]);
    for file in &diff.files {
        assert_eq!((file.additions, file.deletions, file.omitted), (5, 1, Some(Omitted::TooManyLines)));
    }
    assert_eq!(diff.files.iter().map(|file| file.has_hidden_characters).collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn bytes_that_are_not_utf8_are_kept_in_names_and_lines() {
    let patch = b"diff --git \"a/\\376\" \"b/\\376\"\n--- \"a/\\376\"\n+++ \"b/\\376\"\n@@ -1 +1 @@\n-a\xff\n+a\xfe\n";
    let diff = Diff::parse(patch);
    assert_eq!(diff.files[0].path_bytes(), b"\xfe");
    let shown: Vec<_> = diff.files[0].hunks[0].lines.iter().map(|line| line.visible(99).text().to_owned()).collect();
    assert_eq!(shown, ["a<0xFF>", "a<0xFE>"]);
    assert!(diff.files[0].has_hidden_characters);
    let json = serde_json::to_string(&diff).expect("a diff can be serialized");
    assert_eq!(serde_json::from_str::<Diff>(&json).expect("the JSON is valid"), diff);
}
