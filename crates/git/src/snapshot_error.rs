//! Why the content of a worktree could not be committed.
//!
//! Staging, sizing and snapshots share this error. Nothing is checked here. Invariant: a failure that an agent can cause on
//! purpose has its own variant.

use std::io;

use process::RunProgramError;

use super::sign_error::SignError;

/// Why the worktree could not be committed.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// The worktree's folder is missing. Committing that would delete everything.
    #[error("the worktree {path} is missing; nothing was committed")]
    WorktreeMissing {
        /// The folder.
        path: String,
    },
    /// Git failed.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// Files of the mirror could not be read or written.
    #[error("could not commit the worktree: {0}")]
    Files(#[from] io::Error),
    /// The worktree contains more than a commit may contain.
    #[error("the worktree has {what}, which is more than a commit may contain; delete them or add them to `.gitignore`")]
    TooMuch {
        /// What exceeds the limit.
        what: String,
    },
    /// The commit could not be signed.
    #[error("could not sign the commit: {0}")]
    Unsigned(#[from] SignError),
    /// Git printed something that is not an object ID.
    #[error("could not commit the worktree: git printed `{answer}`")]
    Unexpected {
        /// Git's output.
        answer: String,
    },
}
