//! Writes the files of a commit as a tar archive, e.g. as the context of an image build.
//!
//! Nothing of a worktree is read. `export-ignore` in the repository's attributes applies, and large files are pointers.

use std::fs::File;
use std::time::Duration;

use model::ids::ObjectId;
use process::{RunProgramError, Stdout};
use tokio_util::sync::CancellationToken;

use crate::mirror::Mirror;
use crate::program::GitDir;

/// The time limit.
const LIMIT: Duration = Duration::from_mins(10);

impl Mirror {
    /// Writes the files of a commit to a file.
    pub async fn archive(&self, commit: &ObjectId, into: File, cancel: CancellationToken) -> Result<(), RunProgramError> {
        let command = self.git().command(GitDir::Mirror(self.path())).args(["archive", "--format=tar", &commit.to_string()]);
        command.stdout(Stdout::File(into)).deadline(LIMIT).cancel(cancel).run_ok().await.map(drop)
    }
}
