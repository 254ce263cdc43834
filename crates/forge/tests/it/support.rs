//! A Git host on the loopback interface that gives prepared responses and records every request.
//!
//! It has no state: a test decides what each request gets.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use forge::{Forge, Forges};
use model::forge::{ApiUrl, ForgeKind, ForgePlace, ProjectPath};
use model::ids::ObjectId;
use model::names::BranchName;
use model::publication::{PullRequest, PullRequestState};
use model::secret::Secret;
use serde_json::{Value, json};

/// The token of all clients.
pub(crate) const TOKEN: &str = "token-0123456789abcdef";

/// A request, as the host received it.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// The method, the path and the query, such as `GET /api/v3/repos/me/app/pulls?state=open`.
    pub(crate) line: String,
    headers: HeaderMap,
    /// The body if it is JSON.
    pub(crate) body: Option<Value>,
}

impl Request {
    /// Returns a header, or an empty text.
    pub(crate) fn header(&self, name: &str) -> String {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned()
    }
}

/// A response.
#[derive(Debug, Clone)]
pub(crate) struct Reply {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(body: &Value) -> Self {
        Self::bytes(body.to_string().into_bytes())
    }

    pub(crate) fn text(body: &str) -> Self {
        Self::bytes(body.as_bytes().to_vec())
    }

    pub(crate) fn bytes(body: Vec<u8>) -> Self {
        Self { status: 200, headers: vec![], body }
    }

    /// A redirect.
    pub(crate) fn to(status: u16, target: &str) -> Self {
        Self::text("").status(status).header("location", target)
    }

    pub(crate) fn status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.push((name, value.to_owned()));
        self
    }
}

type Answers = dyn Fn(&Request) -> Reply + Send + Sync;

struct Shared {
    answers: Box<Answers>,
    /// The response to every request, once it is set.
    fixed: Mutex<Option<Reply>>,
    requests: Mutex<Vec<Request>>,
}

/// A Git host.
pub(crate) struct Host {
    url: String,
    shared: Arc<Shared>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Host {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Host {
    /// Starts a host that responds to each request with what the function returns.
    pub(crate) async fn start(answers: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let shared = Arc::new(Shared { answers: Box::new(answers), fixed: Mutex::default(), requests: Mutex::default() });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("the server runs until it is dropped") });
        Self { url, shared, server }
    }

    /// Starts a host that responds to exactly these requests. Any other request gets 404.
    pub(crate) async fn with<const N: usize>(answers: [(&'static str, Value); N]) -> Self {
        Self::start(move |request| {
            let found = answers.iter().find(|(line, _)| *line == request.line);
            found.map_or_else(|| unexpected(request), |(_, body)| Reply::json(body))
        })
        .await
    }

    /// Starts a host that responds to every request with these responses, in this order. The last one is repeated.
    pub(crate) async fn in_order(replies: Vec<Reply>) -> Self {
        let left = Mutex::new(replies);
        Self::start(move |_| {
            let mut left = locked(&left);
            if left.len() > 1 { left.remove(0) } else { left[0].clone() }
        })
        .await
    }

    /// Starts a host whose responses are set with [`Self::answer`].
    pub(crate) async fn silent() -> Self {
        Self::start(unexpected).await
    }

    /// Sets the response to all following requests, and forgets the requests so far.
    pub(crate) fn answer(&self, body: &Value) {
        *locked(&self.shared.fixed) = Some(Reply::json(body));
        locked(&self.shared.requests).clear();
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Returns the repository `me/app` on this host. The API has the usual path of this kind of host.
    pub(crate) fn place(&self, kind: ForgeKind) -> ForgePlace {
        let version = match kind {
            ForgeKind::GitHub => "v3",
            ForgeKind::GitLab => "v4",
            ForgeKind::Forgejo => "v1",
        };
        place(kind, &format!("{}/api/{version}", self.url), "me/app")
    }

    /// Returns a new client for the repository `me/app`.
    pub(crate) fn client(&self, kind: ForgeKind) -> Arc<dyn Forge> {
        client(&self.place(kind))
    }

    /// Returns all requests so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        locked(&self.shared.requests).clone()
    }

    /// Returns the request lines so far.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.requests().into_iter().map(|request| request.line).collect()
    }

    /// Returns the only request.
    #[track_caller]
    pub(crate) fn only_request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }
}

/// Returns the repository with this name at the host with this API URL.
pub(crate) fn place(kind: ForgeKind, api_url: &str, project: &str) -> ForgePlace {
    ForgePlace {
        kind,
        api_url: ApiUrl::parse(api_url).expect("the URL is valid"),
        project: ProjectPath::parse(project).expect("the name is valid"),
        is_default_github: false,
    }
}

pub(crate) fn client(place: &ForgePlace) -> Arc<dyn Forge> {
    Forges::default().client(place, &Secret::new(TOKEN)).expect("the token is valid")
}

fn unexpected(request: &Request) -> Reply {
    Reply::json(&json!({ "message": format!("unexpected request: {}", request.line) })).status(404)
}

async fn answer(State(shared): State<Arc<Shared>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let request = Request { line: format!("{method} {uri}"), headers, body: serde_json::from_slice(&body).ok() };
    locked(&shared.requests).push(request.clone());
    let fixed = locked(&shared.fixed).clone();
    let reply = fixed.unwrap_or_else(|| (shared.answers)(&request));
    let mut response = Response::new(Body::from(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).expect("a status");
    for (name, value) in reply.headers {
        response.headers_mut().append(name, value.parse().expect("a header"));
    }
    response
}

pub(crate) fn branch(name: &str) -> BranchName {
    BranchName::parse(name).expect("the name is valid")
}

/// Returns a commit ID of 40 equal digits.
pub(crate) fn sha(digit: char) -> ObjectId {
    digit.to_string().repeat(40).parse().expect("an ID")
}

/// Returns a pull request with this head commit.
pub(crate) fn pull_request(head_sha: Option<ObjectId>) -> PullRequest {
    PullRequest {
        number: 7,
        url: "https://forge.example/me/app/7".to_owned(),
        title: "Fix it".to_owned(),
        state: PullRequestState::Open,
        draft: false,
        base: branch("main"),
        head_sha,
        created_at: "2026-01-02T03:04:05Z".parse().expect("a time"),
        mergeable: None,
        checks: None,
        reviews: None,
    }
}

/// Returns `base` with some fields replaced.
pub(crate) fn with(mut base: Value, fields: &Value) -> Value {
    let object = base.as_object_mut().expect("an object");
    for (name, value) in fields.as_object().expect("an object") {
        object.insert(name.clone(), value.clone());
    }
    base
}
