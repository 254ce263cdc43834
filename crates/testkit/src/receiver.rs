//! An HTTP server that receives and keeps notifications. A test can make it reject the next requests.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use tokio::sync::mpsc;

/// A received request: its headers, whose names are in lower case, and its body.
#[derive(Debug, Clone)]
pub struct Said {
    /// The headers.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Said {
    /// Returns the value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

#[derive(Clone)]
struct Ear {
    heard: mpsc::UnboundedSender<Said>,
    refusals: Arc<Mutex<u32>>,
}

/// A server on the loopback interface.
pub struct Receiver {
    url: String,
    heard: mpsc::UnboundedReceiver<Said>,
    refusals: Arc<Mutex<u32>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Receiver {
    /// Starts the server.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
        let url = format!("http://{}/hook", listener.local_addr().expect("it is bound"));
        let (sender, heard) = mpsc::unbounded_channel();
        let refusals = Arc::new(Mutex::new(0));
        let ear = Ear { heard: sender, refusals: Arc::clone(&refusals) };
        let app = Router::new().fallback(hear).with_state(ear);
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("the server runs until it is dropped") });
        Self { url, heard, refusals, server }
    }

    /// Returns the URL of the server.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Rejects the next requests, up to this number.
    pub fn refuse(&self, times: u32) {
        *self.refusals.lock().unwrap_or_else(PoisonError::into_inner) = times;
    }

    /// Waits for the next request.
    pub async fn next(&mut self) -> Said {
        let limit = std::time::Duration::from_mins(1);
        let said = tokio::time::timeout(limit, self.heard.recv()).await.expect("a request arrives");
        said.expect("the server listens")
    }

    /// Returns a request that has already arrived.
    pub fn already(&mut self) -> Option<Said> {
        self.heard.try_recv().ok()
    }
}

async fn hear(State(ear): State<Ear>, headers: HeaderMap, body: Bytes) -> StatusCode {
    {
        let mut refusals = ear.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if *refusals > 0 {
            *refusals -= 1;
            return StatusCode::SERVICE_UNAVAILABLE;
        }
    }
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let said = Said { headers, body: String::from_utf8_lossy(&body).into_owned() };
    // At the end of a test, the receiver may have been dropped.
    if ear.heard.send(said).is_err() { StatusCode::GONE } else { StatusCode::OK }
}
