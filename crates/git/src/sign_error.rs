//! Why a commit could not be signed.
//!
//! The run is not affected: its commit stays without a signature, and its notes give the reason. Invariant: no message contains a
//! key.

use model::ids::ObjectId;
use process::{RunProgramError, ToolNotFound};

/// Why a commit was not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The program that makes signatures is not installed.
    #[error(transparent)]
    NoProgram(#[from] ToolNotFound),
    /// The program failed, for example because it cannot use the key.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// The program printed something else.
    #[error("`{program}` printed no signature")]
    NoSignature {
        /// The program.
        program: &'static str,
    },
    /// The commit is malformed.
    #[error("the commit {commit} is malformed")]
    Malformed {
        /// The commit.
        commit: ObjectId,
    },
}
