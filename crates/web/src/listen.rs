//! The listeners: where they are, and why one could not be had.
//!
//! Whoever binds holds the home's lock, so a socket file that is already there belongs to a server that is gone. Nothing but a
//! socket is ever removed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::fs::{self, File};
use tokio::net::{TcpListener, UnixListener};

/// The longest path that the system takes for a unix socket, in bytes.
const LONGEST_SOCKET_PATH: usize = 107;

/// How often a free port is looked for.
const TRIES: u8 = 16;

/// What the server listens on.
#[derive(Debug)]
pub struct Listeners {
    /// The unix socket.
    pub unix: UnixListener,
    /// The TCP addresses, where TCP is on: the one that was asked for, and the other ones of the loopback.
    pub tcp: Vec<TcpListener>,
}

impl Listeners {
    /// The TCP address that was asked for.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.first()?.local_addr().ok()
    }
}

/// Why a listener could not be had.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// There is something at the socket's path that is not ours to remove.
    #[error("{} is in the way of the server's socket, and is not a socket", path.display())]
    InTheWay {
        /// The socket's path.
        path: PathBuf,
    },
    /// The socket could not be made.
    #[error("could not make the socket {}: {source}", path.display())]
    Unix {
        /// The socket's path.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Another program listens there.
    #[error("{address} is in use by another program")]
    Taken {
        /// The TCP address.
        address: SocketAddr,
    },
    /// The TCP address cannot be listened on.
    #[error("could not listen on {address}: {source}")]
    Tcp {
        /// The TCP address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
}

impl BindError {
    /// What to do next.
    pub fn hints(&self) -> Vec<String> {
        let hints: &[&str] = match self {
            Self::InTheWay { .. } => &["move that file away"],
            Self::Unix { .. } => &["the folder must be on a local file system and belong to you; ORCH_HOME names another one"],
            Self::Taken { .. } => &[
                "set ORCH_LISTEN to another address, such as 127.0.0.1:8090",
                "ORCH_LISTEN=127.0.0.1:0 takes any free port; `codex-orchestrator doctor` shows which",
            ],
            Self::Tcp { .. } => &["ORCH_LISTEN takes an address of this machine, such as 127.0.0.1:8080"],
        };
        hints.iter().map(|&hint| hint.to_owned()).collect()
    }
}

/// Binds the unix socket (mode 0600), and the TCP address if there is one.
///
/// Browsers look for the pages' own name at `127.0.0.1` and at `::1`, so a listener of the loopback takes its port at both. Otherwise
/// another program could listen at the other one, and would get what browsers send to the pages.
pub async fn bind(socket: &Path, tcp: Option<SocketAddr>) -> Result<Listeners, BindError> {
    // TCP first: it is what is taken in practice, and then no socket lies around.
    let tcp = match tcp {
        Some(address) => bind_with_siblings(address).await?,
        None => vec![],
    };
    Ok(Listeners { unix: bind_unix(socket).await?, tcp })
}

/// Removes the socket's file once nobody listens on it. Only for whoever bound it, while the home's lock is still held.
pub(crate) async fn unbind(socket: &Path) {
    if let Err(error) = remove_stale(socket).await {
        tracing::debug!(%error, "could not remove the socket file; the next start replaces it");
    }
}

async fn bind_with_siblings(address: SocketAddr) -> Result<Vec<TcpListener>, BindError> {
    for _ in 1..TRIES {
        match bind_all(address).await {
            // The system chose a port that is taken at another address.
            Err(BindError::Taken { .. }) if address.port() == 0 => {}
            bound => return bound,
        }
    }
    bind_all(address).await
}

async fn bind_all(address: SocketAddr) -> Result<Vec<TcpListener>, BindError> {
    let main = bind_tcp(address).await?;
    let port = main.local_addr().map_err(|source| BindError::Tcp { address, source })?.port();
    let mut all = vec![main];
    for sibling in siblings(address.ip()) {
        match bind_tcp(SocketAddr::new(sibling, port)).await {
            Ok(listener) => all.push(listener),
            Err(taken @ BindError::Taken { .. }) => return Err(taken),
            // A machine without IPv6: no other program can listen there either.
            Err(error) => tracing::debug!(%error, "could not listen on this address; continuing without it"),
        }
    }
    Ok(all)
}

/// Where else browsers look for what listens at an address of the loopback.
fn siblings(address: IpAddr) -> Vec<IpAddr> {
    let [four, six] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    match address {
        // Both are in it.
        IpAddr::V6(address) if address.is_unspecified() => vec![],
        IpAddr::V4(address) if address.is_unspecified() => vec![six],
        address if address.is_loopback() => [four, six].into_iter().filter(|sibling| *sibling != address).collect(),
        _ => vec![],
    }
}

async fn bind_tcp(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address).await.map_err(|source| match source.kind() {
        io::ErrorKind::AddrInUse => BindError::Taken { address },
        _ => BindError::Tcp { address, source },
    })
}

