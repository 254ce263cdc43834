//! `task update` and `task conflicts`: a task's branch and what it is based on.
//! Paths are written by others and made printable first.

use std::process::ExitCode;

use model::api::{ConflictsView, UpdateOutcome, UpdateTask, UpdateView};
use model::codex::printable_line;
use model::merge::FileConflict;
use model::problem::Problem;
use model::visible::Visible;
use reqwest::Method;

use crate::client::Client;
use crate::printer::{Cell, plural};
use crate::{ids, printer};

/// The longest path that is shown, in characters.
const PATH: usize = 100;

/// The longest title that is shown, in characters.
const TITLE: usize = 40;

pub(super) async fn update(client: &Client, task: &str, asked: UpdateTask, json: bool) -> Result<ExitCode, Problem> {
    let id = ids::task(client, task).await?;
    let view: UpdateView = client.send(Method::POST, &format!("/api/v1/tasks/{id}/update"), &asked).await?;
    if json {
        printer::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    let base = format!("`{}` at {}", view.base.name, view.base.commit.short());
    match view.outcome {
        UpdateOutcome::Updated => printer::line(format!("{} is up to {base} now", view.task.meta.branch)),
        UpdateOutcome::Current => printer::line(format!("{} is up to {base} already", view.task.meta.branch)),
        UpdateOutcome::HandedOver => {
            let files = plural(view.conflicts.len(), "file");
            printer::line(format!("The agent is asked to merge {base}, which conflicts in {files}"));
            printer::remark(format!("follow it: codex-orchestrator task logs --follow {id}"));
            printer::remark(format!("when it has completed: codex-orchestrator task update {id}"));
        }
    }
    if view.dropped > 0 {
        let commits = plural(usize::try_from(view.dropped).unwrap_or(usize::MAX), "commit");
        printer::remark(format!("left out, since the base does the same: {commits}"));
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn conflicts(client: &Client, task: &str, fetch: bool, json: bool) -> Result<ExitCode, Problem> {
    let id = ids::task(client, task).await?;
    let view: ConflictsView = client.get(&format!("/api/v1/tasks/{id}/conflicts?fetch={fetch}")).await?;
    if json {
        printer::json(&view)?;
        return Ok(ExitCode::SUCCESS);
    }
    let base = format!("{} ({})", view.base.name, view.base.commit.short());
    let behind = usize::try_from(view.behind).unwrap_or(usize::MAX);
    printer::line(format!("{} behind {base}, as of the last fetch", plural(behind, "commit")));
    let mut rows = rows(&base, &view.conflicts);
    for other in &view.tasks {
        let id = other.task_id.to_string();
        rows.extend(self::rows(&format!("{} {}", &id[..8], printable_line(other.title.as_str(), TITLE)), &other.conflicts));
    }
    let others = plural(usize::try_from(view.looked_at).unwrap_or(usize::MAX), "other task");
    if rows.is_empty() {
        printer::line(format!("No conflicts with it, nor with {others}"));
    } else {
        printer::table(&["conflicts with", "kind", "file"], &rows);
        printer::remark(format!("looked at {others}"));
    }
    if view.left_out > 0 {
        printer::remark(format!("{} older tasks with work on their branch were not looked at", view.left_out));
    }
    Ok(ExitCode::SUCCESS)
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
