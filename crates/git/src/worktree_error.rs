//! Why a worktree could not be created, changed or removed.
//!
//! The messages say which step failed. Nothing here reads or writes a file.

use std::io;

use process::RunProgramError;

use super::fetch_error::FetchError;
use super::remove_tree::RemoveTreeError;

/// Why a worktree could not be created or removed.
#[derive(Debug, thiserror::Error)]
pub enum WorktreeError {
    /// Git failed.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// The contents of files could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// Files could not be read or written.
    #[error("could not set up the worktree: {0}")]
    Files(#[from] io::Error),
    /// Files could not be removed.
    #[error(transparent)]
    Remove(#[from] RemoveTreeError),
}
