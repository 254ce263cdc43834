//! Lists what changes in a worktree, path by path, and which uncommitted files would be lost.
//!
//! File names are handled as bytes. Invariant: every file in the worktree that is neither committed nor about to be restored
//! unchanged is reported.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// The mode of a missing file.
const NOTHING: &str = "000000";

/// The mode of a submodule.
const GITLINK: &str = "160000";

/// An entry of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The mode, as git writes it, such as `100644`.
    mode: String,
    /// The object.
    id: String,
}

/// The change of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    /// Whether the path had an entry before the change.
    was_there: bool,
    /// The entry after the change, or `None` if the path is deleted.
    pub(super) to: Option<Entry>,
}

/// All changes, by path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Changes(pub(super) BTreeMap<Vec<u8>, Change>);

impl Change {
    /// Parses `:<mode> <mode> <id> <id> <letter>`.
    pub(super) fn parse(record: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(record.strip_prefix(b":")?).ok()?;
        let mut fields = text.split(' ');
        let (before, mode, _, id) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        let to = (mode != NOTHING).then(|| Entry { mode: mode.to_owned(), id: id.to_owned() });
        Some(Self { was_there: before != NOTHING, to })
    }

    /// Whether git writes a file or a link for this change. Git does not touch the folder of a submodule.
    fn writes(&self) -> bool {
        self.to.as_ref().is_some_and(|to| to.mode != GITLINK)
    }
}

impl Changes {
    /// Formats the changes for `git update-index --index-info`. Deletions come first, so that a file can replace a folder, or
    /// the reverse.
    pub(super) fn as_index_info(&self, digits: usize) -> Vec<u8> {
        let (come, go): (Vec<_>, Vec<_>) = self.0.iter().partition(|(_, change)| change.to.is_some());
        let mut info = Vec::new();
        for (path, change) in go.into_iter().chain(come) {
            let entry =
                change.to.as_ref().map_or_else(|| format!("0 {}\t", "0".repeat(digits)), |to| format!("{} {}\t", to.mode, to.id));
            info.extend_from_slice(entry.as_bytes());
            info.extend_from_slice(path);
            info.push(0);
        }
        info
    }

    /// Whether something changes at a parent folder of the path, or below the path.
    fn touches(&self, path: &[u8]) -> bool {
        let above = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').any(|(at, _)| self.0.contains_key(&path[..at]));
        let folder = [path, b"/"].concat();
        above || self.0.range(folder.clone()..).next().is_some_and(|(next, _)| next.starts_with(&folder))
    }
}

/// Returns the files in the worktree at `tree` that the changes would overwrite. `uncommitted` lists what git reports as
/// uncommitted.
pub(super) fn in_the_way(tree: &Path, changes: &Changes, uncommitted: &Changes) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for (path, is) in &uncommitted.0 {
        let becomes_something_else = changes.0.get(path).is_some_and(|change| change.to != is.to);
        if becomes_something_else || (is.to.is_some() && changes.touches(path)) {
            found.push(path.clone());
        }
    }
    // Git does not report ignored files.
    for (path, _) in changes.0.iter().filter(|(path, change)| change.writes() && !uncommitted.0.contains_key(*path)) {
        ignored_in_the_way(tree, path, changes, &mut found)?;
    }
    found.sort();
    found.dedup();
    Ok(found.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect())
}

