//! Syncs files and folders to disk, so that a record can refer to them: they exist and are complete even after a power cut.
//!
//! Closing or renaming a file is not enough. The data of a file is on the disk after `fsync` on the file, and its name after
//! `fsync` on its folder. Files that this process may not open are synced with `syncfs`, which covers the whole file system.
//! Symbolic links are never followed. All functions here block.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fstat, fsync, openat, syncfs};
use rustix::io::Errno;

/// A folder with more entries than this, including everything below it, is synced with one `syncfs`. An agent can create any
/// number of entries.
const ENTRIES: usize = 1000;

/// A folder tree that is deeper than this is synced with one `syncfs`, because every folder on the path is kept open.
const DEPTH: usize = 16;

const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Syncs the data of a file. A missing file is an error. Anything except a regular file is skipped.
pub fn sync_file(path: &Path) -> io::Result<()> {
    match sync_plain_file(CWD, path) {
        Err(Errno::ACCESS) => sync_file_system(path),
        Err(error) => Err(at(path, error)),
        Ok(()) => Ok(()),
    }
}

/// Syncs the data of a file if the file exists.
pub fn sync_file_if_there(path: &Path) -> io::Result<()> {
    match sync_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Syncs the list of names in a folder.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    match openat(CWD, path, READ | OFlags::DIRECTORY, Mode::empty()).and_then(fsync) {
        Err(Errno::ACCESS) => sync_file_system(path),
        Err(error) => Err(at(path, error)),
        Ok(()) => Ok(()),
    }
}

/// Syncs a folder with everything below it. A missing folder is not an error.
pub fn sync_tree(path: &Path) -> io::Result<()> {
    let root = match openat(CWD, path, READ | OFlags::DIRECTORY, Mode::empty()) {
        Ok(root) => root,
        Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ACCESS) => return sync_file_system(path),
        Err(error) => return Err(at(path, error)),
    };
    match sync_below(&root, &mut 0, DEPTH) {
        Ok(Below::Synced) => Ok(()),
        Ok(Below::TooMany) | Err(Errno::ACCESS) => sync_file_system(path),
        Err(error) => Err(at(path, error)),
    }
}

/// Syncs the whole file system that contains the path.
pub fn sync_file_system(path: &Path) -> io::Result<()> {
    // Use the nearest folder that this process may open. It is on the same file system, because nothing is mounted below a
    // home.
    for folder in path.ancestors() {
        match openat(CWD, folder, READ | OFlags::DIRECTORY, Mode::empty()) {
            Ok(folder) => return syncfs(folder).map_err(|error| at(path, error)),
            Err(Errno::ACCESS | Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {}
            Err(error) => return Err(at(path, error)),
        }
    }
    Err(at(path, Errno::ACCESS))
}

/// Creates a folder and its missing parents, and syncs their names.
pub fn create_folder(path: &Path) -> io::Result<()> {
    create(path, 0o777)
}

/// Creates a folder and its missing parents, all of which only the owner may open, and syncs their names.
pub fn create_private_folder(path: &Path) -> io::Result<()> {
    create(path, 0o700)
}

fn create(path: &Path, mode: u32) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
    let above = missing.iter().filter_map(|folder| folder.parent()).filter(|above| !above.as_os_str().is_empty());
    above.into_iter().try_for_each(sync_folder)
}

/// Moves a file or folder, then syncs its new name and its old name, in this order.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs_err::rename(from, to)?;
    let (old, new) = (from.parent().unwrap_or(from), to.parent().unwrap_or(to));
    sync_folder(new)?;
    if old == new { Ok(()) } else { sync_folder(old) }
}

fn at(path: &Path, error: Errno) -> io::Error {
    let error = io::Error::from(error);
    io::Error::new(error.kind(), format!("could not sync `{}`: {error}", path.display()))
}

fn sync_plain_file(folder: impl AsFd, name: impl rustix::path::Arg) -> Result<(), Errno> {
    match openat(folder, name, READ, Mode::empty()) {
        Ok(file) if FileType::from_raw_mode(fstat(&file)?.st_mode) == FileType::RegularFile => fsync(file),
        // The first case is a folder or a FIFO, the second one a link or a socket.
        Ok(_) | Err(Errno::LOOP | Errno::NXIO) => Ok(()),
        Err(error) => Err(error),
    }
}

enum Below {
    Synced,
    TooMany,
}

/// Syncs everything below an open folder, and then the folder itself. Opens only regular files and folders.
fn sync_below(folder: &OwnedFd, seen: &mut usize, depth: usize) -> Result<Below, Errno> {
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        *seen += 1;
        if *seen > ENTRIES || depth == 0 {
            return Ok(Below::TooMany);
        }
        let kind = match entry.file_type() {
            FileType::Unknown => match rustix::fs::statat(folder, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW) {
                Ok(found) => FileType::from_raw_mode(found.st_mode),
                Err(Errno::NOENT) => continue,
                Err(error) => return Err(error),
            },
            kind => kind,
        };
        let synced = match kind {
            FileType::RegularFile => sync_plain_file(folder, name).map(|()| Below::Synced),
            FileType::Directory => openat(folder, name, READ | OFlags::DIRECTORY, Mode::empty())
                .and_then(|below| sync_below(&below, seen, depth - 1)),
            _ => Ok(Below::Synced),
        };
        match synced {
            Ok(Below::TooMany) => return Ok(Below::TooMany),
            // `NOENT` means that the entry was removed in the meantime.
            Ok(Below::Synced) | Err(Errno::NOENT) => {}
            Err(error) => return Err(error),
        }
    }
    fsync(folder)?;
    Ok(Below::Synced)
}

