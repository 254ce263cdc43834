//! A simulated Git host with real state: pull requests between the branches of a real bare repository, checks, reviews, limits and
//! faults.
//!
//! It behaves like GitHub, GitLab or Forgejo, over HTTP on the loopback interface. It records every request and answer, so that
//! tests can check them against the published API description.

mod forgejo;
mod git_http;
mod github;
mod gitlab;
mod state;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::Response;
use serde_json::{Value, json};

use state::World;
pub use state::{Check, Comment, PullRequest, Review};

use crate::upstream::Upstream;

/// The valid token.
pub const TOKEN: &str = "ghp_0123456789abcdefTHISisTHEtoken";

/// The name of the repository.
pub const PROJECT: &str = "me/app";

/// The Git host to simulate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// GitHub.
    GitHub,
    /// GitLab.
    GitLab,
    /// Forgejo.
    Forgejo,
}

/// A fault for requests whose request line (such as `POST /repos/me/app/pulls`) starts with a given text.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The start of the request line. An empty text matches every request.
    pub line: String,
    /// The number of times that the fault occurs.
    pub times: u32,
    /// The fault.
    pub what: Wrong,
}

/// Kinds of faults.
#[derive(Debug, Clone)]
pub enum Wrong {
    /// The host gives this answer instead of performing the request.
    Answer {
        /// The status.
        status: u16,
        /// Additional headers.
        headers: Vec<(&'static str, String)>,
        /// The body.
        body: Value,
    },
    /// The host performs the request, but disconnects instead of answering.
    DoneAndGone,
}

/// A request and its answer.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// The method, such as `GET`.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query.
    pub query: String,
    /// The body of the request.
    pub body: Option<Value>,
    /// The status of the answer.
    pub status: u16,
    /// The body of the answer if it is JSON.
    pub answer: Option<Value>,
}

/// A request.
struct Asked<'a> {
    method: &'a str,
    /// The path, split at slashes and decoded.
    path: Vec<String>,
    query: &'a str,
    body: Option<Value>,
}

impl Asked<'_> {
    fn query(&self, name: &str) -> Option<String> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| decoded(value)).next()
    }

    fn text(&self, name: &str) -> Option<String> {
        self.body.as_ref()?.get(name)?.as_str().map(str::to_owned)
    }
}

/// An answer.
enum Said {
    Json(u16, Value),
    Text(String),
    /// A redirect to another URL.
    Elsewhere(u16, String),
}

struct Inner {
    make: Make,
    world: Mutex<World>,
    faults: Mutex<VecDeque<Fault>>,
    exchanges: Mutex<Vec<Exchange>>,
    url: Mutex<String>,
}

/// A Git host with one repository.
pub struct FakeForge {
    inner: Arc<Inner>,
    url: String,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for FakeForge {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl FakeForge {
    /// Starts a Git host of this kind for this repository.
    pub async fn start(make: Make, upstream: &Upstream) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let url = format!("http://{address}");
        let inner = Arc::new(Inner {
            make,
            world: Mutex::new(World::new(upstream.path().to_owned())),
            faults: Mutex::default(),
            exchanges: Mutex::default(),
            url: Mutex::new(url.clone()),
        });
        let app = Router::new().fallback(answer).with_state(Arc::clone(&inner));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("the server runs until it is dropped") });
        Self { inner, url, server }
    }

    /// Returns the URL of the API.
    pub fn api_url(&self) -> &str {
        &self.url
    }

    /// Returns the pull requests.
    pub fn pull_requests(&self) -> Vec<PullRequest> {
        locked(&self.inner.world).pull_requests.clone()
    }

    /// Changes a pull request, as a person does.
    pub fn change(&self, number: u64, change: impl FnOnce(&mut PullRequest)) {
        let mut world = locked(&self.inner.world);
        let found = world.pull_requests.iter_mut().find(|pull_request| pull_request.number == number);
        change(found.expect("the pull request exists"));
    }

    /// Adds a check, or replaces the one with the same name.
    pub fn check(&self, check: Check) {
        let mut world = locked(&self.inner.world);
        world.checks.retain(|known| (&known.sha, &known.name) != (&check.sha, &check.name));
        world.checks.push(check);
    }

    /// Adds a review.
    pub fn review(&self, review: Review) {
        locked(&self.inner.world).reviews.push(review);
    }

    /// Adds a comment on a line.
    pub fn comment(&self, comment: Comment) {
        locked(&self.inner.world).comments.push(comment);
    }

    /// Replaces the valid token.
    pub fn set_token(&self, token: &str) {
        token.clone_into(&mut locked(&self.inner.world).token);
    }

    /// Renames the repository. The old name redirects to the new one, as on GitHub.
    pub fn rename(&self, project: &str) {
        let mut world = locked(&self.inner.world);
        let old = std::mem::replace(&mut world.project, project.to_owned());
        world.old_projects.push(old);
    }

    /// Deletes the repository.
    pub fn delete(&self) {
        let mut world = locked(&self.inner.world);
        "gone/gone".clone_into(&mut world.project);
        world.old_projects.clear();
    }

    /// Adds a fault. For each request, the first matching fault occurs.
    pub fn fault(&self, fault: Fault) {
        locked(&self.inner.faults).push_back(fault);
    }

    /// Returns all requests and answers so far.
    pub fn exchanges(&self) -> Vec<Exchange> {
        locked(&self.inner.exchanges).clone()
    }
}

