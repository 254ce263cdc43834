//! Creates, finds and removes worktrees of a mirror. An incomplete worktree is created again, and removing a worktree keeps its
//! commits.
//!
//! A new worktree can get its files from a prepared one. Adding a worktree needs the writer's lock, because git cannot add two at
//! once; writing its files, which takes longer, does not. The `.git` file in a worktree is never used to find the repository.
//! Invariant: creating a worktree deletes an existing one only if it is known to be incomplete. Any other folder is moved aside.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use durable::crash::{self, CrashPoint};
use model::ids::ObjectId;
use model::sparse::Cone;
use model::submodule::Sources;
use process::RunProgramError;
use rustix::fs::{CWD, Mode, OFlags, openat};
use tokio_util::sync::CancellationToken;

use super::admin;
use super::mirror::Mirror;
use super::prepared::{self, Pool, Start};
use super::program::{GitDir, branch_ref, with_suffix};
use super::progress::OnProgress;
use super::remove_tree::remove_tree_aside;
use super::sparse;
use super::worktree_error::WorktreeError;

/// The desired state of a worktree.
#[derive(Debug, Clone, Copy)]
pub struct WorktreeSpec<'a> {
    /// The path. Its parent folder must exist.
    pub path: &'a Path,
    /// The branch. An existing branch is used as it is, with all its commits.
    pub branch: &'a str,
    /// The start commit of a new branch.
    pub base: &'a ObjectId,
    /// The folders that a new worktree contains.
    pub cone: &'a Cone,
}

/// A complete worktree.
#[derive(Debug, Clone)]
pub struct Worktree {
    pub(super) mirror: Mirror,
    pub(super) admin: PathBuf,
    pub(super) tree: PathBuf,
    pub(super) branch: String,
    pub(super) base: ObjectId,
    pub(super) cone: Cone,
}

/// The list of notes about the creation of a worktree.
const NOTES: &str = "codex-orchestrator-notes";

/// The result of removing a worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemovedWorktree {
    /// The last commit of the worktree's branch, if the branch still existed. The commit stays reachable.
    pub kept: Option<ObjectId>,
}

impl Worktree {
    /// Returns the path of the files.
    pub fn path(&self) -> &Path {
        &self.tree
    }

    /// Returns the branch.
    pub fn branch(&self) -> &str {
        &self.branch
    }

    /// Returns the commit that the worktree was created from.
    pub fn base(&self) -> &ObjectId {
        &self.base
    }

    /// Returns notes for people about the worktree's creation.
    pub fn notes(&self) -> io::Result<Vec<String>> {
        admin::list(&self.admin, NOTES)
    }

    /// Returns the folders that the worktree contains.
    pub fn cone(&self) -> &Cone {
        &self.cone
    }

    /// Returns the worktree's mirror.
    pub fn mirror(&self) -> &Mirror {
        &self.mirror
    }

    pub(super) fn git_dir(&self) -> GitDir<'_> {
        GitDir::Worktree { mirror: self.mirror.path(), admin: &self.admin, tree: &self.tree }
    }

    /// Opens the folder of the files.
    pub(super) fn root(&self) -> io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(CWD, &self.tree, flags, Mode::empty())?)
    }

    /// Marks the files that the worktree does not contain on purpose in its index, so that git does not report them as deleted.
    pub(super) async fn hide_absent(&self) -> Result<(), RunProgramError> {
        sparse::hide_absent(|| self.mirror.git().command(self.git_dir()), &self.cone, || self.root()).await
    }

    /// Repairs the `.git` link and removes lock files that an agent may have left. Call this only while no process of the task
    /// runs.
    fn put_in_order(&self) -> io::Result<()> {
        admin::restore_link(&self.admin, &self.tree)?;
        admin::clear_locks(self.mirror.path(), &self.admin, &self.branch)
    }
}

impl Mirror {
    /// Makes sure that there is a complete worktree: repairs a complete one, and creates an incomplete one again. Submodules
    /// are fetched from `sources`; others stay empty.
    pub async fn ensure_worktree(
        &self,
        spec: WorktreeSpec<'_>,
        sources: &Sources,
        progress: OnProgress<'_>,
        cancel: CancellationToken,
    ) -> Result<Worktree, WorktreeError> {
        Ok(self.ensure_worktree_from(None, spec, sources, progress, cancel).await?.0)
    }

    /// Like [`Mirror::ensure_worktree`], but a new worktree gets the files of a prepared one if there is one that fits.
    pub async fn ensure_worktree_from(
        &self,
        pool: Option<&Pool>,
        spec: WorktreeSpec<'_>,
        sources: &Sources,
        progress: OnProgress<'_>,
        cancel: CancellationToken,
    ) -> Result<(Worktree, Start), WorktreeError> {
        if let Some(worktree) = self.find_worktree(spec.path, spec.branch)? {
            worktree.put_in_order()?;
            return Ok((worktree, Start::Existing));
        }
        let mut worktree = self.begin_worktree(spec, &cancel).await?;
        crash::point(CrashPoint::WorktreeAdded);
        let tip = self.resolve_branch(spec.branch).await?;
        let tip = tip.as_ref().unwrap_or(spec.base);
        self.complete(tip, &cancel).await?;
        let large_files = self.fetch_large_files(tip, &cancel).await?;
        let mut start = match pool {
            Some(pool) => pool.take(&worktree.admin, &worktree.tree, tip).await?,
            None => Start::Written,
        };
        let mut written = self.check_out(worktree.git_dir(), &worktree.cone, progress, cancel.clone()).await;
        if let (Start::Prepared, Err(error @ RunProgramError::Failed { .. })) = (start, &written) {
            tracing::warn!(tree = %worktree.tree.display(), %error, "could not use a prepared worktree; writing all files");
            worktree = self.begin_worktree(spec, &cancel).await?;
            start = Start::Written;
            written = self.check_out(worktree.git_dir(), &worktree.cone, progress, cancel.clone()).await;
        }
        written?;
        let mut notes = worktree.fetch_submodules(sources, &cancel).await?;
        notes.extend(large_files);
        admin::put_list(&worktree.admin, NOTES, &notes)?;
        crash::point(CrashPoint::WorktreeCheckedOut);
        admin::mark_ready(&worktree.admin, spec.base)?;
        Ok((worktree, start))
    }

