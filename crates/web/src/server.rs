//! The life of the server: accept on all listeners, hold each connection, and end all of them when told to.
//!
//! A client may be slow, silent or gone; it costs one task and is bounded: headers must come within a limit, and when the
//! server closes, event streams end at once and the rest gets a short grace.

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::serve::{Listener, ListenerExt};
use engine::Engine;
use futures_util::future::{Either, join_all, select};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::guard::Door;
use crate::listen::{self, Listeners};
use crate::router::{self, Api};

/// The longest that a client may take to send a request's headers, the first one after connecting included.
const HEADER_LIMIT: Duration = Duration::from_secs(30);

/// The longest that an answer may still take once the server closes.
const CLOSING_GRACE: Duration = Duration::from_secs(3);

/// What can be set about serving.
#[derive(Debug, Clone, Default)]
pub struct ServeOptions {
    /// More names under which the API may be reached over TCP, each with a port or for every port.
    pub allowed_hosts: Vec<String>,
}

/// Serves the API until `shutdown`, and returns when the last connection has ended.
pub async fn serve(engine: Engine, listeners: Listeners, options: ServeOptions, shutdown: CancellationToken) -> io::Result<()> {
    let connections = TaskTracker::new();
    let api = Api { engine: engine.clone(), closing: shutdown.clone(), work: connections.clone() };
    let tcp = match listeners.address() {
        Some(address) => {
            engine.set_listen(address);
            tracing::info!(%address, "listening");
            Some(router::app(api.clone(), Door::Tcp(address), &options.allowed_hosts))
        }
        None => None,
    };
    let unix = router::app(api, Door::Unix, &options.allowed_hosts);
    let over_tcp = async {
        if let Some(app) = &tcp {
            let accept = |listener: TcpListener| accept(listener.tap_io(send_at_once), app, &shutdown, &connections);
            join_all(listeners.tcp.into_iter().map(accept)).await;
        }
    };
    tokio::join!(accept(listeners.unix, &unix, &shutdown, &connections), over_tcp);
    listen::unbind(&engine.socket_path()).await;
    connections.close();
    if tokio::time::timeout(2 * CLOSING_GRACE, connections.wait()).await.is_err() {
        tracing::info!("closing before every request was answered; what was recorded goes on with the next start");
    }
    Ok(())
}

/// Events are small and must not wait for company.
fn send_at_once(stream: &mut tokio::net::TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection keeps the system's delay");
    }
}

async fn accept<L: Listener>(mut listener: L, app: &Router, closing: &CancellationToken, connections: &TaskTracker) {
    while let Some((stream, _)) = closing.run_until_cancelled(listener.accept()).await {
        connections.spawn(converse(stream, app.clone(), closing.clone()));
    }
}

async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin + Send, app: Router, closing: CancellationToken) {
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_LIMIT)
            .serve_connection(TokioIo::new(stream), TowerToHyperService::new(app))
    );
    let ended = match select(connection.as_mut(), pin!(closing.cancelled())).await {
        Either::Left((ended, _)) => ended,
        Either::Right(((), _)) => {
            connection.as_mut().graceful_shutdown();
            match tokio::time::timeout(CLOSING_GRACE, connection).await {
                Ok(ended) => ended,
                Err(_) => return tracing::debug!("a connection was cut, because the server closes"),
            }
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection broke");
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
        client.read_to_string(&mut text).await.expect("the connection ends well");
        text
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_says_nothing_is_cut_off() {
        let (client, _closing, connection) = connect(Router::new());
        connection.await.expect("no panic");
        drop(client);
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_half_a_header_is_cut_off() {
        let (mut client, _closing, connection) = connect(Router::new());
        client.write_all(b"GET / HTTP/1.1\r\nHost: lo").await.expect("the pipe takes it");
        connection.await.expect("no panic");
    }

    #[tokio::test(start_paused = true)]
    async fn closing_ends_an_idle_connection_at_once() {
        let (mut client, closing, connection) = connect(Router::new().route("/", get(async || "hello")));
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("the pipe takes it");
        let mut first = [0; 12];
        client.read_exact(&mut first).await.expect("an answer");
        assert_eq!(&first, b"HTTP/1.1 200");
        let before = tokio::time::Instant::now();
        closing.cancel();
        connection.await.expect("no panic");
        assert_eq!(before.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn closing_ends_event_streams_and_their_frames_are_whole() {
        let events = CancellationToken::new();
        let streams = events.clone();
        let app = Router::new().route("/", get(async move || crate::sse::answer(futures_util::stream::pending(), streams)));
        let (mut client, closing, connection) = connect(app);
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("the pipe takes it");
        let mut first = [0; 12];
        client.read_exact(&mut first).await.expect("an answer before any event");
        events.cancel();
        closing.cancel();
        connection.await.expect("no panic");
        assert!(rest(client).await.ends_with("0\r\n\r\n"), "the chunked body has its end");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_never_ends_gets_a_grace_and_no_more() {
        let app = Router::new().route("/", get(async || std::future::pending::<()>().await));
        let (mut client, closing, connection) = connect(app);
        client.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").await.expect("the pipe takes it");
        tokio::task::yield_now().await;
        closing.cancel();
        let before = tokio::time::Instant::now();
        connection.await.expect("no panic");
        assert!(before.elapsed() <= CLOSING_GRACE + Duration::from_millis(10), "{:?}", before.elapsed());
    }
}