async fn answer(State(inner): State<Arc<Inner>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    if uri.path().contains(".git/") {
        let (repository, token) = {
            let world = locked(&inner.world);
            (world.repository.clone(), world.token.clone())
        };
        return git_http::answer(&repository, &token, &method, &uri, &headers, &body).await;
    }
    let line = format!("{method} {}", uri.path());
    let fault = take_fault(&inner, &line);
    if let Some(Wrong::Answer { status, headers, body }) = fault {
        note(&inner, &method, &uri, &[], status, Some(body.clone()));
        return response(status, &headers, Body::from(body.to_string()));
    }
    let asked = Asked {
        method: method.as_str(),
        path: uri.path().split('/').skip(1).map(decoded).collect(),
        query: uri.query().unwrap_or_default(),
        body: serde_json::from_slice(&body).ok(),
    };
    let said = said(&inner, &headers, &asked);
    let (status, headers_out, text) = rendered(said, &headers);
    note(&inner, &method, &uri, &body, status, serde_json::from_str(&text).ok());
    if let Some(Wrong::DoneAndGone) = fault {
        // The connection closes because the body is shorter than its `content-length`.
        let broken = [("content-length", (text.len() + 1000).to_string())];
        return response(status, &broken, Body::from(text));
    }
    response(status, &headers_out, Body::from(text))
}

fn take_fault(inner: &Inner, line: &str) -> Option<Wrong> {
    let mut faults = locked(&inner.faults);
    let at = faults.iter().position(|fault| line.starts_with(&fault.line))?;
    faults[at].times -= 1;
    let what = faults[at].what.clone();
    if faults[at].times == 0 {
        faults.remove(at);
    }
    Some(what)
}

fn said(inner: &Inner, headers: &HeaderMap, asked: &Asked<'_>) -> Said {
    let mut world = locked(&inner.world);
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let given = match inner.make {
        Make::GitHub => header("authorization").strip_prefix("Bearer "),
        Make::Forgejo => header("authorization").strip_prefix("token "),
        Make::GitLab => Some(header("private-token")),
    };
    // Logs need no token, and the client must not send one to their host.
    if asked.path.first().is_some_and(|first| first == "blobs") {
        assert!(header("authorization").is_empty(), "no token is sent to the host of the logs");
        return Said::Text(world.log_of(asked.path[1].parse().unwrap_or_default()));
    }
    if given != Some(world.token.as_str()) {
        return Said::Json(
            401,
            json!({ "message": "Bad credentials", "documentation_url": "https://docs.github.com/rest", "status": "401" }),
        );
    }
    let url = locked(&inner.url).clone();
    match inner.make {
        Make::GitHub => github::answer(&mut world, &url, asked),
        Make::GitLab => gitlab::answer(&mut world, &url, asked),
        Make::Forgejo => forgejo::answer(&mut world, &url, asked),
    }
}

fn rendered(said: Said, headers: &HeaderMap) -> (u16, Vec<(&'static str, String)>, String) {
    let limits = [("x-ratelimit-limit", "5000".to_owned()), ("x-ratelimit-remaining", "4999".to_owned())];
    let mut out = limits.to_vec();
    let (status, text) = match said {
        Said::Text(text) => {
            out.push(("content-type", "text/plain".to_owned()));
            (200, text)
        }
        Said::Elsewhere(status, target) => {
            out.push(("location", target));
            (status, String::new())
        }
        Said::Json(status, value) => {
            out.push(("content-type", "application/json".to_owned()));
            (status, value.to_string())
        }
    };
    let etag = format!("W/\"{:x}\"", text.bytes().fold(7_u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())));
    let known = headers.get("if-none-match").and_then(|value| value.to_str().ok());
    if status == 200 && known == Some(&etag) {
        return (304, out, String::new());
    }
    out.push(("etag", etag));
    (status, out, text)
}

fn note(inner: &Inner, method: &Method, uri: &Uri, body: &[u8], status: u16, answer: Option<Value>) {
    locked(&inner.exchanges).push(Exchange {
        method: method.to_string(),
        path: uri.path().to_owned(),
        query: uri.query().unwrap_or_default().to_owned(),
        body: serde_json::from_slice(body).ok(),
        status,
        answer,
    });
}

fn response(status: u16, headers: &[(&'static str, String)], body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).expect("a status");
    for (name, value) in headers {
        response.headers_mut().insert(*name, value.parse().expect("a header"));
    }
    response
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8().expect("text").into_owned()
}

/// Runs git in the repository. Returns its output, or `None` if it fails.
fn git(repository: &Path, arguments: &[&str]) -> Option<String> {
    let done = std::process::Command::new("git").arg("--git-dir").arg(repository).args(arguments).output().ok()?;
    done.status.success().then(|| String::from_utf8_lossy(&done.stdout).trim().to_owned())
}

type Repository = PathBuf;
