//! Creates a tree of a worktree's content, using a separate index that the agent never sees.
//!
//! The index starts from a commit and knows nothing about the files, so git reads every file of the commit: no flag, no forged
//! entry and no forged time in an agent's index hides a change. Git never enters a repository inside the worktree: submodules
//! keep the commit that was recorded or staged for them, and any other nested repository is omitted and reported. Invariant:
//! while git reads the worktree, the index contains no submodule whose own configuration git could obey.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use model::ids::ObjectId;
use model::untrusted::INDEX_LIMIT_BYTES;
use process::{CommandSpec, RunProgramError, Stderr, Stdin, Stdout};

use super::admin;
use super::plain_file::plain_file;
use super::program::answer;
use super::snapshot_error::SnapshotError;
use super::special::Looked;
use super::weigh::{self, Heavy, excluded};
use super::worktree::Worktree;

/// The mode of a submodule in a tree or an index.
const GITLINK: &[u8] = b"160000";

/// The maximum number of unreadable files that are listed.
const NAMED_LIMIT: usize = 20;

/// A note about a worktree that is incomplete on purpose.
const SPARSE: &str = "the agent used `git sparse-checkout`; files that are not in the sparse worktree are deleted in the commit";

/// The time limit of a step. The size of the files has already been checked, so this limit is for slow disks.
const STEP: Duration = Duration::from_mins(5);

/// The maximum total length of the names of nested repositories, in bytes. The names are passed as arguments of a command.
const NESTED_LIMIT_BYTES: usize = 500_000;

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
    /// Whether the worktree's own index had unresolved merge conflicts.
    pub(super) had_conflicts: bool,
}

/// An index that is separate from the worktree's own index.
pub(super) struct Staging<'w> {
    worktree: &'w Worktree,
    index: PathBuf,
    settings: Vec<(String, String)>,
    commit: ObjectId,
    looked: Looked,
    /// Files that were removed from the index because they are too large to compare.
    uncompared: Vec<Heavy>,
}

/// The relevant entries of an index.
#[derive(Default)]
struct Listing {
    gitlinks: BTreeMap<Vec<u8>, String>,
    has_conflicts: bool,
    /// Watched paths that something else uses now: a file of that name, or files below or above it.
    taken: Vec<Vec<u8>>,
}

impl<'w> Staging<'w> {
    /// Starts from a commit, after searching the worktree for special files.
    pub(super) async fn begin(worktree: &'w Worktree, commit: &ObjectId) -> Result<Self, SnapshotError> {
        Self::fresh(worktree, commit, "codex-orchestrator-index").await
    }

    /// Starts from a commit, to compare its files with the worktree. The index contains no submodules.
    pub(super) async fn from_commit(worktree: &'w Worktree, commit: &ObjectId) -> Result<Self, SnapshotError> {
        let mut staging = Self::fresh(worktree, commit, "codex-orchestrator-comparison").await?;
        let listing = staging.list(&[]).await?;
        staging.edit(listing.gitlinks.keys().map(|path| (path, None))).await?;
        staging.uncompared = staging.weigh_changed().await?;
        staging.edit(staging.uncompared.iter().map(|heavy| (&heavy.path, None))).await?;
        Ok(staging)
    }

