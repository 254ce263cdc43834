//! Serves HTTP on a Unix socket until the handle is dropped.
//! This module does not interpret requests. Invariant: dropping the handle ends every connection.

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

/// The body of a response.
pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;

/// The maximum number of connections. A container that opens more has to wait.
const CONNECTIONS: usize = 256;

/// The size limit for the head of a request. It is checked between two reads, so twice as much can arrive.
const HEAD_BYTES: usize = 64 * 1024;

/// Headers that apply to one connection only.
const HOP_BY_HOP: &[&str] = &["connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade"];

/// The prefix of headers that are meant for a proxy.
const OF_A_PROXY: &str = "proxy-";

/// The pause after a connection could not be accepted, most likely because too many files are open.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What it means when a client closes its sending side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Silence {
    /// The client still waits for the response.
    Listens,
    /// The client is gone, and its request is canceled.
    Gone,
}

/// A running server. It stops and closes its connections when this is dropped.
#[derive(Debug)]
pub(super) struct Serving {
    socket: PathBuf,
    end: CancellationToken,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.end.cancel();
        // If this fails, the socket is removed with its folder.
        let _gone = std::fs::remove_file(&self.socket);
    }
}

/// Starts a server. Every user may use the socket (mode 0666), because the container's user may differ from the caller. The folder
/// must therefore be private (0700), to keep out other users of the machine.
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
            // A client may close its connection at any time.
            if let Some(Err(error)) = end.run_until_cancelled(connection.with_upgrades()).await {
                tracing::debug!(%error, "connection ended early");
            }
            drop(place);
        });
    }
}

/// Removes headers that apply to one connection, including those that the `Connection` header names.
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

/// Returns a body with this content.
pub(super) fn whole(content: impl Into<Bytes>) -> Body {
    Full::new(content.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Returns a response that the server itself creates.
pub(super) fn respond(status: StatusCode, content_type: &'static str, content: String) -> Response<Body> {
    let mut response = Response::new(whole(content));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}
