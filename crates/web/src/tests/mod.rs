//! Tests of whole routers with a real engine in this process: the pages of a browser, and the API over both listeners.
//!
//! No run starts: the repository is paused, or a test writes the record and the log of a finished run into the home. Tests with
//! running servers, agents and browsers are black-box tests.

mod api;
mod doors;
mod installed;
mod repositories;
mod streams;
mod tasks;
mod transcript;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, header};
use config::Config;
use engine::{Caller, Engine, User};
use futures_util::StreamExt as _;
use model::environment::EnvironmentStatus;
use process::BaseEnvironment;
use protocol::ProblemView;
use serde_json::{Value, json};
use testkit::upstream::{Upstream, environment};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt as _;

use crate::guard::Endpoint;
use crate::openapi;
use crate::router;
use crate::state::Api;

/// What browsers accept when they open a page.
const PAGE: &str = "text/html,application/xhtml+xml,*/*;q=0.8";

/// An engine with its routers, and a browser that is signed in.
struct Stage {
    engine: Engine,
    tcp: Router,
    unix: Router,
    /// The cookie and the form token of the browser.
    cookie: String,
    token: String,
    closing: CancellationToken,
    folder: tempfile::TempDir,
    upstream: Upstream,
}

/// A complete response.
#[derive(Debug)]
struct Reply {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Reply {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }

    /// Returns the status and the code of a problem, whose format it checks.
    fn problem(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), "application/problem+json", "{}", self.body);
        let view: ProblemView = serde_json::from_str(&self.body).expect("a problem");
        assert_eq!(view.status, self.status, "the body repeats the status");
        assert!(!view.detail.is_empty() && !view.title.is_empty(), "{}", self.body);
        (view.status, view.code.as_str().to_owned())
    }

    /// Returns the status and the path of a redirect.
    fn leads_to(&self) -> (u16, &str) {
        (self.status, self.header("location"))
    }

    /// Checks that this is a page under the policy of all pages, and returns it.
    #[track_caller]
    fn page(&self, status: u16) -> &str {
        assert_eq!((self.status, self.header("content-type")), (status, "text/html; charset=utf-8"), "{}", self.body);
        let policy = self.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        &self.body
    }
}

/// Returns the settings of an engine in this folder.
fn settings(folder: &Path) -> Config {
    let variables: Vec<_> = environment(folder).into_iter().map(|(name, value)| (name.into(), value.into())).collect();
    Config {
        worker: Some("/bin/true".to_owned()),
        memory_for_runs: None,
        free_space_floor: 0,
        prepared_worktrees: 0,
        base_environment: BaseEnvironment::pick(variables.clone()),
        environment: variables.into_iter().collect(),
        ..Config::for_home(&folder.join("home"))
    }
}

impl Stage {
    async fn new() -> Self {
        Self::in_folder(tempfile::tempdir().expect("a folder"), Upstream::new()).await
    }

    async fn in_folder(folder: tempfile::TempDir, upstream: Upstream) -> Self {
        let engine = Engine::start(settings(folder.path())).await.expect("the engine starts");
        let closing = CancellationToken::new();
        let api = Api { engine: engine.clone(), closing: closing.clone(), work: TaskTracker::new(), openapi: &openapi::DOCUMENT };
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 8080);
        engine.set_listen(address);
        let allowed = ["box.example".to_owned()];
        let (tcp, unix) = (router::app(api.clone(), Endpoint::Tcp(address), &allowed), router::app(api, Endpoint::Unix, &[]));
        let mut stage = Self { engine, tcp, unix, cookie: String::new(), token: String::new(), closing, folder, upstream };
        let form = format!("code={}", stage.user().sign_in_code());
        let signed = stage.ask(stage.form("/sign-in", form)).await;
        assert_eq!(signed.leads_to(), (303, "/"));
        stage.cookie = signed.header("set-cookie").split(';').next().expect("a cookie").to_owned();
        let page = stage.get("/settings").await.body;
        let (_, rest) = page.split_once(r#"name="form_token" value=""#).expect("the page has a form");
        stage.token = rest.split('"').next().expect("a value").to_owned();
        stage
    }

    /// Returns the engine as its owner.
    fn user(&self) -> User {
        self.engine.as_user(Caller::Program)
    }

    /// Starts an engine with a repository in which no run starts. Returns the repository's ID.
    async fn with_repository() -> (Self, String) {
        let stage = Self::new().await;
        let id = stage.add_repository(&json!({ "repo_url": stage.upstream.url(), "name": "app" })).await;
        let paused = stage.api("PATCH", &format!("/api/v1/envs/{id}"), &json!({ "runs": { "paused": true } })).await;
        assert_eq!(paused.status, 200, "{}", paused.body);
        (stage, id)
    }

    /// Adds a repository, and waits until it is cloned or its clone has failed.
    async fn add_repository(&self, asked: &Value) -> String {
        let mut feed = pin!(self.user().feed(None));
        let added = self.api("POST", "/api/v1/envs", asked).await;
        assert_eq!(added.status, 201, "{}", added.body);
        let id = added.json()["env_id"].as_str().expect("an ID").to_owned();
        while self.user().environment(&id).expect("it exists").status == EnvironmentStatus::Cloning {
            feed.next().await.expect("the feed continues");
        }
        id
    }

