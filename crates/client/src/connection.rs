//! The connection to a server: its socket, and the URLs of requests.
//! It knows no operation of the API except the check whether the server answers.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use model::commit::PathText;
use model::ids::{EnvironmentId, RunNumber, ShellId, TaskId};
use model::problem::Problem;
use model::setup::ServiceName;
use reqwest::{Method, RequestBuilder, Url};
use serde::Serialize;
use socket_path::SocketPath;

/// How long to wait for an answer to `/healthz`. A suspended server accepts connections but never answers.
const PATIENCE: Duration = Duration::from_secs(10);

/// A client of the server at one Unix socket. Clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    /// Keeps the folder of the socket open: if the path is too long for a socket, the client connects through this folder.
    _socket: Option<Arc<SocketPath>>,
}

impl Client {
    /// Returns a client for the server at this socket, whether or not the server is running.
    pub async fn at(socket: &Path) -> Result<Self, Problem> {
        // A folder that does not exist yet has no server, so every request fails, as it should.
        let reachable = SocketPath::open(socket).await.ok().map(Arc::new);
        let path = reachable.as_ref().map_or(socket, |reachable| reachable.as_path());
        provide_tls();
        // No request uses TLS. Without this, the client reads all certificates of the system, which takes longer than a request.
        let builder = reqwest::Client::builder().unix_socket(path).no_proxy().tls_certs_only([]);
        let http = builder.build().map_err(Problem::internal)?;
        Ok(Self { http, _socket: reachable })
    }

    /// Returns whether the server answers. Waits at most 10 seconds.
    pub async fn answers(&self) -> bool {
        matches!(tokio::time::timeout(PATIENCE, self.healthz()).await, Ok(Ok(_)))
    }

    /// Returns a request to this path. The values replace the placeholders of the path, in order.
    pub(crate) fn request(&self, method: Method, path: &str, values: &[&dyn Segment]) -> RequestBuilder {
        self.http.request(method, url(path, values))
    }
}

/// Installs a TLS provider: reqwest requires one, although a Unix socket never uses TLS.
fn provide_tls() {
    // The call fails if a provider is already installed, which is fine: there is only one to choose from.
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// A value in the path of an operation.
pub(crate) trait Segment {
    /// Returns the value as the API spells it.
    fn text(&self) -> String;
}

impl Segment for TaskId {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Segment for EnvironmentId {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Segment for ShellId {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Segment for ServiceName {
    fn text(&self) -> String {
        self.to_string()
    }
}

impl Segment for PathText {
    fn text(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Segment for RunNumber {
    fn text(&self) -> String {
        // `Display` adds leading zeros, as in the names of log files.
        self.0.to_string()
    }
}

impl Segment for u32 {
    fn text(&self) -> String {
        self.to_string()
    }
}

fn url(path: &str, values: &[&dyn Segment]) -> Url {
    let mut url = Url::parse("http://localhost").expect("the URL is valid");
    let mut values = values.iter();
    let segments = path.split('/').skip(1).map(|segment| {
        let value = if segment.starts_with('{') { values.next() } else { None };
        value.map_or_else(|| segment.to_owned(), |value| value.text())
    });
    if let Ok(mut of_url) = url.path_segments_mut() {
        of_url.clear().extend(segments);
    }
    url
}

/// Adds a query to a request. A query without values adds nothing.
pub(crate) fn with_query<Q: Serialize>(request: RequestBuilder, query: &Q) -> Result<RequestBuilder, Problem> {
    let (http, request) = request.build_split();
    let mut request = request.map_err(Problem::internal)?;
    let query = serde_urlencoded::to_string(query).map_err(Problem::internal)?;
    request.url_mut().set_query(Some(query.as_str()).filter(|query| !query.is_empty()));
    Ok(RequestBuilder::from_parts(http, request))
}

#[cfg(test)]
mod tests {
    use protocol::{DiffFormat, DiffQuery, TaskQuery};

    use super::*;

    #[test]
    fn placeholders_are_replaced_in_order() {
        let task: TaskId = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650".parse().expect("an ID");
        let check = |path, values: &[&dyn Segment], expect: &str| assert_eq!(url(path, values).as_str(), expect);
        check("/api/v1/envs", &[], "http://localhost/api/v1/envs");
        check(
            "/api/v1/tasks/{task_id}/runs/{n}/log",
            &[&task, &RunNumber(3)],
            "http://localhost/api/v1/tasks/01a201f5-b7dd-79a1-8a6e-7e6639f5c650/runs/3/log",
        );
        check("/x/{path}", &[&PathText::new(b"a/b c%/../d")], "http://localhost/x/a%2Fb%20c%25%2F..%2Fd");
    }

    #[test]
    fn a_query_has_only_what_was_asked_for() {
        provide_tls();
        let asked = |query: &dyn Fn(RequestBuilder) -> Result<RequestBuilder, Problem>| {
            let request = reqwest::Client::new().get("http://localhost/x");
            query(request).expect("a query").build().expect("a request").url().query().map(str::to_owned)
        };
        assert_eq!(asked(&|request| with_query(request, &TaskQuery::default())), None);
        let tasks = TaskQuery { q: Some("a b&c=ä".to_owned()), limit: Some(5), ..TaskQuery::default() };
        assert_eq!(asked(&|request| with_query(request, &tasks)).as_deref(), Some("q=a+b%26c%3D%C3%A4&limit=5"));
        let diff = DiffQuery { run: Some("2".to_owned()), since_viewed: false, format: DiffFormat::Patch };
        assert_eq!(asked(&|request| with_query(request, &diff)).as_deref(), Some("run=2&format=patch"));
    }
}
