//! The server's own index for the files of a worktree, which the agent never sees.
//!
//! The index starts from a commit and knows nothing about the files, so git reads every file of the commit: no flag, no forged
//! entry and no forged time in an agent's index hides a change. This module does not decide which files belong to a commit.
//! Invariant: every command has settings that hide nothing, whatever an agent wrote to the mirror's configuration.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::ids::ObjectId;
use model::untrusted::INDEX_LIMIT_BYTES;
use process::{CommandSpec, RunProgramError, Stdin, Stdout};

use super::admin;
use super::entries::Entries;
use super::plain_file::plain_file;
use super::snapshot_error::SnapshotError;
use super::sparse;
use super::worktree::Worktree;

/// The time limit of a step. The size of the files has already been checked, so this limit is for slow disks.
const STEP: Duration = Duration::from_mins(5);

/// Settings that an agent without a container can change in the mirror, with values that hide nothing.
const SEES_EVERYTHING: [(&str, &str); 8] = [
    ("core.fileMode", "true"),
    ("core.symlinks", "true"),
    ("core.ignoreStat", "false"),
    ("core.trustctime", "true"),
    ("core.checkStat", "default"),
    ("core.sparseCheckout", "false"),
    ("core.sparseCheckoutCone", "false"),
    ("index.sparse", "false"),
];

/// Settings that belong to the user, with git's default values. A mirror is created without them, so any that exist were set by
/// an agent.
const OF_THE_USER: [(&str, &str); 6] = [
    ("core.autocrlf", "false"),
    ("core.eol", "native"),
    ("core.excludesfile", "/dev/null"),
    ("core.attributesfile", "/dev/null"),
    ("core.bigfilethreshold", "512m"),
    ("core.ignorecase", "false"),
];

/// An index that is separate from the worktree's own index.
pub(super) struct TrustedIndex<'w> {
    pub(super) worktree: &'w Worktree,
    pub(super) path: PathBuf,
    /// The commit that the index started from.
    pub(super) commit: ObjectId,
    /// Entries of the commit that the index does not contain, because the worktree does not contain them on purpose.
    absent: Vec<sparse::Entry>,
    settings: Vec<(String, String)>,
}

