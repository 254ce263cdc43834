//! What a person reads when something of ours fails: what is wrong, and what to do next.
//!
//! Codex's own failures are not in here: its words and its exit code pass through as they are.

use std::fmt;

/// The exit code for a failure of ours, as of every tool that runs containers.
pub const EXIT_FAILED: u8 = 125;

/// Something of ours failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Stable, `snake_case`, for scripts.
    pub code: &'static str,
    /// Who and what, in one lower-case sentence fragment.
    pub message: String,
    /// What to do next, most useful first.
    pub hints: Vec<String>,
}

impl Failure {
    /// A failure without hints yet.
    pub fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), hints: Vec::new() }
    }

    /// Adds what to do next.
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