    async fn fresh(worktree: &'w Worktree, commit: &ObjectId, name: &str) -> Result<Self, SnapshotError> {
        let looked = worktree.look_through().await?;
        let mut settings = worktree.mirror.git().filters(worktree.place()).await?;
        settings.extend(SEES_EVERYTHING.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())));
        settings.extend(of_the_agent(worktree).await?);
        let index = worktree.admin.join(name);
        let staging = Self { worktree, index, settings, commit: commit.clone(), looked, uncompared: Vec::new() };
        admin::ignore_missing(fs_err::remove_file(staging.index.with_extension("lock")))?;
        admin::ignore_missing(fs_err::remove_file(&staging.index))?;
        staging.command().args(["read-tree", commit.as_str()]).run_ok().await?;
        Ok(staging)
    }

    /// Returns the paths of files that differ from the index. Reads all files except those that are too large.
    pub(super) async fn differing_files(&self) -> Result<Vec<Vec<u8>>, RunProgramError> {
        self.refresh().await?;
        let mut differing: Vec<_> = self.uncompared.iter().map(|heavy| heavy.path.clone()).collect();
        let command = self.command().args(["diff-files", "--name-only", "--no-renames", "-z"]);
        command.stdout(Stdout::Records(Box::new(|record| differing.push(record.to_vec())))).run_ok().await?;
        Ok(differing)
    }

    /// Compares every file with the index, and records in the index which files are unchanged.
    async fn refresh(&self) -> Result<(), RunProgramError> {
        let refreshed = self.command().args(["update-index", "-q", "--really-refresh"]).run().await?;
        // Exit code 1 means that some files differ.
        if matches!(refreshed.status.code(), Some(0 | 1)) {
            return Ok(());
        }
        let program = self.worktree.mirror.git().tool().to_string();
        Err(RunProgramError::Failed { program, status: refreshed.status, stderr_tail: refreshed.stderr_tail })
    }

    /// Removes the index.
    pub(super) fn discard(self) -> io::Result<()> {
        fs_err::remove_file(&self.index)
    }

    /// Stages the whole worktree. `parents` are the commits whose submodules belong to the repository.
    pub(super) async fn stage(&self, parents: &[ObjectId]) -> Result<Staged, SnapshotError> {
        let theirs = self.read_the_agents_index().await?;
        let before = self.list(&[]).await?;
        let has_gitlinks = !before.gitlinks.is_empty() || !theirs.gitlinks.is_empty();
        let known = if has_gitlinks { self.gitlinks_of(parents).await? } else { BTreeMap::new() };
        self.edit(before.gitlinks.keys().map(|path| (path, None))).await?;
        let (staged, new): (BTreeMap<_, _>, BTreeMap<_, _>) =
            theirs.gitlinks.into_iter().partition(|(path, _)| known.contains_key(path));
        let mut kept = before.gitlinks;
        kept.extend(staged);

        let nested = self.nested_repositories().await?;
        // If the host wrote the files of a submodule, everything in its folder belongs to the submodule.
        let exported: Vec<_> = self.worktree.submodules()?.into_iter().map(String::into_bytes).collect();
        let inside = exported.iter().filter(|path| kept.contains_key(*path) && self.is_folder(path));
        let mut left_out: Vec<_> = nested.iter().chain(inside).cloned().collect();
        let weighed = self.weigh(&left_out).await?;
        left_out.extend(weighed.nested.iter().cloned());
        let (too_large, notes) = (&weighed.left_out, weigh::notes(&weighed.left_out));
        left_out.extend(too_large.iter().map(|heavy| heavy.path.clone()));
        let of_commit = || too_large.iter().filter(|heavy| heavy.entry.is_some());
        self.edit(of_commit().map(|heavy| (&heavy.path, None))).await?;
        self.refresh().await?;
        let unreadable = self.add_all(&left_out).await?;

        let paths: Vec<_> = kept.keys().cloned().collect();
        let after = self.list(&paths).await?;
        self.edit(after.gitlinks.keys().map(|path| (path, None))).await?;
        let back = kept.iter().filter(|(path, _)| !after.taken.contains(path) && self.is_folder(path));
        self.edit(back.map(|(path, id)| (path, Some(("160000", id.as_str()))))).await?;
        let back = of_commit().filter_map(|heavy| heavy.entry.as_ref().map(|(mode, id)| (&heavy.path, mode, id)));
        self.edit(back.map(|(path, mode, id)| (path, Some((mode.as_str(), id.as_str()))))).await?;

        let mut dropped: Vec<_> =
            new.into_keys().chain(nested).chain(weighed.nested.iter().cloned()).chain(after.gitlinks.into_keys()).collect();
        dropped.retain(|path| !kept.contains_key(path));
        dropped.sort();
        dropped.dedup();
        let dropped = dropped.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        let tree = answer(self.command().arg("write-tree")).await?;
        let tree = tree.parse().map_err(|_| SnapshotError::Unexpected { answer: tree })?;
        let sparse = self.worktree.admin.join("info/sparse-checkout").is_file().then(|| SPARSE.to_owned());
        let notes = self.looked.notes.iter().cloned().chain(notes).chain(sparse).collect();
        let kept_back = of_commit().map(|heavy| heavy.path.clone()).collect();
        Ok(Staged { tree, dropped, unreadable, notes, kept_back, had_conflicts: theirs.has_conflicts })
    }

    /// Returns the path of the index.
    pub(super) fn path(&self) -> &Path {
        &self.index
    }

    /// Returns the path of the worktree.
    pub(super) fn tree(&self) -> &Path {
        &self.worktree.tree
    }

    pub(super) fn commit(&self) -> &ObjectId {
        &self.commit
    }

    pub(super) fn has_lfs(&self) -> bool {
        self.worktree.mirror.git().has_lfs()
    }

    /// Makes this the worktree's own index, so that a later `git status` is clean.
    pub(super) fn install(self) -> io::Result<()> {
        fs_err::rename(&self.index, self.worktree.admin.join("index"))
    }

    pub(super) fn command<'a>(&self) -> CommandSpec<'a> {
        let git = self.worktree.mirror.git();
        git.command_with(self.worktree.place(), &self.settings).env("GIT_INDEX_FILE", &self.index).deadline(STEP)
    }

    async fn list(&self, watched: &[Vec<u8>]) -> Result<Listing, RunProgramError> {
        let mut listing = Listing::default();
        let on_record = |record: &[u8]| listing.read(record, watched);
        self.command().args(["ls-files", "--stage", "-z"]).stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        Ok(listing)
    }

    /// Reads the submodules and conflicts in the worktree's own index. Nothing else in that index is used.
    async fn read_the_agents_index(&self) -> Result<Listing, SnapshotError> {
        let (index, copy) = (self.worktree.admin.join("index"), self.index.with_extension("agents"));
        let copied = tokio::task::spawn_blocking({
            let copy = copy.clone();
            move || copy_index(&index, &copy)
        });
        if !copied.await.map_err(io::Error::other)?? {
            return Ok(Listing::default());
        }
        let mut listing = Listing::default();
        let on_record = |record: &[u8]| listing.read(record, &[]);
        let command = self.command().env("GIT_INDEX_FILE", &copy).args(["ls-files", "--stage", "-z"]);
        let listed = command.stdout(Stdout::Records(Box::new(on_record))).run().await?;
        admin::ignore_missing(fs_err::remove_file(copy))?;
        Ok(if listed.status.success() { listing } else { Listing::default() })
    }

    /// Returns the submodules of commits, by path.
    async fn gitlinks_of(&self, commits: &[ObjectId]) -> Result<BTreeMap<Vec<u8>, String>, RunProgramError> {
        let mut listing = Listing::default();
        for commit in commits {
            let on_record = |record: &[u8]| listing.read(record, &[]);
            let command = self.command().args(["ls-tree", "-r", "-z", "--full-tree", commit.as_str()]);
            command.stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        }
        Ok(listing.gitlinks)
    }

    /// Removes entries from the index or adds entries by mode and object, without reading the worktree.
    async fn edit<'p>(
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

    /// Finds repositories inside the worktree that are not ignored and contain no file of the commit.
    async fn nested_repositories(&self) -> Result<Vec<Vec<u8>>, SnapshotError> {
        let mut nested: BTreeSet<Vec<u8>> = self.looked.nested.iter().cloned().collect();
        if nested.is_empty() {
            return Ok(Vec::new());
        }
        // Git does not look for a repository in a folder with files of the commit.
        let on_record = |path: &[u8]| {
            for (end, _) in path.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
                nested.remove(&path[..end]);
            }
        };
        self.command().args(["ls-files", "-z"]).stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        // The prefix `./` prevents git from interpreting a name as a pathspec.
        let asked: Vec<u8> = nested.iter().flat_map(|path| [b"./", path.as_slice(), b"\0"].concat()).collect();
        let command = self.command().args(["check-ignore", "-z", "--stdin"]).stdin(Stdin::Bytes(asked));
        let on_record = |path: &[u8]| {
            nested.remove(path.strip_prefix(b"./").unwrap_or(path));
        };
        let ignored = command.stdout(Stdout::Records(Box::new(on_record))).run().await?;
        // Exit code 1 means that none of them is ignored.
        if !matches!(ignored.status.code(), Some(0 | 1)) {
            let program = self.worktree.mirror.git().tool().to_string();
            return Err(RunProgramError::Failed { program, status: ignored.status, stderr_tail: ignored.stderr_tail }.into());
        }
        let outermost: Vec<_> = nested.iter().filter(|path| !is_below_any(path, &nested)).cloned().collect();
        if outermost.iter().map(Vec::len).sum::<usize>() > NESTED_LIMIT_BYTES {
            return Err(SnapshotError::TooMuch { what: format!("{} nested repositories", outermost.len()) });
        }
        Ok(outermost)
    }

    /// Adds everything except these paths. Unreadable files are reported, and the rest is still added.
    async fn add_all(&self, except: &[Vec<u8>]) -> Result<Vec<String>, RunProgramError> {
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
        let command = self.command().args(["add", "--all", "--sparse", "--ignore-errors", "--pathspec-from-file=-"]);
        let command = command.arg("--pathspec-file-nul").stdin(Stdin::Bytes(paths));
        let program = self.worktree.mirror.git().tool().to_string();
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
        let path = self.worktree.tree.join(Path::new(std::ffi::OsStr::from_bytes(path)));
        fs_err::symlink_metadata(path).is_ok_and(|found| found.is_dir())
    }
}

