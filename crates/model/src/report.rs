//! One error as people and scripts read it: a code, a sentence and what to do next.
//!
//! Every error of the product is a [`Report`], or is converted from one where its JSON has other field names.
//! A report never contains a secret: the code that builds it has redacted the message.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codex::printable;
use crate::error_code::AnyCode;
use crate::problem::{Problem, ProblemKind};

/// A code, a sentence and hints: why a run failed, or a request, a clone, a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = RunError)]
pub struct Report {
    /// Stable, for scripts: `unauthorized`, `time_limit`, `thread_changed`, ….
    #[schema(value_type = String)]
    pub code: AnyCode,
    /// One sentence.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

/// Why a run, a clone or a publication failed.
pub type RunError = Report;

impl Report {
    /// Creates a report without hints. Escape sequences in the message are removed.
    pub fn new(code: impl Into<AnyCode>, message: impl Into<String>) -> Self {
        Self { code: code.into(), message: harmless(message.into()), hints: Vec::new() }
    }

    /// Adds what to do next. The most useful hint comes first.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(harmless(hint.into()));
        self
    }

    /// Turns the report into the answer to a request.
    pub fn into_problem(self, kind: ProblemKind) -> Problem {
        Problem { kind, report: self }
    }
}

impl From<Problem> for Report {
    fn from(problem: Problem) -> Self {
        problem.report
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Report {}

/// Returns the message without escape sequences.
fn harmless(message: String) -> String {
    match printable(&message) {
        Cow::Borrowed(_) => message,
        Cow::Owned(printable) => printable,
    }
}
