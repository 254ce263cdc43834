//! `task diff`: shows the changes of a task or run as a diff, as statistics or as JSON.
//! In a pipe, the diff is a patch that `git apply` accepts. In a terminal, it is formatted for people.

use std::process::ExitCode;

use client::Client;
use model::diff::{Diff, DiffStats, FileDiff, FileStatus};
use model::ids::TaskId;
use model::problem::Problem;
use model::visible::Visible;
use protocol::DiffQuery;

use crate::diff_lines::notes;
use crate::output::Output;
use crate::printer::{Cell, plural};
use crate::{ids, printer};

/// The maximum length of a path, in bytes.
const PATH: usize = 100;

/// The format of a diff.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DiffOutput {
    Patch,
    Stat,
    Json,
}

/// Prints the changes of a task, or the part of them that the query selects.
pub(super) async fn run(client: &Client, task: &str, part: &DiffQuery, form: DiffOutput) -> Result<ExitCode, Problem> {
    let id = ids::task(client, task).await?;
    match form {
        DiffOutput::Patch => patch(client, id, part).await?,
        DiffOutput::Stat => stat(&client.show_diff(id, part).await?).print(),
        DiffOutput::Json => printer::json(&client.show_diff(id, part).await?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the changes in a readable form if stdout is a terminal, and as a patch otherwise.
pub(super) async fn patch(client: &Client, id: TaskId, part: &DiffQuery) -> Result<(), Problem> {
    if printer::is_for_people() {
        let diff = client.show_diff(id, part).await?;
        if diff.files.is_empty() {
            printer::remark("no changes");
        }
        printer::diff(&diff);
        return Ok(());
    }
    let patch = client.show_patch(id, part).await?.bytes().await?;
    if patch.is_empty() {
        printer::remark("no changes");
    }
    printer::bytes(&patch);
    Ok(())
}

fn stat(diff: &Diff) -> Output {
    let mut out = Output::default();
    if diff.files.is_empty() {
        out.remark("no changes");
        return out;
    }
    out.table(&["file", "change", "added", "removed"], &diff.files.iter().map(row).collect::<Vec<_>>());
    out.line(sum(&diff.stats));
    for file in &diff.files {
        for note in notes(file) {
            out.remark(format!("{}: {note}", name(Some(file.path_bytes()))));
        }
    }
    out
}

fn row(file: &FileDiff) -> Vec<Cell> {
    let has_lines = !file.binary && (file.omitted.is_none() || file.additions + file.deletions > 0);
    let lines = |number: u64, sign: char| if has_lines { format!("{sign}{number}") } else { "-".to_owned() };
    vec![
        Cell::plain(name(Some(file.path_bytes()))),
        Cell::plain(word(file)),
        Cell::plain(lines(file.additions, '+')),
        Cell::plain(lines(file.deletions, '-')),
    ]
}

fn name(path: Option<Vec<u8>>) -> String {
    Visible::short_name(path.unwrap_or_default(), PATH).plain()
}

fn word(file: &FileDiff) -> String {
    match file.status {
        FileStatus::Added => "added".to_owned(),
        FileStatus::Deleted => "deleted".to_owned(),
        FileStatus::Modified => "modified".to_owned(),
        FileStatus::Renamed => format!("renamed from {}", name(file.old_path_bytes())),
        FileStatus::Copied => format!("copied from {}", name(file.old_path_bytes())),
        FileStatus::ModeChanged => "mode changed".to_owned(),
        FileStatus::TypeChanged => "type changed".to_owned(),
    }
}

fn sum(stats: &DiffStats) -> String {
    let files = usize::try_from(stats.files).unwrap_or(usize::MAX);
    format!("\n{} changed: +{} -{}", plural(files, "file"), stats.additions, stats.deletions)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATCH: &[u8] = b"diff --git a/old b/new\nsimilarity index 90%\nrename from old\nrename to new\n--- a/old\n+++ b/new\n\
        @@ -1,2 +1,2 @@\n same\n-gone\n+here\ndiff --git a/x b/x\nnew file mode 100644\n--- /dev/null\n+++ b/x\n@@ -0,0 +1 @@\n+x\n";

    #[test]
    fn statistics_say_how_each_file_changed() {
        let diff = Diff::parse(PATCH);
        assert_eq!(diff.files.iter().map(word).collect::<Vec<_>>(), ["renamed from old", "added"]);
        assert_eq!(sum(&diff.stats), "\n2 files changed: +2 -1");
        insta::assert_snapshot!("task-diff-stat", stat(&diff).plain());
        insta::assert_snapshot!("task-diff-stat-empty", stat(&Diff::default()).plain());
    }

    #[test]
    fn notes_say_what_a_reviewer_could_miss() {
        let mut diff = Diff::parse(b"diff --git a/x\x07 b/x\x07\nnew file mode 100644\nBinary files /dev/null and b/x differ\n");
        diff.files[0].bytes = Some(3 << 40);
        diff.files[0].has_hidden_characters = true;
        diff.files[0].on_disk = Some("encoding UTF-7".to_owned());
        diff.files[0].omitted = Some(model::diff::Omitted::TooLarge);
        insta::assert_snapshot!("task-diff-notes", stat(&diff).plain());
    }

    /// Returns the statistics of a patch as lines.
    fn stats(patch: &[u8]) -> Vec<String> {
        stat(&Diff::parse(patch)).plain().lines().map(str::to_owned).collect()
    }

    #[test]
    fn files_without_lines_have_no_counts() {
        let patch = b"diff --git a/i b/i\nnew file mode 100644\nBinary files /dev/null and b/i differ\n\
            diff --git a/m b/m\nold mode 100644\nnew mode 100755\n";
        let lines = stats(patch);
        assert_eq!(
            lines[..3],
            ["FILE  CHANGE        ADDED  REMOVED", "i     added         -      -", "m     mode changed  +0     -0"]
        );
        assert!(lines.iter().any(|line| line == "2 files changed: +0 -0"), "{lines:?}");
    }

    #[test]
    fn long_and_hostile_names_keep_the_table_in_shape() {
        let long = "d/".repeat(100);
        let patch = format!(
            "diff --git a/{long}x b/{long}x\n--- a/{long}x\n+++ b/{long}x\n@@ -1 +1 @@\n-a\n+b\n\
             diff --git \"a/\\033[2J\\342\\200\\256n\" \"b/\\033[2J\\342\\200\\256n\"\n--- /dev/null\n+++ /dev/null\n@@ -1 +1 @@\n-a\n+b\n"
        );
        let lines = stats(patch.as_bytes());
        assert!(lines[1].contains('…') && lines[1].chars().count() < 200, "{lines:?}");
        assert!(lines[2].starts_with("␛[2J<U+202E>n "), "{lines:?}");
        let columns: Vec<_> = lines[..3]
            .iter()
            .map(|line| unicode_width::UnicodeWidthStr::width(line.split("  modified").next().unwrap_or_default()))
            .collect();
        assert!(columns[1] > 90 && lines[1].contains("  modified  +1     -1"), "{lines:?}");
    }

    #[test]
    fn a_copy_names_its_source() {
        let diff = Diff::parse(b"diff --git a/x b/y\nsimilarity index 100%\ncopy from x\ncopy to y\n");
        assert_eq!(diff.files.iter().map(word).collect::<Vec<_>>(), ["copied from x"]);
    }

    #[test]
    fn the_sum_has_a_singular() {
        assert_eq!(sum(&DiffStats { files: 1, additions: 0, deletions: 3 }), "\n1 file changed: +0 -3");
    }
}
