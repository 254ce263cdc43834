//! Following a run: its transcript as it is written, and its outcome as an exit code.
//! It never ends a run. A stream that breaks off is resumed behind the last line that was shown.

use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use futures_util::StreamExt as _;
use model::api::{FollowQuery, ProblemView, RunEnded};
use model::codex::{CodexEvent, printable, transcribe};
use model::problem::Problem;
use model::run::RunStatus;

use crate::client::{Client, lost};
use crate::{printer, progress, sse};

/// The exit code of what was stopped, by a person or by a signal.
pub(crate) const STOPPED: u8 = 130;

/// How long a server that went away may take to come back, as it does in an upgrade.
const RETURN_PATIENCE: Duration = Duration::from_secs(10);

/// How often it is asked whether it is back. There is no other word of it.
const ASK_EVERY: Duration = Duration::from_millis(250);

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
        ended = to_the_end(client, task, run, form) => ended,
        _ = tokio::signal::ctrl_c() => {
            printer::remark(format!("\nthe run goes on; `codex-orchestrator task stop {task}` ends it"));
            Ok(ExitCode::from(STOPPED))
        }
    }
}

/// The same, for whoever minds the signals. Says why a run failed.
pub(crate) async fn to_the_end(client: &Client, task: &str, run: u32, form: Form) -> Result<ExitCode, Problem> {
    progress::until_begun(client, task, run).await?;
    let mut seen = FollowQuery::default();
    loop {
        match lines(client, task, run, &mut seen, form).await {
            Ok(ended) => return Ok(exit_code(&ended)),
            Err(problem) if problem.code == "server_lost" => {
                tokio::time::timeout(RETURN_PATIENCE, until_back(client)).await.map_err(|_| problem)?;
            }
            Err(problem) => return Err(problem),
        }
    }
}

async fn until_back(client: &Client) {
    let mut ticks = tokio::time::interval(ASK_EVERY);
    // The first tick comes at once. A server that is there and closes every stream must not be asked without a pause.
    ticks.tick().await;
    ticks.tick().await;
    while !client.answers().await {
        ticks.tick().await;
    }
}

/// Prints the lines behind the last one that was seen, until the run has ended.
async fn lines(client: &Client, task: &str, run: u32, seen: &mut FollowQuery, form: Form) -> Result<RunEnded, Problem> {
    let answer = client.follow_run(task, run, seen).await?;
    let mut events = pin!(sse::events(answer.bytes_stream()));
    while let Some(event) = events.next().await {
        let event = event?;
        match event.name.as_str() {
            "end" => return serde_json::from_str(&event.data).map_err(Problem::internal),
            "problem" => {
                let view: ProblemView = serde_json::from_str(&event.data).map_err(Problem::internal)?;
                return Err(view.into());
            }
            // A line of the journal, and whatever else a later version may send.
            _ => match form {
                Form::Raw => printer::line(&event.data),
                Form::Transcript => show(&CodexEvent::parse(event.data.as_bytes())),
            },
        }
        seen.offset = event.id.and_then(|id| id.parse().ok());
    }
    Err(lost(&"it closed the stream before the run had ended"))
}

/// Prints what a line of a journal says to people.
pub(crate) fn show(event: &CodexEvent) {
    if let Some(entry) = transcribe(event) {
        printer::entry(&entry);
    }
}

/// Says how a run ended, and with which code that is to be reported.
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
    fn only_what_completed_is_a_success() {
        assert_eq!(code_of(RunStatus::Completed), 0);
        assert_eq!(code_of(RunStatus::Stopped), 130);
        for status in [RunStatus::Failed, RunStatus::Interrupted] {
            assert_eq!(code_of(status), 1);
        }
    }
}
