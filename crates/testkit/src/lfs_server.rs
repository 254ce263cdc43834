//! A git-lfs server on the loopback interface. It records every request, so that tests can check which server was contacted. It
//! does not check credentials.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use axum::{Json, Router};
use serde_json::{Value, json};

#[derive(Default)]
struct Kept {
    requests: Vec<String>,
    objects: HashMap<String, Bytes>,
}

/// A server that serves the objects of a test and accepts uploads.
pub struct LfsServer {
    url: String,
    kept: Arc<Mutex<Kept>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for LfsServer {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl LfsServer {
    /// Starts the server.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let kept = Arc::<Mutex<Kept>>::default();
        let app = Router::new().fallback(answer).with_state(Arc::clone(&kept));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("the server runs until it is dropped") });
        Self { url, kept, server }
    }

    /// Returns the URL of the server without a path.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Adds an object.
    pub fn put(&self, oid: &str, content: &str) {
        self.kept().objects.insert(oid.to_owned(), Bytes::copy_from_slice(content.as_bytes()));
    }

    /// Returns whether the server has an object.
    pub fn has(&self, oid: &str) -> bool {
        self.kept().objects.contains_key(oid)
    }

    /// Returns the method and path of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.kept().requests.clone()
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn answer(State(kept): State<Arc<Mutex<Kept>>>, method: Method, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    kept.requests.push(format!("{method} {uri}"));
    let name = uri.path().rsplit('/').next().unwrap_or_default().to_owned();
    if method == Method::POST && uri.path().ends_with("/objects/batch") {
        let host = headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
        let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
        let operation = asked["operation"].as_str().unwrap_or("download").to_owned();
        let objects = asked["objects"].as_array().cloned().unwrap_or_default().into_iter().map(|object| {
            let oid = object["oid"].as_str().unwrap_or_default();
            let href = format!("http://{host}/content/{oid}");
            let mut answer = json!({ "oid": oid, "size": object["size"] });
            if operation == "upload" || kept.objects.contains_key(oid) {
                answer["actions"] = json!({ operation.as_str(): { "href": href } });
            } else {
                answer["error"] = json!({ "code": 404, "message": "not there" });
            }
            answer
        });
        let body = json!({ "transfer": "basic", "objects": objects.collect::<Vec<_>>() });
        return ([("content-type", "application/vnd.git-lfs+json")], Json(body).0.to_string()).into_response();
    }
    match (method, kept.objects.get(&name)) {
        (Method::PUT, _) => {
            kept.objects.insert(name, body);
            StatusCode::OK.into_response()
        }
        (Method::GET, Some(content)) => content.clone().into_response(),
        (_, _) => StatusCode::NOT_FOUND.into_response(),
    }
}
