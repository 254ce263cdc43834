//! The server: accepts connections on all listeners, serves them, and closes them at shutdown.
//!
//! Slow and silent clients are limited: requests have time limits, and TCP connections are counted. At shutdown, event streams end
//! immediately, and other responses get a short time to complete.

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::serve::Listener;
use engine::Engine;
use futures_util::future::{Either, join_all, select};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::{Service, ServiceExt as _};

use crate::connection::stall::Stalling;
use crate::connection::{Answer, Connection, Connections, Limits};
use crate::guard::Endpoint;
use crate::listen::{self, Listeners};
use crate::state::Api;
use crate::{openapi, router};

/// The time limit for the headers of a request, after connecting and after the last response.
const HEADER_LIMIT: Duration = Duration::from_secs(10);

/// The largest headers of a request, in bytes.
const HEADER_LIMIT_BYTES: usize = 32 << 10;

/// The time that responses get to complete at shutdown.
const CLOSING_GRACE: Duration = Duration::from_secs(3);

/// The default limit for TCP connections.
const MOST_CONNECTIONS: usize = 512;

/// Options for the server.
#[derive(Debug, Clone)]
pub struct ServeOptions {
    /// Additional host names for TCP requests, each with one port or for every port.
    pub allowed_hosts: Vec<String>,
    /// The limit for TCP connections. A quarter of them are for clients without a session or token.
    pub most_connections: usize,
}

impl Default for ServeOptions {
    fn default() -> Self {
        Self { allowed_hosts: vec![], most_connections: MOST_CONNECTIONS }
    }
}

/// Serves the API and the pages until `shutdown`. Returns when the last connection has ended.
pub async fn serve(engine: Engine, listeners: Listeners, options: ServeOptions, shutdown: CancellationToken) -> io::Result<()> {
    let tasks = TaskTracker::new();
    let api = Api { engine: engine.clone(), closing: shutdown.clone(), work: tasks.clone(), openapi: &openapi::DOCUMENT };
    let tcp = match listeners.address() {
        Some(address) => {
            engine.set_listen(address);
            tracing::info!(%address, "listening");
            Some(router::app(api.clone(), Endpoint::Tcp(address), &options.allowed_hosts))
        }
        None => None,
    };
    let unix = router::app(api, Endpoint::Unix, &options.allowed_hosts);
    let connections = Connections::new(Limits::of(options.most_connections));
    let over_tcp = async {
        if let Some(app) = &tcp {
            let accept = |listener| accept_tcp(listener, app, &shutdown, &tasks, &connections);
            join_all(listeners.tcp.into_iter().map(accept)).await;
        }
    };
    tokio::join!(accept_unix(listeners.unix, &unix, &shutdown, &tasks), over_tcp);
    listen::unbind(&engine.socket_path()).await;
    tasks.close();
    if tokio::time::timeout(2 * CLOSING_GRACE, tasks.wait()).await.is_err() {
        tracing::info!("stopped before all requests were answered; recorded work continues at the next start");
    }
    Ok(())
}

/// Turns off the system's delay for small packets, since events are small.
fn send_at_once(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "could not turn off Nagle's algorithm on a connection");
    }
}

/// Accepts connections over the unix socket, without a limit.
async fn accept_unix(mut listener: UnixListener, app: &Router, closing: &CancellationToken, tasks: &TaskTracker) {
    while let Some((stream, _)) = closing.run_until_cancelled(Listener::accept(&mut listener)).await {
        tasks.spawn(converse(stream, app.clone(), closing.clone()));
    }
}

async fn accept_tcp(
    mut listener: TcpListener,
    app: &Router,
    closing: &CancellationToken,
    tasks: &TaskTracker,
    connections: &Connections,
) {
    while let Some((stream, _)) = closing.run_until_cancelled(Listener::accept(&mut listener)).await {
        send_at_once(&stream);
        match closing.run_until_cancelled(connections.admit()).await {
            Some(Some(connection)) => drop(tasks.spawn(converse_over_tcp(stream, app.clone(), closing.clone(), connection))),
            Some(None) => tracing::debug!("refused a connection: the limit is reached"),
            None => return,
        }
    }
}

async fn converse_over_tcp(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    app: Router,
    closing: CancellationToken,
    connection: Connection,
) {
    let caller = connection.caller();
    let stream = Stalling::new(stream, caller.clone());
    let asked = caller.clone();
    let app = app
        .map_request(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(asked.clone());
            request
        })
        .map_response(move |response: Response| response.map(|body| Answer::of(body, caller.clone())));
    connection.hold(converse(stream, app, closing)).await;
}

