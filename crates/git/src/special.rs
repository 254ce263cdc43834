//! Searches a worktree before git reads it, and moves files aside that would block or mislead git.
//!
//! Git opens some files by name and would wait forever on a FIFO. It also opens files inside any folder that looks like a
//! repository, which an agent can create at will. Only folders are opened here, and no link is followed. Call this only while
//! no process of the task runs. Invariant: nothing is deleted.

use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use model::untrusted::{OPENED_BY_NAME, OPENED_IN_REPOSITORIES, OPENED_LIMIT_BYTES};
use model::visible::plain_name;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags, openat, renameat_with, statat};
use rustix::io::Errno;

use super::worktree::Worktree;

/// The maximum number of moved files that are listed.
const NAMED_LIMIT: usize = 20;

/// The longest path that git can open.
const PATH_LIMIT: usize = 4096;

/// The maximum number of entries that are checked: more than fit on a file system of tens of gigabytes.
const ENTRIES_LIMIT: u64 = 20_000_000;

/// Files in the mirror that git reads in addition to a worktree. An agent without a container can write them.
const BESIDE: [&str; 2] = ["info/exclude", "info/attributes"];

const FOLDER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// The result of a search.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Findings {
    /// Notes about moved files, for people.
    pub(super) notes: Vec<String>,
    /// Folders that are repositories or look like one, from the root of the worktree.
    pub(super) nested: Vec<Vec<u8>>,
}

impl Worktree {
    /// Searches the worktree, and the files that git reads in addition to it.
    pub(super) async fn look_through(&self) -> io::Result<Findings> {
        let (tree, mirror) = (self.tree.clone(), self.mirror.path().to_owned());
        let findings = tokio::task::spawn_blocking(move || {
            let beside = beside(&mirror)?;
            let mut findings = look_through(&tree)?;
            findings.notes.splice(0..0, beside);
            Ok(findings)
        });
        findings.await.map_err(io::Error::other)?
    }
}

