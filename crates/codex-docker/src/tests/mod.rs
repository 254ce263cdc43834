//! A container engine that plays a script, for answers that a real engine does not give on demand: refusals, silence and races.
//!
//! It answers HTTP on a Unix socket, as a real engine does, and records what it was asked. Tests with a real engine are in
//! `tests/it` and in the black-box tests.

mod command_line;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bollard::{API_DEFAULT_VERSION, Docker};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use reqwest::Url;
use serde_json::{Value, json};
use tokio::net::UnixListener;

use crate::folder::RunFolder;
use crate::inside;
use crate::ledger::Marker;

/// An answer of the engine.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    /// A complete response.
    Said(u16, String),
    /// The engine closes the connection without a response.
    Silence,
}

/// A request that the engine received.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// The method, the path without the version of the API, and the decoded query without options that are off.
    pub(crate) line: String,
    /// The body, if it is JSON.
    pub(crate) body: Value,
    /// The body as bytes.
    pub(crate) bytes: Bytes,
}

/// Returns a successful answer with this content.
pub(crate) fn found(content: &Value) -> Answer {
    Answer::Said(200, content.to_string())
}

/// Returns a successful answer without content.
pub(crate) fn done() -> Answer {
    Answer::Said(204, String::new())
}

/// Returns an answer of several messages, as for a build.
pub(crate) fn stream(messages: &[Value]) -> Answer {
    Answer::Said(200, messages.iter().map(Value::to_string).collect::<Vec<_>>().join("\n"))
}

/// Returns a refusal with this message.
pub(crate) fn refusal(status: u16, message: &str) -> Answer {
    Answer::Said(status, json!({ "message": message }).to_string())
}

/// Returns the answer for something that does not exist.
pub(crate) fn missing() -> Answer {
    refusal(404, "no such thing")
}

/// A running engine. It stops with the test's runtime.
pub(crate) struct ScriptedEngine {
    pub(crate) docker: Docker,
    socket: PathBuf,
    asked: Arc<Mutex<Vec<Asked>>>,
    _folder: tempfile::TempDir,
}

impl ScriptedEngine {
    /// Starts an engine that answers each request with this function.
    pub(crate) fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).expect("the path is short");
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (answer, all) = (Arc::new(answer), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, all) = (Arc::clone(&answer), Arc::clone(&all));
                let service = service_fn(move |request| {
                    let (answer, all) = (Arc::clone(&answer), Arc::clone(&all));
                    async move { respond(request, &*answer, &all).await }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        let docker = Docker::connect_with_unix(socket.to_str().expect("text"), 20, API_DEFAULT_VERSION).expect("it listens");
        Self { docker, socket, asked, _folder: folder }
    }

    /// Returns the requests so far that change something, in order.
    pub(crate) fn changes(&self) -> Vec<String> {
        let lines = self.asked.lock().expect("sound").iter().map(|asked| asked.line.clone()).collect::<Vec<_>>();
        lines.into_iter().filter(|line| !line.starts_with("GET ")).collect()
    }

    /// Returns the requests whose line starts with this text.
    pub(crate) fn asked(&self, start: &str) -> Vec<Asked> {
        self.asked.lock().expect("sound").iter().filter(|asked| asked.line.starts_with(start)).cloned().collect()
    }

    /// Returns the environment of a caller whose engine this is.
    pub(crate) fn environment(&self, state: &Path) -> BTreeMap<String, String> {
        let state = state.display().to_string();
        [("DOCKER_HOST", format!("unix://{}", self.socket.display())), ("CODEX_DOCKER_STATE", state)]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

async fn respond(
    request: Request<Incoming>,
    answer: &(impl Fn(&Asked) -> Answer + ?Sized),
    all: &Mutex<Vec<Asked>>,
) -> std::io::Result<Response<Full<Bytes>>> {
    let (head, body) = request.into_parts();
    let bytes = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let url = Url::parse(&format!("http://engine{}", head.uri)).expect("a path and a query");
    let path = url.path().trim_start_matches('/');
    let path = path.split_once('/').filter(|(first, _)| first.starts_with("v1.")).map_or(path, |(_, rest)| rest);
    // The client also sends options that are off.
    let on = url.query_pairs().filter(|(_, value)| !value.is_empty() && value != "false");
    let query: Vec<String> = on.map(|(name, value)| format!("{name}={value}")).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    let body = serde_json::from_slice(&bytes).unwrap_or_default();
    let asked = Asked { line: format!("{} /{path}{query}", head.method), body, bytes };
    all.lock().expect("sound").push(asked.clone());
    let answered = match asked.line.as_str() {
        "GET /_ping" => found(&json!("OK")),
        _ => answer(&asked),
    };
    match answered {
        Answer::Said(status, content) => {
            let response = Response::builder().status(status).header("content-type", "application/json");
            Ok(response.body(Full::new(Bytes::from(content))).expect("a response"))
        }
        Answer::Silence => Err(std::io::Error::other("the engine is away")),
    }
}

/// Returns what Docker says about itself.
pub(crate) fn about(line: &str) -> Option<Answer> {
    match line {
        "GET /info" => Some(found(&json!({
            "ServerVersion": "28.1.0", "MemTotal": 16_u64 << 30, "SecurityOptions": ["name=seccomp,profile=default"],
        }))),
        "GET /version" => Some(found(&json!({ "Version": "28.1.0", "ApiVersion": "1.47" }))),
        _ => None,
    }
}

/// Returns the description of a container whose files are in this folder.
pub(crate) fn container(id: &str, folder: &Path, status: &str) -> Value {
    json!({
        "Id": id,
        "State": { "Status": status, "Running": status == "running", "ExitCode": 0 },
        "Config": { "Labels": { "codex-docker.managed": "true", "codex-docker.state": folder }, "Env": ["RUN=one"] },
        "HostConfig": { "Mounts": [{ "Type": "bind", "Source": folder.join("in"), "Target": inside::IN }] },
    })
}

/// Returns a list of labels.
pub(crate) fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// Creates the folder of a run that this process supervises until the folder is dropped.
pub(crate) fn supervised(root: &Path, name: &str, pairs: &[(&str, &str)]) -> RunFolder {
    let marker = Marker::new(name, "i:1", labels(pairs));
    let folder = RunFolder::hold(root, &marker).expect("nobody else uses the folder");
    folder.clear().expect("the folder is writable");
    folder
}

/// Creates the folder of a run that no process supervises, and returns its path.
pub(crate) fn orphan(root: &Path, name: &str, pairs: &[(&str, &str)]) -> PathBuf {
    supervised(root, name, pairs).path().to_owned()
}
