//! A server with prepared answers on a Unix socket, for tests of the API's clients. It keeps every request.
//!
//! A stream can be split into any pieces, and can end, break off or stay open, which a real server does only by chance.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse as _, Response};
use futures_util::StreamExt as _;
use futures_util::stream;
use serde_json::{Value, json};
use socket_path::SocketPath;
use tokio::net::UnixListener;

/// An answer that the server gives to one request.
#[derive(Debug, Clone)]
pub struct Answer {
    status: StatusCode,
    format: &'static str,
    pieces: Vec<Bytes>,
    ending: Ending,
}

/// How the body of an answer ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The body is complete.
    Complete,
    /// The server closes the connection before the body is complete.
    Broken,
    /// The server sends nothing more, and keeps the connection.
    Open,
}

impl Answer {
    /// Returns a successful answer with a JSON body.
    pub fn json(body: impl Into<Value>) -> Self {
        Self::new(StatusCode::OK, "application/json", &[&body.into().to_string()], Ending::Complete)
    }

    /// Returns a successful answer without a body.
    pub fn nothing() -> Self {
        Self::new(StatusCode::NO_CONTENT, "text/plain", &[], Ending::Complete)
    }

    /// Returns a problem with this status and code.
    pub fn problem(status: u16, code: &str, detail: &str) -> Self {
        let body = json!({
            "type": "about:blank", "title": "A problem", "status": status, "code": code, "detail": detail,
            "hints": [format!("a hint about {code}")],
        });
        Self::raw(status, "application/problem+json", &body.to_string())
    }

    /// Returns an answer with this status, media type and text.
    pub fn raw(status: u16, format: &'static str, text: &str) -> Self {
        let status = StatusCode::from_u16(status).expect("the status is valid");
        Self::new(status, format, &[text], Ending::Complete)
    }

    /// Returns a successful answer whose body is sent in these pieces.
    pub fn pieces(format: &'static str, pieces: &[&str], ending: Ending) -> Self {
        Self::new(StatusCode::OK, format, pieces, ending)
    }

    /// Returns an event stream that is sent in these pieces.
    pub fn events(pieces: &[&str], ending: Ending) -> Self {
        Self::pieces("text/event-stream", pieces, ending)
    }

    fn new(status: StatusCode, format: &'static str, pieces: &[&str], ending: Ending) -> Self {
        let pieces = pieces.iter().map(|piece| Bytes::copy_from_slice(piece.as_bytes())).collect();
        Self { status, format, pieces, ending }
    }

    fn response(self) -> Response {
        let pieces = stream::iter(self.pieces).map(Ok::<_, io::Error>);
        let body = match self.ending {
            Ending::Complete => Body::from_stream(pieces),
            Ending::Broken => {
                let broken = stream::once(async {
                    // The server sends the pieces while it waits for the next one, and drops them after an error.
                    tokio::task::yield_now().await;
                    Err(io::Error::from(io::ErrorKind::ConnectionReset))
                });
                Body::from_stream(pieces.chain(broken))
            }
            Ending::Open => Body::from_stream(pieces.chain(stream::pending())),
        };
        (self.status, [(header::CONTENT_TYPE, self.format)], body).into_response()
    }
}

/// A request that the server received.
#[derive(Debug, Clone, PartialEq)]
pub struct Received {
    /// The method, path and query, e.g. `GET /api/v1/tasks?limit=5`.
    pub line: String,
    /// The JSON body. Null if there is none.
    pub body: Value,
    /// The media type of the body.
    pub format: Option<String>,
}

/// The answers to one request.
#[derive(Debug, Default)]
struct Prepared {
    next: VecDeque<Answer>,
    /// The answer that was given last.
    last: Option<Answer>,
}

impl Prepared {
    fn next(&mut self) -> Option<Answer> {
        self.last = self.next.pop_front().or_else(|| self.last.take());
        self.last.clone()
    }
}

#[derive(Debug, Default)]
struct Shared {
    answers: HashMap<String, Prepared>,
    received: Vec<Received>,
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct FakeServer {
    socket: PathBuf,
    shared: Arc<Mutex<Shared>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for FakeServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeServer {
    /// Starts a server on this socket, whose path can have any length. Requests without a prepared answer get the problem
    /// `no_such_route`.
    pub async fn start(socket: &Path) -> Self {
        let path = SocketPath::open(socket).await.expect("the folder exists");
        let listener = UnixListener::bind(path.as_path()).expect("the path is free");
        let shared = Arc::new(Mutex::new(Shared::default()));
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("the server runs until it is dropped") });
        Self { socket: socket.to_owned(), shared, server }
    }

    /// Prepares an answer to a request such as `GET /api/v1/status`, with any query. Several answers to one request are given in
    /// order, and the last one is repeated.
    pub fn on(&self, request: &str, answer: Answer) -> &Self {
        lock(&self.shared).answers.entry(request.to_owned()).or_default().next.push_back(answer);
        self
    }

    /// Returns the path of the socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Returns all requests in the order in which they arrived.
    pub fn received(&self) -> Vec<Received> {
        lock(&self.shared).received.clone()
    }

    /// Returns the methods, paths and queries of all requests.
    pub fn lines(&self) -> Vec<String> {
        self.received().into_iter().map(|received| received.line).collect()
    }
}

fn lock(shared: &Mutex<Shared>) -> std::sync::MutexGuard<'_, Shared> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn answer(State(shared): State<Arc<Mutex<Shared>>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut shared = lock(&shared);
    let format = headers.get(header::CONTENT_TYPE).and_then(|format| format.to_str().ok()).map(str::to_owned);
    let body = serde_json::from_slice(&body).unwrap_or_default();
    shared.received.push(Received { line: format!("{method} {uri}"), body, format });
    let request = format!("{method} {}", uri.path());
    let prepared = shared.answers.get_mut(&request).and_then(Prepared::next);
    prepared.unwrap_or_else(|| Answer::problem(404, "no_such_route", &format!("no prepared answer to {request}"))).response()
}