/// Searches the worktree at `tree`.
fn look_through(tree: &Path) -> io::Result<Findings> {
    let root = openat(CWD, tree, FOLDER, Mode::empty())?;
    let mut search = Search { findings: Findings::default(), moved: 0, entries: 0 };
    let mut folders = vec![Vec::new()];
    while let Some(folder) = folders.pop() {
        let path: &[u8] = if folder.is_empty() { b"." } else { &folder };
        match openat(&root, path, FOLDER, Mode::empty()) {
            Ok(opened) => search.folder(&folder, &opened, &mut folders)?,
            // Git cannot read such a folder either.
            Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let more = search.moved.saturating_sub(NAMED_LIMIT);
    if more > 0 {
        search.findings.notes.push(format!("moved aside {more} more files that git would have opened"));
    }
    Ok(search.findings)
}

struct Search {
    findings: Findings,
    moved: usize,
    entries: u64,
}

impl Search {
    fn folder(&mut self, path: &[u8], opened: &OwnedFd, folders: &mut Vec<Vec<u8>>) -> io::Result<()> {
        let mut odd = Vec::new();
        for entry in Dir::read_from(opened)? {
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            self.entries += 1;
            if self.entries > ENTRIES_LIMIT {
                return Err(io::Error::other(format!("the worktree has more than {ENTRIES_LIMIT} files")));
            }
            let Some(kind) = kind_of(opened, name, entry.file_type())? else { continue };
            let child = joined(path, name);
            if name == c".git" {
                if !path.is_empty() {
                    self.nested(path, opened, kind)?;
                }
                continue;
            }
            let is_one = |names: &[&str]| names.iter().any(|opened| opened.as_bytes() == name.to_bytes());
            if is_one(&OPENED_BY_NAME)
                && let Some(what) = why_odd(opened, name, kind)?
            {
                odd.push((name.to_owned(), what));
            }
            if is_one(&OPENED_IN_REPOSITORIES)
                && let Some(what) = special(kind)
            {
                odd.push((name.to_owned(), what));
            }
            if kind == FileType::Directory && child.len() < PATH_LIMIT {
                folders.push(child);
            }
        }
        for (name, what) in odd {
            self.move_aside(path, opened, &name, what)?;
        }
        Ok(())
    }

    /// Checks the `.git` of a folder in the worktree.
    fn nested(&mut self, path: &[u8], opened: &OwnedFd, kind: FileType) -> io::Result<()> {
        if let Ok(inside) = openat(opened, c".git", FOLDER, Mode::empty()) {
            for name in OPENED_IN_REPOSITORIES {
                let name = CString::new(name)?;
                if let Some(what) = kind_of(&inside, &name, FileType::Unknown)?.and_then(special) {
                    self.move_aside(&joined(path, c".git"), &inside, &name, what)?;
                }
            }
        }
        if looks_like_a_repository(opened, kind)? {
            self.findings.nested.push(path.to_vec());
        }
        Ok(())
    }

    fn move_aside(&mut self, path: &[u8], folder: &OwnedFd, name: &CStr, what: &str) -> io::Result<()> {
        let aside = move_aside(folder, name)?;
        self.moved += 1;
        if self.moved <= NAMED_LIMIT {
            self.findings.notes.push(note(&joined(path, name), what, &aside));
        }
        Ok(())
    }
}

/// Moves files aside that git reads in addition to a worktree and that are not regular files.
fn beside(mirror: &Path) -> io::Result<Vec<String>> {
    let mut notes = Vec::new();
    for file in BESIDE {
        let (folder, name) = file.rsplit_once('/').unwrap_or((".", file));
        let opened = match openat(CWD, mirror.join(folder), FOLDER, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            opened => opened?,
        };
        let name = CString::new(name)?;
        if let Some(kind) = kind_of(&opened, &name, FileType::Unknown)?
            && let Some(what) = why_odd(&opened, &name, kind)?
        {
            let aside = move_aside(&opened, &name)?;
            notes.push(note(file.as_bytes(), what, &aside));
        }
    }
    Ok(notes)
}

fn note(path: &[u8], what: &str, aside: &CStr) -> String {
    let (path, aside) = (plain_name(path), plain_name(aside.to_bytes()));
    format!("`{path}` is {what}, which git must not open; it was renamed to `{aside}` in the same folder")
}

/// Returns why git must not open the file with this name, or `None` if it may.
fn why_odd(folder: &OwnedFd, name: &CStr, kind: FileType) -> Result<Option<&'static str>, Errno> {
    let too_large = |size: i64| u64::try_from(size).unwrap_or(u64::MAX) > OPENED_LIMIT_BYTES;
    Ok(match kind {
        FileType::RegularFile => {
            too_large(statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?.st_size).then_some("larger than 4 MiB")
        }
        // Git does not enter a folder of this name.
        FileType::Directory => None,
        FileType::Symlink => match statat(folder, name, AtFlags::empty()) {
            // Kernel files have a size of 0, and some of them never end.
            Ok(target) => {
                let is_plain = FileType::from_raw_mode(target.st_mode) == FileType::RegularFile;
                (!is_plain || target.st_size == 0 || too_large(target.st_size))
                    .then_some("a link to something other than a regular file")
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS | Errno::NAMETOOLONG) => None,
            Err(error) => return Err(error),
        },
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => {
            special(kind)
        }
    })
}

/// Returns the kind of a file that is not a regular file, a folder or a link.
fn special(kind: FileType) -> Option<&'static str> {
    match kind {
        FileType::RegularFile | FileType::Directory | FileType::Symlink => None,
        FileType::Fifo => Some("a FIFO"),
        FileType::Socket => Some("a socket"),
        FileType::CharacterDevice | FileType::BlockDevice => Some("a device"),
        FileType::Unknown => Some("of an unknown kind"),
    }
}

/// Whether git would follow this `.git` to a repository and open its files.
fn looks_like_a_repository(folder: &OwnedFd, kind: FileType) -> Result<bool, Errno> {
    match kind {
        FileType::Directory => match statat(folder, c".git/HEAD", AtFlags::SYMLINK_NOFOLLOW) {
            Ok(_) | Err(Errno::ACCESS) => Ok(true),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(error) => Err(error),
        },
        FileType::RegularFile | FileType::Symlink => Ok(true),
        // Git does not recognize these as repositories and does not open them.
        FileType::Fifo | FileType::Socket | FileType::CharacterDevice | FileType::BlockDevice | FileType::Unknown => Ok(false),
    }
}

fn kind_of(folder: &OwnedFd, name: &CStr, listed: FileType) -> Result<Option<FileType>, Errno> {
    if listed != FileType::Unknown {
        return Ok(Some(listed));
    }
    match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) => Ok(Some(FileType::from_raw_mode(found.st_mode))),
        Err(Errno::NOENT | Errno::ACCESS) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Renames a file to the first free name of `<name>.aside-1`, `<name>.aside-2`, … in its folder.
pub(crate) fn move_aside(folder: &OwnedFd, name: &CStr) -> io::Result<CString> {
    let mut number = 0_u32;
    loop {
        number += 1;
        let free = CString::new([name.to_bytes(), format!(".aside-{number}").as_bytes()].concat())?;
        match renameat_with(folder, name, folder, &free, RenameFlags::NOREPLACE) {
            Ok(()) => return Ok(free),
            Err(Errno::EXIST) => {}
            Err(error) => {
                let shown = name.to_string_lossy();
                return Err(io::Error::new(error.kind(), format!("could not move `{shown}` aside: {}", io::Error::from(error))));
            }
        }
    }
}

