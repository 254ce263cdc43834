//! An error for people and scripts: a code, a message and hints.
//!
//! Every error is a [`Report`], or is converted from one if its JSON has different field names.
//! A report never contains a secret, because the code that creates it redacts the message.

use std::borrow::Cow;
use std::fmt;

use printable::printable;
use serde::{Deserialize, Serialize};

use crate::error_code::AnyCode;

/// Why a run, a request, a clone or a container failed: a code, a message and hints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = RunError)]
pub struct Report {
    /// Stable error code for scripts, e.g. `unauthorized`, `time_limit` or `thread_changed`.
    #[schema(value_type = String)]
    pub code: AnyCode,
    /// Error message.
    pub message: String,
    /// Hints on what to do next.
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

    /// Adds a hint. The most useful hint comes first.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(harmless(hint.into()));
        self
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
