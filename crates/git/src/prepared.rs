//! Prepared worktrees: files that are checked out before a task needs them, so that a task's worktree is a rename away.
//!
//! A prepared worktree is a folder `<pool>/ready…` with the files, git's index of them, and a record. Git does not know it as a
//! worktree, and nothing of it is in the mirror, so no agent has ever seen it: its index can be trusted, and git writes only the
//! files that differ from the commit that a task needs. Taking one renames it into the task's folder, so no two tasks
//! get the same one.
//! Invariant: a folder whose name starts with `ready` is complete, and nothing that a task had returns to the pool.

use std::io;
use std::path::{Path, PathBuf};

use durable::crash::{self, CrashPoint};
use jiff::Timestamp;
use model::ids::ObjectId;
use model::prepared::PreparedWorktree;
use model::sparse::Cone;
use process::{RunProgramError, Stdout};
use ring::digest;
use tokio_util::sync::CancellationToken;

use super::admin;
use super::mirror::Mirror;
use super::program::{GitDir, LONG, answer, with_suffix};
use super::remove_tree::remove_tree_aside;
use super::sparse;
use super::worktree_error::WorktreeError;

/// The start of the names of complete worktrees.
const READY: &str = "ready";

/// The start of the names of worktrees that are incomplete or being deleted.
const UNFINISHED: &str = "unfinished";

/// Parts of the folder of a prepared worktree: the files, git's files about them, and the record.
const FILES: &str = "files";
const GIT: &str = "git";
const RECORD: &str = "prepared.json";

/// The suffix of the folder that a prepared worktree has while it is moved to its task.
const TAKEN: &str = ".prepared";

/// The smallest unit in which a file uses disk space, in bytes.
const BLOCK: u64 = 4096;

/// The prepared worktrees of a mirror.
#[derive(Debug, Clone)]
pub struct Pool {
    mirror: Mirror,
    folder: PathBuf,
    cone: Cone,
}

/// A complete prepared worktree.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// What it contains.
    pub made: PreparedWorktree,
    folder: PathBuf,
}

/// The size of a commit's files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CommitSize {
    /// The number of files.
    pub files: u64,
    /// The expected disk usage in bytes.
    pub bytes: u64,
}

/// Whether the files of a new worktree were prepared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The worktree existed already.
    Existing,
    /// A prepared worktree was moved into place.
    Prepared,
    /// No prepared worktree could be used, so all files were written.
    Written,
}

impl Pool {
    /// Returns the pool of a mirror in this folder, whose worktrees contain the folders of a cone. The folder must be on the file system of the worktrees, and no agent may write
    /// to it.
    pub fn new(mirror: &Mirror, folder: PathBuf, cone: Cone) -> Self {
        Self { mirror: mirror.clone(), folder, cone }
    }

    /// Returns the complete worktrees, newest first.
    pub fn list(&self) -> io::Result<Vec<Prepared>> {
        let mut found = Vec::new();
        for folder in self.folders(READY)? {
            // The record is missing if a task takes the worktree at this moment.
            let record = admin::read(&folder.join(RECORD))?;
            let made = record.and_then(|record| serde_json::from_slice(&record).ok());
            found.extend(made.map(|made| Prepared { made, folder }));
        }
        found.sort_by_key(|prepared| std::cmp::Reverse(prepared.made.made_at));
        Ok(found)
    }

    /// Returns the size of a commit's files that a worktree contains.
    pub async fn size_of(&self, commit: &ObjectId) -> Result<CommitSize, RunProgramError> {
        let mut size = CommitSize::default();
        let on_record = |record: &[u8]| {
            // The format is `mode type id size TAB path`, with spaces before the size. A submodule has no size.
            let fields = record.split(|&byte| byte == b'\t').next().map(String::from_utf8_lossy).unwrap_or_default();
            let path = record.iter().position(|&byte| byte == b'\t').map_or(&[][..], |tab| &record[tab + 1..]);
            if !self.cone.contains(path) {
                return;
            }
            let bytes: u64 = fields.split_ascii_whitespace().nth(3).and_then(|size| size.parse().ok()).unwrap_or_default();
            size.files += 1;
            size.bytes = size.bytes.saturating_add(bytes.div_ceil(BLOCK) * BLOCK);
        };
        let listing = self.mirror.git().command(GitDir::Mirror(self.mirror.path())).deadline(LONG);
        let listing = listing.args(["ls-tree", "-r", "-z", "-l", "--full-tree", commit.as_str()]);
        listing.stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        Ok(size)
    }

