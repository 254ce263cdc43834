//! Worktrees that contain only some folders of the repository.
//!
//! The folders of a worktree are fixed when it is created. Git gets them as its sparse checkout, so that `git status` is clean and an agent
//! can add folders. The server's own index does not rely on that: a file outside of the folders that does not exist is unchanged, and any
//! other file is compared as usual. Invariant: no flag in an agent's index decides which files are compared.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use durable::write_atomically;
use model::sparse::{Cone, SparsePath};
use process::{CommandSpec, RunProgramError, Stdin, Stdout};
use rustix::fs::{AtFlags, FileType, statat};
use rustix::io::Errno;

use super::admin;
use super::plain_file::as_path;

/// The list of the folders of a worktree.
const LIST: &str = "codex-orchestrator-folders";

/// Git's file with the patterns of a sparse checkout.
pub(super) const PATTERNS: &str = "info/sparse-checkout";

/// An entry of an index: its mode, its object and its path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) mode: String,
    pub(super) id: String,
    pub(super) path: Vec<u8>,
}

impl Entry {
    /// Parses `mode id stage TAB path`.
    fn parse(record: &[u8]) -> Option<Self> {
        let tab = record.iter().position(|&byte| byte == b'\t')?;
        let mut fields = std::str::from_utf8(&record[..tab]).ok()?.split(' ');
        let (mode, id) = (fields.next()?.to_owned(), fields.next()?.to_owned());
        Some(Self { mode, id, path: record[tab + 1..].to_vec() })
    }
}

/// Stores the folders of a worktree, and writes git's patterns.
pub(super) fn put(admin: &Path, cone: &Cone) -> io::Result<()> {
    if cone.is_everything() {
        return Ok(());
    }
    let folders: Vec<_> = cone.folders().map(ToString::to_string).collect();
    admin::put_list(admin, LIST, &folders)?;
    put_patterns(admin, cone)
}

/// Writes git's patterns.
pub(super) fn put_patterns(admin: &Path, cone: &Cone) -> io::Result<()> {
    let patterns = admin.join(PATTERNS);
    if cone.is_everything() {
        return admin::ignore_missing(fs_err::remove_file(patterns));
    }
    fs_err::create_dir_all(patterns.parent().unwrap_or(admin))?;
    write_atomically(&patterns, cone.patterns().as_bytes())
}

/// Returns the folders of a worktree.
pub(super) fn read(admin: &Path) -> io::Result<Cone> {
    let folders = admin::list(admin, LIST)?.into_iter().map(|folder| SparsePath::try_from(folder).map_err(io::Error::other));
    Ok(Cone::of(folders.collect::<io::Result<Vec<_>>>()?))
}

/// Whether the patterns are not those of the cone.
pub(super) fn was_changed(admin: &Path, cone: &Cone) -> io::Result<bool> {
    let found = admin::read(&admin.join(PATTERNS))?;
    let expected = (!cone.is_everything()).then(|| cone.patterns().into_bytes());
    Ok(found.is_some() && found != expected)
}

/// Returns the settings with which git writes only the files of a cone.
pub(super) fn settings(cone: &Cone) -> Vec<(String, String)> {
    let names: &[&str] = if cone.is_everything() { &[] } else { &["core.sparseCheckout", "core.sparseCheckoutCone"] };
    names.iter().map(|&name| (name.to_owned(), "true".to_owned())).collect()
}

/// Returns the entries of an index that are outside of a cone and do not exist in the worktree. `command` uses the index.
pub(super) async fn absent(
    command: CommandSpec<'_>,
    cone: &Cone,
    root: impl FnOnce() -> io::Result<OwnedFd>,
) -> Result<Vec<Entry>, RunProgramError> {
    if cone.is_everything() {
        return Ok(Vec::new());
    }
    let mut outside = Vec::new();
    let on_record = |record: &[u8]| outside.extend(Entry::parse(record).filter(|entry| !cone.contains(&entry.path)));
    command.args(["ls-files", "--stage", "-z"]).stdout(Stdout::Records(Box::new(on_record))).run_ok().await?;
    let lost = |source| RunProgramError::Io { program: "git".to_owned(), source };
    let root = root().map_err(lost)?;
    let find = move || {
        let mut missing = Missing { root, folder: Vec::new() };
        outside.retain(|entry| missing.is(&entry.path));
        outside
    };
    tokio::task::spawn_blocking(find).await.map_err(|error| lost(io::Error::other(error)))
}

/// Marks the entries that are outside of a cone and do not exist in the worktree, so that git does not report them as deleted. `command`
/// builds commands that use the index.
pub(super) async fn hide_absent<'a>(
    command: impl Fn() -> CommandSpec<'a>,
    cone: &Cone,
    root: impl FnOnce() -> io::Result<OwnedFd>,
) -> Result<(), RunProgramError> {
    let absent = absent(command(), cone, root).await?;
    if absent.is_empty() {
        return Ok(());
    }
    let paths: Vec<u8> = absent.iter().flat_map(|entry| entry.path.iter().copied().chain([0])).collect();
    let command = command().args(["update-index", "-z", "--skip-worktree", "--stdin"]).stdin(Stdin::Bytes(paths));
    command.run_ok().await.map(drop)
}

/// Finds paths of a worktree that do not exist.
struct Missing {
    root: OwnedFd,
    /// The last missing folder that was found, with a final slash.
    folder: Vec<u8>,
}

impl Missing {
    /// Whether neither the file nor anything in its place exists, such as a file in the place of its folder.
    fn is(&mut self, path: &[u8]) -> bool {
        if !self.folder.is_empty() && path.starts_with(&self.folder) {
            return true;
        }
        for (end, _) in path.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
            match statat(&self.root, as_path(&path[..end]), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) if FileType::from_raw_mode(found.st_mode) == FileType::Directory => {}
                Err(Errno::NOENT) => {
                    self.folder = path[..=end].to_vec();
                    return true;
                }
                Ok(_) | Err(_) => return false,
            }
        }
        statat(&self.root, as_path(path), AtFlags::SYMLINK_NOFOLLOW).is_err_and(|error| error == Errno::NOENT)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    #[test]
    fn a_path_is_missing_unless_something_took_its_place() {
        let tree = tempfile::tempdir().expect("a folder");
        let at = |name: &str| tree.path().join(name);
        fs_err::create_dir_all(at("a/b")).expect("a folder");
        fs_err::write(at("a/b/c"), "").expect("a file");
        fs_err::write(at("file"), "").expect("a file");
        fs_err::os::unix::fs::symlink("a", at("link")).expect("a link");
        let mut missing = Missing { root: File::open(tree.path()).expect("it exists").into(), folder: Vec::new() };
        let mut is = |path: &str| missing.is(path.as_bytes());
        assert_eq!(["x", "a/x", "a/x/y", "a/x/z", "gone/a/b", "gone/c"].map(&mut is), [true; 6]);
        assert_eq!(["a/b/c", "a/b", "file", "file/x", "link/b/x", "link"].map(&mut is), [false; 6]);
    }
}
