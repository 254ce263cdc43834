//! `task diff`: what a task or one of its runs changed, as a patch, as figures, or as the API's JSON.
//! In a pipe a patch is byte for byte what `git apply` takes.

use std::process::ExitCode;

use model::codex::printable_line;
use model::diff::{Diff, DiffStats, FileDiff, FileStatus};
use model::problem::Problem;

use crate::client::{Client, lost};
use crate::printer::{Cell, plural};
use crate::{ids, printer};

/// The longest path that is shown, in characters.
const PATH: usize = 100;

/// How a difference is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Patch,
    Figures,
    Json,
}

/// Prints it. `part` is empty or a further parameter of the query, which says what part of the changes.
pub(super) async fn run(client: &Client, task: &str, part: &str, form: Form) -> Result<ExitCode, Problem> {
    let id = ids::task(client, task).await?;
    match form {
        Form::Patch => patch(client, &id, part).await?,
        Form::Figures => figures(&client.get(&format!("/api/v1/tasks/{id}/diff?format=json{part}")).await?),
        Form::Json => printer::json(&client.get::<Diff>(&format!("/api/v1/tasks/{id}/diff?format=json{part}")).await?)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints a task's patch. `run` is empty or a further parameter of the query.
pub(super) async fn patch(client: &Client, id: &str, run: &str) -> Result<(), Problem> {
    let answer = client.stream(&format!("/api/v1/tasks/{id}/diff?format=patch{run}")).await?;
    let patch = answer.bytes().await.map_err(|error| lost(&error))?;
    if patch.is_empty() {
        printer::remark("no changes");
    }
    printer::patch(&patch);
    Ok(())
}

fn figures(diff: &Diff) {
    if diff.files.is_empty() {
        return printer::remark("no changes");
    }
    printer::table(&["file", "what", "added", "removed"], &diff.files.iter().map(row).collect::<Vec<_>>());
    printer::line(sum(&diff.stats));
}

fn row(file: &FileDiff) -> Vec<Cell> {
    let lines = |number: u64, sign: char| if file.binary { "-".to_owned() } else { format!("{sign}{number}") };
    vec![
        Cell::plain(printable_line(file.path(), PATH)),
        Cell::plain(word(file)),
        Cell::plain(lines(file.additions, '+')),
        Cell::plain(lines(file.deletions, '-')),
    ]
}

fn word(file: &FileDiff) -> String {
    match file.status {
        FileStatus::Added => "added".to_owned(),
        FileStatus::Deleted => "deleted".to_owned(),
        FileStatus::Modified => "modified".to_owned(),
        FileStatus::Renamed => format!("renamed from {}", printable_line(file.old_path.as_deref().unwrap_or_default(), PATH)),
        FileStatus::Copied => format!("copied from {}", printable_line(file.old_path.as_deref().unwrap_or_default(), PATH)),
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
    fn figures_say_what_became_of_each_file() {
        let diff = Diff::parse(PATCH);
        assert_eq!(diff.files.iter().map(word).collect::<Vec<_>>(), ["renamed from old", "added"]);
        assert_eq!(sum(&diff.stats), "\n2 files changed: +2 -1");
    }
}