/// How much of a growing file has been synced.
#[derive(Debug, Default)]
pub struct SyncedLength(u64);

impl SyncedLength {
    /// Syncs the data written since the last call, and returns whether there was any. A missing file is not an error.
    pub fn sync(&mut self, path: &Path) -> io::Result<bool> {
        let file = match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            file => file?,
        };
        let length = file.metadata()?.len();
        let has_grown = length != self.0;
        if has_grown {
            file.sync_data()?;
            self.0 = length;
        }
        Ok(has_grown)
    }
}

#[cfg(test)]
mod tests {
    //! `tests/durability.rs` traces the system calls to check that the right ones are made, in the right order.

    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn folders_are_made_with_those_above_them_and_for_their_owner_only_where_asked() {
        let folder = tempfile::tempdir().expect("a folder");
        let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
        create_private_folder(&folder.path().join("a/b")).expect("made");
        assert_eq!((mode(&folder.path().join("a")), mode(&folder.path().join("a/b"))), (0o700, 0o700));
        create_folder(&folder.path().join("a/b/c")).expect("made");
        create_folder(&folder.path().join("a/b/c")).expect("an existing folder is not an error");
    }

    #[test]
    fn a_file_is_moved_between_folders_and_a_missing_one_is_an_error() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("below/to"));
        create_folder(&folder.path().join("below")).expect("made");
        std::fs::write(&from, "x").expect("written");
        rename(&from, &to).expect("moved");
        assert_eq!(std::fs::read(&to).expect("there"), b"x");
        assert_eq!(rename(&from, &to).expect_err("gone").kind(), io::ErrorKind::NotFound);
        assert_eq!(sync_file(&from).expect_err("gone").kind(), io::ErrorKind::NotFound);
        sync_file_if_there(&from).expect("fine");
    }

    #[test]
    fn nothing_an_agent_leaves_in_a_folder_stops_a_sync_and_no_link_is_followed() {
        let folder = tempfile::tempdir().expect("a folder");
        let tree = folder.path().join("tree");
        create_folder(&tree.join("below")).expect("made");
        symlink("/", tree.join("root")).expect("a link");
        symlink("loop", tree.join("loop")).expect("a link");
        rustix::fs::mknodat(CWD, tree.join("fifo"), FileType::Fifo, 0o600.into(), 0).expect("a FIFO");
        let _socket = std::os::unix::net::UnixListener::bind(tree.join("socket")).expect("a socket");
        sync_tree(&tree).expect("synced");
        for name in ["root", "loop", "fifo", "socket", "below"] {
            sync_file(&tree.join(name)).expect("left alone");
        }
        for number in 0..=ENTRIES {
            std::fs::write(tree.join(format!("below/{number}")), "").expect("written");
        }
        sync_tree(&tree).expect("a large folder is synced");
        let deep: PathBuf = std::iter::repeat_n("d", 1500).collect();
        std::fs::create_dir_all(tree.join("deep").join(&deep)).expect("made");
        sync_tree(&tree.join("deep")).expect("a deep folder is synced");
        sync_tree(&folder.path().join("nothing")).expect("a missing folder is not an error");
    }

    #[test]
    fn a_growing_file_is_synced_when_it_has_grown() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut length = SyncedLength::default();
        assert!(!length.sync(&path).expect("a missing file is not an error"));
        std::fs::write(&path, "one\n").expect("written");
        assert!(length.sync(&path).expect("synced") && !length.sync(&path).expect("nothing new"));
    }

    #[test]
    fn a_file_that_shrank_or_grew_again_has_news() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut length = SyncedLength::default();
        let mut has_news = |text: &str| {
            std::fs::write(&path, text).expect("written");
            length.sync(&path).expect("synced")
        };
        assert_eq!(["", "ab", "ab", "a", "abc", "xyz"].map(&mut has_news), [false, true, false, true, true, false]);
        std::fs::remove_file(&path).expect("removed");
        assert!(!length.sync(&path).expect("a missing file is not an error"));
    }

    #[test]
    fn a_folder_is_not_made_where_a_file_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        std::fs::write(&file, "x").expect("written");
        for path in [file.clone(), file.join("below")] {
            create_folder(&path).expect_err("a file");
            create_private_folder(&path).expect_err("a file");
        }
        assert_eq!(std::fs::read(&file).expect("there"), b"x");
        sync_folder(&file).expect_err("a file is not a folder");
        sync_folder(&folder.path().join("missing")).expect_err("a missing folder is an error");
    }

    #[test]
    fn a_move_replaces_a_file_but_no_folder_with_content() {
        let folder = tempfile::tempdir().expect("a folder");
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        std::fs::write(&from, "new").expect("written");
        std::fs::write(&to, "old").expect("written");
        rename(&from, &to).expect("moved");
        assert_eq!(std::fs::read(&to).expect("there"), b"new");
        create_folder(&folder.path().join("one/content")).expect("made");
        create_folder(&folder.path().join("two/content")).expect("made");
        rename(&folder.path().join("one"), &folder.path().join("two")).expect_err("the folder has content");
        assert!(folder.path().join("one/content").is_dir() && folder.path().join("two/content").is_dir());
    }

    #[test]
    fn a_file_system_is_found_through_paths_that_are_not_there() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("file"), "x").expect("written");
        symlink("loop", folder.path().join("loop")).expect("a link");
        for path in ["missing", "missing/below", "file", "file/below", "loop/below"] {
            sync_file_system(&folder.path().join(path)).expect(path);
        }
    }
}
