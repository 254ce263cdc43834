//! Serving HTTP on a unix socket until somebody lets go of it.
//! It knows nothing of what is asked. Invariant: when it is dropped, no connection of it goes on.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// A body of whatever kind.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The most connections at once. A container that opens more waits.
const CONNECTIONS: usize = 256;

/// The most that the head of a request may have. It is looked at between two reads, so it can be twice that.
const HEAD_BYTES: usize = 64 * 1024;

/// Headers that are about one connection and not about what it carries.
const HOP_BY_HOP: &[&str] = &["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// Headers whose names begin so are between a client and its proxy.
const OF_A_PROXY: &str = "proxy-";

/// How long nobody is accepted after it failed: most likely all files are in use.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What it means that a client has nothing more to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// It still listens.
    Listens,
    /// It has gone, and what it asked for is given up.
    Gone,
}

/// A server on a socket. It ends, with all its connections, when this is dropped.
#[derive(Debug)]
pub(super) struct Serving {
    socket: PathBuf,
    end: CancellationToken,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.end.cancel();
        // It goes with its folder in any case.
        let _gone = std::fs::remove_file(&self.socket);
    }
}

/// Starts serving. Whoever can reach the socket may use it (0666), since the container's user may be another one than ours: the
/// folder around it must be private (0700), and is what keeps other users of the machine out.
pub(super) fn serve<F, A>(socket: &Path, silence: Silence, answer: F) -> io::Result<Serving>
where
    F: Fn(Request<Incoming>, CancellationToken) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = super::bind::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
    let serving = Serving { socket: socket.to_owned(), end: CancellationToken::new() };
    let end = serving.end.clone();
    tokio::spawn(async move {
        end.run_until_cancelled(accept(&listener, silence, answer, &end)).await;
    });
    Ok(serving)
}

async fn accept<F, A>(listener: &UnixListener, silence: Silence, answer: F, end: &CancellationToken)
where
    F: Fn(Request<Incoming>, CancellationToken) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "could not accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (answer, end) = (answer.clone(), end.clone());
        tokio::spawn(async move {
            let connection_end = end.clone();
            let service = service_fn(move |request| {
                let answered = answer(request, connection_end.clone());
                async move { Ok::<_, Infallible>(answered.await) }
            });
            let mut builder = hyper::server::conn::http1::Builder::new();
            let connection = builder
                .max_buf_size(HEAD_BYTES)
                .half_close(silence == Silence::Listens)
                .serve_connection(TokioIo::new(stream), service);
            // A client that breaks off is in its right.
            if let Some(Err(error)) = end.run_until_cancelled(connection.with_upgrades()).await {
                tracing::debug!(%error, "connection ended early");
            }
            drop(place);
        });
    }
}

/// Removes what is about the connection, and what the connection's head names as such.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(|name| name.trim().to_ascii_lowercase()))
        .collect();
    let of_a_proxy: Vec<String> =
        headers.keys().map(header::HeaderName::as_str).filter(|name| name.starts_with(OF_A_PROXY)).map(str::to_owned).collect();
    for name in HOP_BY_HOP.iter().copied().chain(named.iter().chain(&of_a_proxy).map(String::as_str)) {
        headers.remove(name);
    }
}

/// A whole body.
pub(super) fn whole(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed_unsync()
}

/// An answer of ours.
pub(super) fn respond(status: StatusCode, content_type: &'static str, content: String) -> Response<Body> {
    let mut response = Response::new(whole(content));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}
