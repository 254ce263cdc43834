//! Commits what the agent left in the worktree to the task's branch after a run.
//!
//! It moves only that branch, keeps every commit that the agent made, runs no hooks, enters no nested repository, and does not
//! change the worktree's files. Invariant: afterwards the tree of the branch is the content of the worktree, and HEAD is on the
//! branch.
//!
//! The parents depend on where the agent left HEAD. If HEAD is the branch or ahead of it, HEAD is the only parent. If it is
//! behind, the branch is the only parent, so nothing is lost. If it is elsewhere (on another branch, or in an unfinished
//! rebase), both are parents, the branch first. The other side of a merge that was resolved but not committed also becomes a
//! parent.

use model::commit::Selection;
use model::ids::ObjectId;
use process::{RunProgramError, Stdin};

use super::admin;
use super::decision::Decision;
use super::makers::Makers;
use super::message::CommitMessage;
use super::mirror::{commits_of, is_ancestor};
use super::program::{answer, branch_ref};
use super::sign_error::SignError;
use super::snapshot_error::SnapshotError;
use super::staging::{Staged, Staging};
use super::worktree::Worktree;

/// A request to commit a worktree.
#[derive(Debug, Clone)]
pub struct SnapshotRequest<'a> {
    /// The message. Its trailers let a second snapshot of the same run find the first one.
    pub message: CommitMessage<'a>,
    /// The author and committer.
    pub makers: &'a Makers,
    /// What decides which files the commit omits.
    pub decision: Decision<'a>,
}

/// The result of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The run's commit: created now, or by an earlier snapshot of the same run. `None` if there was nothing to commit.
    pub commit: Option<ObjectId>,
    /// The tip of the branch. It may include commits of the agent.
    pub head: ObjectId,
    /// Nested repositories that were omitted.
    pub dropped_gitlinks: Vec<String>,
    /// Files that could not be read and are left as they were on the branch, with git's messages.
    pub unreadable: Vec<String>,
    /// Other notes for people: what was moved aside, is too large, or was damaged.
    pub notes: Vec<String>,
    /// What the commit omits by decision.
    pub selection: Selection,
}

/// Describes why a commit has no signature.
pub(super) fn unsigned(error: &SignError) -> String {
    format!("the commit is not signed: {error}")
}

/// The branch before the snapshot, and the parents of the new commit.
struct Ground {
    /// The tip of the branch, or `None` if the agent deleted it.
    branch: Option<ObjectId>,
    /// The parents of the new commit, in order.
    parents: Vec<ObjectId>,
    /// Commits that an unfinished merge brings in.
    merging: Vec<ObjectId>,
}

impl Worktree {
    /// Commits the content of the worktree. Call this only if no process of the run is left. Repeating the call creates no
    /// second commit.
    pub async fn snapshot(&self, request: SnapshotRequest<'_>) -> Result<Snapshot, SnapshotError> {
        if !fs_err::symlink_metadata(&self.tree).is_ok_and(|found| found.is_dir()) {
            return Err(SnapshotError::WorktreeMissing { path: self.tree.display().to_string() });
        }
        admin::ensure_head(&self.admin, &branch_ref(&self.branch))?;
        admin::clear_locks(self.mirror.path(), &self.admin, &self.branch)?;
        let mut ground = self.ground().await?;
        let staging = Staging::begin(self, &ground.parents[0]).await?;
        let staged = staging.stage(&ground.parents, &request.decision).await?;
        let Staged { tree, dropped, unreadable, notes, selection, had_conflicts, .. } = staged;
        if !had_conflicts {
            ground.parents.append(&mut ground.merging);
        }

        let (mut commit, mut head) = self.commit(&ground, &tree, &request).await?;
        let mut notes = notes;
        if ground.branch.as_ref() != Some(&head) {
            if let (Some(made), Some(key)) = (&commit, &request.makers.signing_key) {
                match self.mirror.signed(made, key).await {
                    Ok(signed) => (commit, head) = (Some(signed.clone()), signed),
                    Err(error) => notes.push(unsigned(&error)),
                }
            }
            // A branch never points to something that a power cut can destroy.
            self.mirror.sync().await?;
            self.move_branch(&head, ground.branch.as_ref()).await?;
        }
        self.stand_on_branch().await?;
        staging.install().await?;
        admin::clear_unfinished(&self.admin)?;
        Ok(Snapshot { commit, head, dropped_gitlinks: dropped, unreadable, notes, selection })
    }

