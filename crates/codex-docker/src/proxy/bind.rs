//! Binds a Unix socket at a path of any length. The kernel limits socket paths to 107 bytes, and home directories can be longer.
//! A short path through `/proc/self/fd` and an open folder needs no links and no temporary names.

use std::io;
use std::path::Path;

use rustix::fd::AsRawFd as _;
use rustix::fs::{CWD, Mode, OFlags};
use tokio::net::UnixListener;

/// Listens at this path. Fails if a file exists there.
pub(super) fn bind(socket: &Path) -> io::Result<UnixListener> {
    let missing = || io::Error::new(io::ErrorKind::InvalidInput, "the path of the socket has no folder or no name");
    let (folder, name) = (socket.parent().ok_or_else(missing)?, socket.file_name().ok_or_else(missing)?);
    let folder = rustix::fs::openat(CWD, folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    UnixListener::bind(Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_path_longer_than_the_kernel_takes_is_bound_all_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("d".repeat(100)).join("e".repeat(100));
        fs_err::create_dir_all(&deep).expect("made");
        let listener = bind(&deep.join("socket")).expect("bound");
        assert!(deep.join("socket").exists());
        assert_eq!(bind(&deep.join("socket")).map(|_| ()).expect_err("the path is in use").kind(), io::ErrorKind::AddrInUse);
        drop(listener);
        assert!(bind(&folder.path().join("nowhere/socket")).is_err());
    }
}
