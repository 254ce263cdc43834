//! Creates a tree of a worktree's content, using a separate index that the agent never sees.
//!
//! Git never enters a repository inside the worktree: submodules keep the commit that was recorded or staged for them, and any
//! other nested repository is omitted and reported. `trusted_index` provides the index, and `weigh` checks the sizes. Invariant:
//! while git reads the worktree, the index contains no submodule whose own configuration git could obey.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use model::commit::{PathText, Selection};
use model::ids::ObjectId;
use process::{CommandSpec, RunProgramError, Stderr, Stdin, Stdout};

use super::decision::Decision;
use super::program::answer;
use super::snapshot_error::SnapshotError;
use super::sparse;
use super::special::Findings;
use super::trusted_index::TrustedIndex;
use super::weigh::{self, Heavy, Weighed, excluded};
use super::worktree::Worktree;

/// The maximum number of unreadable files that are listed.
const NAMED_LIMIT: usize = 20;

/// A note about a worktree that is incomplete on purpose.
const SPARSE: &str = "the agent used `git sparse-checkout`; files that it removed from the worktree are deleted in the commit, unless they \
    are outside of the repository's folders for worktrees";

/// The maximum total length of the names of nested repositories, in bytes. The names are passed as arguments of a command.
const NESTED_LIMIT_BYTES: usize = 500_000;

/// The result of staging a worktree.
#[derive(Debug)]
pub(super) struct Staged {
    /// The tree.
    pub(super) tree: ObjectId,
    /// Nested repositories that were omitted.
    pub(super) dropped: Vec<String>,
    /// Files that could not be read, with git's messages.
    pub(super) unreadable: Vec<String>,
    /// Other notes for people: what was moved aside, and what is too large.
    pub(super) notes: Vec<String>,
    /// Files of the commit that are too large now. The tree contains their last version.
    pub(super) kept_back: Vec<Vec<u8>>,
    /// What the tree omits by decision.
    pub(super) selection: Selection,
    /// Whether the worktree's own index had unresolved merge conflicts.
    pub(super) had_conflicts: bool,
}

/// A worktree that is being staged in a separate index.
pub(super) struct Staging<'w> {
    index: TrustedIndex<'w>,
    findings: Findings,
    /// Files that were removed from the index because they are too large to compare.
    uncompared: Vec<Heavy>,
}

impl<'w> Staging<'w> {
    /// Starts from a commit, after searching the worktree for special files.
    pub(super) async fn begin(worktree: &'w Worktree, commit: &ObjectId) -> Result<Self, SnapshotError> {
        Self::fresh(worktree, commit, "codex-orchestrator-index").await
    }

    /// Starts from a commit, to compare its files with the worktree. The index contains no submodules.
    pub(super) async fn from_commit(worktree: &'w Worktree, commit: &ObjectId) -> Result<Self, SnapshotError> {
        let mut staging = Self::fresh(worktree, commit, "codex-orchestrator-comparison").await?;
        let listing = staging.index.list(&[]).await?;
        staging.index.edit(listing.gitlinks.keys().map(|path| (path, None))).await?;
        staging.uncompared = staging.index.weigh_changed().await?;
        staging.index.edit(staging.uncompared.iter().map(|heavy| (&heavy.path, None))).await?;
        Ok(staging)
    }

    async fn fresh(worktree: &'w Worktree, commit: &ObjectId, name: &str) -> Result<Self, SnapshotError> {
        let findings = worktree.look_through().await?;
        let index = TrustedIndex::create(worktree, commit, name).await?;
        Ok(Self { index, findings, uncompared: Vec::new() })
    }

    /// Returns the paths of files that differ from the index. Reads all files except those that are too large.
    pub(super) async fn differing_files(&self) -> Result<Vec<Vec<u8>>, RunProgramError> {
        self.index.refresh().await?;
        let mut differing: Vec<_> = self.uncompared.iter().map(|heavy| heavy.path.clone()).collect();
        let command = self.index.command().args(["diff-files", "--name-only", "--no-renames", "-z"]);
        command.stdout(Stdout::Records(Box::new(|record| differing.push(record.to_vec())))).run_ok().await?;
        Ok(differing)
    }

    /// Removes the index.
    pub(super) fn discard(self) -> io::Result<()> {
        fs_err::remove_file(&self.index.path)
    }

