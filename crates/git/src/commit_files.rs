//! Commits files that a run left in the worktree, once somebody has decided that they belong to the branch.
//!
//! The commit is created but not put on the branch: that is done like for an update of the branch, so that a kill at any step is
//! harmless. Invariant: the commit differs from its parent only in these files, and their content is read from the worktree.

use std::collections::BTreeSet;

use model::commit::{Choices, PathText, self_and_above};
use model::ids::ObjectId;
use process::Stdin;

use super::admin;
use super::changes::Changes;
use super::decision::Decision;
use super::makers::Makers;
use super::program::answer;
use super::snapshot_error::SnapshotError;
use super::staging::Staging;
use super::worktree::Worktree;

/// A request to commit files of a worktree.
#[derive(Debug, Clone, Copy)]
pub struct CommitFilesRequest<'a> {
    /// The tip of the branch.
    pub head: &'a ObjectId,
    /// The files and folders.
    pub paths: &'a [PathText],
    /// Files that are never committed, even if they are in one of the folders.
    pub placed: &'a [PathText],
    /// The message of the commit.
    pub message: &'a str,
    /// The author and committer.
    pub makers: &'a Makers,
}

impl Worktree {
    /// Creates a commit with these files on top of the tip of the branch. Returns `None` if they do not differ from it. Call this
    /// only if no process of the task runs.
    pub async fn commit_files(&self, request: CommitFilesRequest<'_>) -> Result<Option<ObjectId>, SnapshotError> {
        let CommitFilesRequest { head, paths, placed, message, makers } = request;
        admin::clear_locks(self.mirror.path(), &self.admin, &self.branch)?;
        let staging = Staging::begin(self, head).await?;
        let choices = Choices { commit: paths.to_vec(), placed: placed.to_vec(), ..Choices::default() };
        let staged =
            staging.stage(std::slice::from_ref(head), &Decision { file: None, choices: &choices, secrets: None }).await?;
        let mut changes = Changes::between(self, head, &staged.tree).await?;
        let chosen: BTreeSet<Vec<u8>> = paths.iter().map(PathText::name).collect();
        changes.0.retain(|path, _| self_and_above(path).any(|above| chosen.contains(above)));
        if changes.0.is_empty() {
            staging.discard()?;
            return Ok(None);
        }
        staging.command().args(["read-tree", head.as_str()]).run_ok().await?;
        let edits = Stdin::Bytes(changes.as_index_info(self.base.as_str().len()));
        staging.command().args(["update-index", "-z", "--index-info"]).stdin(edits).run_ok().await?;
        let tree = answer(staging.command().arg("write-tree")).await?;
        let command = self.mirror.git().command(self.git_dir()).args(["commit-tree", &tree, "-p", head.as_str(), "-F", "-"]);
        let commit = answer(makers.on(command).stdin(Stdin::Bytes(message.as_bytes().to_vec()))).await?;
        staging.discard()?;
        let commit: ObjectId = commit.parse().map_err(|_| SnapshotError::Unexpected { answer: commit })?;
        let Some(key) = &makers.signing_key else { return Ok(Some(commit)) };
        Ok(Some(self.mirror.signed(&commit, key).await?))
    }
}
