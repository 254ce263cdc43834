//! Opens and looks at files whose names an agent controls.
//!
//! An agent can replace a file with a link or a FIFO, so no link is followed, and opening never waits. Nothing is read or written
//! here. Invariant: the caller gets a regular file, or nothing.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

/// Opens a file that an agent may have replaced. Returns `None` if it is missing or not a regular file.
pub(super) fn plain_file(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Returns the size of a regular file, or `None` for anything else.
pub(super) fn plain_size(root: &OwnedFd, path: &[u8]) -> Option<u64> {
    let found = statat(root, as_path(path), AtFlags::SYMLINK_NOFOLLOW).ok()?;
    let is_plain = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
    is_plain.then(|| u64::try_from(found.st_size).unwrap_or(u64::MAX))
}

/// Whether a path leads through a link, so that it is not a file of the worktree.
pub(super) fn is_below_a_link(root: &OwnedFd, path: &[u8]) -> bool {
    let is_folder = |folder: &[u8]| {
        let found = statat(root, as_path(folder), AtFlags::SYMLINK_NOFOLLOW);
        found.is_ok_and(|found| FileType::from_raw_mode(found.st_mode) == FileType::Directory)
    };
    let mut above = path.iter().enumerate().filter(|&(_, &byte)| byte == b'/').map(|(end, _)| &path[..end]);
    !above.all(is_folder)
}

/// Converts a path for a system call.
pub(super) fn as_path(path: &[u8]) -> &Path {
    Path::new(std::ffi::OsStr::from_bytes(path))
}