fn joined(folder: &[u8], name: &CStr) -> Vec<u8> {
    if folder.is_empty() { name.to_bytes().to_vec() } else { [folder, b"/", name.to_bytes()].concat() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use rustix::fs::mknodat;

    use super::*;

    fn fifo(path: &Path) {
        mknodat(CWD, path, FileType::Fifo, Mode::RWXU, 0).expect("a fifo");
    }

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs_err::read_dir(folder)
            .expect("readable")
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn what_git_would_wait_for_is_moved_aside_at_any_depth_and_the_rest_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let tree = folder.path().join("tree");
        let deep = tree.join("a/b/c");
        fs_err::create_dir_all(&deep).expect("folders");
        for name in OPENED_BY_NAME {
            fifo(&deep.join(name));
        }
        fs_err::write(deep.join(".gitignore.aside-1"), "mine").expect("a file");
        drop(std::os::unix::net::UnixListener::bind(tree.join(".gitignore")).expect("a socket"));
        fs_err::File::create(tree.join("a/.gitattributes")).expect("a file").set_len(3 << 40).expect("a sparse file");
        symlink("/dev/zero", tree.join(".gitattributes")).expect("a link");
        fs_err::write(tree.join("a/.gitignore"), "*.log\n").expect("a file");
        symlink(".gitignore", tree.join("a/.mailmap")).expect("a link");
        symlink("nowhere", tree.join("a/.gitmodules")).expect("a link");
        fs_err::create_dir(tree.join("a/.lfsconfig")).expect("a folder");
        fifo(&tree.join("plain"));
        let findings = look_through(&tree).expect("readable");
        assert_eq!(findings.notes.len(), 8, "{:?}", findings.notes);
        assert!(
            findings
                .notes
                .iter()
                .any(|note| note.contains("`a/b/c/.gitignore` is a FIFO") && note.contains("`.gitignore.aside-2`"))
        );
        let aside = [".gitattributes.aside-1", ".gitignore.aside-1", ".gitignore.aside-2", ".gitmodules.aside-1"];
        assert_eq!(names(&deep)[..4], aside);
        assert_eq!(names(&tree), [".gitattributes.aside-1", ".gitignore.aside-1", "a", "plain"]);
        let kept = [".gitattributes.aside-1", ".gitignore", ".gitmodules", ".lfsconfig", ".mailmap", "b"];
        assert_eq!(names(&tree.join("a")), kept);
        assert_eq!(look_through(&tree).expect("readable"), Findings::default(), "a second search finds nothing");
    }

    #[test]
    fn many_of_them_make_few_notes() {
        let folder = tempfile::tempdir().expect("a folder");
        for number in 0..100 {
            let below = folder.path().join(number.to_string());
            fs_err::create_dir(&below).expect("a folder");
            fifo(&below.join(".gitignore"));
        }
        let findings = look_through(folder.path()).expect("readable");
        assert_eq!(findings.notes.len(), NAMED_LIMIT + 1);
        assert_eq!(findings.notes[NAMED_LIMIT], "moved aside 80 more files that git would have opened");
    }

    #[test]
    fn a_folder_is_nested_as_soon_as_git_would_look_into_its_repository() {
        let folder = tempfile::tempdir().expect("a folder");
        let tree = folder.path();
        for name in ["real/.git", "empty/.git", "fifo", "trap/.git", "link", "file"] {
            fs_err::create_dir_all(tree.join(name)).expect("a folder");
        }
        fs_err::write(tree.join("real/.git/HEAD"), "x").expect("a file");
        fifo(&tree.join("fifo/.git"));
        fifo(&tree.join("trap/.git/HEAD"));
        symlink("/tmp", tree.join("link/.git")).expect("a link");
        fs_err::write(tree.join("file/.git"), "gitdir: /tmp\n").expect("a file");
        fs_err::write(tree.join(".git"), "gitdir: /tmp\n").expect("the worktree's own `.git` is written");
        let mut findings = look_through(tree).expect("readable");
        findings.nested.sort();
        assert_eq!(findings.nested, [&b"file"[..], b"link", b"real"]);
        assert!(
            matches!(findings.notes.as_slice(), [note] if note.contains("`trap/.git/HEAD` is a FIFO")),
            "{:?}",
            findings.notes
        );
        assert!(fs_err::symlink_metadata(tree.join("trap/.git/HEAD")).is_err(), "the FIFO was moved aside");
    }
}
