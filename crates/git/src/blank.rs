//! Cleans up a mirror after a reboot: removes locks that no process holds any more and, after a power cut, empty files and refs
//! without commits.
//!
//! Everything that a record names is written to disk before the record. But the power can fail at any time, and an agent on the
//! host uses its own git, which rarely syncs. Git and git-lfs fail on an empty file, but fetch or write a missing file again.
//! Run this cleanup on the first start of a server after a boot, before anything else uses the mirror. Invariant: except for
//! locks, no file with content is removed.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use model::ids::ObjectId;
use process::{RunProgramError, Stdin};

use super::admin;
use super::history;
use super::mirror::Mirror;
use super::program::{GitDir, answer, branch_ref};
use super::remove_tree::remove_tree_aside;
use super::worktree_error::WorktreeError;

/// The number of bytes that are read to find out whether a file is blank. A file system writes at least this many bytes at
/// once, or none.
const BLOCK: u64 = 512;

impl Mirror {
    /// Removes every lock file. No process that could hold one has survived a reboot.
    pub async fn remove_all_locks(&self) -> io::Result<Vec<PathBuf>> {
        let mirror = self.path().to_owned();
        let removed = tokio::task::spawn_blocking(move || {
            let mut removed = Vec::new();
            for folder in ["refs/heads/codex", "worktrees"] {
                remove_where(&mirror.join(folder), &|file| Ok(file.extension().is_some_and(|end| end == "lock")), &mut removed)?;
            }
            io::Result::Ok(removed)
        });
        removed.await.map_err(io::Error::other)?
    }

    /// Discards git's files about a worktree if a power cut left them incomplete, because git fails on such files.
    pub async fn discard_torn_administrations(&self) -> Result<usize, WorktreeError> {
        let mut discarded = 0;
        for admin in admin::all(self.path())? {
            let is_torn = ["gitdir", "commondir", "HEAD"].iter().any(|name| admin::is_blank(&admin.join(name)).unwrap_or(false));
            // The files about a complete worktree are rebuilt from its task's record instead.
            if admin.is_dir() && is_torn && !admin.join(admin::READY).exists() {
                remove_tree_aside(admin::discard(self.path(), &admin)?).await?;
                discarded += 1;
            }
        }
        Ok(discarded)
    }

    /// Deletes refs whose commits are missing, and returns their names. The next fetch or a task's record restores them.
    pub async fn delete_broken_refs(&self) -> Result<Vec<String>, RunProgramError> {
        let listing = self.git().command(GitDir::Mirror(self.path())).args(["for-each-ref", "--format=%(objectname) %(refname)"]);
        let listing = answer(listing).await?;
        let refs: Vec<_> = listing.lines().filter_map(|line| line.split_once(' ')).collect();
        let asked: Vec<_> = refs.iter().map(|(id, _)| format!("{id}\n")).collect();
        let check = self.git().command(GitDir::Mirror(self.path())).args(["cat-file", "--batch-check=%(objecttype)"]);
        let told = answer(check.stdin(Stdin::Bytes(asked.concat().into_bytes()))).await?;
        let is_missing = |told: &str| told.ends_with(" missing");
        let broken: Vec<_> =
            refs.iter().zip(told.lines()).filter(|(_, told)| is_missing(told)).map(|(found, _)| *found).collect();
        if !broken.is_empty() {
            let moves: Vec<_> = broken.iter().map(|(_, name)| format!("delete {name}\n")).collect();
            let command = self.git().command(GitDir::Mirror(self.path())).args(["update-ref", "--no-deref", "--stdin"]);
            command.stdin(Stdin::Bytes(moves.concat().into_bytes())).run_ok().await?;
        }
        Ok(broken.into_iter().map(|(_, name)| name.to_owned()).collect())
    }

    /// Removes or restores files that a power cut left without content, and returns their paths.
    pub async fn remove_blank_files(&self) -> io::Result<Vec<PathBuf>> {
        let mirror = self.path().to_owned();
        let removed = tokio::task::spawn_blocking(move || {
            let mut removed: Vec<_> = history::restore_blank_list(&mirror)?.into_iter().collect();
            for folder in ["refs", "lfs/objects"] {
                remove_where(&mirror.join(folder), &is_blank_and_finished, &mut removed)?;
            }
            for entry in fs_err::read_dir(mirror.join("objects"))? {
                let entry = entry?;
                // Git syncs packs, and they have a checksum.
                if entry.file_name().len() == 2 && entry.file_type()?.is_dir() {
                    remove_where(&entry.path(), &is_blank_and_finished, &mut removed)?;
                }
            }
            io::Result::Ok(removed)
        });
        removed.await.map_err(io::Error::other)?
    }

    /// Makes sure that a task's branch exists. A lost ref is set to the commit in the task's record again.
    pub async fn ensure_branch(&self, branch: &str, tip: &ObjectId) -> Result<(), RunProgramError> {
        if self.resolve_branch(branch).await?.is_some() {
            return Ok(());
        }
        tracing::warn!(branch, %tip, "restored a lost task branch from the task's record");
        let command = self.git().command(GitDir::Mirror(self.path())).arg("update-ref");
        let command = command.args(["-m", "codex-orchestrator: restored from the task's record"]);
        command.args([branch_ref(branch).as_str(), tip.as_str()]).run_ok().await.map(drop)
    }
}

fn remove_where(folder: &Path, is_to_go: &impl Fn(&Path) -> io::Result<bool>, removed: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries = match fs_err::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            remove_where(&entry.path(), is_to_go, removed)?;
        } else if kind.is_file() && is_to_go(&entry.path())? {
            fs_err::remove_file(entry.path())?;
            removed.push(entry.path());
        }
    }
    Ok(())
}

/// Whether a file is blank and complete. Files that git has not finished have other names and are removed elsewhere.
fn is_blank_and_finished(file: &Path) -> io::Result<bool> {
    let name = file.file_name().unwrap_or_default().as_encoded_bytes();
    if name.starts_with(b"tmp_") || name.ends_with(b".lock") {
        return Ok(false);
    }
    let mut start = Vec::new();
    fs_err::File::open(file)?.take(BLOCK).read_to_end(&mut start)?;
    Ok(start.iter().all(|&byte| byte == 0))
}
