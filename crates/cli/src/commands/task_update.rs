//! `task update` and `task conflicts`: update a task's branch from its base branch, and list conflicts.
//! Control characters in paths are escaped.

use std::process::ExitCode;

use client::Client;
use model::merge::FileConflict;
use model::problem::Problem;
use model::visible::Visible;
use printable::printable_line;
use protocol::{ConflictsQuery, ConflictsView, UpdateOutcome, UpdateTask, UpdateView};

use crate::output::{Output, OutputFormat};
use crate::printer::{Cell, plural};
use crate::{ids, printer};

/// The maximum length of a path, in characters.
const PATH: usize = 100;

/// The maximum length of a title, in characters.
const TITLE: usize = 40;

pub(super) async fn update(client: &Client, task: &str, asked: UpdateTask, format: OutputFormat) -> Result<ExitCode, Problem> {
    let id = ids::task(client, task).await?;
    let view = client.update_task(id, &asked).await?;
    if format.is_json() {
        printer::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    updated(&view).print();
    Ok(ExitCode::SUCCESS)
}

fn updated(view: &UpdateView) -> Output {
    let mut out = Output::default();
    let id = view.task.task_id;
    let base = format!("`{}` at {}", view.base.name, view.base.commit.short());
    match view.outcome {
        UpdateOutcome::Updated => out.line(format!("Updated {} to {base}", view.task.branch)),
        UpdateOutcome::Current => out.line(format!("{} is already up to date with {base}", view.task.branch)),
        UpdateOutcome::HandedOver => {
            let files = plural(view.conflicts.len(), "file");
            out.line(format!("Asked Codex to merge {base} and resolve conflicts in {files}"));
            out.remark(format!("follow it: codex-orchestrator task logs --follow {id}"));
            out.remark(format!("when the run has completed: codex-orchestrator task update {id}"));
        }
    }
    if view.dropped > 0 {
        let commits = plural(usize::try_from(view.dropped).unwrap_or(usize::MAX), "commit");
        out.remark(format!("dropped {commits} whose changes are already in the base"));
    }
    out
}

pub(super) async fn conflicts(
    client: &Client,
    task: &str,
    query: &ConflictsQuery,
    format: OutputFormat,
) -> Result<ExitCode, Problem> {
    let id = ids::task(client, task).await?;
    let view = client.task_conflicts(id, query).await?;
    if format.is_json() {
        printer::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    found(&view).print();
    Ok(ExitCode::SUCCESS)
}

fn found(view: &ConflictsView) -> Output {
    let mut out = Output::default();
    let base = format!("{} ({})", view.base.name, view.base.commit.short());
    let behind = usize::try_from(view.behind).unwrap_or(usize::MAX);
    out.line(format!("{} behind {base} as of the last fetch", plural(behind, "commit")));
    let mut rows = rows(&base, &view.conflicts);
    for other in &view.tasks {
        let id = other.task_id.to_string();
        rows.extend(self::rows(&format!("{} {}", &id[..8], printable_line(other.title.as_str(), TITLE)), &other.conflicts));
    }
    let others = plural(usize::try_from(view.looked_at).unwrap_or(usize::MAX), "other task");
    if rows.is_empty() {
        out.line(format!("No conflicts with the base or {others}"));
    } else {
        out.table(&["conflicts with", "kind", "file"], &rows);
        out.remark(format!("checked {others}"));
    }
    if view.left_out > 0 {
        out.remark(format!(
            "not checked: {} with commits",
            plural(usize::try_from(view.left_out).unwrap_or(usize::MAX), "older task")
        ));
    }
    out
}

fn rows(with: &str, conflicts: &[FileConflict]) -> Vec<Vec<Cell>> {
    let row = |conflict: &FileConflict| {
        vec![
            Cell::plain(with),
            Cell::plain(conflict.kind.as_str()),
            Cell::plain(Visible::short_name(&conflict.path, PATH).plain()),
        ]
    };
    conflicts.iter().map(row).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::samples::{self, completed_run, task};

    #[test]
    fn an_update_says_what_happened_to_the_branch() {
        let base = json!({ "name": "main", "commit": samples::commit('b') });
        let conflict = json!({ "path": "src/lib.rs", "kind": "content" });
        let texts = ["updated", "current", "handed_over"].map(|outcome| {
            let task = task(&[completed_run()], json!({}));
            let conflicts = if outcome == "handed_over" { json!([conflict]) } else { json!([]) };
            let dropped = u32::from(outcome == "updated");
            let view = json!({ "outcome": outcome, "base": base, "dropped": dropped, "conflicts": conflicts, "task": task });
            updated(&samples::from(view)).plain()
        });
        insta::assert_snapshot!("task-update", texts.join("\n\n"));
    }

    #[test]
    fn conflicts_are_listed_by_branch() {
        let base = json!({ "name": "main", "commit": samples::commit('b') });
        let conflict = json!({ "path": "src/lib.rs", "kind": "content" });
        let other = json!({ "task_id": samples::TASK, "title": "Rename the module", "conflicts": [conflict] });
        let some = json!({ "base": base, "behind": 3, "conflicts": [conflict], "tasks": [other], "looked_at": 5, "left_out": 2 });
        let none = json!({ "base": base, "behind": 1, "conflicts": [], "tasks": [], "looked_at": 1, "left_out": 0 });
        let texts = [some, none].map(|view| found(&samples::from(view)).plain());
        insta::assert_snapshot!("task-conflicts", texts.join("\n\n"));
    }

    #[test]
    fn hostile_and_long_paths_are_shown_with_marks() {
        let base = json!({ "name": "ma\u{202e}in", "commit": samples::commit('b') });
        let conflict = |path: &str| json!({ "path": path, "kind": "content" });
        let view = json!({
            "base": base, "behind": 0, "conflicts": [conflict("a\nb"), conflict("\u{1b}[2J"), conflict(&"d/".repeat(200))],
            "tasks": [], "looked_at": 0, "left_out": 1,
        });
        let text = found(&samples::from(view)).plain();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "0 commits behind main (bbbbbbbbbbbb) as of the last fetch");
        assert!(lines[2].ends_with("a␊b") && lines[3].ends_with("␛[2J") && lines[4].contains('…'), "{text}");
        assert_eq!(lines[5..], ["stderr| checked 0 other tasks", "stderr| not checked: 1 older task with commits"]);
    }
}
