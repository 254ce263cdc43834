//! Makes a tree of what lies in a worktree, with an index of our own that the agent never sees.
//!
//! It never enters a repository inside the worktree: submodules keep the commit that was recorded or staged for them, any other
//! nested repository is left out and named. Invariant: while git looks at the worktree, the index has no submodule in it, so
//! there is none whose own configuration git could obey.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use model::ids::ObjectId;

use super::admin;
use super::program::{LONG, answer};
use super::snapshot::SnapshotError;
use super::worktree::Worktree;
use crate::exec::{CommandSpec, RunProgramError, Stderr, Stdin, Stdout};

/// The mode of a submodule in a tree or an index.
const GITLINK: &[u8] = b"160000";

/// How many things that could not be read are named.
const NAMED_LIMIT: usize = 20;

/// What was made of a worktree.
#[derive(Debug)]
pub(super) struct Staged {
    /// The tree.
    pub(super) tree: ObjectId,
    /// Nested repositories that were left out.
    pub(super) dropped: Vec<String>,
    /// What could not be read, in git's words.
    pub(super) unreadable: Vec<String>,
    /// Whether a merge in the worktree's own index had conflicts that nobody resolved.
    pub(super) had_conflicts: bool,
}

/// An index beside the worktree's own one.
pub(super) struct Staging<'w> {
    worktree: &'w Worktree,
    index: PathBuf,
    settings: Vec<(String, String)>,
}

/// What an index contains, as far as it matters.
#[derive(Default)]
struct Listing {
    gitlinks: BTreeMap<Vec<u8>, String>,
    has_conflicts: bool,
    /// Which of the watched paths are taken by something else now: a file of that name, or files below it or above it.
    taken: Vec<Vec<u8>>,
}

impl<'w> Staging<'w> {
    /// Starts from a copy of the worktree's own index, which knows what has not changed; without a usable one from `commit`.
    pub(super) async fn begin(worktree: &'w Worktree, commit: &ObjectId) -> Result<Self, SnapshotError> {
        let settings = worktree.mirror.git().filters(worktree.place()).await?;
        let staging = Self { worktree, index: worktree.admin.join("codex-orchestrator-index"), settings };
        admin::ignore_missing(fs_err::remove_file(staging.index.with_extension("lock")))?;
        let copied = copy_index(&worktree.admin.join("index"), &staging.index);
        if copied.is_err() || staging.list(&[]).await.is_err() {
            admin::ignore_missing(fs_err::remove_file(&staging.index))?;
            staging.command().args(["read-tree", commit.as_str()]).run_ok().await?;
        }
        Ok(staging)
    }

    /// Starts from a commit, with an index that knows nothing of the files in the worktree, and has no submodule.
    pub(super) async fn from_commit(worktree: &'w Worktree, commit: &ObjectId) -> Result<Self, SnapshotError> {
        let settings = worktree.mirror.git().filters(worktree.place()).await?;
        let staging = Self { worktree, index: worktree.admin.join("codex-orchestrator-comparison"), settings };
        admin::ignore_missing(fs_err::remove_file(staging.index.with_extension("lock")))?;
        admin::ignore_missing(fs_err::remove_file(&staging.index))?;
        staging.command().args(["read-tree", "--reset", commit.as_str()]).run_ok().await?;
        let listing = staging.list(&[]).await?;
        staging.edit(listing.gitlinks.keys().map(|path| (path, None))).await?;
        Ok(staging)
    }

    /// The files whose content is not what the index says, by their paths. Reads all of them.
    pub(super) async fn differing_files(&self) -> Result<Vec<Vec<u8>>, RunProgramError> {
        let refreshed = self.command().args(["update-index", "-q", "--really-refresh"]).run().await?;
        // A 1 says that some files differ.
        if !matches!(refreshed.status.code(), Some(0 | 1)) {
            let program = self.worktree.mirror.git().tool().to_string();
            return Err(RunProgramError::Failed { program, status: refreshed.status, stderr_tail: refreshed.stderr_tail });
        }
        let mut differing = Vec::new();
        let command = self.command().args(["diff-files", "--name-only", "--no-renames", "-z"]);
        command.stdout(Stdout::Records(Box::new(|record| differing.push(record.to_vec())))).run_ok().await?;
        Ok(differing)
    }