    /// Stages the worktree, except for what the commit omits by decision. `parents` are the commits whose submodules belong to the
    /// repository.
    pub(super) async fn stage(&self, parents: &[ObjectId], decision: &Decision<'_>) -> Result<Staged, SnapshotError> {
        let theirs = self.index.read_the_agents_index().await?;
        let before = self.index.list(&[]).await?;
        let has_gitlinks = !before.gitlinks.is_empty() || !theirs.gitlinks.is_empty();
        let known = if has_gitlinks { self.index.gitlinks_of(parents).await? } else { BTreeMap::new() };
        self.index.edit(before.gitlinks.keys().map(|path| (path, None))).await?;
        let (staged, new): (BTreeMap<_, _>, BTreeMap<_, _>) =
            theirs.gitlinks.into_iter().partition(|(path, _)| known.contains_key(path));
        let mut kept = before.gitlinks;
        kept.extend(staged);

        let nested = self.nested_repositories().await?;
        // If the host wrote the files of a submodule, everything in its folder belongs to the submodule.
        let exported: Vec<_> = self.index.worktree.submodules()?.into_iter().map(String::into_bytes).collect();
        let inside = exported.iter().filter(|path| kept.contains_key(*path) && self.is_folder(path));
        let mut left_out: Vec<_> = nested.iter().chain(inside).cloned().collect();
        let weighed = self.index.weigh(&left_out, decision).await?;
        left_out.extend(weighed.nested.iter().cloned());
        let (too_large, notes) = (&weighed.left_out, weigh::notes(&weighed.left_out));
        left_out.extend(too_large.iter().map(|heavy| heavy.path.clone()));
        let of_commit = || too_large.iter().chain(&weighed.kept_back).filter(|heavy| heavy.entry.is_some());
        self.index.edit(of_commit().map(|heavy| (&heavy.path, None))).await?;
        self.index.refresh().await?;
        let mut unreadable = Vec::new();
        if !weighed.selection.is_empty() {
            // A folder that the commit omits may contain files of the commit, whose changes are committed.
            unreadable = self.add("--update", &left_out).await?;
            left_out.extend(weighed.selection.paths().map(PathText::name));
        }
        unreadable.extend(self.add("--all", &left_out).await?);

        let paths: Vec<_> = kept.keys().cloned().collect();
        let after = self.index.list(&paths).await?;
        self.index.edit(after.gitlinks.keys().map(|path| (path, None))).await?;
        let back = kept.iter().filter(|(path, _)| !after.taken.contains(path) && self.is_folder(path));
        self.index.edit(back.map(|(path, id)| (path, Some(("160000", id.as_str()))))).await?;
        let back = of_commit().filter_map(|heavy| heavy.entry.as_ref().map(|(mode, id)| (&heavy.path, mode, id)));
        self.index.edit(back.map(|(path, mode, id)| (path, Some((mode.as_str(), id.as_str()))))).await?;

        let mut dropped: Vec<_> =
            new.into_keys().chain(nested).chain(weighed.nested.iter().cloned()).chain(after.gitlinks.into_keys()).collect();
        dropped.retain(|path| !kept.contains_key(path));
        dropped.sort();
        dropped.dedup();
        let dropped = dropped.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        self.index.add_absent().await?;
        let tree = answer(self.index.command().arg("write-tree")).await?;
        let tree = tree.parse().map_err(|_| SnapshotError::Unexpected { answer: tree })?;
        let changed = sparse::was_changed(&self.index.worktree.admin, &self.index.worktree.cone)?;
        let sparse = changed.then(|| SPARSE.to_owned());
        let notes = self.findings.notes.iter().cloned().chain(notes).chain(sparse).collect();
        let kept_back = of_commit().map(|heavy| heavy.path.clone()).collect();
        let Weighed { selection, .. } = weighed;
        Ok(Staged { tree, dropped, unreadable, notes, kept_back, selection, had_conflicts: theirs.has_conflicts })
    }

    /// Returns the path of the index.
    pub(super) fn path(&self) -> &Path {
        &self.index.path
    }

    /// Makes this the worktree's own index, so that a later `git status` is clean.
    pub(super) async fn install(self) -> Result<(), SnapshotError> {
        self.index.hide_absent().await?;
        Ok(fs_err::rename(&self.index.path, self.index.worktree.admin.join("index"))?)
    }

