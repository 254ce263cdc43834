//! The one shape of an error that a person sees: a code for scripts, a sentence, and what to do next.
//!
//! Every local error becomes a [`Problem`] at the edge. A problem never carries a secret: whoever builds one has redacted it.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codex::printable;

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
    /// More bytes than are taken (413).
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

/// An error as people and scripts meet it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Stable, `snake_case`, for scripts.
    pub code: Cow<'static, str>,
    /// The class of trouble.
    pub kind: ProblemKind,
    /// Who and what, in one lower-case sentence fragment.
    pub detail: String,
    /// What to do next, most useful first.
    pub hints: Vec<String>,
}

impl Problem {
    /// A problem without hints yet. What a remote or a program said is made harmless for a terminal here, once for all readers.
    pub fn new(kind: ProblemKind, code: &'static str, detail: impl Into<String>) -> Self {
        Self { code: Cow::Borrowed(code), kind, detail: harmless(detail.into()), hints: Vec::new() }
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(harmless(hint.into()));
        self
    }

    /// Nothing has this id.
    pub fn not_found(what: &str, id: impl fmt::Display) -> Self {
        let code = if what == "environment" { "environment_not_found" } else { "task_not_found" };
        let list = if what == "environment" { "env list" } else { "task list" };
        Self::new(ProblemKind::NotFound, code, format!("there is no {what} {id}"))
            .hint(format!("`codex-orchestrator {list}` shows what there is"))
    }

    /// Something that should not happen; the detail is all a reader gets.
    pub fn internal(detail: impl fmt::Display) -> Self {
        Self::new(ProblemKind::Internal, "internal", detail.to_string())
            .hint("the server's log has more; nothing that was acknowledged is lost")
    }
}

/// A message without escape sequences.
pub(crate) fn harmless(message: String) -> String {
    match printable(&message) {
        Cow::Borrowed(_) => message,
        Cow::Owned(printable) => printable,
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_remote_said_cannot_act_on_a_terminal() {
        let said = "remote: \u{1b}]0;title\u{7}\u{1b}[2J\u{202e}no\r\nsuch repository\u{9b}5m";
        let problem = Problem::new(ProblemKind::Unavailable, "fetch_failed", said).hint(said);
        assert_eq!(
            (problem.detail.as_str(), problem.hints[0].as_str()),
            ("remote: no\nsuch repository", "remote: no\nsuch repository")
        );
        assert_eq!(crate::run::RunError::new("fetch_failed", said).message, problem.detail);
    }
}
