//! The refusal of a request: a [`Report`] and the HTTP status that it is answered with.
//!
//! Every local error becomes a [`Problem`] at the edge. A problem never carries a secret: the code that builds it has redacted it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::ids::{EnvironmentId, TaskId};
use crate::report::Report;

/// What class of trouble it is. Decides the HTTP status and the exit code, nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemKind {
    /// The request could not be read (400).
    Malformed,
    /// No valid token or session (401).
    Unauthenticated,
    /// A host or origin that is not ours (403).
    Forbidden,
    /// No such thing (404).
    NotFound,
    /// The thing is in another state than the request needs (409).
    WrongState,
    /// More bytes than are accepted (413).
    TooLarge,
    /// A value that was read but cannot be used (422).
    Unusable,
    /// Asked too often; later is fine (429).
    TooMany,
    /// The machine or something it needs is not up to it for now (503).
    Unavailable,
    /// A defect or a broken disk (500).
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

    /// Returns the status in words, as in the HTTP specification.
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

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The class of trouble.
    pub kind: ProblemKind,
    /// The code, the sentence and the hints.
    pub report: Report,
}

impl Problem {
    /// Creates a problem of the code's usual kind, without hints.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { kind: code.kind(), report: Report::new(code, detail) }
    }

    /// Changes the kind, for a code that has several.
    pub fn with_kind(self, kind: ProblemKind) -> Self {
        Self { kind, ..self }
    }

    /// Replaces the sentence.
    pub fn with_message(self, message: impl Into<String>) -> Self {
        Self { report: Report { message: message.into(), ..self.report }, ..self }
    }

    /// Adds what to do next.
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { report: self.report.hint(hint), ..self }
    }

    /// No task has this ID.
    pub fn no_task(id: TaskId) -> Self {
        Self::new(ErrorCode::TaskNotFound, format!("no task has the ID {id}"))
            .hint("run `codex-orchestrator task list` to see all tasks")
    }

    /// No repository has this ID.
    pub fn no_environment(id: EnvironmentId) -> Self {
        Self::new(ErrorCode::EnvironmentNotFound, format!("no repository has the ID {id}"))
            .hint("run `codex-orchestrator env list` to see all repositories")
    }

    /// Something that should not happen. The detail is all that a reader gets.
    pub fn internal(detail: impl fmt::Display) -> Self {
        Self::new(ErrorCode::Internal, detail.to_string())
            .hint("the server's log has more; nothing that was acknowledged is lost")
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
