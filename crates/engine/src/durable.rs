//! Syncs files and folders to disk, so that a record can refer to them: they exist and are complete even after a power cut.
//!
//! Closing or renaming a file is not enough. The data of a file is on the disk after `fsync` on the file, and its name after
//! `fsync` on its folder. Files that this process may not open are synced with `syncfs`, which covers the whole file system.
//! Symbolic links are never followed. All functions here block.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use rustix::fs::{CWD, Dir, FileType, Mode, OFlags, fstat, fsync, openat, syncfs};
use rustix::io::Errno;

/// A folder with more entries than this, including everything below it, is synced with one `syncfs`. An agent can create any
/// number of entries.
const ENTRIES: usize = 1000;

/// A folder tree that is deeper than this is synced with one `syncfs`, because every folder on the path is kept open.
const DEPTH: usize = 16;

/// If more folders than this have changed, one `syncfs` syncs them all. A commit of 100 files can create as many object
/// folders.
const MANY_FOLDERS: usize = 32;

/// A folder that changed more recently than this may change again without a new modification time: old file systems store times
/// in steps of one or two seconds.
const COARSEST_STEP: Duration = Duration::from_secs(2);

/// Like [`COARSEST_STEP`], for file systems that store nanoseconds: their clock advances with every tick of the kernel.
const TICK: Duration = Duration::from_millis(20);

const READ: OFlags = OFlags::RDONLY.union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::NOCTTY).union(OFlags::CLOEXEC);

/// Syncs the data of a file. A missing file is an error. Anything except a regular file is skipped.
pub(crate) fn sync_file(path: &Path) -> io::Result<()> {
    match sync_plain_file(CWD, path) {
        Err(Errno::ACCESS) => sync_file_system(path),
        Err(error) => Err(at(path, error)),
        Ok(()) => Ok(()),
    }
}

/// Syncs the data of a file if the file exists.
pub(crate) fn sync_file_if_there(path: &Path) -> io::Result<()> {
    match sync_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Syncs the list of names in a folder.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    match openat(CWD, path, READ | OFlags::DIRECTORY, Mode::empty()).and_then(fsync) {
        Err(Errno::ACCESS) => sync_file_system(path),
        Err(error) => Err(at(path, error)),
        Ok(()) => Ok(()),
    }
}

