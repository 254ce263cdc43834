//! The verdict on a run: from what its log says and how its process ended.
//!
//! Success is `turn.completed` *and* exit code 0. Nothing is a success by default, and nothing that was asked to stop is a
//! failure for having stopped. The rules, the first that fits decides:
//!
//! | # | what is known | verdict |
//! |---|---|---|
//! | 1 | the worker never started | `Stopped` after a stop, else `worker_missing` (not found) or `worker_failed` |
//! | 2 | a stop, and the turn neither completed in order nor failed by itself | `Stopped` |
//! | 3 | a resume, and the thread that started is another one | `thread_changed`, however the turn ended: the answer came from an agent that did not know the conversation |
//! | 4 | `turn.completed`, exit code 0 | `Completed` |
//! | 5 | `turn.completed`; then the keeper ended a worker that lingered, nobody saw the exit, or it was cut off | `Completed` |
//! | 6 | `turn.completed`, another exit code or a signal | `worker_failed`, `worker_killed` |
//! | 7 | `turn.failed` | by its message: `unauthorized`, `usage_limit`, `rate_limited`, `context_window`, `model_not_found`, `overloaded`, `network`, …, else `turn_failed` |
//! | 8 | no end of the turn: time limit | `time_limit` |
//! | 9 | … nobody saw the exit, or the worker says it was cut off ([`WORKER_CUT_OFF`]) | `Interrupted` |
//! | 10 | … a signal, or an exit code of 128 and a signal | `worker_killed` |
//! | 11 | … exit code 0, no turn began | `nothing_ran` |
//! | 12 | … exit code 127, 126, no turn began | `worker_missing`, `worker_failed` |
//! | 13 | … another exit code, no turn began | by the reason in stderr: `unknown_thread`, `not_trusted_directory`, `config`, …, else `worker_failed`; without a reason `ended_without_result` |
//! | 14 | … all else | by the last `error` event when its words are known, else `ended_without_result` |
//!
//! "In order" in rule 2 is rule 4 or 5. A `turn.failed` that says it was interrupted is the stop's doing, not a failure by
//! itself. A turn that ended just before the time limit is judged by its end: a worker that lingers until then is rule 5.

use super::journal::{JournalSummary, TurnEnd};
use super::trouble::{code_of, hints_for, quoted, reason_in};
use crate::WORKER_CUT_OFF;

/// How the worker's process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// The keeper ended it at the run's time limit.
    TimeLimit,
    /// Its turn had ended, it did not, and the keeper ended it.
    Grace,
    /// It could not be started, for this reason.
    NeverStarted(String),
    /// Nobody saw it: the keeper was killed, or the machine was rebooted.
    Lost,
}

/// The end of a run's process, and what had been asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessEnd {
    /// How the process ended.
    pub exit: Exit,
    /// Whether somebody had asked for a stop.
    pub stop_requested: bool,
    /// On a resume, the thread that was to go on.
    pub expected_thread: Option<String>,
}

/// What became of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The turn is complete and the worker ended in order.
    Completed,
    /// It failed.
    Failed {
        /// Stable, `snake_case`, for scripts.
        code: &'static str,
        /// What happened, in one printable line.
        message: String,
        /// What to do next, most useful first.
        hints: Vec<String>,
    },
    /// It was stopped on request.
    Stopped,
    /// Its process is gone and left no end.
    Interrupted {
        /// What is known of it, in one printable line.
        message: String,
        /// What to do next.
        hints: Vec<String>,
    },
}

impl Verdict {
    fn failed(code: &'static str, message: String) -> Self {
        Self::Failed { code, message, hints: hints_for(code) }
    }

    fn with_hint(mut self, hint: &str) -> Self {
        if let Self::Failed { hints, .. } = &mut self {
            hints.insert(0, hint.to_owned());
        }
        self
    }
}

/// The verdict on a run that is over. `stderr_tail` is the end of the worker's stderr, for reasons that stdout does not give.
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

/// Whether the run had come to its own end, so that a stop changed nothing.
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
    let code = if missing { "worker_missing" } else { "worker_failed" };
    Verdict::failed(code, format!("the worker could not be started: {reason}"))
}

fn changed_thread(journal: &JournalSummary, expected: Option<&str>) -> Option<Verdict> {
    let (expected, started) = (expected?, journal.thread_id.as_deref()?);
    let changed = !expected.eq_ignore_ascii_case(started);
    changed.then(|| {
        let message = format!("thread {} was to go on, but Codex started thread {}", quoted(expected), quoted(started));
        Verdict::failed("thread_changed", message)
    })
}