async fn converse<S>(stream: impl AsyncRead + AsyncWrite + Unpin + Send, app: S, closing: CancellationToken)
where
    S: Service<Request<Incoming>, Response = Response<Body>, Error = std::convert::Infallible> + Clone,
{
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_LIMIT)
            .max_buf_size(HEADER_LIMIT_BYTES)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
    );
    let ended = match select(connection.as_mut(), pin!(closing.cancelled())).await {
        Either::Left((ended, _)) => ended,
        Either::Right(((), _)) => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(CLOSING_GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return tracing::debug!("closed a connection, because the server is stopping"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection failed");
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    use super::*;

    fn connect(app: Router) -> (DuplexStream, CancellationToken, tokio::task::JoinHandle<()>) {
        let (client, server) = duplex(1 << 16);
        let closing = CancellationToken::new();
        let connection = tokio::spawn(converse(server, app, closing.clone()));
        (client, closing, connection)
    }

    async fn rest(mut client: DuplexStream) -> String {
        let mut text = String::new();
        client.read_to_string(&mut text).await.expect("the connection ends without an error");
        text
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_cut_off() {
        let (client, _closing, connection) = connect(Router::new());
        connection.await.expect("the task does not panic");
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_half_a_header_is_cut_off() {
        let (mut client, _closing, connection) = connect(Router::new());
        client.write_all(b"GET / HTTP/1.1\r\nHost: lo").await.expect("the pipe accepts the data");
        connection.await.expect("the task does not panic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_waits_for_its_next_request_is_cut_off() {
        let (mut client, _closing, connection) = connect(Router::new().route("/", get(async || "hello")));
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("the pipe accepts the data");
        let begun = tokio::time::Instant::now();
        connection.await.expect("the task does not panic");
        assert_eq!(begun.elapsed().as_secs(), HEADER_LIMIT.as_secs());
        assert!(rest(client).await.ends_with("hello"), "the server answers before it closes the connection");
    }

    #[tokio::test(start_paused = true)]
    async fn headers_that_never_end_are_cut_off_by_their_size_and_by_their_time() {
        let (mut client, _closing, connection) = connect(Router::new());
        client.write_all(b"GET / HTTP/1.1\r\n").await.expect("the pipe accepts the data");
        let line = [b"x: ".as_slice(), &[b'y'; 1000], b"\r\n"].concat();
        let mut sent = 0;
        // Writing fails after the server closes the connection.
        while client.write_all(&line).await.is_ok() {
            sent += line.len();
            assert!(sent < 4 * HEADER_LIMIT_BYTES, "the server stops reading headers that never end");
        }
        connection.await.expect("the task does not panic");
        let (mut client, _closing, connection) = connect(Router::new());
        let begun = tokio::time::Instant::now();
        while client.write_all(b"x").await.is_ok() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        assert!(begun.elapsed() < HEADER_LIMIT + Duration::from_secs(3), "{:?}", begun.elapsed());
        connection.await.expect("the task does not panic");
    }

    #[tokio::test(start_paused = true)]
    async fn a_half_sent_request_gives_way_to_a_new_connection_and_a_half_answered_one_does_not() {
        let app = Router::new()
            .route("/", axum::routing::post(async |body: axum::body::Bytes| body.len().to_string()))
            .route("/slow", get(async || std::future::pending::<()>().await))
            .layer(axum::middleware::from_fn(crate::body::in_time));
        let all = Connections::new(Limits { all: 8, strangers: 2 });
        let open = async |head: &'static [u8]| {
            let (mut client, server) = duplex(1 << 16);
            let connection = all.admit().await.expect("the limit allows another connection");
            let task = tokio::spawn(converse_over_tcp(server, app.clone(), CancellationToken::new(), connection));
            client.write_all(head).await.expect("the pipe accepts the data");
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
            (client, task)
        };
        let (_slow_client, slow) = open(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let (_half_client, half) = open(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nhalf").await;
        let (_client, third) = open(b"").await;
        half.await.expect("the task does not panic");
        assert!(!slow.is_finished() && !third.is_finished());
    }

    #[tokio::test(start_paused = true)]
    async fn closing_ends_an_idle_connection_at_once() {
        let (mut client, closing, connection) = connect(Router::new().route("/", get(async || "hello")));
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("the pipe accepts the data");
        let mut first = [0; 12];
        client.read_exact(&mut first).await.expect("the server answers");
        assert_eq!(&first, b"HTTP/1.1 200");
        let before = tokio::time::Instant::now();
        closing.cancel();
        connection.await.expect("the task does not panic");
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_ends_event_streams_and_their_frames_are_whole() {
        let events = CancellationToken::new();
        let streams = events.clone();
        let app = Router::new().route("/", get(async move || crate::sse::answer(futures_util::stream::pending(), streams)));
        let (mut client, closing, connection) = connect(app);
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("the pipe accepts the data");
        let mut first = [0; 12];
        client.read_exact(&mut first).await.expect("the server answers before any event");
        events.cancel();
        closing.cancel();
        connection.await.expect("the task does not panic");
        assert!(rest(client).await.ends_with("0\r\n\r\n"), "the chunked body is complete");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_ends_gets_a_grace_and_no_more() {
        let app = Router::new().route("/", get(async || std::future::pending::<()>().await));
        let (mut client, closing, connection) = connect(app);
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("the pipe accepts the data");
        tokio::task::yield_now().await;
        closing.cancel();
        let before = tokio::time::Instant::now();
        connection.await.expect("the task does not panic");
        assert!(before.elapsed() <= CLOSING_GRACE + Duration::from_millis(10), "{:?}", before.elapsed());
    }
}