    /// Removes the index.
    pub(super) fn discard(self) -> io::Result<()> {
        fs_err::remove_file(&self.index)
    }

    /// Looks at every file that is there, also where the worktree's index says that git need not.
    pub(super) async fn trust_no_flags(&self) -> Result<(), RunProgramError> {
        let mut flagged = Vec::new();
        let on_record = |record: &[u8]| {
            let (flag, path) = record.split_at(record.len().min(2));
            // `S` is a file that is not to be in the worktree; a small letter one that is said not to change.
            if flag.first().is_some_and(|&letter| letter == b'S' || letter.is_ascii_lowercase()) && self.is_there(path) {
                flagged.extend_from_slice(path);
                flagged.push(0);
            }
        };
        let command = self.command().args(["ls-files", "-v", "--cached", "-z"]);
        command.stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        if !flagged.is_empty() {
            for off in ["--no-assume-unchanged", "--no-skip-worktree"] {
                let command = self.command().args(["update-index", off, "-z", "--stdin"]);
                command.stdin(Stdin::Bytes(flagged.clone())).run_ok().await?;
            }
        }
        Ok(())
    }

    /// Takes all of the worktree in. `parents` are the commits whose submodules are the repository's own.
    pub(super) async fn stage(&self, parents: &[ObjectId]) -> Result<Staged, SnapshotError> {
        let before = self.list(&[]).await?;
        let known = if before.gitlinks.is_empty() { BTreeMap::new() } else { self.gitlinks_of(parents).await? };
        self.edit(before.gitlinks.keys().map(|path| (path, None))).await?;
        let (kept, new): (BTreeMap<_, _>, BTreeMap<_, _>) =
            before.gitlinks.into_iter().partition(|(path, _)| known.contains_key(path));
        let nested = self.nested_repositories().await?;
        // What lies in the folder of a submodule that the host put there is of the submodule.
        let exported: Vec<_> = self.worktree.submodules()?.into_iter().map(String::into_bytes).collect();
        let inside = exported.iter().filter(|path| kept.contains_key(*path) && self.is_folder(path));
        let left_out: Vec<_> = nested.iter().chain(inside).cloned().collect();
        let unreadable = self.add_all(&left_out).await?;

        let paths: Vec<_> = kept.keys().cloned().collect();
        let after = self.list(&paths).await?;
        self.edit(after.gitlinks.keys().map(|path| (path, None))).await?;
        let back = kept.iter().filter(|(path, _)| !after.taken.contains(path) && self.is_folder(path));
        self.edit(back.map(|(path, id)| (path, Some(id.as_str())))).await?;

        let mut dropped: Vec<_> = new.into_keys().chain(nested).chain(after.gitlinks.into_keys()).collect();
        dropped.retain(|path| !kept.contains_key(path));
        dropped.sort();
        dropped.dedup();
        let dropped = dropped.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect();
        let tree = answer(self.command().arg("write-tree")).await?;
        let tree = tree.parse().map_err(|_| SnapshotError::Unexpected { answer: tree })?;
        Ok(Staged { tree, dropped, unreadable, had_conflicts: before.has_conflicts })
    }

    /// Where the index is.
    pub(super) fn path(&self) -> &Path {
        &self.index
    }

    /// Makes this index the worktree's own, so that a later `git status` in it is clean.
    pub(super) fn install(self) -> io::Result<()> {
        fs_err::rename(&self.index, self.worktree.admin.join("index"))
    }

    pub(super) fn command<'a>(&self) -> CommandSpec<'a> {
        let git = self.worktree.mirror.git();
        git.command_with(self.worktree.place(), &self.settings).env("GIT_INDEX_FILE", &self.index).deadline(LONG)
    }

    async fn list(&self, watched: &[Vec<u8>]) -> Result<Listing, RunProgramError> {
        let mut listing = Listing::default();
        let on_record = |record: &[u8]| listing.read(record, watched);
        self.command().args(["ls-files", "--stage", "-z"]).stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        Ok(listing)
    }