    /// Builds a git command that uses the index.
    pub(super) fn command<'a>(&self) -> CommandSpec<'a> {
        self.index.command()
    }

    /// Builds a git command that uses the index, and writes only files in the worktree's folders.
    pub(super) fn writing_command<'a>(&self) -> CommandSpec<'a> {
        self.index.writing_command()
    }

    /// Finds repositories inside the worktree that are not ignored and contain no file of the commit.
    async fn nested_repositories(&self) -> Result<Vec<Vec<u8>>, SnapshotError> {
        let mut nested: BTreeSet<Vec<u8>> = self.findings.nested.iter().cloned().collect();
        if nested.is_empty() {
            return Ok(Vec::new());
        }
        // Git does not look for a repository in a folder with files of the commit.
        let on_record = |path: &[u8]| {
            for (end, _) in path.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
                nested.remove(&path[..end]);
            }
        };
        self.index.command().args(["ls-files", "-z"]).stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        // The prefix `./` prevents git from interpreting a name as a pathspec.
        let asked: Vec<u8> = nested.iter().flat_map(|path| [b"./", path.as_slice(), b"\0"].concat()).collect();
        let command = self.index.command().args(["check-ignore", "-z", "--stdin"]).stdin(Stdin::Bytes(asked));
        let on_record = |path: &[u8]| {
            nested.remove(path.strip_prefix(b"./").unwrap_or(path));
        };
        let ignored = command.stdout(Stdout::Records(Box::new(on_record))).run().await?;
        // Exit code 1 means that none of them is ignored.
        if !matches!(ignored.status.code(), Some(0 | 1)) {
            let program = self.index.worktree.mirror.git().tool().to_string();
            return Err(RunProgramError::Failed { program, status: ignored.status, stderr_tail: ignored.stderr_tail }.into());
        }
        let outermost: Vec<_> = nested.iter().filter(|path| !is_below_any(path, &nested)).cloned().collect();
        if outermost.iter().map(Vec::len).sum::<usize>() > NESTED_LIMIT_BYTES {
            return Err(SnapshotError::TooMuch { what: format!("{} nested repositories", outermost.len()) });
        }
        Ok(outermost)
    }

    /// Adds everything except these paths, or updates only the files of the commit. Unreadable files are reported, and the rest is
    /// still added.
    async fn add(&self, what: &'static str, except: &[Vec<u8>]) -> Result<Vec<String>, RunProgramError> {
        let mut paths = b".\0".to_vec();
        for path in except {
            paths.extend(excluded(path));
            paths.push(0);
        }
        let unreadable = Mutex::new(Vec::new());
        let note = |line: &str| {
            let mut unreadable = unreadable.lock().unwrap_or_else(PoisonError::into_inner);
            if (line.starts_with("error: ") || line.starts_with("warning: could not open")) && unreadable.len() < NAMED_LIMIT {
                unreadable.push(line.to_owned());
            }
        };
        let command = self.index.command().args(["add", what, "--sparse", "--ignore-errors", "--pathspec-from-file=-"]);
        let command = command.arg("--pathspec-file-nul").stdin(Stdin::Bytes(paths));
        let program = self.index.worktree.mirror.git().tool().to_string();
        let finished = command.stderr(Stderr::Progress(Box::new(note))).run().await?;
        let unreadable = unreadable.into_inner().unwrap_or_else(PoisonError::into_inner);
        // With `--ignore-errors`, exit code 1 means that some files were skipped. Any other code is a complete failure.
        match finished.status.code() {
            Some(0) => Ok(unreadable),
            Some(1) if !unreadable.is_empty() => Ok(unreadable),
            Some(_) | None => {
                Err(RunProgramError::Failed { program, status: finished.status, stderr_tail: finished.stderr_tail })
            }
        }
    }

    fn is_folder(&self, path: &[u8]) -> bool {
        let path = self.index.worktree.tree.join(Path::new(std::ffi::OsStr::from_bytes(path)));
        fs_err::symlink_metadata(path).is_ok_and(|found| found.is_dir())
    }
}

fn is_below_any(path: &[u8], folders: &BTreeSet<Vec<u8>>) -> bool {
    path.iter().enumerate().any(|(end, &byte)| byte == b'/' && folders.contains(&path[..end]))
}