    /// Adds a task that waits in the queue. Returns its ID.
    async fn task(&self, env: &str, prompt: &str) -> String {
        let added = self.api("POST", "/api/v1/tasks", &json!({ "env_id": env, "prompt": prompt })).await;
        assert_eq!(added.status, 201, "{}", added.body);
        added.json()["task_id"].as_str().expect("an ID").to_owned()
    }

    /// Stops the engine, changes its home, and starts it again.
    async fn again(self, change: impl FnOnce(&Path)) -> Self {
        let Self { engine, tcp, unix, folder, upstream, closing, .. } = self;
        closing.cancel();
        drop((tcp, unix));
        engine.shutdown().await;
        drop(engine);
        change(&folder.path().join("home"));
        Self::in_folder(folder, upstream).await
    }

    /// Returns the host name of the pages.
    fn host(&self) -> String {
        format!("{}:8080", self.engine.pages_host())
    }

    /// Sends a request as it is to the TCP listener.
    async fn ask(&self, request: Request<Body>) -> Reply {
        reply(&self.tcp, request).await
    }

    /// Returns a request of the signed-in browser.
    fn browser(&self, method: &str, path: &str) -> axum::http::request::Builder {
        let request = Request::builder().method(method).uri(path).header(header::HOST, self.host()).header(header::ACCEPT, PAGE);
        let request =
            request.header(header::USER_AGENT, "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0");
        if self.cookie.is_empty() { request } else { request.header(header::COOKIE, &self.cookie) }
    }

    /// Returns a request that sends an encoded form.
    fn form(&self, path: &str, form: String) -> Request<Body> {
        let request = self.browser("POST", path).header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        request.header(header::ORIGIN, format!("http://{}", self.host())).body(form.into()).expect("a request")
    }

    /// Opens a page.
    async fn get(&self, path: &str) -> Reply {
        self.ask(self.browser("GET", path).body(Body::empty()).expect("a request")).await
    }

    /// Sends a form with its token.
    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Reply {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.append_pair("form_token", &self.token).extend_pairs(fields);
        self.ask(self.form(path, form.finish())).await
    }

    /// Sends a form with files: each has a name and its content.
    async fn upload(&self, path: &str, fields: &[(&str, &str)], files: &[(&str, &[u8])]) -> Reply {
        let mut body = vec![];
        let own = [("form_token", self.token.as_str())];
        for (name, value) in own.iter().chain(fields) {
            body.extend_from_slice(
                format!("--X\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").as_bytes(),
            );
        }
        for (name, content) in files {
            let head = format!("--X\r\nContent-Disposition: form-data; name=\"images\"; filename=\"{name}\"\r\n\r\n");
            body.extend_from_slice(head.as_bytes());
            body.extend_from_slice(content);
            body.extend_from_slice(b"\r\n");
        }
        body.extend_from_slice(b"--X--\r\n");
        let mut request = self.form(path, String::new());
        request.headers_mut().insert(header::CONTENT_TYPE, "multipart/form-data; boundary=X".parse().expect("a type"));
        *request.body_mut() = body.into();
        self.ask(request).await
    }

    /// Sends a request to the API over the unix socket. `null` sends no body.
    async fn api(&self, method: &str, path: &str, body: &Value) -> Reply {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        let request = if body.is_null() {
            request.body(Body::empty())
        } else {
            request.header(header::CONTENT_TYPE, "application/json").body(body.to_string().into())
        };
        reply(&self.unix, request.expect("a request")).await
    }

    /// Returns the folder of a task in the home.
    fn task_folder(&self, id: &str) -> PathBuf {
        self.folder.path().join("home/tasks").join(id)
    }
}

/// Writes the log of a task's only run, and changes the run's record.
fn write_run(home: &Path, task: &str, log: &[u8], changes: &Value) {
    let folder = home.join("tasks").join(task);
    std::fs::write(folder.join("logs/run-001.jsonl"), log).expect("the folder exists");
    let path = folder.join("meta.json");
    let mut record: Value = serde_json::from_slice(&std::fs::read(&path).expect("the record exists")).expect("JSON");
    for (name, value) in changes.as_object().expect("an object") {
        record["runs"][0][name] = value.clone();
    }
    for name in ["status", "thread_id"] {
        record[name] = record["runs"][0][name].clone();
    }
    std::fs::write(path, record.to_string()).expect("the folder is writable");
}

/// Returns the changes for a run that ended in this way after a minute.
fn ended(status: &str) -> Value {
    json!({
        "status": status, "started_at": "2026-01-02T03:04:05Z", "finished_at": "2026-01-02T03:05:10Z", "exit_code": 0,
        "thread_id": "01a201f5-b7dd-79a1-8a6e-7e6639f5c652", "turn_started": true,
    })
}

/// Returns a line of a log with a complete message.
fn said(id: usize, text: &str) -> String {
    let item = json!({ "id": format!("item_{id}"), "type": "agent_message", "text": text });
    json!({ "type": "item.completed", "item": item }).to_string() + "\n"
}

async fn reply(router: &Router, request: Request<Body>) -> Reply {
    let response = router.clone().oneshot(request).await.expect("the router answers");
    let (head, body) = response.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 32 << 20).await.expect("the body ends");
    Reply { status: head.status.as_u16(), headers: head.headers, body: String::from_utf8_lossy(&body).into_owned() }
}
