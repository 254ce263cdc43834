//! Following a run: its transcript as it is written, and its outcome as an exit code.
//! It never ends a run.

use std::process::ExitCode;

use futures_util::StreamExt as _;
use model::api::RunEnded;
use model::codex::{CodexEvent, transcribe};
use model::problem::Problem;
use model::run::RunStatus;

use crate::client::{Client, lost};
use crate::{printer, sse};

/// The exit code of what was stopped, by a person or by a signal.
const STOPPED: u8 = 130;

/// How a transcript is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// For people.
    Transcript,
    /// The worker's own lines.
    Raw,
}

/// Prints a run from its beginning to its end. Ctrl-C ends the following, not the run.
pub(crate) async fn run(client: &Client, task: &str, run: u32, form: Form) -> Result<ExitCode, Problem> {
    tokio::select! {
        ended = to_the_end(client, task, run, form) => Ok(exit_code(&ended?)),
        _ = tokio::signal::ctrl_c() => {
            printer::remark(format!("\nthe run goes on; `codex-orchestrator task stop {task}` ends it"));
            Ok(ExitCode::from(STOPPED))
        }
    }
}

async fn to_the_end(client: &Client, task: &str, run: u32, form: Form) -> Result<RunEnded, Problem> {
    let answer = client.stream(&format!("/api/v1/tasks/{task}/runs/{run}/events")).await?;
    let mut events = std::pin::pin!(sse::events(answer.bytes_stream()));
    while let Some(event) = events.next().await {
        let event = event?;
        if event.name == "end" {
            return serde_json::from_str(&event.data).map_err(Problem::internal);
        }
        match form {
            Form::Raw => printer::line(&event.data),
            Form::Transcript => print(event.data.as_bytes()),
        }
    }
    Err(lost(&"it closed the stream before the run had ended"))
}

/// Prints one line of a journal for people.
pub(crate) fn print(line: &[u8]) {
    if let Some(entry) = transcribe(&CodexEvent::parse(line)) {
        printer::entry(&entry);
    }
}

/// Says how a run ended, and with which code that is to be reported.
pub(crate) fn exit_code(ended: &RunEnded) -> ExitCode {
    if let Some(error) = &ended.error {
        printer::remark(format!("{}: {}", error.code, error.message));
        for hint in &error.hints {
            printer::remark(format!("hint: {hint}"));
        }
    }
    match ended.status {
        RunStatus::Completed => ExitCode::SUCCESS,
        RunStatus::Stopped => ExitCode::from(STOPPED),
        RunStatus::Queued
        | RunStatus::Preparing
        | RunStatus::Running
        | RunStatus::Stopping
        | RunStatus::Failed
        | RunStatus::Interrupted => ExitCode::FAILURE,
    }
}