    /// Creates another prepared worktree and returns it, or nothing if some large files are missing, because a later task might
    /// get them. `measure` returns the disk usage of a folder in bytes.
    pub async fn create(
        &self,
        commit: &ObjectId,
        files: u64,
        measure: fn(&Path) -> u64,
        cancel: &CancellationToken,
    ) -> Result<Option<Prepared>, WorktreeError> {
        fs_err::create_dir_all(&self.folder)?;
        let folder = durable::free_name(&self.folder.join(UNFINISHED))?;
        fs_err::create_dir_all(folder.join(FILES))?;
        fs_err::create_dir(folder.join(GIT))?;
        self.complete(folder, commit, files, measure, cancel).await
    }

    /// Changes a prepared worktree to another commit. Returns nothing if it was taken or deleted.
    pub async fn renew(
        &self,
        prepared: Prepared,
        commit: &ObjectId,
        files: u64,
        measure: fn(&Path) -> u64,
        cancel: &CancellationToken,
    ) -> Result<Option<Prepared>, WorktreeError> {
        let can_be_used = self.can_become(&prepared.made, commit, &self.written_with().await?).await;
        let folder = durable::free_name(&self.folder.join(UNFINISHED))?;
        match fs_err::rename(&prepared.folder, &folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            moved => moved?,
        }
        if can_be_used {
            return self.complete(folder, commit, files, measure, cancel).await;
        }
        remove_tree_aside(folder).await?;
        Ok(None)
    }

    /// Writes the files of a commit, and makes the worktree available.
    async fn complete(
        &self,
        folder: PathBuf,
        commit: &ObjectId,
        files: u64,
        measure: fn(&Path) -> u64,
        cancel: &CancellationToken,
    ) -> Result<Option<Prepared>, WorktreeError> {
        let written_with = self.written_with().await?;
        self.mirror.complete(commit, cancel).await?;
        if self.mirror.fetch_large_files(commit, cancel).await?.is_some() {
            remove_tree_aside(folder).await?;
            return Ok(None);
        }
        let (admin, tree) = (folder.join(GIT), folder.join(FILES));
        fs_err::write(admin.join("HEAD"), format!("{commit}\n"))?;
        let git_dir = GitDir::Worktree { mirror: self.mirror.path(), admin: &admin, tree: &tree };
        sparse::put_patterns(&admin, &self.cone)?;
        self.mirror.check_out(git_dir, &self.cone, &|_| {}, cancel.clone()).await?;
        let measured = folder.clone();
        let bytes = tokio::task::spawn_blocking(move || measure(&measured)).await.map_err(io::Error::other)?;
        let made = PreparedWorktree { commit: commit.clone(), written_with, files, bytes, made_at: Timestamp::now() };
        fs_err::write(folder.join(RECORD), serde_json::to_vec(&made).map_err(io::Error::from)?)?;
        crash::point(CrashPoint::WorktreeMade);
        let ready = durable::free_name(&self.folder.join(READY))?;
        fs_err::rename(&folder, &ready)?;
        Ok(Some(Prepared { made, folder: ready }))
    }

    /// Deletes a prepared worktree, unless a task takes it.
    pub async fn delete(&self, prepared: Prepared) -> Result<(), WorktreeError> {
        let folder = durable::free_name(&self.folder.join(UNFINISHED))?;
        match fs_err::rename(&prepared.folder, &folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            moved => {
                moved?;
                Ok(remove_tree_aside(folder).await?)
            }
        }
    }

    /// Deletes the worktrees that no task can use, because git would write their files differently now.
    pub async fn delete_outdated(&self) -> Result<(), WorktreeError> {
        let ready = self.list()?;
        if ready.is_empty() {
            return Ok(());
        }
        let written_with = self.written_with().await?;
        for prepared in ready.into_iter().filter(|prepared| prepared.made.written_with != written_with) {
            self.delete(prepared).await?;
        }
        Ok(())
    }

    /// Deletes what an interrupted [`create`](Self::create), [`renew`](Self::renew) or [`delete`](Self::delete) left. Call this only
    /// while none of them runs.
    pub async fn clear_unfinished(&self) -> Result<(), WorktreeError> {
        for folder in self.folders(UNFINISHED)? {
            remove_tree_aside(folder).await?;
        }
        Ok(())
    }

