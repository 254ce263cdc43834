//! Why a request is rejected: a [`Report`], and a kind that determines the HTTP status.
//!
//! Every error is converted to a [`Problem`] before a user sees it. A problem never contains a secret, because the code that creates
//! it redacts the message.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::ids::{EnvironmentId, TaskId};
use crate::report::Report;

/// The kind of a problem, which determines the HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The request could not be read (400).
    Malformed,
    /// The request has no valid token or session (401).
    Unauthenticated,
    /// The host or the origin is not allowed (403).
    Forbidden,
    /// The requested item does not exist (404).
    NotFound,
    /// The state of the item does not allow the request (409).
    WrongState,
    /// The request or a value in it is too large (413).
    TooLarge,
    /// A value is readable but invalid (422).
    Unusable,
    /// There were too many requests in a short time (429).
    TooMany,
    /// The server, or something that it needs, is not available (503).
    Unavailable,
    /// A bug, or a broken disk (500).
    Internal,
}

impl ProblemKind {
    /// Returns the HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::WrongState => 409,
            Self::TooLarge => 413,
            Self::Unusable => 422,
            Self::TooMany => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// Returns the name of the status in the HTTP specification.
    pub fn title(self) -> &'static str {
        match self {
            Self::Malformed => "Bad Request",
            Self::Unauthenticated => "Unauthorized",
            Self::Forbidden => "Forbidden",
            Self::NotFound => "Not Found",
            Self::WrongState => "Conflict",
            Self::TooLarge => "Content Too Large",
            Self::Unusable => "Unprocessable Content",
            Self::TooMany => "Too Many Requests",
            Self::Internal => "Internal Server Error",
            Self::Unavailable => "Service Unavailable",
        }
    }
}

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
