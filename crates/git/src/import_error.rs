//! Why the work of an agent could not be imported.
//!
//! Most variants describe what is wrong with the files of an export, which an agent wrote. Nothing is checked here. Invariant:
//! `is_refusal` separates these from failures of git and of the disk.

use std::io;

use model::bundle::{BundleError, ReportError};
use model::ids::ObjectId;
use process::RunProgramError;

use super::snapshot_error::SnapshotError;

/// Why work could not be imported. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The export did not create a required file.
    #[error("the export did not create `{file}`")]
    Missing {
        /// The file name.
        file: &'static str,
    },
    /// A file is a link, a folder, or another kind of special file.
    #[error("`{file}` of the export is not a regular file and was not opened")]
    NotAPlainFile {
        /// The file name.
        file: &'static str,
    },
    /// A file is too large.
    #[error("`{file}` of the export has {size} bytes; the limit is {limit}")]
    TooLarge {
        /// The file name.
        file: &'static str,
        /// The size of the file in bytes.
        size: u64,
        /// The limit in bytes.
        limit: u64,
    },
    /// The report is malformed.
    #[error("the export's `result` was rejected: {0}")]
    Report(#[from] ReportError),
    /// The header of the bundle is malformed, or the bundle contains refs other than the task's branch.
    #[error("the bundle was rejected: {0}")]
    Bundle(#[from] BundleError),
    /// The bundle is based on an unknown commit.
    #[error("the bundle was rejected: it is based on {commit}, which the mirror does not have")]
    UnknownPrerequisite {
        /// The commit.
        commit: ObjectId,
    },
    /// The bundle contains a different commit than the report says.
    #[error("the bundle was rejected: it contains {found}, but the export's `result` names {expected}")]
    WrongHead {
        /// The commit in the bundle.
        found: ObjectId,
        /// The commit in the report.
        expected: ObjectId,
    },
    /// The objects are damaged or would be dangerous in a worktree.
    #[error("the bundle's objects were rejected: {words}")]
    BadObjects {
        /// Git's message.
        words: String,
    },
    /// Objects are missing.
    #[error("the bundle was rejected because it is incomplete: {words}")]
    Incomplete {
        /// Git's message.
        words: String,
    },
    /// The tip of the bundle is not a commit.
    #[error("the bundle was rejected: {id} is not a commit")]
    NotACommit {
        /// The object.
        id: ObjectId,
    },
    /// The commits are not based on the current branch, so importing them would lose commits.
    #[error("the work was rejected: {head} is not based on {tip}, the tip of the branch")]
    NotADescendant {
        /// The imported tip.
        head: ObjectId,
        /// The current tip.
        tip: ObjectId,
    },
    /// The commits contain the value of a secret that was placed in a file of the worktree.
    #[error("the commits contain the value of the secret `{secret}`")]
    Secret {
        /// The name of the secret.
        secret: String,
    },
    /// HEAD or the index of the worktree could not be updated.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Git failed.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// Files could not be read or written.
    #[error("could not import the work: {0}")]
    Files(#[from] io::Error),
}

impl ImportError {
    /// Whether the cause is the exported data. In that case, the content of the worktree may still be imported without its
    /// history.
    pub fn is_refusal(&self) -> bool {
        match self {
            Self::Missing { .. }
            | Self::NotAPlainFile { .. }
            | Self::TooLarge { .. }
            | Self::Report(_)
            | Self::Bundle(_)
            | Self::UnknownPrerequisite { .. }
            | Self::WrongHead { .. }
            | Self::BadObjects { .. }
            | Self::Incomplete { .. }
            | Self::NotACommit { .. }
            | Self::Secret { .. }
            | Self::NotADescendant { .. } => true,
            Self::Snapshot(_) | Self::Program(_) | Self::Files(_) => false,
        }
    }
}