    /// Moves the files of a prepared worktree to a new worktree without files, if one of them is close to the commit. The files may
    /// still differ from the commit afterwards.
    pub(super) async fn take(&self, admin: &Path, tree: &Path, commit: &ObjectId) -> Result<Start, WorktreeError> {
        let ready = self.list()?;
        if ready.is_empty() {
            return Ok(Start::Written);
        }
        let written_with = self.written_with().await?;
        let aside = taken(tree);
        for prepared in ready {
            if !self.can_become(&prepared.made, commit, &written_with).await {
                continue;
            }
            match fs_err::rename(&prepared.folder, &aside) {
                // Another task was faster.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                moved => moved?,
            }
            crash::point(CrashPoint::PreparedTaken);
            let (admin, tree, from) = (admin.to_owned(), tree.to_owned(), aside.clone());
            let moved = tokio::task::spawn_blocking(move || move_into_place(&from, &admin, &tree));
            moved.await.map_err(io::Error::other)??;
            remove_tree_aside(aside).await?;
            return Ok(Start::Prepared);
        }
        Ok(Start::Written)
    }

    /// Whether only the files that differ need to be written to change a prepared worktree to a commit.
    async fn can_become(&self, made: &PreparedWorktree, commit: &ObjectId, written_with: &str) -> bool {
        if made.written_with != written_with {
            return false;
        }
        if made.commit == *commit {
            return true;
        }
        let (mut differing, mut is_written_the_same) = (0, true);
        let on_record = |path: &[u8]| {
            differing += 1;
            // Attributes decide how git writes files, even files that do not differ.
            is_written_the_same &= path.rsplit(|&byte| byte == b'/').next() != Some(b".gitattributes");
        };
        let command = self.mirror.git().command(GitDir::Mirror(self.mirror.path()));
        let command = command.args(["diff-tree", "-r", "-z", "--name-only", "--no-renames"]);
        let command = command.args([made.commit.as_str(), commit.as_str()]).stdout(Stdout::Records(Box::new(on_record)));
        match command.run_ok().await {
            Ok(_) => is_written_the_same && made.is_worth_changing(differing),
            Err(error) => {
                // The commit may have been deleted since then.
                tracing::debug!(%error, "could not compare a prepared worktree with a commit");
                false
            }
        }
    }

    /// Returns a hash of the settings that decide how git writes files.
    async fn written_with(&self) -> Result<String, RunProgramError> {
        let (git, mirror) = (self.mirror.git(), self.mirror.path());
        let filters = git.filters(GitDir::Mirror(mirror)).await?;
        let settings = answer(git.command_with(GitDir::Mirror(mirror), &filters).args(["config", "--list", "-z"])).await?;
        let lost = |source| RunProgramError::Io { program: git.tool().to_string(), source };
        let attributes = admin::read(&mirror.join("info/attributes")).map_err(lost)?.unwrap_or_default();
        let mut hash = digest::Context::new(&digest::SHA256);
        let patterns = self.cone.patterns();
        for part in [git.version().to_string().as_bytes(), settings.as_bytes(), &attributes, patterns.as_bytes()] {
            hash.update(part);
            hash.update(&[0, 0]);
        }
        Ok(hex::encode(hash.finish()))
    }

    /// Returns the folders whose names start with `prefix`.
    fn folders(&self, prefix: &str) -> io::Result<Vec<PathBuf>> {
        let entries = match fs_err::read_dir(&self.folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry?;
            if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
                found.push(entry.path());
            }
        }
        Ok(found)
    }
}

/// The path of a prepared worktree while it is moved to the worktree at `tree`.
pub(super) fn taken(tree: &Path) -> PathBuf {
    with_suffix(tree, TAKEN)
}

/// Replaces a new worktree, in which only the `.git` file exists, and its missing index.
fn move_into_place(from: &Path, admin: &Path, tree: &Path) -> io::Result<()> {
    fs_err::remove_file(tree.join(".git"))?;
    // The worktree must still be here after a power cut if git's files about it are.
    durable::rename(&from.join(FILES), tree)?;
    admin::restore_link(admin, tree)?;
    crash::point(CrashPoint::PreparedMoved);
    fs_err::rename(from.join(GIT).join("index"), admin.join("index"))
}
