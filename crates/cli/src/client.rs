//! The API's client: JSON over the home's socket, problems as they came.
//! It starts no server and prints nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use engine::store::Layout;
use model::api::ProblemView;
use model::problem::{Problem, ProblemKind};
use reqwest::{Method, RequestBuilder, Response};
use serde::Serialize;
use serde::de::DeserializeOwned;
use web::SocketPath;

/// How long a server may take to say that it lives. One that was suspended takes connections and never answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client of one home's server.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    /// A long path is reached through an open folder, which must stay open.
    _socket: Option<Arc<SocketPath>>,
}

/// The server did not answer, or stopped answering.
pub(crate) fn lost(error: &dyn std::fmt::Display) -> Problem {
    Problem::new(ProblemKind::Unavailable, "server_lost", format!("the server does not answer: {error}"))
        .hint("`codex-orchestrator up` starts it; runs go on without it")
}

/// The HTTP client wants to know how it would speak TLS, though a socket is never asked to.
fn provide_tls() {
    // Whoever comes first decides, and all decide alike.
    drop(rustls::crypto::ring::default_provider().install_default());
}

impl Client {
    /// A client of the home's server, whether it runs or not.
    pub(crate) async fn of(home: &Path) -> Result<Self, Problem> {
        let socket = Layout::new(home).socket();
        // A home that is not there yet has no server that could be reached.
        let reachable = SocketPath::open(&socket).await.ok().map(Arc::new);
        let path = reachable.as_ref().map_or(socket.as_path(), |reachable| reachable.as_path());
        provide_tls();
        let http = reqwest::Client::builder().unix_socket(path).no_proxy().build().map_err(Problem::internal)?;
        Ok(Self { http, _socket: reachable })
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://localhost{path}"))
    }

    /// Whether the server answers.
    pub(crate) async fn answers(&self) -> bool {
        let asked = self.request(Method::GET, "/healthz").timeout(PATIENCE).send().await;
        asked.is_ok_and(|answer| answer.status().is_success())
    }

    /// A GET whose answer is JSON.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        json(self.request(Method::GET, path)).await
    }

    /// A request with a body, whose answer is JSON.
    pub(crate) async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Problem> {
        json(self.request(method, path).json(body)).await
    }

    /// A request with a body, whose answer is that it was done.
    pub(crate) async fn send_only(&self, method: Method, path: &str, body: &impl Serialize) -> Result<(), Problem> {
        checked(self.request(method, path).json(body)).await.map(drop)
    }

    /// A POST without a body.
    pub(crate) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, Problem> {
        json(self.request(Method::POST, path)).await
    }

    /// A DELETE.
    pub(crate) async fn delete(&self, path: &str) -> Result<(), Problem> {
        checked(self.request(Method::DELETE, path)).await.map(drop)
    }

    /// A GET whose answer is read piece by piece.
    pub(crate) async fn stream(&self, path: &str) -> Result<Response, Problem> {
        checked(self.request(Method::GET, path)).await
    }

    /// A stream of events: all of it, or what comes after an event that was seen.
    pub(crate) async fn events(&self, path: &str, after: Option<&str>) -> Result<Response, Problem> {
        let request = self.request(Method::GET, path);
        checked(match after {
            Some(id) => request.header("last-event-id", id),
            None => request,
        })
        .await
    }
}

async fn checked(request: RequestBuilder) -> Result<Response, Problem> {
    let answer = request.send().await.map_err(|error| lost(&source_of(&error)))?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let view = answer.json::<ProblemView>().await;
    Err(view.map_or_else(|_| Problem::internal(format!("the server answered {status}")), Problem::from))
}

async fn json<T: DeserializeOwned>(request: RequestBuilder) -> Result<T, Problem> {
    checked(request)
        .await?
        .json()
        .await
        .map_err(|error| Problem::internal(format!("the server's answer cannot be read: {error}")))
}

/// The innermost reason, which is the one that says something.
fn source_of(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