    /// Registers a worktree without files, after removing what is left of an incomplete one.
    async fn begin_worktree(&self, spec: WorktreeSpec<'_>, cancel: &CancellationToken) -> Result<Worktree, WorktreeError> {
        // A fetch may hold the lock for minutes. A cancelled caller does not wait for it.
        let writer = cancel.run_until_cancelled(self.writer()).await;
        let _writer = writer.ok_or_else(|| RunProgramError::Cancelled { program: self.git().tool().to_string() })?;
        let tree = admin::real_path(spec.path)?;
        self.clear_the_way(&tree, spec.branch).await?;
        self.add_worktree(&tree, spec).await
    }

    /// Returns the worktree at this path, if it is complete.
    pub fn find_worktree(&self, path: &Path, branch: &str) -> io::Result<Option<Worktree>> {
        let is_folder = fs_err::symlink_metadata(path).is_ok_and(|found| found.is_dir());
        if !is_folder {
            return Ok(None);
        }
        let tree = admin::real_path(path)?;
        let Some(admin) = admin::find(self.path(), &tree)? else { return Ok(None) };
        let Some(base) = admin::ready(&admin)? else { return Ok(None) };
        let cone = sparse::read(&admin)?;
        Ok(Some(Worktree { mirror: self.clone(), admin, tree, branch: branch.to_owned(), base, cone }))
    }

    /// Removes a worktree that is incomplete or whose files are gone. The caller holds the writer's lock.
    async fn clear_the_way(&self, tree: &Path, branch: &str) -> Result<(), WorktreeError> {
        admin::clear_branch_lock(self.path(), branch)?;
        remove_tree_aside(prepared::taken(tree)).await?;
        let Some(admin) = admin::find(self.path(), tree)? else {
            // The folder is not known to be an incomplete worktree, so it may contain somebody's work.
            let empty = fs_err::read_dir(tree).is_ok_and(|mut entries| entries.next().is_none());
            if fs_err::symlink_metadata(tree).is_ok() && !empty {
                let aside = durable::free_name(&with_suffix(tree, ".found"))?;
                tracing::warn!(from = %tree.display(), to = %aside.display(), "a folder was in the way of a worktree; moved it aside");
                durable::rename(tree, &aside)?;
            }
            return Ok(());
        };
        remove_tree_aside(tree.to_owned()).await?;
        Ok(remove_tree_aside(admin::discard(self.path(), &admin)?).await?)
    }

    /// Registers the worktree and creates its branch, without files. The caller holds the writer's lock.
    async fn add_worktree(&self, tree: &Path, spec: WorktreeSpec<'_>) -> Result<Worktree, WorktreeError> {
        let branch = self.commits_of(&[branch_ref(spec.branch)]).await?.into_iter().flatten().next();
        let command = self.git().command(GitDir::Mirror(self.path())).args(["worktree", "add", "--lock", "--no-checkout"]);
        let command = match branch {
            Some(_) => command.args(["--force", "--"]).arg(tree).arg(spec.branch),
            None => command.args(["--no-track", "-b", spec.branch, "--"]).arg(tree).arg(spec.base.as_str()),
        };
        command.run_ok().await?;
        let admin = admin::find(self.path(), tree)?.ok_or(io::Error::from(io::ErrorKind::NotFound))?;
        sparse::put(&admin, spec.cone)?;
        let (branch, cone) = (spec.branch.to_owned(), spec.cone.clone());
        Ok(Worktree { mirror: self.clone(), admin, tree: tree.to_owned(), branch, base: spec.base.clone(), cone })
    }

    /// Removes a worktree and the mirror's files about it. Its branch becomes `refs/orchestrator/removed/<keep_as>`, so that
    /// its commits stay. Parts that are already gone are skipped.
    pub async fn remove_worktree(&self, path: &Path, branch: &str, keep_as: &str) -> Result<RemovedWorktree, WorktreeError> {
        let (kept, discarded) = {
            let _writer = self.writer().await;
            let kept = self.retire_branch(branch, keep_as).await?;
            // The folder may have been moved away already, together with its parent.
            let named = admin::real_path(path).unwrap_or_else(|_| path.to_owned());
            let admin = admin::find(self.path(), &named)?;
            (kept, admin.map(|admin| admin::discard(self.path(), &admin)).transpose()?)
        };
        if let Some(discarded) = discarded {
            remove_tree_aside(discarded).await?;
        }
        remove_tree_aside(path.to_owned()).await?;
        Ok(RemovedWorktree { kept })
    }
}
