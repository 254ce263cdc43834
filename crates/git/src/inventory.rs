//! Lists the new files of a worktree, as the export container does for a worktree that a container wrote to.
//!
//! Sizes come from the file system, and only the start of a few files is read: those that may prove that their folder was generated.
//! Invariant: no link is followed, and opening a file never waits.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use model::commit::{FileState, FoundFile, Inventory, MARKER_NAMES, MARKER_START_BYTES, Marker, Selection, folder_of_compiled};
use model::untrusted::{LEFT_OUT_LIMIT, NEW_FILES_LIMIT};
use process::Stdout;
use rustix::fs::{Mode, OFlags, openat};

use super::decision::{Decision, DecisionError};
use super::plain_file::{as_path, is_below_a_link, plain_size};
use super::snapshot_error::SnapshotError;
use super::trusted_index::TrustedIndex;
use super::weigh::{Heavy, excluded};

/// The maximum number of new files that are listed. If there are more, nothing is committed.
const LISTED_LIMIT: u64 = 2_000_000;

/// The new files of a worktree.
#[derive(Debug, Default)]
pub(super) struct NewFiles {
    /// The paths, and the sizes of regular files.
    pub(super) files: Vec<(Vec<u8>, Option<u64>)>,
    /// Nested repositories that git found.
    pub(super) nested: Vec<Vec<u8>>,
}

impl TrustedIndex<'_> {
    /// Lists the new files that are not ignored, except those below `except`. Git prints a trailing `/` after folders that it would
    /// not enter.
    pub(super) async fn new_files(&self, except: &[Vec<u8>]) -> Result<NewFiles, SnapshotError> {
        let root = self.worktree.root()?;
        let (mut found, mut count) = (NewFiles::default(), 0_u64);
        let on_record = |record: &[u8]| {
            if let Some(folder) = record.strip_suffix(b"/") {
                found.nested.push(folder.to_vec());
                return;
            }
            count += 1;
            if count <= LISTED_LIMIT {
                found.files.push((record.to_vec(), plain_size(&root, record)));
            }
        };
        self.others(&[], except).stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        if count > LISTED_LIMIT {
            return Err(SnapshotError::TooMuch { what: format!("{count} new files") });
        }
        Ok(found)
    }

    /// Decides what the commit omits.
    pub(super) async fn selection(
        &self,
        decision: &Decision<'_>,
        new: &NewFiles,
        changed: &[Heavy],
        except: &[Vec<u8>],
    ) -> Result<Selection, SnapshotError> {
        if let Some(stored) = decision.stored()? {
            return Ok(stored);
        }
        if is_settled(decision, new, changed) {
            return Ok(Selection::default());
        }
        let inventory = self.inventory(new, changed, except).await?;
        let (file, choices) = (decision.file.map(Path::to_owned), decision.choices.clone());
        let (secrets, worktree) = (decision.secrets.cloned(), self.worktree.tree.clone());
        let decide =
            move || Decision { file: file.as_deref(), choices: &choices, secrets: secrets.as_ref() }.make(inventory, &worktree);
        let decided = tokio::task::spawn_blocking(decide).await.map_err(io::Error::other)?;
        decided.map_err(|error| match error {
            DecisionError::TooMany(what) => SnapshotError::TooMuch { what: what.to_string() },
            DecisionError::Inventory(error) => io::Error::other(error).into(),
            DecisionError::Files(error) => error.into(),
        })
    }

    async fn inventory(&self, new: &NewFiles, changed: &[Heavy], except: &[Vec<u8>]) -> Result<Inventory, SnapshotError> {
        let candidates: Vec<Heavy> = new
            .files
            .iter()
            .map(|(path, size)| Heavy { path: path.clone(), size: size.unwrap_or_default(), entry: None })
            .chain(changed.iter().cloned())
            .collect();
        let large = if self.worktree.mirror.git().has_lfs() { self.stored_by_lfs(&candidates).await? } else { BTreeSet::new() };
        let state = |heavy: &Heavy| match (large.contains(&heavy.path), &heavy.entry) {
            (true, _) => FileState::Large,
            (false, Some(_)) => FileState::Changed,
            (false, None) => FileState::New,
        };
        let files = candidates.iter().map(|heavy| FoundFile { path: heavy.path.clone(), size: heavy.size, state: state(heavy) });
        let mut new_folders = Vec::new();
        let on_record = |record: &[u8]| new_folders.extend(record.strip_suffix(b"/").map(<[u8]>::to_vec));
        let command = self.others(&["--directory", "--no-empty-directory"], except);
        command.stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
        let (root, paths) = (self.worktree.root()?, new.files.iter().map(|(path, _)| path).filter(|path| is_marker(path)));
        let named = paths.take(LEFT_OUT_LIMIT).cloned();
        let paths: Vec<_> = named.chain(first_compiled(&new.files).take(LEFT_OUT_LIMIT)).collect();
        let read = tokio::task::spawn_blocking(move || paths.into_iter().filter_map(|path| marker(&root, path)).collect());
        let markers = read.await.map_err(io::Error::other)?;
        Ok(Inventory { files: files.collect(), new_folders, markers, with_secrets: BTreeSet::new() })
    }

    fn others<'a>(&self, options: &[&'static str], except: &[Vec<u8>]) -> process::CommandSpec<'a> {
        let command = self.command().args(["ls-files", "--others", "--exclude-standard", "-z"]).args(options).args(["--", "."]);
        command.args(except.iter().map(|path| as_path(&excluded(path)).as_os_str().to_owned()))
    }
}