/// Returns the values that replace file settings in the mirror's own configuration.
async fn of_the_agent(worktree: &Worktree) -> Result<Vec<(String, String)>, RunProgramError> {
    let names: Vec<_> = OF_THE_USER.iter().filter_map(|(name, _)| name.strip_prefix("core.")).collect();
    let pattern = format!("^core\\.({})$", names.join("|"));
    let command = worktree.mirror.git().command(worktree.place());
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

fn is_below_any(path: &[u8], folders: &BTreeSet<Vec<u8>>) -> bool {
    path.iter().enumerate().any(|(end, &byte)| byte == b'/' && folders.contains(&path[..end]))
}

/// Returns the submodules in a listing of a tree: their commits, by path, for paths that are valid UTF-8.
pub(super) async fn gitlinks_in(listing: CommandSpec<'_>) -> Result<BTreeMap<String, String>, RunProgramError> {
    let mut found = Listing::default();
    listing.stdout(Stdout::Records(Box::new(|record| found.read(record, &[])))).run_ok().await?;
    Ok(found.gitlinks.into_iter().filter_map(|(path, commit)| Some((String::from_utf8(path).ok()?, commit))).collect())
}

impl Listing {
    /// Parses `mode id stage TAB path` of an index, or `mode type id TAB path` of a tree.
    fn read(&mut self, record: &[u8], watched: &[Vec<u8>]) {
        let Some(tab) = record.iter().position(|&byte| byte == b'\t') else { return };
        let (fields, path) = (&record[..tab], &record[tab + 1..]);
        let mut fields = fields.split(|&byte| byte == b' ');
        let (Some(mode), Some(second), Some(third)) = (fields.next(), fields.next(), fields.next()) else { return };
        let is_tree = second.len() < 40;
        self.has_conflicts |= !is_tree && third != b"0";
        if mode == GITLINK {
            let id = if is_tree { third } else { second };
            self.gitlinks.insert(path.to_vec(), String::from_utf8_lossy(id).into_owned());
        } else {
            let in_the_way = watched.iter().filter(|watched| is_same_or_below(path, watched) || is_same_or_below(watched, path));
            self.taken.extend(in_the_way.cloned());
        }
    }
}

fn is_same_or_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn submodules_and_conflicts_are_read_from_an_index() {
        let mut listing = Listing::default();
        let id = "a".repeat(40);
        listing.read(format!("100644 {id} 0\tfile").as_bytes(), &[]);
        assert!(listing.gitlinks.is_empty() && !listing.has_conflicts);
        listing.read(format!("160000 {id} 0\tlibs/a b").as_bytes(), &[]);
        listing.read(format!("100644 {id} 2\tfile").as_bytes(), &[]);
        assert_eq!(listing.gitlinks.get(b"libs/a b".as_slice()), Some(&id));
        assert!(listing.has_conflicts);
    }

    #[test]
    fn submodules_are_read_from_a_tree() {
        let mut listing = Listing::default();
        let id = "b".repeat(40);
        listing.read(format!("160000 commit {id}\tsub").as_bytes(), &[]);
        listing.read(format!("100644 blob {id}\tfile").as_bytes(), &[]);
        assert_eq!(listing.gitlinks.get(b"sub".as_slice()), Some(&id));
        assert!(!listing.has_conflicts && listing.gitlinks.len() == 1);
    }

    #[test]
    fn a_watched_path_is_taken_by_files_at_below_and_above_it() {
        let taken = |path: &str| {
            let mut listing = Listing::default();
            listing.read(format!("100644 {} 0\t{path}", "c".repeat(40)).as_bytes(), &[b"libs/sub".to_vec()]);
            !listing.taken.is_empty()
        };
        assert!(taken("libs/sub") && taken("libs/sub/file") && taken("libs"));
        assert!(!taken("libs/subway") && !taken("libs/other") && !taken("lib"));
    }
}