    /// Finds the branch and HEAD, and decides the parents.
    async fn ground(&self) -> Result<Ground, SnapshotError> {
        let mut names = vec![branch_ref(&self.branch), "HEAD".to_owned()];
        names.extend(admin::merge_heads(&self.admin)?.into_iter().filter(|name| name.parse::<ObjectId>().is_ok()));
        let mut commits = commits_of(self.mirror.git(), self.git_dir(), &names).await?.into_iter();
        let (branch, head) = (commits.next().flatten(), commits.next().flatten());
        let tip = branch.clone().unwrap_or_else(|| self.base.clone());
        let mut parents = match head {
            Some(head) if self.is_ancestor(&tip, &head).await? => vec![head],
            Some(head) if !self.is_ancestor(&head, &tip).await? => vec![tip, head],
            Some(_) | None => vec![tip],
        };
        let mut merging = Vec::new();
        for other in commits.flatten() {
            if !self.is_ancestor(&other, &parents[0]).await? && !parents.contains(&other) {
                merging.push(other);
            }
        }
        parents.dedup();
        Ok(Ground { branch, parents, merging })
    }

    /// Creates the commit if there is something to commit, or finds the commit that an earlier snapshot of this run created.
    async fn commit(
        &self,
        ground: &Ground,
        tree: &ObjectId,
        request: &SnapshotRequest<'_>,
    ) -> Result<(Option<ObjectId>, ObjectId), SnapshotError> {
        let first = &ground.parents[0];
        let content = self.ask(&["rev-parse", "--verify", &format!("{first}^{{tree}}")]).await?;
        if content == *tree && ground.parents.len() == 1 {
            let object = answer(self.mirror.git().command(self.git_dir()).args(["cat-file", "commit", first.as_str()])).await?;
            let message = object.split_once("\n\n").map_or("", |(_, message)| message);
            let ours = request.message.trailers.are_in(message) && *first != self.base;
            return Ok((ours.then(|| first.clone()), first.clone()));
        }
        let command = self.mirror.git().command(self.git_dir()).args(["commit-tree", tree.as_str(), "-F", "-"]);
        let command = command.args(ground.parents.iter().flat_map(|parent| ["-p", parent.as_str()]));
        let command = request.makers.on(command);
        let commit = answer(command.stdin(Stdin::Bytes(request.message.text().into_bytes()))).await?;
        let commit: ObjectId = commit.parse().map_err(|_| SnapshotError::Unexpected { answer: commit })?;
        Ok((Some(commit.clone()), commit))
    }

    pub(super) async fn move_branch(&self, to: &ObjectId, from: Option<&ObjectId>) -> Result<(), RunProgramError> {
        let nothing = "0".repeat(to.as_str().len());
        let from = from.map_or(nothing.as_str(), ObjectId::as_str);
        let command = self.mirror.git().command(self.git_dir()).args(["update-ref", "-m", "codex-orchestrator: end of a run"]);
        command.args([branch_ref(&self.branch).as_str(), to.as_str(), from]).run_ok().await?;
        Ok(())
    }

    pub(super) async fn stand_on_branch(&self) -> Result<(), SnapshotError> {
        let name = branch_ref(&self.branch);
        if admin::head(&self.admin)? != format!("ref: {name}") {
            self.mirror.git().command(self.git_dir()).args(["symbolic-ref", "HEAD", &name]).run_ok().await?;
        }
        Ok(())
    }

    async fn is_ancestor(&self, ancestor: &ObjectId, of: &ObjectId) -> Result<bool, RunProgramError> {
        is_ancestor(self.mirror.git().command(self.git_dir()), ancestor, of).await
    }

    async fn ask(&self, arguments: &[&str]) -> Result<ObjectId, SnapshotError> {
        let told = answer(self.mirror.git().command(self.git_dir()).args(arguments)).await?;
        told.parse().map_err(|_| SnapshotError::Unexpected { answer: told })
    }
}
