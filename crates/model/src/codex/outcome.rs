//! Determines the outcome of a run from its log and the end of its process.
//!
//! A run succeeds only if its turn completed and its worker did not fail. A run that was asked to stop does not fail because it
//! stopped. The first matching rule decides:
//!
//! | # | known facts | outcome |
//! |---|---|---|
//! | 1 | the worker never started | `Stopped` after a stop, otherwise `worker_missing` (not found) or `worker_failed` |
//! | 2 | a stop was requested, and the turn neither completed normally nor failed on its own | `Stopped` |
//! | 3 | a resumed run started a different thread | `thread_changed`, even if the turn completed: the agent did not know the conversation |
//! | 4 | `turn.completed`, exit code 0 | `Completed` |
//! | 5 | `turn.completed`, then the keeper stopped a lingering worker, the exit was not observed, or the worker was interrupted | `Completed` |
//! | 6 | `turn.completed`, another exit code or a signal | `worker_failed`, `worker_killed` |
//! | 7 | `turn.failed` | by its message: `unauthorized`, `usage_limit`, `rate_limited`, `context_window`, `model_not_found`, `overloaded`, `network`, …, otherwise `turn_failed` |
//! | 8 | the turn did not end before the time limit | `time_limit` |
//! | 9 | the turn did not end, and the exit was not observed or the worker was interrupted ([`WORKER_CUT_OFF`]) | `Interrupted` |
//! | 10 | the turn did not end; a signal, or an exit code of 128 plus a signal | `worker_killed` |
//! | 11 | no turn started, exit code 0 | `nothing_ran` |
//! | 12 | no turn started, exit code 127 or 126 | `worker_missing`, `worker_failed` |
//! | 13 | no turn started, another exit code | by the reason on stderr: `unknown_thread`, `not_trusted_directory`, `config`, …, otherwise `worker_failed`; `ended_without_result` if there is no reason |
//! | 14 | everything else | by the last `error` event if its message is known, otherwise `ended_without_result` |
//!
//! "Normally" in rule 2 means rule 4 or 5. A `turn.failed` that reports an interruption was caused by the stop, so it is not a
//! failure on its own. If a turn ended just before the time limit, the end of the turn decides. Rule 5 covers a worker that lingers
//! until the limit.

use super::journal::{JournalSummary, TurnEnd};
use super::trouble::{code_of, hints_for, quoted, reason_in};
use crate::WORKER_CUT_OFF;
use crate::error_code::ErrorCode;
use crate::report::Report;

/// How the worker's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// The process exited with this code.
    Code(i32),
    /// A signal killed the process.
    Signal(i32),
    /// The keeper stopped the process at the run's time limit.
    TimeLimit,
    /// The keeper stopped the process because it lingered after the end of its turn.
    Grace,
    /// The process could not be started, for this reason.
    NeverStarted(String),
    /// The end was not observed because the keeper was killed or the machine was rebooted.
    Lost,
}

/// The end of a run's process, and its context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessEnd {
    /// How the process ended.
    pub exit: Exit,
    /// Whether a stop was requested.
    pub stop_requested: bool,
    /// The thread that a resumed run should continue.
    pub expected_thread: Option<String>,
}

/// The outcome of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The turn completed, and the worker did not fail.
    Completed,
    /// The run failed.
    Failed(Report),
    /// The run was stopped on request.
    Stopped,
    /// The run was interrupted before its turn finished.
    Interrupted(Report),
}

impl Verdict {
    fn failed(code: ErrorCode, message: String) -> Self {
        Self::Failed(Report { code: code.into(), message, hints: hints_for(code) })
    }

    fn interrupted(message: String) -> Self {
        Self::Interrupted(Report { code: ErrorCode::Interrupted.into(), message, hints: hints_for(ErrorCode::Interrupted) })
    }

    fn with_hint(mut self, hint: &str) -> Self {
        if let Self::Failed(report) = &mut self {
            report.hints.insert(0, hint.to_owned());
        }
        self
    }
}

/// Determines the outcome of a run. `stderr_tail` is the end of the worker's stderr, which may give reasons that stdout does not.
pub fn classify(journal: &JournalSummary, end: &ProcessEnd, stderr_tail: &str) -> Verdict {
    let asked_to_stop = end.stop_requested && !ended_by_itself(journal, &end.exit);
    if asked_to_stop {
        return Verdict::Stopped;
    }
    if let Exit::NeverStarted(reason) = &end.exit {
        return never_started(reason);
    }
    if let Some(verdict) = changed_thread(journal, end.expected_thread.as_deref()) {
        return verdict;
    }
    match &journal.turn_end {
        Some(TurnEnd::Completed(_)) => after_completed_turn(&end.exit),
        Some(TurnEnd::Failed(message)) => after_failed_turn(message, journal),
        None => without_turn_end(journal, &end.exit, stderr_tail),
    }
}

/// Returns whether the run had already ended on its own, so the stop had no effect.
fn ended_by_itself(journal: &JournalSummary, exit: &Exit) -> bool {
    match &journal.turn_end {
        Some(TurnEnd::Completed(_)) => after_completed_turn(exit) == Verdict::Completed,
        Some(TurnEnd::Failed(message)) => {
            let message = message.to_lowercase();
            !message.contains("interrupted") && !message.contains("aborted")
        }
        None => false,
    }
}