    /// The submodules of commits, by their paths.
    async fn gitlinks_of(&self, commits: &[ObjectId]) -> Result<BTreeMap<Vec<u8>, String>, RunProgramError> {
        let mut listing = Listing::default();
        for commit in commits {
            let on_record = |record: &[u8]| listing.read(record, &[]);
            let command = self.command().args(["ls-tree", "-r", "-z", "--full-tree", commit.as_str()]);
            command.stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        }
        Ok(listing.gitlinks)
    }

    /// Removes entries from the index, or puts submodules into it, without a look at the worktree.
    async fn edit<'p>(&self, changes: impl Iterator<Item = (&'p Vec<u8>, Option<&'p str>)>) -> Result<(), RunProgramError> {
        let zero = "0".repeat(self.worktree.base.as_str().len());
        let mut input = Vec::new();
        for (path, gitlink) in changes {
            let entry = gitlink.map_or_else(|| format!("0 {zero}\t"), |id| format!("160000 {id}\t"));
            input.extend_from_slice(entry.as_bytes());
            input.extend_from_slice(path);
            input.push(0);
        }
        if !input.is_empty() {
            self.command().args(["update-index", "-z", "--index-info"]).stdin(Stdin::Bytes(input)).run_ok().await?;
        }
        Ok(())
    }

    /// Repositories inside the worktree that are not ignored. Git names what it would not enter with a `/` at the end.
    async fn nested_repositories(&self) -> Result<Vec<Vec<u8>>, RunProgramError> {
        let mut nested = Vec::new();
        let on_record = |record: &[u8]| nested.extend(record.strip_suffix(b"/").map(<[u8]>::to_vec));
        let command = self.command().args(["ls-files", "--others", "--exclude-standard", "-z"]);
        command.stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        Ok(nested)
    }

    /// Adds everything but these folders. What cannot be read is told; the rest is added all the same.
    async fn add_all(&self, except: &[Vec<u8>]) -> Result<Vec<String>, RunProgramError> {
        let mut paths = b".\0".to_vec();
        for path in except {
            paths.extend_from_slice(b":(exclude,literal)");
            paths.extend_from_slice(path);
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
        // With `--ignore-errors` a 1 says that some files were left out; anything else is a failure of the whole.
        match finished.status.code() {
            Some(0) => Ok(unreadable),
            Some(1) if !unreadable.is_empty() => Ok(unreadable),
            Some(_) | None => {
                Err(RunProgramError::Failed { program, status: finished.status, stderr_tail: finished.stderr_tail })
            }
        }
    }

    fn is_there(&self, path: &[u8]) -> bool {
        fs_err::symlink_metadata(self.worktree.tree.join(Path::new(std::ffi::OsStr::from_bytes(path)))).is_ok()
    }

    fn is_folder(&self, path: &[u8]) -> bool {
        let path = self.worktree.tree.join(Path::new(std::ffi::OsStr::from_bytes(path)));
        fs_err::symlink_metadata(path).is_ok_and(|found| found.is_dir())
    }
}

/// The submodules that a listing of a tree names: their commits, by those paths that are text.
pub(super) async fn gitlinks_in(listing: CommandSpec<'_>) -> Result<BTreeMap<String, String>, RunProgramError> {
    let mut found = Listing::default();
    listing.stdout(Stdout::Records(Box::new(|record| found.read(record, &[])))).run_ok().await?;
    Ok(found.gitlinks.into_iter().filter_map(|(path, commit)| Some((String::from_utf8(path).ok()?, commit))).collect())
}

/// Copies an index with its time: git looks into a file of the same second as the index even if all else about it is as it
/// was, and a younger index would hide a change that was made at once and kept the size.
pub(super) fn copy_index(from: &Path, to: &Path) -> io::Result<()> {
    let written = fs_err::metadata(from)?.modified()?;
    fs_err::copy(from, to)?;
    fs_err::OpenOptions::new().write(true).open(to)?.set_modified(written)
}

impl Listing {
    /// Reads `mode id stage TAB path` of an index, or `mode type id TAB path` of a tree.
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
