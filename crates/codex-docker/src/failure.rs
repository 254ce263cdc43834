//! Errors of codex-docker itself: a code, a message and hints.
//!
//! Errors of Codex are not included: its output and its exit code pass through unchanged.

/// The exit code for an error of codex-docker itself, as in other programs that run containers.
pub const EXIT_FAILED: u8 = 125;

/// An error of codex-docker: a code, a message and hints.
pub type Failure = model::Report;
