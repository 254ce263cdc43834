//! What running a program came to: its outputs, or why it did not do what it was run for.
//!
//! Nothing in here runs anything. Invariant: stderr in here was redacted.

use std::io;
use std::process::ExitStatus;
use std::time::Duration;

/// What a program left behind when it ended by itself.
#[derive(Debug, Clone)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// What was captured of its stdout.
    pub stdout: Vec<u8>,
    /// The end of its stderr, redacted.
    pub stderr_tail: String,
}

impl Finished {
    /// The captured stdout as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }
}

/// A program did not do what it was run for.
#[derive(Debug, thiserror::Error)]
pub enum RunProgramError {
    /// There is no such program.
    #[error("could not run `{program}`: there is no such program")]
    NotFound {
        /// The program's path.
        program: String,
    },
    /// The folder it should run in is not there.
    #[error("could not run `{program}`: the folder {directory} is not there")]
    DirectoryMissing {
        /// The program's path.
        program: String,
        /// The folder.
        directory: String,
    },
    /// The system could not start it.
    #[error("could not run `{program}`: {source}")]
    Spawn {
        /// The program's path.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// Talking to it failed.
    #[error("lost the connection to `{program}`: {source}")]
    Io {
        /// The program's path.
        program: String,
        /// What the system said.
        source: io::Error,
    },
    /// It took too long and was ended.
    #[error("`{program}` did not end within {} s and was ended", after.as_secs_f32())]
    TimedOut {
        /// The program's path.
        program: String,
        /// How long it had.
        after: Duration,
        /// The end of its stderr, redacted.
        stderr_tail: String,
    },
    /// Somebody cancelled it, and it was ended.
    #[error("`{program}` was cancelled")]
    Cancelled {
        /// The program's path.
        program: String,
    },
    /// It wrote more than is taken, and was ended.
    #[error("`{program}` wrote more than {max} bytes")]
    OutputTooLarge {
        /// The program's path.
        program: String,
        /// How much is taken.
        max: usize,
    },
    /// It ended with a failure.
    #[error("`{program}` failed ({status}): {}", stderr_tail.trim_end())]
    Failed {
        /// The program's path.
        program: String,
        /// How it ended.
        status: ExitStatus,
        /// The end of its stderr, redacted.
        stderr_tail: String,
    },
}
