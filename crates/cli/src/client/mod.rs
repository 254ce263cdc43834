//! A typed client of the HTTP API with one method per operation. It uses the Unix socket of a home directory.
//!
//! The operations are listed once, in `operations`. The client starts no server and prints nothing.

mod operations;

use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::ErrorCode;
use model::problem::Problem;
use protocol::ProblemView;
use reqwest::{RequestBuilder, Response, Url};
use serde::Serialize;
use serde::de::DeserializeOwned;
use socket_path::SocketPath;
use store::Layout;

/// How long to wait for an answer to `/healthz`. A suspended server accepts connections but never answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client of the server of one home directory.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    /// Keeps the folder of the socket open: if the path is too long for a socket, the client connects through this folder.
    _socket: Option<Arc<SocketPath>>,
}

/// Returns the error for a server that did not answer, or that closed the connection too early.
pub(crate) fn lost(error: &dyn Display) -> Problem {
    Problem::new(ErrorCode::ServerLost, format!("the server does not answer: {error}"))
        .hint("start the server: codex-orchestrator up (runs continue without it)")
}

/// Installs a TLS provider: reqwest requires one, although a Unix socket never uses TLS.
fn provide_tls() {
    // The call fails if a provider is already installed, which is fine: there is only one to choose from.
    drop(rustls::crypto::ring::default_provider().install_default());
}

impl Client {
    /// Returns a client for the server of this home directory, whether or not the server is running.
    pub(crate) async fn of(home: &Path) -> Result<Self, Problem> {
        let socket = Layout::new(home).socket();
        // A home directory that does not exist yet has no server, so every request fails, as it should.
        let reachable = SocketPath::open(&socket).await.ok().map(Arc::new);
        let path = reachable.as_ref().map_or(socket.as_path(), |reachable| reachable.as_path());
        provide_tls();
        let http = reqwest::Client::builder().unix_socket(path).no_proxy().build().map_err(Problem::internal)?;
        Ok(Self { http, _socket: reachable })
    }

    /// Returns whether the server answers.
    pub(crate) async fn answers(&self) -> bool {
        let answer = self.http.get(url("/healthz", &[])).timeout(PATIENCE).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }
}

/// Fills the placeholders of a path, in order. Each value becomes one segment, whatever characters it contains.
fn url(path: &str, parameters: &[&dyn Display]) -> Url {
    let mut url = Url::parse("http://localhost").expect("the URL is valid");
    let mut values = parameters.iter();
    let is_placeholder = |segment: &str| segment.starts_with('{');
    let segments = path.split('/').skip(1).map(|segment| {
        let value = if is_placeholder(segment) { values.next() } else { None };
        value.map_or_else(|| segment.to_owned(), ToString::to_string)
    });
    if let Ok(mut of_url) = url.path_segments_mut() {
        of_url.clear().extend(segments);
    }
    url
}

/// Sets the query of a URL.
fn with_query<Q: Serialize>(mut url: Url, query: &Q) -> Result<Url, Problem> {
    let query = serde_urlencoded::to_string(query).map_err(Problem::internal)?;
    url.set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
    Ok(url)
}

/// Reads a response that has a JSON body.
async fn json<T: DeserializeOwned>(answer: Response) -> Result<T, Problem> {
    let body = answer.json().await;
    body.map_err(|error| Problem::internal(format!("could not read the server's answer: {error}")))
}

/// Returns the response without reading its body, so that the caller can read it piece by piece.
async fn stream(answer: Response) -> Result<Response, Problem> {
    Ok(answer)
}

/// Ignores the empty body of a response.
async fn nothing(_answer: Response) -> Result<(), Problem> {
    Ok(())
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

/// Returns the innermost cause of an error. The outer errors only say that a request failed.
fn source_of(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

#[cfg(test)]
mod tests {
    use protocol::{DiffFormat, DiffQuery, TaskQuery};

    use super::*;

    #[test]
    fn values_stay_within_their_segment_of_a_path() {
        let check = |path, parameters: &[&dyn Display], expect| assert_eq!(url(path, parameters).path(), expect);
        check("/api/v1/envs", &[], "/api/v1/envs");
        check("/api/v1/tasks/{task_id}/runs/{n}/log", &[&"01a2", &3], "/api/v1/tasks/01a2/runs/3/log");
        check("/api/v1/tasks/{task_id}", &[&"a/b?c#d"], "/api/v1/tasks/a%2Fb%3Fc%23d");
    }

    #[test]
    fn a_query_has_only_what_was_asked_for() {
        let query = |query: TaskQuery| serde_urlencoded::to_string(query).expect("a query");
        assert_eq!(query(TaskQuery::default()), "");
        assert_eq!(
            query(TaskQuery { q: Some("a b&c=ä".to_owned()), limit: Some(5), ..TaskQuery::default() }),
            "q=a+b%26c%3D%C3%A4&limit=5"
        );
        let diff = DiffQuery { run: Some("2".to_owned()), since_viewed: false, format: DiffFormat::Patch };
        assert_eq!(serde_urlencoded::to_string(diff).expect("a query"), "run=2&format=patch");
    }
}
