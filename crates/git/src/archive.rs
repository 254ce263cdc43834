//! Writes the files of a commit outside of a worktree: as a tar archive, e.g. for an image build, or into a folder.
//!
//! Nothing of a worktree is read. `export-ignore` in the repository's attributes applies to archives, which contain pointers instead of
//! large files.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use model::ids::ObjectId;
use process::Stdout;
use tokio_util::sync::CancellationToken;

use crate::fetch_error::FetchError;
use crate::mirror::Mirror;
use crate::program::GitDir;

/// The time limit.
const LIMIT: Duration = Duration::from_mins(10);

impl Mirror {
    /// Writes the files of a commit to a file.
    pub async fn archive(&self, commit: &ObjectId, into: File, cancel: CancellationToken) -> Result<(), FetchError> {
        self.complete(commit, &cancel).await?;
        let command = self.git().command(GitDir::Mirror(self.path())).args(["archive", "--format=tar", &commit.to_string()]);
        command.stdout(Stdout::File(into)).deadline(LIMIT).cancel(cancel).run_ok().await?;
        Ok(())
    }

    /// Writes the files of a commit into an empty folder, including large ones whose objects are in the mirror. `index` is the path of a
    /// temporary file.
    pub async fn write_files(
        &self,
        commit: &ObjectId,
        into: &Path,
        index: &Path,
        cancel: CancellationToken,
    ) -> Result<(), FetchError> {
        self.complete(commit, &cancel).await?;
        let git_dir = GitDir::Mirror(self.path());
        let settings = self.git().filters(git_dir).await?;
        let command = self.git().command_with(git_dir, &settings).env("GIT_WORK_TREE", into).env("GIT_INDEX_FILE", index);
        let command = command.args(["read-tree", "--reset", "-u", "--no-recurse-submodules", commit.as_str()]);
        command.deadline(LIMIT).cancel(cancel).run_ok().await?;
        Ok(())
    }
}
