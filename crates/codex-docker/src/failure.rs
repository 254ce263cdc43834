//! Errors of codex-docker itself: a code, a message and hints.
//!
//! Errors of Codex are not included: its output and its exit code pass through unchanged.

use std::fmt;

/// The exit code for an error of codex-docker itself, as in other programs that run containers.
pub const EXIT_FAILED: u8 = 125;

/// An error of codex-docker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Stable `snake_case` code, for scripts.
    pub code: &'static str,
    /// What failed, in lower case and without a final period.
    pub message: String,
    /// What to do next, the most useful hint first.
    pub hints: Vec<String>,
}

impl Failure {
    /// Creates a failure without hints.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hints: Vec::new() }
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
