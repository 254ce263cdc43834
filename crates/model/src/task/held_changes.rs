//! The files of a task that exceed the limits of a commit, as the record keeps them.
//!
//! The files themselves are only in the worktree. Invariant: there is at least one path.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::commit::{HeldFiles, PathText};
use crate::ids::RunNumber;

/// Files that wait for a decision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HeldChanges {
    /// The number of the question within the task. Numbers are never reused.
    pub number: u32,
    /// The last run that left such files.
    pub run: RunNumber,
    /// The total number of files.
    pub files: u64,
    /// The total size of the files in bytes.
    pub bytes: u64,
    /// The files, and the folders of which all new files are held.
    pub paths: Vec<HeldFiles>,
    /// When these files were held.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
}

impl HeldChanges {
    /// Returns the paths of the files.
    pub fn paths(&self) -> Vec<PathText> {
        self.paths.iter().map(|held| held.path.clone()).collect()
    }
}
