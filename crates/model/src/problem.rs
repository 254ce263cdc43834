//! Why a request is rejected: a [`Report`], and a kind that determines the HTTP status.
//!
//! Every error is converted to a [`Problem`] before a user sees it. A problem never contains a secret, because the code that creates
//! it redacts the message.

use std::fmt;

use crate::error_code::ErrorCode;
use crate::ids::{EnvironmentId, TaskId};
pub use crate::problem_kind::ProblemKind;
use crate::report::Report;

/// Why a request is rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind of the problem.
    pub kind: ProblemKind,
    /// The code, the message and the hints.
    pub report: Report,
}

impl Problem {
    /// Creates a problem of the code's usual kind, without hints.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { kind: code.kind(), report: Report::new(code, detail) }
    }

    /// Changes the kind, for a code with several kinds.
    pub fn with_kind(self, kind: ProblemKind) -> Self {
        Self { kind, ..self }
    }

    /// Replaces the message.
    pub fn with_message(self, message: impl Into<String>) -> Self {
        Self { report: Report { message: message.into(), ..self.report }, ..self }
    }

    /// Adds a hint.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { report: self.report.hint(hint), ..self }
    }

    /// Returns the problem for a task that does not exist.
    pub fn no_task(id: TaskId) -> Self {
        Self::new(ErrorCode::TaskNotFound, format!("no task has the ID {id}"))
            .hint("run `codex-orchestrator task list` to see all tasks")
    }

    /// Returns the problem for a repository that does not exist.
    pub fn no_environment(id: EnvironmentId) -> Self {
        Self::new(ErrorCode::EnvironmentNotFound, format!("no repository has the ID {id}"))
            .hint("run `codex-orchestrator env list` to see all repositories")
    }

    /// Returns the problem for an unexpected error. Users see only `detail`.
    pub fn internal(detail: impl fmt::Display) -> Self {
        Self::new(ErrorCode::Internal, detail.to_string())
            .hint("check the server's log for details; nothing that was acknowledged is lost")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.report.fmt(f)
    }
}

impl std::error::Error for Problem {}

impl Report {
    /// Turns the report into a problem of this kind.
    pub fn into_problem(self, kind: ProblemKind) -> Problem {
        Problem { kind, report: self }
    }
}

impl From<Problem> for Report {
    fn from(problem: Problem) -> Self {
        problem.report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_remote_said_cannot_act_on_a_terminal() {
        let said = "remote: \u{1b}]0;title\u{7}\u{1b}[2J\u{202e}no\r\nsuch repository\u{9b}5m";
        let problem = Problem::new(ErrorCode::FetchFailed, said).hint(said);
        assert_eq!(
            (problem.report.message.as_str(), problem.report.hints[0].as_str()),
            ("remote: no\nsuch repository", "remote: no\nsuch repository")
        );
    }
}
