//! Follows a run: prints its transcript as Codex writes it, and returns its outcome as an exit code.
//! It never stops a run. If the connection breaks, it resumes after the last line that was shown.

use std::process::ExitCode;
use std::time::Duration;

use client::{Client, RunEvent};
use model::ErrorCode;
use model::codex::{CodexEvent, transcribe};
use model::ids::{RunNumber, TaskId};
use model::problem::Problem;
use model::run::RunStatus;
use printable::printable;
use protocol::{FollowQuery, RunEnded};

use crate::live::LiveItem;
use crate::{printer, progress};

/// The exit code of a run that was stopped by a person or a signal.
pub(crate) const STOPPED: u8 = 130;

/// How long to wait for a server to come back, e.g. during an upgrade.
const RETURN_PATIENCE: Duration = Duration::from_secs(10);

/// How often to check whether the server is back. The server sends no event for this.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// The format in which a run is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RunFormat {
    /// A transcript for people.
    Transcript,
    /// The raw JSON lines of the worker.
    Raw,
}

/// Prints a run from start to end. Ctrl-C stops following; the run keeps going.
pub(crate) async fn run(client: &Client, task: TaskId, run: RunNumber, form: RunFormat) -> Result<ExitCode, Problem> {
    tokio::select! {
        ended = to_the_end(client, task, run, form) => ended,
        _ = tokio::signal::ctrl_c() => {
            printer::remark(format!("\nthe run keeps going; stop it: codex-orchestrator task stop {task}"));
            Ok(ExitCode::from(STOPPED))
        }
    }
}

/// Prints a run from start to end, without handling signals. Prints the error if the run failed.
pub(crate) async fn to_the_end(client: &Client, task: TaskId, run: RunNumber, form: RunFormat) -> Result<ExitCode, Problem> {
    progress::until_begun(client, task, run).await?;
    let (mut seen, mut writing) = (FollowQuery::default(), LiveItem::default());
    loop {
        match lines(client, task, run, &mut seen, &mut writing, form).await {
            Ok(ended) => return Ok(exit_code(&ended)),
            Err(problem) if problem.report.code == ErrorCode::ServerLost => {
                tokio::time::timeout(RETURN_PATIENCE, until_back(client)).await.map_err(|_| problem)?;
            }
            Err(problem) => return Err(problem),
        }
    }
}

async fn until_back(client: &Client) {
    let mut ticks = tokio::time::interval(ASK_EVERY);
    // The first tick is immediate. Wait for the second one, so that a server that closes every stream is not asked without a pause.
    ticks.tick().await;
    ticks.tick().await;
    while !client.answers().await {
        ticks.tick().await;
    }
}

/// Prints the log lines after the last one that was seen, until the run has ended.
async fn lines(
    client: &Client,
    task: TaskId,
    run: RunNumber,
    seen: &mut FollowQuery,
    writing: &mut LiveItem,
    form: RunFormat,
) -> Result<RunEnded, Problem> {
    let mut stream = client.follow_run(task, run, seen).await?;
    loop {
        match stream.next().await? {
            RunEvent::Ended(ended) => return Ok(ended),
            RunEvent::Line(line) => match form {
                RunFormat::Raw => printer::bytes(format!("{}\n", line.raw()).as_bytes()),
                RunFormat::Transcript => writing.event(&line.event()),
            },
            RunEvent::Delta(delta) => match form {
                RunFormat::Raw => {}
                RunFormat::Transcript => writing.text(&delta),
            },
        }
        *seen = stream.position();
    }
}

/// Prints the transcript entry of a log line, if it has one.
pub(crate) fn show(event: &CodexEvent) {
    if let Some(entry) = transcribe(event) {
        printer::entry(&entry);
    }
}

/// Prints the error of a run, if any, and returns the exit code.
fn exit_code(ended: &RunEnded) -> ExitCode {
    if let Some(error) = &ended.error {
        printer::remark(format!("{}: {}", error.code, printable(&error.message)));
        error.hints.iter().for_each(|hint| printer::hint(hint));
    }
    ExitCode::from(code_of(ended.status))
}

fn code_of(status: RunStatus) -> u8 {
    match status {
        RunStatus::Completed => 0,
        RunStatus::Stopped => STOPPED,
        RunStatus::Queued
        | RunStatus::Preparing
        | RunStatus::Running
        | RunStatus::Stopping
        | RunStatus::Failed
        | RunStatus::Interrupted => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_completed_run_is_a_success() {
        assert_eq!(code_of(RunStatus::Completed), 0);
        assert_eq!(code_of(RunStatus::Stopped), 130);
        for status in [RunStatus::Failed, RunStatus::Interrupted] {
            assert_eq!(code_of(status), 1);
        }
    }

    #[test]
    fn a_run_that_is_still_active_is_not_a_success() {
        for status in [RunStatus::Queued, RunStatus::Preparing, RunStatus::Running, RunStatus::Stopping] {
            assert_eq!(code_of(status), 1);
        }
    }
}
