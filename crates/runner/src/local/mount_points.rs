//! Creates the folders and files of a worktree over which a container mounts something.
//!
//! An agent may have replaced anything in the worktree. Invariant: no link is followed, and nothing that exists is changed.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, openat, statat};
use rustix::io::Errno;

/// The path of the worktree in a container.
pub(super) const WORKTREE_INSIDE: &str = "/workspace/worktree";

/// Creates a folder in a worktree that a container mounts something over, or in. Follows no links.
pub(super) fn mount_point(worktree: &Path, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY;
    let mut folder: OwnedFd = rustix::fs::openat(CWD, worktree, flags, Mode::empty())?;
    for name in path {
        match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(error.into()),
        }
        folder = rustix::fs::openat(&folder, name, flags, Mode::empty()).map_err(|error| match error {
            Errno::NOTDIR | Errno::LOOP => io::Error::other("a file or a link is in its place"),
            error => error.into(),
        })?;
    }
    Ok(folder)
}

/// Creates an empty file in a worktree that a container mounts something over, unless there is a file. Follows no links.
pub(super) fn file_mount_point(worktree: &Path, path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = mount_point(worktree, path.parent().unwrap_or(Path::new("")))?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&folder, name, flags, Mode::from_raw_mode(0o644)) {
        Ok(_) => Ok(()),
        Err(Errno::EXIST) => {
            let found = statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
            let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
            if is_file { Ok(()) } else { Err(io::Error::other("a folder or a link is in its place")) }
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_mount_point_is_never_behind_a_link() {
        let folder = tempfile::tempdir().expect("a folder");
        let (worktree, elsewhere) = (folder.path().join("worktree"), folder.path().join("elsewhere"));
        for path in [&worktree, &elsewhere] {
            fs_err::create_dir(path).expect("made");
        }
        for _ in 0..2 {
            mount_point(&worktree, Path::new("web/node_modules")).expect("it is created once");
        }
        assert!(worktree.join("web/node_modules").is_dir());
        symlink(&elsewhere, worktree.join("target")).expect("a link");
        fs_err::write(worktree.join("file"), "").expect("written");
        for path in ["target", "target/debug", "file", "file/x"] {
            let error = mount_point(&worktree, Path::new(path)).expect_err("it is not a folder");
            assert!(error.to_string().contains("in its place"), "{path}: {error}");
        }
        assert_eq!(fs_err::read_dir(&elsewhere).expect("there").count(), 0);
    }

    #[test]
    fn a_mount_point_is_an_empty_file_and_nothing_that_exists_is_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (worktree, outside) = (folder.path().join("worktree"), folder.path().join("outside"));
        fs_err::create_dir_all(worktree.join("folder")).expect("writable");
        fs_err::create_dir(&outside).expect("writable");
        fs_err::write(worktree.join("tracked"), "kept").expect("writable");
        symlink(&outside, worktree.join("link")).expect("writable");
        symlink("/etc/passwd", worktree.join("file-link")).expect("writable");
        for path in [".env", "config/a/.env", "tracked"] {
            file_mount_point(&worktree, Path::new(path)).expect(path);
            file_mount_point(&worktree, Path::new(path)).expect("a second time");
        }
        assert_eq!(fs_err::read_to_string(worktree.join("config/a/.env")).expect("created"), "");
        assert_eq!(fs_err::read_to_string(worktree.join("tracked")).expect("there"), "kept");
        for path in ["folder", "link", "link/x", "file-link", "tracked/x"] {
            file_mount_point(&worktree, Path::new(path)).expect_err(path);
        }
        assert_eq!(fs_err::read_dir(&outside).expect("there").count(), 0);
    }
}