fn never_started(reason: &str) -> Verdict {
    let reason = quoted(reason);
    let words = reason.to_lowercase();
    let missing = words.contains("not found") || words.contains("no such file");
    let code = if missing { ErrorCode::WorkerMissing } else { ErrorCode::WorkerFailed };
    Verdict::failed(code, format!("could not start the worker: {reason}"))
}

fn changed_thread(journal: &JournalSummary, expected: Option<&str>) -> Option<Verdict> {
    let (expected, started) = (expected?, journal.thread_id.as_deref()?);
    let changed = !expected.eq_ignore_ascii_case(started);
    changed.then(|| {
        let message = format!("Codex started thread {1} instead of continuing thread {0}", quoted(expected), quoted(started));
        Verdict::failed(ErrorCode::ThreadChanged, message)
    })
}

fn after_completed_turn(exit: &Exit) -> Verdict {
    match exit {
        Exit::Code(0) | Exit::Grace | Exit::Lost | Exit::TimeLimit => Verdict::Completed,
        Exit::Code(code) if *code == i32::from(WORKER_CUT_OFF) => Verdict::Completed,
        Exit::Code(code) => {
            Verdict::failed(ErrorCode::WorkerFailed, format!("the turn completed, but the worker exited with code {code}"))
        }
        Exit::Signal(signal) => killed(*signal, "after the turn completed"),
        Exit::NeverStarted(reason) => never_started(reason),
    }
}

fn after_failed_turn(message: &str, journal: &JournalSummary) -> Verdict {
    let told = if message.is_empty() { journal.last_error.as_deref() } else { Some(message) };
    let Some(told) = told else {
        return Verdict::failed(ErrorCode::TurnFailed, "the turn failed, but Codex gave no reason".to_owned());
    };
    Verdict::failed(code_of(told).unwrap_or(ErrorCode::TurnFailed), quoted(told))
}

fn without_turn_end(journal: &JournalSummary, exit: &Exit, stderr: &str) -> Verdict {
    match exit {
        Exit::TimeLimit => time_limit(journal),
        Exit::Lost => Verdict::interrupted(with_last_words("the run's process ended without a result", journal)),
        Exit::Code(code) if *code == i32::from(WORKER_CUT_OFF) => Verdict::interrupted(reason_in(stderr).map_or_else(
            || with_last_words("the worker was interrupted from outside before the turn finished", journal),
            |reason| format!("the worker was interrupted: {reason}"),
        )),
        Exit::NeverStarted(reason) => never_started(reason),
        Exit::Signal(signal) => killed(*signal, &with_last_words("before the turn finished", journal)),
        Exit::Code(code @ 129..=159) => killed(code - 128, &with_last_words("before the turn finished", journal)),
        Exit::Code(code) if !journal.turn_started => without_turn(journal, *code, stderr),
        Exit::Code(code) => in_mid_turn(journal, &format!("exited with code {code}"), stderr),
        Exit::Grace => in_mid_turn(journal, "had to be stopped", stderr),
    }
}

fn time_limit(journal: &JournalSummary) -> Verdict {
    let message = with_last_words("the run reached its time limit before the turn finished", journal);
    let verdict = Verdict::failed(ErrorCode::TimeLimit, message);
    let waited_for_network = journal.last_error.as_deref().and_then(code_of) == Some(ErrorCode::Network);
    if waited_for_network {
        verdict.with_hint("Codex was waiting for the network: check that the model provider can be reached")
    } else {
        verdict
    }
}

fn killed(signal: i32, circumstances: &str) -> Verdict {
    let name = signal_name(signal);
    let verdict = Verdict::failed(ErrorCode::WorkerKilled, format!("the worker was killed by {name} {circumstances}"));
    if signal == 9 {
        verdict.with_hint("if nobody killed the worker, it ran out of memory: raise its memory limit, or run fewer tasks at once")
    } else {
        verdict
    }
}

/// Determines the outcome if no turn started. The reason is usually on stderr.
fn without_turn(journal: &JournalSummary, code: i32, stderr: &str) -> Verdict {
    let reason = reason_in(stderr).or_else(|| journal.last_error.as_deref().map(quoted));
    let because = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    match code {
        0 => Verdict::failed(ErrorCode::NothingRan, format!("the worker exited with code 0 without running a turn{because}")),
        127 => Verdict::failed(ErrorCode::WorkerMissing, format!("the worker or a program that it needs was not found{because}")),
        126 => {
            Verdict::failed(ErrorCode::WorkerFailed, format!("the worker or a program that it needs cannot be executed{because}"))
        }
        code => match reason {
            Some(reason) => Verdict::failed(code_of(&reason).unwrap_or(ErrorCode::WorkerFailed), reason),
            None => {
                Verdict::failed(ErrorCode::EndedWithoutResult, format!("the worker exited with code {code} and gave no reason"))
            }
        },
    }
}

fn in_mid_turn(journal: &JournalSummary, how: &str, stderr: &str) -> Verdict {
    if let Some((code, error)) = journal.last_error.as_deref().and_then(|error| Some((code_of(error)?, error))) {
        return Verdict::failed(code, format!("the worker {how} during the turn: {}", quoted(error)));
    }
    let because = reason_in(stderr).map(|reason| format!(": {reason}")).unwrap_or_default();
    Verdict::failed(ErrorCode::EndedWithoutResult, format!("the worker {how} during the turn{because}"))
}

fn with_last_words(message: &str, journal: &JournalSummary) -> String {
    match &journal.last_error {
        Some(error) => format!("{message}; Codex's last error: {}", quoted(error)),
        None => message.to_owned(),
    }
}

fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