fn ignored_in_the_way(tree: &Path, path: &[u8], changes: &Changes, found: &mut Vec<Vec<u8>>) -> io::Result<()> {
    let at = |path: &[u8]| fs_err::symlink_metadata(tree.join(OsStr::from_bytes(path)));
    let is_committed = |path: &[u8]| changes.0.get(path).is_some_and(|change| change.was_there);
    for (end, _) in path.iter().enumerate().filter(|&(_, &byte)| byte == b'/') {
        let folder = &path[..end];
        match at(folder) {
            Ok(there) if !there.is_dir() => {
                if !is_committed(folder) {
                    found.push(folder.to_vec());
                }
                return Ok(());
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
    }
    match at(path) {
        Ok(there) if there.is_dir() => files_below(tree, path, &mut |file| {
            if !is_committed(file) {
                found.push(file.to_vec());
            }
        }),
        Ok(_) => {
            if !is_committed(path) {
                found.push(path.to_vec());
            }
            Ok(())
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Calls `each` for every entry below a folder, except for folders. Does not follow links.
fn files_below(tree: &Path, folder: &[u8], each: &mut impl FnMut(&[u8])) -> io::Result<()> {
    for entry in fs_err::read_dir(tree.join(OsStr::from_bytes(folder)))? {
        let entry = entry?;
        let path = [folder, b"/", entry.file_name().as_bytes()].concat();
        if entry.file_type()?.is_dir() { files_below(tree, &path, each)? } else { each(&path) }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changes(listed: &[(&str, bool, &str)]) -> Changes {
        let change = |&(path, was_there, id): &(&str, bool, &str)| {
            let to = (!id.is_empty()).then(|| Entry { mode: "100644".to_owned(), id: id.to_owned() });
            (path.as_bytes().to_vec(), Change { was_there, to })
        };
        Changes(listed.iter().map(change).collect())
    }

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let tree = tempfile::tempdir().expect("a folder");
        for file in files {
            let path = tree.path().join(file);
            fs_err::create_dir_all(path.parent().expect("the path has a parent folder")).expect("a folder");
            fs_err::write(path, "x").expect("a file");
        }
        tree
    }

    #[track_caller]
    fn check(files: &[&str], changing: &[(&str, bool, &str)], uncommitted: &[(&str, bool, &str)], expect: &[&str]) {
        let tree = tree(files);
        assert_eq!(in_the_way(tree.path(), &changes(changing), &changes(uncommitted)).expect("readable"), expect);
    }

    #[test]
    fn what_git_sees_is_in_the_way_where_it_would_become_something_else() {
        check(&["a"], &[("a", true, "2")], &[("b", false, "1")], &[]);
        check(&["a"], &[("a", true, "2")], &[("a", true, "1")], &["a"]);
        check(&["a"], &[("a", true, "2")], &[("a", true, "2")], &[]);
        check(&[], &[("a", true, "2")], &[("a", true, "")], &["a"]);
        check(&["a"], &[("a", true, "")], &[("a", true, "1")], &["a"]);
        check(&["a"], &[("a/b", false, "2")], &[("a", false, "1")], &["a"]);
        check(&["a/b"], &[("a", false, "2")], &[("a/b", false, "1")], &["a/b"]);
        check(&["a-b"], &[("a", false, "2")], &[("a-b", false, "1")], &[]);
    }

    #[test]
    fn what_git_ignores_is_in_the_way_where_something_is_to_be() {
        check(&["a"], &[("a", false, "2")], &[], &["a"]);
        check(&["a/b/c"], &[("a", false, "2")], &[], &["a/b/c"]);
        check(&["a"], &[("a/b/c", false, "2")], &[], &["a"]);
        check(&["a/x"], &[("a/b", false, "2")], &[], &[]);
        check(&["a"], &[("a", true, "2")], &[], &[]);
        check(&["a"], &[("a", true, ""), ("a/b", false, "2")], &[], &[]);
        check(&["a/b"], &[("a", false, "2"), ("a/b", true, "")], &[], &[]);
        check(&["a/b", "a/junk"], &[("a", false, "2"), ("a/b", true, "")], &[], &["a/junk"]);
    }

    #[test]
    fn what_goes_is_told_to_the_index_first() {
        let info = changes(&[("a", false, "11"), ("b", true, "")]).as_index_info(2);
        assert_eq!(info, b"0 00\tb\x00100644 11\ta\x00");
        let parsed = Change::parse(b":100644 000000 aa 00 D").expect("a change");
        assert_eq!((parsed.was_there, parsed.to), (true, None));
        assert_eq!(Change::parse(b"file"), None);
    }
}
