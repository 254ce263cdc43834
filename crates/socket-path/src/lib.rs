//! Makes the path of a Unix socket usable, even if it is too long for the system.
//!
//! The server and its clients need the same rule: a home directory can be anywhere, but the address of a socket has a fixed size.
//! This crate neither binds nor connects sockets.

use std::io;
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};

use tokio::fs::File;

/// The longest path of a Unix socket that the system accepts, in bytes.
const LONGEST: usize = 107;

/// A path to a Unix socket that is short enough for the system.
///
/// Long paths are replaced by a path through their open folder, which is valid only in this process and while this value exists.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    _folder: Option<File>,
}

impl SocketPath {
    /// Returns a usable path to `socket`. If its path is too long, its folder must exist.
    pub async fn open(socket: &Path) -> io::Result<Self> {
        if socket.as_os_str().len() <= LONGEST {
            return Ok(Self { path: socket.to_owned(), _folder: None });
        }
        let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path has no file name"));
        };
        let folder = File::open(folder).await?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }

    /// Returns the path to bind or connect to.
    pub fn as_path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::{UnixListener, UnixStream};

    use super::*;

    /// Returns a socket's path of exactly `length` bytes in an existing folder.
    fn path_of(root: &Path, length: usize) -> PathBuf {
        let rest = length - root.as_os_str().len() - "//s".len();
        let folder = root.join("d".repeat(rest));
        std::fs::create_dir(&folder).expect("the name is short enough");
        folder.join("s")
    }

    #[tokio::test]
    async fn a_path_that_the_system_accepts_is_not_changed() {
        let root = tempfile::tempdir().expect("a folder");
        let socket = path_of(root.path(), LONGEST);
        assert_eq!(SocketPath::open(&socket).await.expect("the path is short").as_path(), socket);
        UnixListener::bind(&socket).expect("the system accepts the longest path");
        let longer = path_of(root.path(), LONGEST + 1);
        assert_eq!(UnixListener::bind(&longer).expect_err("the system refuses the path").kind(), io::ErrorKind::InvalidInput);
        assert_ne!(SocketPath::open(&longer).await.expect("the folder exists").as_path(), longer);
    }

    #[tokio::test]
    async fn a_longer_path_can_be_bound_and_connected() {
        let root = tempfile::tempdir().expect("a folder");
        let socket = path_of(root.path(), LONGEST + 60);
        let bound = SocketPath::open(&socket).await.expect("the folder exists");
        let listener = UnixListener::bind(bound.as_path()).expect("the short path is usable");
        assert!(std::fs::symlink_metadata(&socket).is_ok(), "the socket is at its real path");
        let reached = SocketPath::open(&socket).await.expect("the folder exists");
        let (connected, accepted) = tokio::join!(UnixStream::connect(reached.as_path()), listener.accept());
        assert!(connected.is_ok() && accepted.is_ok());
    }

    #[tokio::test]
    async fn a_long_path_through_a_missing_folder_is_an_error() {
        let root = tempfile::tempdir().expect("a folder");
        let missing = root.path().join("d".repeat(LONGEST)).join("s");
        assert_eq!(SocketPath::open(&missing).await.expect_err("the folder is missing").kind(), io::ErrorKind::NotFound);
        let unnamed = PathBuf::from(format!("/{}/..", "d".repeat(LONGEST)));
        assert_eq!(SocketPath::open(&unnamed).await.expect_err("no file name").kind(), io::ErrorKind::InvalidInput);
    }
}
