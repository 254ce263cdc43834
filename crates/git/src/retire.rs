//! Removes a worktree from its mirror in a way that can be undone: its branch is renamed, and git's files about the worktree
//! are stored next to its files.
//!
//! Every step can be repeated, and steps that are already done are skipped. Invariant: the branch's commits stay reachable
//! until they are forgotten on purpose.

use std::io;
use std::path::Path;

use model::ids::ObjectId;
use process::{RunProgramError, Stdin};

use super::admin;
use super::mirror::Mirror;
use super::program::{GitDir, LONG, branch_ref};
use super::remove_tree::remove_tree_aside;
use super::twin::base_ref;
use super::worktree_error::WorktreeError;

/// The name of the folder with git's files about a retired worktree.
pub const ADMINISTRATION: &str = "worktree-administration";

/// The file with the task's own commits, for anyone who needs them without the mirror.
const BUNDLE: &str = "branch.bundle";

/// A branch to retire or restore.
#[derive(Debug, Clone, Copy)]
pub struct Retired<'a> {
    /// The branch.
    pub branch: &'a str,
    /// The name under which the branch is kept: the ID of the task.
    pub keep_as: &'a str,
    /// The folder that the worktree is kept in.
    pub folder: &'a Path,
}

impl Mirror {
    /// Removes the worktree that was at `tree` from the mirror. The caller moves its files first.
    pub async fn retire_worktree(&self, tree: &Path, retired: Retired<'_>) -> Result<(), WorktreeError> {
        // The worktree's parent folder may be gone too.
        let named = admin::real_path(tree).unwrap_or_else(|_| tree.to_owned());
        if let Some(base) = admin::find(self.path(), &named)?.map(|admin| admin::ready(&admin)).transpose()?.flatten() {
            self.bundle(retired, &base).await?;
        }
        let discarded = {
            let _writer = self.writer().await;
            self.retire_branch(retired.branch, retired.keep_as).await?;
            admin::find(self.path(), &named)?.map(|admin| admin::discard(self.path(), &admin)).transpose()?
        };
        if let Some(discarded) = discarded {
            let kept = retired.folder.join(ADMINISTRATION);
            remove_tree_aside(kept.clone()).await?;
            durable::rename(&discarded, &kept)?;
        }
        Ok(())
    }

    /// Restores a worktree whose files will be at `tree`. The caller moves the files afterwards.
    pub async fn restore_worktree(&self, tree: &Path, retired: Retired<'_>) -> Result<(), WorktreeError> {
        let (name, removed) = (branch_ref(retired.branch), removed_ref(retired.keep_as));
        let _writer = self.writer().await;
        let [current, kept]: [Option<ObjectId>; 2] =
            self.commits_of(&[name.clone(), removed.clone()]).await?.try_into().unwrap_or([None, None]);
        match (current, kept) {
            // The step is repeated after an interruption, or the branch never had its own commit.
            (Some(_), _) => {}
            (None, Some(kept)) => {
                let moves = format!("create {name} {kept}\ndelete {removed} {kept}\n");
                self.update_refs(moves).await?;
            }
            (None, None) => self.unbundle(retired).await?,
        }
        let named = admin::real_path(tree).unwrap_or_else(|_| tree.to_owned());
        let kept = retired.folder.join(ADMINISTRATION);
        if admin::find(self.path(), &named)?.is_none() && kept.is_dir() {
            admin::adopt(self.path(), &kept)?;
        }
        Ok(())
    }

    /// Forgets the commits of a retired branch.
    pub async fn forget(&self, keep_as: &str) -> Result<(), RunProgramError> {
        let _writer = self.writer().await;
        let removed = removed_ref(keep_as);
        let commit = self.commits_of(std::slice::from_ref(&removed)).await?.into_iter().flatten().next();
        let kept = self.kept(keep_as).await?;
        let kept = kept.iter().map(|(name, commit)| format!("delete {name} {commit}\n"));
        let moves: Vec<_> = commit.map(|commit| format!("delete {removed} {commit}\n")).into_iter().chain(kept).collect();
        if moves.is_empty() { Ok(()) } else { self.update_refs(moves.concat()).await }
    }

    /// Renames a branch and forgets its base, in one transaction.
    pub(super) async fn retire_branch(&self, branch: &str, keep_as: &str) -> Result<Option<ObjectId>, RunProgramError> {
        let (name, removed, base) = (branch_ref(branch), removed_ref(keep_as), base_ref(keep_as));
        let names = [name.clone(), removed.clone(), base.clone()];
        let [current, kept, made_from] = self.commits_of(&names).await?.try_into().unwrap_or([None, None, None]);
        let retired = current.iter().map(|current| format!("update {removed} {current}\ndelete {name} {current}\n"));
        let let_go = made_from.iter().map(|made_from| format!("delete {base} {made_from}\n"));
        let moves: String = retired.chain(let_go).collect();
        if !moves.is_empty() {
            self.update_refs(moves).await?;
        }
        Ok(current.or(kept))
    }

    async fn update_refs(&self, moves: String) -> Result<(), RunProgramError> {
        let command = self.git().command(GitDir::Mirror(self.path())).args(["update-ref", "--stdin"]);
        command.stdin(Stdin::Bytes(moves.into_bytes())).run_ok().await.map(drop)
    }

    /// Writes the branch's own commits to a bundle, if it has any.
    async fn bundle(&self, retired: Retired<'_>, base: &ObjectId) -> Result<(), WorktreeError> {
        let name = branch_ref(retired.branch);
        let tip = self.commits_of(std::slice::from_ref(&name)).await?.into_iter().flatten().next();
        let path = retired.folder.join(BUNDLE);
        if tip.is_none_or(|tip| tip == *base) || path.exists() {
            return Ok(());
        }
        let half = retired.folder.join(format!("{BUNDLE}.new"));
        self.bundle_into(&half, retired.branch, base).run_ok().await?;
        durable::sync_file(&half)?;
        Ok(durable::rename(&half, &path)?)
    }

    async fn unbundle(&self, retired: Retired<'_>) -> Result<(), WorktreeError> {
        let bundle = retired.folder.join(BUNDLE);
        if !bundle.exists() {
            let words = format!("neither the branch `{}` nor its bundle exists", retired.branch);
            return Err(io::Error::new(io::ErrorKind::NotFound, words).into());
        }
        let refs = format!("{0}:{0}", branch_ref(retired.branch));
        let command = self.git().command(GitDir::Mirror(self.path())).env("GIT_ALLOW_PROTOCOL", "file");
        let command = command.args(["fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--"]).arg(&bundle).arg(refs);
        command.deadline(LONG).run_ok().await?;
        Ok(())
    }
}

/// Returns the ref of a retired branch.
pub(super) fn removed_ref(keep_as: &str) -> String {
    format!("refs/orchestrator/removed/{keep_as}")
}