/// Syncs a folder with everything below it. A missing folder is not an error.
pub(crate) fn sync_tree(path: &Path) -> io::Result<()> {
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
pub(crate) fn sync_file_system(path: &Path) -> io::Result<()> {
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
pub(crate) fn create_folder(path: &Path) -> io::Result<()> {
    create(path, 0o777)
}

/// Creates a folder and its missing parents, all of which only the owner may open, and syncs their names.
pub(crate) fn create_private_folder(path: &Path) -> io::Result<()> {
    create(path, 0o700)
}

fn create(path: &Path, mode: u32) -> io::Result<()> {
    let missing: Vec<_> = path.ancestors().take_while(|folder| !folder.as_os_str().is_empty() && !folder.exists()).collect();
    std::fs::DirBuilder::new().recursive(true).mode(mode).create(path)?;
    let above = missing.iter().filter_map(|folder| folder.parent()).filter(|above| !above.as_os_str().is_empty());
    above.into_iter().try_for_each(sync_folder)
}

/// Moves a file or folder, then syncs its new name and its old name, in this order.
pub(crate) fn rename(from: &Path, to: &Path) -> io::Result<()> {
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

/// A folder tree whose changes since the last sync can be synced separately. This works for a mirror, because git writes new
/// files there and renames them into place, but never changes an existing file.
#[derive(Debug, Default)]
pub(crate) struct ChangedTree {
    /// The folders as of the last sync. `None` before the first sync, which covers the whole file system.
    known: Mutex<Option<HashMap<PathBuf, Known>>>,
}

/// The state of a folder when it was last synced.
#[derive(Debug, Clone)]
struct Known {
    changed: SystemTime,
    /// Whether another change would set a different modification time.
    is_settled: bool,
    folders: Vec<PathBuf>,
}

impl ChangedTree {
    /// Syncs everything below `root` that changed, except folders for which `skip` returns true.
    pub(crate) fn sync(&self, root: &Path, skip: impl Fn(&Path) -> bool) -> io::Result<()> {
        // Only one sync runs at a time. After the wait there is usually little left to do.
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = known.is_none();
        let before = known.take().unwrap_or_default();
        let mut after = HashMap::with_capacity(before.len());
        let mut changed = Vec::new();
        look(root, &before, &skip, &mut after, &mut changed)?;
        if is_first || changed.len() > MANY_FOLDERS {
            sync_file_system(root)?;
        } else {
            // Start with the deepest folders, so that a name is synced after the file or folder that it refers to.
            for folder in changed.iter().rev() {
                let since = before.get(folder).and_then(|known| known.changed.checked_sub(COARSEST_STEP));
                sync_changed_files(folder, since)?;
                sync_folder_if_there(folder)?;
            }
        }
        *known = Some(after);
        Ok(())
    }
}

/// Collects the changed folders, parents first, and the new state of all folders.
fn look(
    folder: &Path,
    before: &HashMap<PathBuf, Known>,
    skip: &impl Fn(&Path) -> bool,
    after: &mut HashMap<PathBuf, Known>,
    changed: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let found = match fs_err::symlink_metadata(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        found => found?.modified()?,
    };
    let folders = if let Some(known) = before.get(folder).filter(|known| known.is_settled && known.changed == found) {
        known.folders.clone()
    } else {
        changed.push(folder.to_owned());
        folders_in(folder, skip)?
    };
    for below in &folders {
        look(below, before, skip, after, changed)?;
    }
    after.insert(folder.to_owned(), Known { changed: found, is_settled: is_settled(found), folders });
    Ok(())
}

/// Whether this modification time is so long ago that another change would set a different one.
#[expect(clippy::disallowed_methods, reason = "the time is compared with times from the file system")]
fn is_settled(changed: SystemTime) -> bool {
    let since_1970 = changed.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let step = if since_1970.subsec_nanos() == 0 { COARSEST_STEP } else { TICK };
    SystemTime::now().duration_since(changed).is_ok_and(|age| age > step)
}

fn folders_in(folder: &Path, skip: &impl Fn(&Path) -> bool) -> io::Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for entry in entries(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() && !skip(&entry.path()) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// Syncs the regular files in a folder that changed since a time, or all of them.
fn sync_changed_files(folder: &Path, since: Option<SystemTime>) -> io::Result<()> {
    for entry in entries(folder)? {
        let entry = entry?;
        // Files whose names start with `tmp_` are incomplete. Git syncs them before it renames them.
        if !entry.file_type()?.is_file() || entry.file_name().as_encoded_bytes().starts_with(b"tmp_") {
            continue;
        }
        let found = match entry.metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            found => found?,
        };
        if since.is_none_or(|since| found.modified().is_ok_and(|changed| changed >= since)) {
            sync_file_if_there(&entry.path())?;
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> io::Result<impl Iterator<Item = io::Result<fs_err::DirEntry>>> {
    match fs_err::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None.into_iter().flatten()),
        entries => Ok(Some(entries?).into_iter().flatten()),
    }
}

fn sync_folder_if_there(folder: &Path) -> io::Result<()> {
    match sync_folder(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// How much of a growing file has been synced.
#[derive(Debug, Default)]
pub(crate) struct SyncedLength(u64);

impl SyncedLength {
    /// Syncs the data written since the last call, and returns whether there was any. A missing file is not an error.
    pub(crate) fn sync(&mut self, path: &Path) -> io::Result<bool> {
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
    fn only_what_has_changed_is_synced_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
        let settle = |path: &Path| File::open(path).and_then(|file| file.set_modified(long_ago)).expect("set");
        for name in ["old", "new", "skipped"] {
            std::fs::create_dir(folder.path().join(name)).expect("made");
        }
        for path in [folder.path().join("old"), folder.path().join("new"), folder.path().to_owned()] {
            settle(&path);
        }
        let skip = |path: &Path| path.ends_with("skipped");
        let (mut after, mut changed) = (HashMap::new(), Vec::new());
        look(folder.path(), &HashMap::new(), &skip, &mut after, &mut changed).expect("looked");
        assert_eq!(changed.len(), 3, "all folders except the skipped one have changed: {changed:?}");
        std::fs::write(folder.path().join("new/file"), "x").expect("written");
        let (before, mut changed) = (after, Vec::new());
        look(folder.path(), &before, &skip, &mut HashMap::new(), &mut changed).expect("looked");
        assert_eq!(changed, [folder.path().join("new")]);
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
}