fn after_completed_turn(exit: &Exit) -> Verdict {
    match exit {
        Exit::Code(0) | Exit::Grace | Exit::Lost | Exit::TimeLimit => Verdict::Completed,
        Exit::Code(code) if *code == i32::from(WORKER_CUT_OFF) => Verdict::Completed,
        Exit::Code(code) => {
            Verdict::failed("worker_failed", format!("the turn was complete, but the worker ended with exit code {code}"))
        }
        Exit::Signal(signal) => killed(*signal, "after its turn was complete"),
        Exit::NeverStarted(reason) => never_started(reason),
    }
}

fn after_failed_turn(message: &str, journal: &JournalSummary) -> Verdict {
    let told = if message.is_empty() { journal.last_error.as_deref() } else { Some(message) };
    let Some(told) = told else {
        return Verdict::failed("turn_failed", "the turn failed, and Codex gave no reason".to_owned());
    };
    Verdict::failed(code_of(told).unwrap_or("turn_failed"), quoted(told))
}

fn without_turn_end(journal: &JournalSummary, exit: &Exit, stderr: &str) -> Verdict {
    match exit {
        Exit::TimeLimit => time_limit(journal),
        Exit::Lost => Verdict::Interrupted {
            message: with_last_words("the run's process is gone and left no end", journal),
            hints: hints_for("interrupted"),
        },
        Exit::Code(code) if *code == i32::from(WORKER_CUT_OFF) => Verdict::Interrupted {
            message: reason_in(stderr).map_or_else(
                || with_last_words("the worker was cut off from outside before its turn ended", journal),
                |reason| format!("the worker was cut off: {reason}"),
            ),
            hints: hints_for("interrupted"),
        },
        Exit::NeverStarted(reason) => never_started(reason),
        Exit::Signal(signal) => killed(*signal, &with_last_words("before its turn ended", journal)),
        Exit::Code(code @ 129..=159) => killed(code - 128, &with_last_words("before its turn ended", journal)),
        Exit::Code(code) if !journal.turn_started => without_turn(journal, *code, stderr),
        Exit::Code(code) => in_mid_turn(journal, &format!("ended with exit code {code}"), stderr),
        Exit::Grace => in_mid_turn(journal, "had to be ended", stderr),
    }
}

fn time_limit(journal: &JournalSummary) -> Verdict {
    let message = with_last_words("the run reached its time limit before its turn ended", journal);
    let verdict = Verdict::failed("time_limit", message);
    let waited_for_network = journal.last_error.as_deref().and_then(code_of) == Some("network");
    if waited_for_network {
        verdict.with_hint("Codex was waiting for the network: check that the model provider can be reached")
    } else {
        verdict
    }
}

fn killed(signal: i32, circumstances: &str) -> Verdict {
    let name = signal_name(signal);
    let verdict = Verdict::failed("worker_killed", format!("the worker was ended by {name} {circumstances}"));
    if signal == 9 {
        verdict.with_hint("if nobody killed it, the memory ran out: give the worker more, or run fewer tasks at once")
    } else {
        verdict
    }
}

/// No turn began: the reason is on stderr, if anywhere.
fn without_turn(journal: &JournalSummary, code: i32, stderr: &str) -> Verdict {
    let reason = reason_in(stderr).or_else(|| journal.last_error.as_deref().map(quoted));
    let because = reason.as_deref().map(|reason| format!(": {reason}")).unwrap_or_default();
    match code {
        0 => Verdict::failed("nothing_ran", format!("the worker ended with exit code 0 and ran no turn{because}")),
        127 => Verdict::failed("worker_missing", format!("the worker, or a program it needs, was not found{because}")),
        126 => Verdict::failed("worker_failed", format!("the worker, or a program it needs, cannot be executed{because}")),
        code => match reason {
            Some(reason) => Verdict::failed(code_of(&reason).unwrap_or("worker_failed"), reason),
            None => Verdict::failed("ended_without_result", format!("the worker ended with exit code {code} and gave no reason")),
        },
    }
}

fn in_mid_turn(journal: &JournalSummary, how: &str, stderr: &str) -> Verdict {
    if let Some((code, error)) = journal.last_error.as_deref().and_then(|error| Some((code_of(error)?, error))) {
        return Verdict::failed(code, format!("the worker {how} in the middle of the turn: {}", quoted(error)));
    }
    let because = reason_in(stderr).map(|reason| format!(": {reason}")).unwrap_or_default();
    Verdict::failed("ended_without_result", format!("the worker {how} in the middle of the turn{because}"))
}

fn with_last_words(message: &str, journal: &JournalSummary) -> String {
    match &journal.last_error {
        Some(error) => format!("{message}; Codex's last words: {}", quoted(error)),
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
