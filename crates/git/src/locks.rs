//! Cleans up what a killed git leaves in a mirror: lock files, partially received packs, and the process itself.
//!
//! The caller holds the writer's lock. Locks of task branches and worktrees are not removed here: an agent may hold them, and
//! they are removed at the end of a run. Invariant: nothing is removed while a git process of this server still runs on that
//! mirror.

use std::io;
use std::path::{Path, PathBuf};

use futures_util::future::join_all;
use process::{KillError, ProcessIdentity, Signal, kill_all, processes_with_environment};

use super::admin;
use super::mirror::Mirror;
use super::program::{ENDING, MARK};
use super::remove_tree::{RemoveTreeError, remove_tree_aside};

/// Why a mirror could not be cleaned up.
#[derive(Debug, thiserror::Error)]
pub enum RecoverMirrorError {
    /// A leftover git process does not end.
    #[error(transparent)]
    Kill(#[from] KillError),
    /// Files cannot be read or removed.
    #[error("could not clean up the mirror: {0}")]
    Files(#[from] io::Error),
    /// Leftovers of a removed worktree cannot be removed.
    #[error(transparent)]
    Remove(#[from] RemoveTreeError),
}

/// What was cleaned up.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// The number of processes of an earlier server that still worked on the mirror.
    pub ended: usize,
    /// Files that these or other processes had left behind.
    pub removed: Vec<PathBuf>,
}

impl Mirror {
    /// Ends processes that an earlier, killed server left running on this mirror, and removes their leftovers. Call this when
    /// the program starts, before anything else uses the mirror.
    pub async fn recover(&self) -> Result<Recovered, RecoverMirrorError> {
        let _writer = self.gate().writer().await;
        let mark = self.path().display().to_string();
        let find = || processes_with_environment(MARK, &mark);
        let left: Vec<ProcessIdentity> = find()?;
        for process in &left {
            process.signal(Signal::TERM)?;
        }
        // Send SIGTERM first, so that git removes its own locks. A process that does not end is killed.
        let peace = join_all(left.iter().map(ProcessIdentity::wait_until_gone));
        if tokio::time::timeout(ENDING, peace).await.is_err() {
            tracing::warn!(mirror = %self.path().display(), "a Git process of an earlier server does not stop");
        }
        kill_all(find, ENDING).await?;
        let mut removed = remove_stale_locks(self.path())?;
        for half in half_packs(self.path())? {
            fs_err::remove_file(&half)?;
            removed.push(half);
        }
        remove_tree_aside(admin::trash(self.path())).await?;
        Ok(Recovered { ended: left.len(), removed })
    }
}

/// Removes the lock files of a mirror that no git process of this server can hold, and returns their paths.
pub(super) fn remove_stale_locks(mirror: &Path) -> io::Result<Vec<PathBuf>> {
    let mut removed = Vec::new();
    let mut folders = vec![mirror.join("refs")];
    let mut locks = locks_in(mirror, &mut Vec::new())?;
    while let Some(folder) = folders.pop() {
        if folder != mirror.join("refs/heads/codex") {
            locks.extend(locks_in(&folder, &mut folders)?);
        }
    }
    for lock in locks {
        match fs_err::remove_file(&lock) {
            Ok(()) => removed.push(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// Returns the `*.lock` files of a folder, and adds its subfolders to `folders`.
fn locks_in(folder: &Path, folders: &mut Vec<PathBuf>) -> io::Result<Vec<PathBuf>> {
    let mut locks = Vec::new();
    for entry in fs_err::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            folders.push(entry.path());
        } else if kind.is_file() && entry.path().extension().is_some_and(|extension| extension == "lock") {
            locks.push(entry.path());
        }
    }
    Ok(locks)
}

/// Returns the packs that git was receiving or repacking when it was killed. They can be as large as the repository.
pub(super) fn half_packs(mirror: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs_err::read_dir(mirror.join("objects/pack"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        // `git repack` uses the second prefix.
        if (name.starts_with("tmp_") || name.starts_with(".tmp-")) && entry.file_type()?.is_file() {
            found.push(entry.path());
        }
    }
    Ok(found)
}
