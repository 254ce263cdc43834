//! What every command that starts a run has in common: reading the prompt, and showing or following the run.

use std::io::{IsTerminal as _, Read as _};
use std::process::ExitCode;

use client::Client;
use model::ErrorCode;
use model::ids::RunNumber;
use model::problem::Problem;
use protocol::{ResumeTask, TaskView};

use crate::args::{AfterStart, PromptArguments};
use crate::follow::{self, RunFormat};
use crate::output::OutputFormat;
use crate::{images, printer, progress};

/// Returns the number of a task's last run.
pub(super) fn last_run(task: &TaskView) -> RunNumber {
    task.runs.last().map_or(RunNumber::FIRST, |run| run.number)
}

/// Returns the request for another run of a task.
pub(super) fn asked(run: &PromptArguments) -> Result<ResumeTask, Problem> {
    let (images, attachments) = images::read(&run.images, &run.attachments)?;
    Ok(ResumeTask {
        prompt: prompt(run)?,
        images,
        attachments,
        model: run.model.clone(),
        effort: run.effort.clone(),
        priority: run.priority.clone(),
    })
}

/// Prints a new run and how to follow it, or follows it.
pub(super) async fn begun(client: &Client, task: &TaskView, next: AfterStart, format: OutputFormat) -> Result<ExitCode, Problem> {
    let id = task.task_id;
    if next == AfterStart::Return {
        if format.is_json() {
            printer::json(task)?;
            return Ok(ExitCode::SUCCESS);
        }
        printer::line(id.to_string());
        if let Some(place) = &task.queue {
            printer::remark(format!("number {} in the queue, waiting for {}", place.position, progress::reason(place)));
        }
        printer::remark(format!("follow it: codex-orchestrator task logs --follow {id}"));
        return Ok(ExitCode::SUCCESS);
    }
    printer::remark(format!("task {id}, run {}", last_run(task).0));
    follow::run(client, id, last_run(task), if format.is_json() { RunFormat::Raw } else { RunFormat::Transcript }).await
}

/// Reads the prompt from the command line, a file or stdin.
pub(super) fn prompt(asked: &PromptArguments) -> Result<String, Problem> {
    let unreadable =
        |error: std::io::Error| Problem::new(ErrorCode::PromptUnreadable, format!("could not read the prompt: {error}"));
    let bytes = match (&asked.prompt, &asked.prompt_file) {
        (_, Some(file)) => std::fs::read(file).map_err(unreadable)?,
        (Some(text), None) if text != "-" => return Ok(text.clone()),
        (None, None) if std::io::stdin().is_terminal() => {
            return Err(Problem::new(ErrorCode::Usage, "no prompt given")
                .hint("pass it as the last argument in quotes, with --prompt-file FILE, or on stdin with `-`"));
        }
        (_, None) => {
            if std::io::stdin().is_terminal() {
                printer::remark("Type the prompt, then press Ctrl-D on an empty line:");
            }
            let mut bytes = vec![];
            // One byte over the limit, so that the server rejects a prompt that is too long.
            let limit = u64::try_from(model::names::PROMPT_LIMIT_BYTES).unwrap_or(u64::MAX) + 1;
            std::io::stdin().take(limit).read_to_end(&mut bytes).map_err(unreadable)?;
            bytes
        }
    };
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Problem::new(ErrorCode::PromptNotUtf8, format!("the prompt is not UTF-8: invalid byte at position {at}"))
            .hint("convert it to UTF-8 first, e.g. with iconv")
    })
}
