//! The result of a program: its output, or why it failed.
//!
//! This module runs no programs. Invariant: stderr is redacted.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// The result of a program that exited.
#[derive(Debug, Clone)]
pub struct Finished {
    /// The exit status.
    pub status: ExitStatus,
    /// The captured stdout.
    pub stdout: Vec<u8>,
    /// The end of stderr, redacted.
    pub stderr_tail: String,
}

impl Finished {
    /// Returns the captured stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// Why a program failed.
#[derive(Debug, thiserror::Error)]
pub enum RunProgramError {
    /// The program does not exist.
    #[error("could not run `{program}`: program not found")]
    NotFound {
        /// The program's path.
        program: String,
    },
    /// The working directory does not exist.
    #[error("could not run `{program}`: folder {directory} not found")]
    DirectoryMissing {
        /// The program's path.
        program: String,
        /// The folder.
        directory: String,
    },
    /// The system could not start the program.
    #[error("could not run `{program}`: {source}")]
    Spawn {
        /// The program's path.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// Communication with the program failed.
    #[error("lost the connection to `{program}`: {source}")]
    Io {
        /// The program's path.
        program: String,
        /// The system's error.
        source: io::Error,
    },
    /// The program reached its time limit and was stopped.
    #[error("`{program}` did not finish within {} s and was stopped", after.as_secs_f32())]
    TimedOut {
        /// The program's path.
        program: String,
        /// The time limit.
        after: Duration,
        /// The end of stderr, redacted.
        stderr_tail: String,
    },
    /// The program was cancelled.
    #[error("`{program}` was canceled")]
    Cancelled {
        /// The program's path.
        program: String,
    },
    /// The program wrote too much and was stopped.
    #[error("`{program}` wrote more than {max} bytes")]
    OutputTooLarge {
        /// The program's path.
        program: String,
        /// The maximum size in bytes.
        max: usize,
    },
    /// The program exited with a failure status.
    #[error("`{program}` failed ({status}): {}", stderr_tail.trim_end())]
    Failed {
        /// The program's path.
        program: String,
        /// The exit status.
        status: ExitStatus,
        /// The end of stderr, redacted.
        stderr_tail: String,
    },
}
