//! The HTTP server, with one route and a log of requests.
//!
//! The server runs in a separate thread with its own runtime, so it responds even while a test blocks. Dropping the
//! [`ScriptedModel`] closes every connection, even one that hangs, and waits for the thread.

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response, Sse};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::{Stream, StreamExt};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::stage::{Cue, Stage};
use crate::{Fault, Request, Script, stream};

/// A running model server. It stops when this value is dropped.
pub struct ScriptedModel {
    address: SocketAddr,
    stage: Arc<Stage>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// The reasons why a model server cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address cannot be used.
    #[error("could not listen on {address} for the scripted model")]
    Listen {
        /// The requested address.
        address: SocketAddr,
        /// The system's error.
        source: io::Error,
    },
    /// The thread or its runtime cannot be created.
    #[error("could not start the thread of the scripted model")]
    Thread(#[source] io::Error),
}

impl ScriptedModel {
    /// Serves `script` on a free port of the loopback address.
    pub fn start(script: Script) -> Result<Self, StartError> {
        Self::start_on(SocketAddr::from(([127, 0, 0, 1], 0)), script)
    }

    /// Serves `script` on `address`. Port 0 chooses a free port.
    pub fn start_on(address: SocketAddr, script: Script) -> Result<Self, StartError> {
        let (listener, address) = listen(address).map_err(|source| StartError::Listen { address, source })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let stage = Arc::new(Stage::new(script));
        let app = routes(Arc::clone(&stage));
        let (stop, stopped) = oneshot::channel();
        // When the runtime ends, it drops every connection.
        let serve = move || runtime.block_on(serve_until(listener, app, stopped));
        let thread = std::thread::Builder::new().name("scripted-model".to_owned()).spawn(serve).map_err(StartError::Thread)?;
        Ok(Self { address, stage, stop: Some(stop), thread: Some(thread) })
    }

    /// Returns the base URL for Codex, such as `http://127.0.0.1:40123/v1`.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// Returns the port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Returns every request so far, oldest first.
    pub fn requests(&self) -> Vec<Request> {
        self.stage.log.borrow().clone()
    }

    /// Waits until a request matches and returns the first match.
    pub async fn request_where(&self, fits: impl Fn(&Request) -> bool) -> Request {
        let mut log = self.stage.log.subscribe();
        loop {
            if let Some(request) = log.borrow_and_update().iter().find(|request| fits(request)) {
                return request.clone();
            }
            if log.changed().await.is_err() {
                // This cannot happen: the stage outlives `self`, so the log stays open.
                std::future::pending::<()>().await;
            }
        }
    }
}

impl Drop for ScriptedModel {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

fn listen(address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

async fn serve_until(listener: TcpListener, app: Router, stopped: oneshot::Receiver<()>) {
    let listener =
        tokio::net::TcpListener::from_std(listener).expect("the listener is non-blocking, and I/O is enabled in the runtime");
    tokio::select! {
        _ = axum::serve(listener, app) => {}
        _ = stopped => {}
    }
}

fn routes(stage: Arc<Stage>) -> Router {
    Router::new()
        .route("/v1/responses", post(respond))
        .fallback(not_found)
        .method_not_allowed_fallback(not_found)
        // A request contains the whole history of its thread.
        .layer(DefaultBodyLimit::disable())
        .with_state(stage)
}

async fn respond(State(stage): State<Arc<Stage>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let request = Request::new(&method, &uri, &headers, &body);
    let body = request.body.clone();
    stage.log.send_modify(|log| log.push(request));
    if !body.is_object() {
        return api_error(400, &json!({"error": {"message": "the body is not a JSON object", "code": "invalid_json"}}));
    }
    match stage.cue(&body) {
        Cue::Items(items) => {
            let (pace, usage) = (stage.script.item_pace(), stage.script.fixed_usage());
            unbroken(stream::answer(&body, items, pace, usage))
        }
        Cue::Fault(fault) => fail(fault, &body).await,
    }
}

async fn not_found(State(stage): State<Arc<Stage>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    stage.log.send_modify(|log| log.push(Request::new(&method, &uri, &headers, &body)));
    let message = format!("the scripted model serves POST /v1/responses, not {method} {}", uri.path());
    api_error(404, &json!({"error": {"message": message, "code": "not_found"}}))
}

async fn fail(fault: Fault, body: &Value) -> Response {
    match fault {
        Fault::Http { status, body } => api_error(status, &body),
        Fault::Failed { code, message } => unbroken(stream::failed(code, message)),
        Fault::Incomplete => unbroken(stream::incomplete(body)),
        Fault::Cut => Sse::new(stream::cut()).into_response(),
        Fault::Hang => unbroken(stream::hang()),
        Fault::HangBeforeHeaders => std::future::pending().await,
    }
}

/// Returns a response with a stream that never breaks.
fn unbroken(events: impl Stream<Item = Event> + Send + 'static) -> Response {
    Sse::new(events.map(Ok::<Event, Infallible>)).into_response()
}

fn api_error(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(body)).into_response();
    if status == StatusCode::TOO_MANY_REQUESTS {
        response.headers_mut().insert("retry-after", axum::http::HeaderValue::from_static("1"));
    }
    response
}
