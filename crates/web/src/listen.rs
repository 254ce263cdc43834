//! The listeners of the server: the unix socket and the TCP addresses.
//!
//! Bind them only while holding the home's lock. An existing socket file then belongs to a server that has ended and is replaced. Other
//! files are never removed.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use socket_path::SocketPath;
use tokio::fs;
use tokio::net::{TcpListener, UnixListener};

/// The number of attempts to find a free port.
const TRIES: u8 = 16;

/// The bound listeners of a server.
#[derive(Debug)]
pub struct Listeners {
    /// The unix socket.
    pub unix: UnixListener,
    /// The TCP listeners: the requested address first, then other loopback addresses. Empty if TCP is off.
    pub tcp: Vec<TcpListener>,
}

impl Listeners {
    /// Returns the requested TCP address.
    pub fn address(&self) -> Option<SocketAddr> {
        self.tcp.first()?.local_addr().ok()
    }
}

/// The reason why binding failed.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The socket's path exists and is not a socket.
    #[error("cannot create the server's socket: {} exists and is not a socket", path.display())]
    InTheWay {
        /// The socket's path.
        path: PathBuf,
    },
    /// The socket could not be created.
    #[error("could not create the socket {}: {source}", path.display())]
    Unix {
        /// The socket's path.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// Another program uses the address.
    #[error("{address} is in use by another program")]
    Taken {
        /// The TCP address.
        address: SocketAddr,
    },
    /// Listening on the address failed.
    #[error("could not listen on {address}: {source}")]
    Tcp {
        /// The TCP address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
}

impl BindError {
    /// Returns hints for the user.
    pub fn hints(&self) -> Vec<String> {
        let hints: &[&str] = match self {
            Self::InTheWay { .. } => &["move that file away"],
            Self::Unix { .. } => {
                &["make sure that the folder is on a local file system and belongs to you, or set ORCH_HOME to another folder"]
            }
            Self::Taken { .. } => &[
                "set ORCH_LISTEN to another address, such as 127.0.0.1:8090",
                "or set ORCH_LISTEN=127.0.0.1:0 to use any free port; `codex-orchestrator doctor` shows it",
            ],
            Self::Tcp { .. } => &["set ORCH_LISTEN to an address of this machine, such as 127.0.0.1:8080"],
        };
        hints.iter().map(|&hint| hint.to_owned()).collect()
    }
}

/// Binds the unix socket (mode 0600), and the TCP address if there is one.
///
/// Browsers resolve the pages' own name to `127.0.0.1` and `::1`, so a loopback listener binds its port at both addresses. Otherwise another
/// program could listen at the other address and receive requests for the pages.
pub async fn bind(socket: &Path, tcp: Option<SocketAddr>) -> Result<Listeners, BindError> {
    // Bind TCP first, since it fails more often. A failure then leaves no socket file behind.
    let tcp = match tcp {
        Some(address) => bind_with_siblings(address).await?,
        None => vec![],
    };
    Ok(Listeners { unix: bind_unix(socket).await?, tcp })
}

/// Removes the socket file after closing its listener. Call this only while holding the home's lock.
pub(crate) async fn unbind(socket: &Path) {
    if let Err(error) = remove_stale(socket).await {
        tracing::debug!(%error, "could not remove the socket file; the next start replaces it");
    }
}

async fn bind_with_siblings(address: SocketAddr) -> Result<Vec<TcpListener>, BindError> {
    for _ in 1..TRIES {
        match bind_all(address).await {
            // The system chose a port that is in use at another address.
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
            // Without IPv6, no other program can listen at this address, either.
            Err(error) => tracing::debug!(%error, "could not listen on this address; continuing without it"),
        }
    }
    Ok(all)
}

/// Returns the other loopback addresses at which browsers look for a listener.
fn siblings(address: IpAddr) -> Vec<IpAddr> {
    let [four, six] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
    match address {
        // This address includes both loopback addresses.
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
    // Until now, the folder's mode (0700) has protected the socket.
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

#[cfg(test)]
mod tests {
    use tokio::net::UnixStream;

    use super::*;

    const ANY_PORT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

    async fn connects(socket: &Path) -> bool {
        let reachable = SocketPath::open(socket).await.expect("the folder exists");
        UnixStream::connect(reachable.as_path()).await.is_ok()
    }

    #[tokio::test]
    async fn the_socket_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("orchestrator.sock");
        let listeners = bind(&socket, None).await.expect("the path is free");
        let mode = tokio::fs::metadata(&socket).await.expect("the socket exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(listeners.tcp.is_empty() && listeners.address().is_none());
        assert!(connects(&socket).await);
    }

    #[tokio::test]
    async fn a_socket_that_a_dead_server_left_is_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("orchestrator.sock");
        drop(bind(&socket, None).await.expect("the path is free"));
        assert!(!connects(&socket).await, "no server listens");
        let _listeners = bind(&socket, None).await.expect("a stale socket is replaced");
        assert!(connects(&socket).await);
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("orchestrator.sock");
        tokio::fs::write(&socket, "precious").await.expect("a file");
        let error = bind(&socket, None).await.expect_err("a file that is not a socket is an error");
        assert!(matches!(&error, BindError::InTheWay { path } if *path == socket), "{error}");
        assert_eq!(tokio::fs::read(&socket).await.expect("the file exists"), b"precious");
    }

    #[tokio::test]
    async fn a_path_too_long_for_the_system_works_all_the_same() {
        let folder = tempfile::tempdir().expect("a folder");
        let deep = folder.path().join("d".repeat(120));
        tokio::fs::create_dir(&deep).await.expect("a folder");
        let socket = deep.join("orchestrator.sock");
        let _listeners = bind(&socket, None).await.expect("a long path can be bound");
        assert!(connects(&socket).await);
        assert!(tokio::fs::symlink_metadata(&socket).await.is_ok(), "the socket is at its real path");
    }

    #[tokio::test]
    async fn a_taken_port_is_named_and_leaves_no_socket() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("orchestrator.sock");
        let other = TcpListener::bind(ANY_PORT).await.expect("a port is free");
        let taken = other.local_addr().expect("the listener has an address");
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
            let listeners = bind(&socket, Some(address.parse().expect("the address is valid"))).await.expect("a port is free");
            let port = listeners.address().expect("one").port();
            for loopback in ["127.0.0.1", "[::1]"].into_iter().take(if has_six { 2 } else { 1 }) {
                let address: SocketAddr = format!("{loopback}:{port}").parse().expect("the address is valid");
                let error = TcpListener::bind(address).await.expect_err("no other program can use the port");
                assert_eq!(error.kind(), io::ErrorKind::AddrInUse, "{address}");
                tokio::net::TcpStream::connect(address).await.expect("the server listens");
            }
        }
    }

    #[tokio::test]
    async fn another_program_at_the_other_loopback_address_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("orchestrator.sock");
        let Ok(other) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await else { return };
        let port = other.local_addr().expect("the listener has an address").port();
        let error = bind(&socket, Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port))))
            .await
            .expect_err("another program at the same port is an error");
        assert_eq!(error.to_string(), format!("[::1]:{port} is in use by another program"));
    }

    #[tokio::test]
    async fn a_missing_folder_is_an_error_with_the_path() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("gone/orchestrator.sock");
        let error = bind(&socket, None).await.expect_err("a missing folder is an error");
        assert!(error.to_string().contains("gone/orchestrator.sock"), "{error}");
    }
}
