//! Rebuilds git's files about a worktree from the task's record, if a power cut has emptied or truncated them.
//!
//! Git writes these files without syncing them, and the worktree may contain work that exists nowhere else. So a worktree that
//! was complete according to its record is never created again: missing files are written as git would write them. Invariant:
//! intact files are not changed.

use std::io;
use std::path::{Path, PathBuf};

use durable::write_atomically;
use model::ids::ObjectId;

use super::admin;
use super::mirror::Mirror;
use super::plain_file::plain_file;
use super::program::{GitDir, branch_ref};
use super::worktree::{Worktree, WorktreeSpec};
use super::worktree_error::WorktreeError;

/// The first bytes of every index.
const INDEX: &[u8] = b"DIRC";

impl Mirror {
    /// Returns the worktree at this path, after rebuilding damaged files about it. Returns `None` if there is no worktree, or
    /// it was never complete. Call this only for worktrees that are complete according to the task's record, while no process
    /// of the task runs.
    pub async fn find_or_rebuild_worktree(&self, spec: WorktreeSpec<'_>) -> Result<Option<Worktree>, WorktreeError> {
        let is_folder = fs_err::symlink_metadata(spec.path).is_ok_and(|found| found.is_dir());
        if !is_folder {
            return Ok(None);
        }
        let tree = admin::real_path(spec.path)?;
        let branch = branch_ref(spec.branch);
        let Some(admin) = find(self.path(), &tree, &branch)? else { return Ok(None) };
        let rebuilt = rebuild(&admin, &tree, &branch, spec.base)?;
        let worktree = self.find_worktree(spec.path, spec.branch)?;
        if let Some(worktree) = &worktree
            && !has_sound_index(&admin)?
        {
            admin::ignore_missing(fs_err::remove_file(admin.join("index")))?;
            let command = self.git().command(GitDir::Worktree { mirror: self.path(), admin: &admin, tree: &tree });
            command.args(["read-tree", "HEAD"]).run_ok().await?;
            worktree.hide_absent().await?;
            tracing::warn!(tree = %worktree.path().display(), "rebuilt a damaged worktree index from its branch");
        }
        if rebuilt {
            tracing::warn!(tree = %tree.display(), "rebuilt damaged Git metadata of a worktree from the task's record");
        }
        Ok(worktree)
    }
}

/// Finds the files about the worktree at this real path: those that name it, or else those that are damaged and either are on
/// the task's branch or are named by the worktree itself.
fn find(mirror: &Path, tree: &Path, branch: &str) -> io::Result<Option<PathBuf>> {
    if let Some(found) = admin::find(mirror, tree)? {
        return Ok(Some(found));
    }
    let named = admin::read(&tree.join(".git"))?.unwrap_or_default();
    let named = String::from_utf8_lossy(&named).into_owned();
    let named = named.strip_prefix("gitdir: ").map(str::trim_end).map(Path::new);
    for damaged in admin::all(mirror)? {
        if !admin::is_blank(&damaged.join("gitdir"))? {
            continue;
        }
        let is_on_branch = admin::head(&damaged)? == format!("ref: {branch}");
        if is_on_branch || named == Some(damaged.as_path()) {
            return Ok(Some(damaged));
        }
    }
    Ok(None)
}

/// Writes files that a power cut has emptied. Returns whether any file was written.
fn rebuild(admin: &Path, tree: &Path, branch: &str, base: &ObjectId) -> io::Result<bool> {
    let mut rebuilt = false;
    let mut restore = |name: &str, content: String| {
        rebuilt = true;
        write_atomically(&admin.join(name), content.as_bytes())
    };
    if admin::is_blank(&admin.join("gitdir"))? {
        restore("gitdir", format!("{}\n", tree.join(".git").display()))?;
    }
    if admin::is_blank(&admin.join("commondir"))? {
        restore("commondir", "../..\n".to_owned())?;
    }
    if admin::is_blank(&admin.join("HEAD"))? {
        restore("HEAD", format!("ref: {branch}\n"))?;
    }
    // A missing file means that the worktree was never complete.
    let ready = admin.join(admin::READY);
    if ready.exists() && admin::ready(admin)?.is_none() {
        restore(admin::READY, format!("{base}\n"))?;
    }
    Ok(rebuilt)
}

fn has_sound_index(admin: &Path) -> io::Result<bool> {
    use std::io::Read as _;
    let mut start = Vec::new();
    let Some(file) = plain_file(&admin.join("index"))? else { return Ok(false) };
    file.take(INDEX.len() as u64).read_to_end(&mut start)?;
    Ok(start == INDEX)
}