/// Whether everything can be committed without a closer look.
fn is_settled(decision: &Decision<'_>, new: &NewFiles, changed: &[Heavy]) -> bool {
    let limits = decision.choices.limits;
    let sizes = || new.files.iter().filter_map(|(_, size)| *size).chain(changed.iter().map(|heavy| heavy.size));
    !decision.has_choices()
        && new.files.len() as u64 <= limits.files.min(NEW_FILES_LIMIT)
        && sizes().all(|size| size <= limits.file_bytes)
        && sizes().fold(0_u64, u64::saturating_add) <= limits.bytes
        && !new.files.iter().any(|(path, _)| is_marker(path) || is_stored(path) || folder_of_compiled(path).is_some())
}

/// Returns the first file of each folder with files that Python may have compiled.
fn first_compiled(files: &[(Vec<u8>, Option<u64>)]) -> impl Iterator<Item = Vec<u8>> {
    let mut seen = BTreeSet::new();
    files
        .iter()
        .filter(move |(path, _)| folder_of_compiled(path).is_some_and(|folder| seen.insert(folder)))
        .map(|(path, _)| path.clone())
}

fn is_marker(path: &[u8]) -> bool {
    let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or_default();
    MARKER_NAMES.iter().any(|marker| marker.as_bytes() == name)
}

/// Whether a path may be that of a file in a pnpm store.
fn is_stored(path: &[u8]) -> bool {
    let above = path.iter().rposition(|&byte| byte == b'/').map_or(&path[..0], |end| &path[..end]);
    let folder = above.strip_suffix(&above[above.len().saturating_sub(2)..]).unwrap_or_default();
    folder == b"files/" || folder.ends_with(b"/files/")
}

/// Reads the start of a file that may prove what its folder is. Returns `None` if it is not a regular file that can be read.
fn marker(root: &OwnedFd, path: Vec<u8>) -> Option<Marker> {
    plain_size(root, &path).filter(|_| !is_below_a_link(root, &path))?;
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = File::from(openat(root, as_path(&path), flags, Mode::empty()).ok()?);
    let mut content = Vec::new();
    file.take(MARKER_START_BYTES as u64).read_to_end(&mut content).ok()?;
    content.retain(|&byte| byte != 0);
    Some(Marker { path, content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_may_prove_something_are_recognized_by_their_names() {
        for (path, expect) in [
            ("CACHEDIR.TAG", true),
            ("a/.modules.yaml", true),
            ("a/.modules.yaml/b", false),
            ("a.modules.yaml", false),
            ("", false),
        ] {
            assert_eq!(is_marker(path.as_bytes()), expect, "{path}");
        }
        for (path, expect) in
            [("s/v3/files/0a/1", true), ("files/0a/1", true), ("profiles/0a/1", false), ("s/files/1", false), ("a", false)]
        {
            assert_eq!(is_stored(path.as_bytes()), expect, "{path}");
        }
    }
}