impl<'w> TrustedIndex<'w> {
    /// Creates an index of this name with the files of a commit. Files outside of the worktree's folders are in it only if they exist.
    pub(super) async fn create(worktree: &'w Worktree, commit: &ObjectId, name: &str) -> Result<Self, SnapshotError> {
        let mut settings = worktree.mirror.git().filters(worktree.git_dir()).await?;
        settings.extend(SEES_EVERYTHING.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        settings.extend(of_the_agent(worktree).await?);
        let path = worktree.admin.join(name);
        let mut index = Self { worktree, path, commit: commit.clone(), absent: Vec::new(), settings };
        admin::ignore_missing(fs_err::remove_file(index.path.with_extension("lock")))?;
        admin::ignore_missing(fs_err::remove_file(&index.path))?;
        index.command().args(["read-tree", commit.as_str()]).run_ok().await?;
        index.absent = sparse::absent(index.command(), &worktree.cone, || worktree.root()).await?;
        index.edit(index.absent.iter().map(|entry| (&entry.path, None))).await?;
        Ok(index)
    }

    /// Builds a git command that uses this index.
    pub(super) fn command<'a>(&self) -> CommandSpec<'a> {
        self.command_with(&self.settings)
    }

    fn command_with<'a>(&self, settings: &[(String, String)]) -> CommandSpec<'a> {
        let git = self.worktree.mirror.git();
        git.command_with(self.worktree.git_dir(), settings).env("GIT_INDEX_FILE", &self.path).deadline(STEP)
    }

    /// Adds the files of the commit that the worktree does not contain on purpose.
    pub(super) async fn add_absent(&self) -> Result<(), RunProgramError> {
        self.edit(self.absent.iter().map(|entry| (&entry.path, Some((entry.mode.as_str(), entry.id.as_str()))))).await
    }

    /// Marks the files that the worktree does not contain on purpose, so that git does not report them as deleted.
    pub(super) async fn hide_absent(&self) -> Result<(), RunProgramError> {
        sparse::hide_absent(|| self.command(), &self.worktree.cone, || self.worktree.root()).await
    }

    /// Builds a git command that uses this index, and writes only files in the worktree's folders.
    pub(super) fn writing_command<'a>(&self) -> CommandSpec<'a> {
        let settings: Vec<_> = self.settings.iter().cloned().chain(sparse::settings(&self.worktree.cone)).collect();
        self.command_with(&settings)
    }

    /// Compares every file with the index, and records in the index which files are unchanged.
    pub(super) async fn refresh(&self) -> Result<(), RunProgramError> {
        let refreshed = self.command().args(["update-index", "-q", "--really-refresh"]).run().await?;
        // Exit code 1 means that some files differ.
        if matches!(refreshed.status.code(), Some(0 | 1)) {
            return Ok(());
        }
        let program = self.worktree.mirror.git().tool().to_string();
        Err(RunProgramError::Failed { program, status: refreshed.status, stderr_tail: refreshed.stderr_tail })
    }

    /// Lists the entries, and which of the watched paths are in use.
    pub(super) async fn list(&self, watched: &[Vec<u8>]) -> Result<Entries, RunProgramError> {
        let mut entries = Entries::default();
        let on_record = |record: &[u8]| entries.read(record, watched);
        self.command().args(["ls-files", "--stage", "-z"]).stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        Ok(entries)
    }

    /// Reads the submodules and conflicts in the worktree's own index. Nothing else in that index is used.
    pub(super) async fn read_the_agents_index(&self) -> Result<Entries, SnapshotError> {
        let (index, copy) = (self.worktree.admin.join("index"), self.path.with_extension("agents"));
        let copied = tokio::task::spawn_blocking({
            let copy = copy.clone();
            move || copy_index(&index, &copy)
        });
        if !copied.await.map_err(io::Error::other)?? {
            return Ok(Entries::default());
        }
        let mut entries = Entries::default();
        let on_record = |record: &[u8]| entries.read(record, &[]);
        let command = self.command().env("GIT_INDEX_FILE", &copy).args(["ls-files", "--stage", "-z"]);
        let listed = command.stdout(Stdout::Records(Box::new(on_record))).run().await?;
        admin::ignore_missing(fs_err::remove_file(copy))?;
        Ok(if listed.status.success() { entries } else { Entries::default() })
    }

    /// Returns the submodules of commits, by path.
    pub(super) async fn gitlinks_of(&self, commits: &[ObjectId]) -> Result<BTreeMap<Vec<u8>, String>, RunProgramError> {
        let mut entries = Entries::default();
        for commit in commits {
            let on_record = |record: &[u8]| entries.read(record, &[]);
            let command = self.command().args(["ls-tree", "-r", "-z", "--full-tree", commit.as_str()]);
            command.stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        }
        Ok(entries.gitlinks)
    }

    /// Removes entries from the index or adds entries by mode and object, without reading the worktree.
    pub(super) async fn edit<'p>(
        &self,
        changes: impl Iterator<Item = (&'p Vec<u8>, Option<(&'p str, &'p str)>)>,
    ) -> Result<(), RunProgramError> {
        let zero = "0".repeat(self.worktree.base.as_str().len());
        let mut input = Vec::new();
        for (path, entry) in changes {
            let entry = entry.map_or_else(|| format!("0 {zero}\t"), |(mode, id)| format!("{mode} {id}\t"));
            input.extend_from_slice(entry.as_bytes());
            input.extend_from_slice(path);
            input.push(0);
        }
        if !input.is_empty() {
            self.command().args(["update-index", "-z", "--index-info"]).stdin(Stdin::Bytes(input)).run_ok().await?;
        }
        Ok(())
    }
}

/// Returns the values that replace file settings in the mirror's own configuration.
async fn of_the_agent(worktree: &Worktree) -> Result<Vec<(String, String)>, RunProgramError> {
    let names: Vec<_> = OF_THE_USER.iter().filter_map(|(name, _)| name.strip_prefix("core.")).collect();
    let pattern = format!("^core\\.({})$", names.join("|"));
    let command = worktree.mirror.git().command(worktree.git_dir());
    let command = command.args(["config", "--show-scope", "-z", "--name-only", "--get-regexp", &pattern]);
    let (mut settings, mut scope) = (Vec::new(), None);
    let on_record = |record: &[u8]| match scope.take() {
        None => scope = Some(record.to_vec()),
        Some(scope) if scope == b"local" || scope == b"worktree" => {
            let found = OF_THE_USER.iter().find(|(name, _)| name.as_bytes() == record);
            settings.extend(found.map(|&(name, value)| (name.to_owned(), value.to_owned())));
        }
        Some(_) => {}
    };
    // Exit code 1 means that none of these settings exists.
    command.stdout(Stdout::Records(Box::new(on_record))).run().await?;
    Ok(settings)
}

/// Copies an index and its modification time. If a file was changed in the same second as the index, git reads it even if its
/// size and times look unchanged. If the copy were newer, git would miss such a change. Returns whether there is a usable
/// index.
pub(super) fn copy_index(from: &Path, to: &Path) -> io::Result<bool> {
    let Some(mut file) = plain_file(from)? else { return Ok(false) };
    let found = file.metadata()?;
    if found.len() > INDEX_LIMIT_BYTES {
        return Ok(false);
    }
    admin::ignore_missing(fs_err::remove_file(to))?;
    let mut copy = File::create_new(to)?;
    io::copy(&mut file, &mut copy)?;
    copy.set_modified(found.modified()?)?;
    Ok(true)
}