async fn bind_unix(path: &Path) -> Result<UnixListener, BindError> {
    let failed = |source| BindError::Unix { path: path.to_owned(), source };
    remove_stale(path).await?;
    let reachable = SocketPath::open(path).await.map_err(failed)?;
    let listener = UnixListener::bind(reachable.as_path()).map_err(failed)?;
    // Until here the folder's mode (0700) keeps others out.
    fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).await.map_err(failed)?;
    Ok(listener)
}

async fn remove_stale(path: &Path) -> Result<(), BindError> {
    let failed = |source| BindError::Unix { path: path.to_owned(), source };
    match fs::symlink_metadata(path).await {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path).await.map_err(failed),
        Ok(_) => Err(BindError::InTheWay { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

/// A path to a unix socket that the system takes whatever the length of the real one.
///
/// A long one is reached through its open folder, so the short path is good only while this lives, and only in this process.
#[derive(Debug)]
pub struct SocketPath {
    path: PathBuf,
    _folder: Option<File>,
}

impl SocketPath {
    /// A usable path to `socket`, whose folder must exist.
    pub async fn open(socket: &Path) -> io::Result<Self> {
        if socket.as_os_str().len() <= LONGEST_SOCKET_PATH {
            return Ok(Self { path: socket.to_owned(), _folder: None });
        }
        let (Some(folder), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path names no file"));
        };
        let folder = File::open(folder).await?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok(Self { path, _folder: Some(folder) })
    }

    /// The path to bind or to connect to.
    pub fn as_path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    async fn connects(socket: &Path) -> bool {
        let reachable = SocketPath::open(socket).await.expect("the folder is there");
        UnixStream::connect(reachable.as_path()).await.is_ok()
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("orchestrator.sock");
        let listeners = bind(&socket, None).await.expect("a free path");
        let mode = tokio::fs::metadata(&socket).await.expect("the socket").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(listeners.tcp.is_empty() && listeners.address().is_none());
        assert!(connects(&socket).await);
    }

    #[tokio::test]
    async fn a_socket_that_a_dead_server_left_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("orchestrator.sock");
        drop(bind(&socket, None).await.expect("a free path"));
        assert!(!connects(&socket).await, "nobody listens any more");
        let _listeners = bind(&socket, None).await.expect("a stale socket is no obstacle");
        assert!(connects(&socket).await);
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("orchestrator.sock");
        tokio::fs::write(&socket, "precious").await.expect("a file");
        let error = bind(&socket, None).await.expect_err("a file is in the way");
        assert!(matches!(&error, BindError::InTheWay { path } if *path == socket), "{error}");
        assert_eq!(tokio::fs::read(&socket).await.expect("the file"), b"precious");
    }

    #[tokio::test]
    async fn a_path_too_long_for_the_system_works_all_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("d".repeat(120));
        tokio::fs::create_dir(&deep).await.expect("a folder");
        let socket = deep.join("orchestrator.sock");
        let _listeners = bind(&socket, None).await.expect("a long path");
        assert!(connects(&socket).await);
        assert!(tokio::fs::symlink_metadata(&socket).await.is_ok(), "it lies where it should");
    }

    #[tokio::test]
    async fn a_taken_port_is_named_and_leaves_no_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("orchestrator.sock");
        let other = TcpListener::bind(ANY_PORT).await.expect("a free port");
        let taken = other.local_addr().expect("its address");
        let error = bind(&socket, Some(taken)).await.expect_err("the port is taken");
        assert_eq!(error.to_string(), format!("{taken} is in use by another program"));
        assert!(error.hints().iter().any(|hint| hint.contains("ORCH_LISTEN")), "{:?}", error.hints());
        assert!(!socket.exists());
    }

    #[tokio::test]
    async fn the_port_is_ours_at_every_address_where_browsers_look_for_the_pages() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("orchestrator.sock");
        let has_six = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok();
        for address in
            ["127.0.0.1:0", "0.0.0.0:0", "127.0.0.2:0", "[::1]:0", "[::]:0"].into_iter().take(if has_six { 5 } else { 3 })
        {
            let listeners = bind(&socket, Some(address.parse().expect("an address"))).await.expect("a free port");
            let port = listeners.address().expect("one").port();
            for loopback in ["127.0.0.1", "[::1]"].into_iter().take(if has_six { 2 } else { 1 }) {
                let address: SocketAddr = format!("{loopback}:{port}").parse().expect("an address");
                let error = TcpListener::bind(address).await.expect_err("nobody else gets it");
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{address}");
                tokio::net::TcpStream::connect(address).await.expect("we listen there");
            }
        }
    }

    #[tokio::test]
    async fn another_program_at_the_other_loopback_address_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("orchestrator.sock");
        let Ok(other) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else { return };
        let port = other.local_addr().expect("its address").port();
        let error =
            bind(&socket, Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))).await.expect_err("it would get our cookies");
        assert_eq!(error.to_string(), format!("[::1]:{port} is in use by another program"));
    }

    #[tokio::test]
    async fn a_missing_folder_is_an_error_with_the_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("gone/orchestrator.sock");
        let error = bind(&socket, None).await.expect_err("there is no folder");
        assert!(error.to_string().contains("gone/orchestrator.sock"), "{error}");
    }
}
