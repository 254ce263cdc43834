//! `queue` and `task follow-up`: show the queue and manage follow-ups.
//! The server decides the order; these commands only show it.

use std::process::ExitCode;

use client::Client;
use model::problem::Problem;
use printable::printable_line;
use protocol::{QueueView, TaskView};

use super::task_prompt::{asked, begun};
use crate::args::{AfterStart, FollowUpArgument, FollowUpCommand};
use crate::output::{Output, OutputFormat};
use crate::printer::{Cell, plural};
use crate::progress::reason;
use crate::{ids, printer};

/// The maximum length of a title, in characters.
const TITLE: usize = 50;

pub(crate) async fn run(client: &Client, format: OutputFormat) -> Result<ExitCode, Problem> {
    let queue = client.show_queue().await?;
    if format.is_json() {
        printer::json(&queue)?;
        return Ok(ExitCode::SUCCESS);
    }
    waiting(&queue).print();
    Ok(ExitCode::SUCCESS)
}

fn waiting(queue: &QueueView) -> Output {
    let mut out = Output::default();
    if let Some(hold) = &queue.hold {
        out.line(format!("No run can start: {}", hold.detail));
        hold.hints.iter().for_each(|hint| out.hint(hint));
    }
    out.line(format!("{} (limit {})", plural(queue.running, "active run"), queue.max_parallel_runs));
    if queue.items.is_empty() {
        out.remark("The queue is empty.");
        return out;
    }
    let all: Vec<_> = queue.items.iter().map(|item| item.task_id.to_string()).collect();
    let length = ids::shown_length(&all);
    let rows = queue.items.iter().map(|item| {
        vec![
            Cell::plain(item.place.position.to_string()),
            Cell::plain(&item.task_id.to_string()[..length]),
            Cell::plain(item.env_name.as_ref().map_or("-", |name| name.as_str())),
            Cell::plain(item.run.0.to_string()),
            Cell::plain(reason(&item.place)),
            Cell::plain(printable_line(item.title.as_str(), TITLE)),
        ]
    });
    out.table(&["position", "task", "repository", "run", "waits for", "title"], &rows.collect::<Vec<_>>());
    out
}

pub(crate) async fn follow_up(client: &Client, command: &FollowUpCommand, format: OutputFormat) -> Result<ExitCode, Problem> {
    match command {
        FollowUpCommand::Add { task, run } => {
            let id = ids::task(client, &task.task).await?;
            let added = client.add_follow_up(id, &asked(run)?).await?;
            match added.follow_ups.last() {
                Some(last) if !run.follow && !format.is_json() => {
                    printer::line(format!("Follow-up {} starts when run {} completes", last.number, added.runs.len()));
                    Ok(ExitCode::SUCCESS)
                }
                _ => begun(client, &added, run.after_start(), format).await,
            }
        }
        FollowUpCommand::Replace { follow_up: FollowUpArgument { task, number }, run } => {
            let id = ids::task(client, &task.task).await?;
            let view = client.replace_follow_up(id, *number, &asked(run)?).await?;
            done(&view, format, &format!("Replaced follow-up {number}"))
        }
        FollowUpCommand::Remove { follow_up: FollowUpArgument { task, number } } => {
            let id = ids::task(client, &task.task).await?;
            let view = client.remove_follow_up(id, *number).await?;
            done(&view, format, &format!("Removed follow-up {number}"))
        }
        FollowUpCommand::Start { task } => {
            let id = ids::task(client, &task.task).await?;
            let view = client.continue_task(id).await?;
            begun(client, &view, AfterStart::Return, format).await
        }
    }
}

fn done(task: &TaskView, format: OutputFormat, words: &str) -> Result<ExitCode, Problem> {
    if format.is_json() {
        printer::json(task)?;
    } else {
        printer::line(words);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::tests::samples;

    #[test]
    fn the_queue_says_why_runs_wait() {
        let item = |number: u32, waits_for: &str, more: serde_json::Value| {
            let mut item = json!({
                "task_id": format!("0192f3a0-1111-7000-8000-00000000000{number}"), "title": "Fix the failing test",
                "env_id": samples::ENV, "env_name": "app", "run": 1, "priority": "normal",
                "queued_at": "2026-03-01T12:00:00Z", "position": number, "waits_for": waits_for,
            });
            item.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
            item
        };
        let hold = json!({ "code": "disk_low", "detail": "less than 1.0 GiB is free", "hints": ["free some space"] });
        let items = json!([
            item(1, "turn", json!({})),
            item(2, "environment_limit", json!({})),
            item(3, "environment_paused", json!({})),
            item(4, "time", json!({ "not_before": "2026-03-01T12:30:00Z" })),
            item(5, "hold", json!({ "hold": hold })),
            item(6, "answer", json!({})),
        ]);
        let queue = samples::from(json!({ "max_parallel_runs": 4, "running": 1, "hold": hold, "items": items }));
        insta::assert_snapshot!("queue", waiting(&queue).plain());
        let empty = samples::from(json!({ "max_parallel_runs": 4, "running": 0, "hold": null, "items": [] }));
        insta::assert_snapshot!("queue-empty", waiting(&empty).plain());
    }

    #[test]
    fn long_and_hostile_titles_keep_the_table_in_shape() {
        let item = |number: u32, title: &str| {
            json!({
                "task_id": format!("0192f3a0-1111-7000-8000-00000000000{number}"), "title": title, "env_id": samples::ENV,
                "env_name": null, "run": 12, "priority": "high", "queued_at": "2026-03-01T12:00:00Z", "position": number,
                "waits_for": "turn",
            })
        };
        let items = json!([item(1, &"x".repeat(200)), item(2, "a\u{202e}b"), item(3, "日本")]);
        let text = waiting(&samples::from(json!({ "max_parallel_runs": 4, "running": 4, "hold": null, "items": items }))).plain();
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines[0], "4 active runs (limit 4)");
        let titles: Vec<_> = lines[2..].iter().map(|line| line.rsplit("its turn   ").next().unwrap_or_default()).collect();
        assert_eq!(titles, [format!("{}…", "x".repeat(TITLE - 1)).as_str(), "ab", "日本"], "{text}");
        assert!(lines[2..].iter().all(|line| line.contains("  -           12   ")), "{text}");
    }
}
