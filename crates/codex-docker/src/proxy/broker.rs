//! The broker: a run's container has a token of its own, and never the key of the model's API.
//!
//! It passes on what Codex needs to speak to a model and nothing else, swaps the token for the key, streams both ways, counts
//! what the run uses, and refuses more than its budget. Invariant: the key goes to the model's API and nowhere else.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http_body_util::{BodyExt as _, Limited, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, header};
use reqwest::Url;
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::serve::{Body, Serving, respond, serve, strip_hop_by_hop};
use super::usage::Reader;

/// What Codex asks of a model's API.
const PASSED: &[(&str, &str)] = &[("POST", "/v1/responses"), ("POST", "/v1/responses/compact"), ("GET", "/v1/models")];

/// The longest request. Codex sends the whole conversation each time, with its images.
const REQUEST_BYTES: usize = 128 << 20;

/// How long the model's API may take to be reached.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// What a broker is for.
pub struct BrokerSettings {
    /// Where it listens.
    pub socket: PathBuf,
    /// The model's API, as in `https://api.openai.com/v1`.
    pub upstream: String,
    /// The key of that API.
    pub api_key: String,
    /// What the container must say instead.
    pub token: String,
    /// How many tokens the run may use.
    pub budget: Option<u64>,
}

/// A broker at work. It ends, with all that goes through it, when this is dropped.
#[derive(Debug)]
pub struct Broker {
    shared: Arc<Shared>,
    _serving: Serving,
}

/// What went through a broker.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BrokerAccount {
    /// Requests that were passed on.
    pub requests: u64,
    /// Requests that were refused.
    pub refused: u64,
    /// Tokens that the model read.
    pub input_tokens: u64,
    /// Tokens that it wrote.
    pub output_tokens: u64,
}

struct Shared {
    client: reqwest::Client,
    upstream: Url,
    authorization: header::HeaderValue,
    token: String,
    budget: Option<u64>,
    requests: AtomicU64,
    refused: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
}

/// Without the key and the token.
impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("upstream", &self.upstream.as_str()).field("budget", &self.budget).finish_non_exhaustive()
    }
}

/// A token that nobody can guess: 244 random bits of the operating system.
pub fn new_token() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

impl Broker {
    /// Starts one. Needs a Tokio runtime.
    pub fn start(settings: BrokerSettings) -> io::Result<Self> {
        let unusable = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let upstream = Url::parse(&settings.upstream).map_err(|_| unusable("the model's address is no URL"))?;
        if !matches!(upstream.scheme(), "http" | "https") || upstream.host_str().is_none() {
            return Err(unusable("the model's address is neither http nor https"));
        }
        let mut authorization = header::HeaderValue::from_str(&format!("Bearer {}", settings.api_key))
            .map_err(|_| unusable("the key has characters that no key has"))?;
        authorization.set_sensitive(true);
        let shared = Arc::new(Shared {
            client: client()?,
            upstream,
            authorization,
            token: settings.token,
            budget: settings.budget,
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            input: AtomicU64::new(0),
            output: AtomicU64::new(0),
        });
        let answering = Arc::clone(&shared);
        let serving = serve(&settings.socket, move |request, end| Arc::clone(&answering).answer(request, end))?;
        Ok(Self { shared, _serving: serving })
    }

    /// What went through it so far.
    pub fn account(&self) -> BrokerAccount {
        let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let shared = &self.shared;
        BrokerAccount {
            requests: of(&shared.requests),
            refused: of(&shared.refused),
            input_tokens: of(&shared.input),
            output_tokens: of(&shared.output),
        }
    }
}

/// It follows no redirect, which could lead the key elsewhere, and takes no proxy from anybody's environment.
fn client() -> io::Result<reqwest::Client> {
    // Whoever comes first decides, and all decide alike.
    let _decided = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    builder.connect_timeout(CONNECT_LIMIT).build().map_err(io::Error::other)
}

fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    // In the form of the API's own errors, so that Codex shows the message and does not try again.
    let error = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}});
    respond(status, "application/json", error.to_string())
}

impl Shared {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, end: CancellationToken) -> Response<Body> {
        match self.refuse(&request) {
            Some(refused) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                refused
            }
            None => self.pass_on(request, end).await,
        }
    }

    fn refuse(&self, request: &Request<Incoming>) -> Option<Response<Body>> {
        let said = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes).unwrap_or_default();
        let expected = format!("Bearer {}", self.token);
        if !bool::from(said.ct_eq(expected.as_bytes())) {
            return Some(refusal(StatusCode::UNAUTHORIZED, "invalid_run_token", "this is not the run's token"));
        }
        let asked = (request.method().as_str(), request.uri().path());
        if !PASSED.contains(&asked) {
            let message = format!("{} {} is not passed on: only what Codex needs to speak to the model", asked.0, asked.1);
            return Some(refusal(StatusCode::FORBIDDEN, "not_passed_on", &message));
        }
        let used = self.input.load(Ordering::Relaxed) + self.output.load(Ordering::Relaxed);
        let budget = self.budget.filter(|budget| used >= *budget && *request.method() == Method::POST)?;
        let message = format!("the run's budget of {budget} tokens is used up: it has used {used}");
        Some(refusal(StatusCode::BAD_REQUEST, "budget_exceeded", &message))
    }

    async fn pass_on(self: Arc<Self>, request: Request<Incoming>, end: CancellationToken) -> Response<Body> {
        let (head, body) = request.into_parts();
        let mut url = self.upstream.clone();
        let below = head.uri.path().strip_prefix("/v1").unwrap_or_default();
        url.set_path(&format!("{}{below}", self.upstream.path().trim_end_matches('/')));
        url.set_query(head.uri.query());
        let passed = Limited::new(body, REQUEST_BYTES).into_data_stream();
        let asked =
            self.client.request(head.method, url).headers(self.headers(head.headers)).body(reqwest::Body::wrap_stream(passed));
        self.requests.fetch_add(1, Ordering::Relaxed);
        match asked.send().await {
            Ok(response) => self.stream(response, end),
            Err(error) => {
                // The address is no secret; whatever else the error knows stays here.
                tracing::warn!(error = %error.without_url(), "the model's API could not be asked");
                let host = self.upstream.host_str().unwrap_or_default();
                refusal(StatusCode::BAD_GATEWAY, "model_unreachable", &format!("the model's API at {host} cannot be reached"))
            }
        }
    }

    fn headers(&self, mut headers: HeaderMap) -> HeaderMap {
        strip_hop_by_hop(&mut headers);
        headers.remove(header::HOST);
        // The body is sent on in pieces, as it comes.
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::AUTHORIZATION, self.authorization.clone());
        headers
    }

    /// Passes the answer on piece by piece, reading along for what it cost.
    fn stream(self: Arc<Self>, response: reqwest::Response, end: CancellationToken) -> Response<Body> {
        let status = response.status();
        let mut headers = response.headers().clone();
        strip_hop_by_hop(&mut headers);
        headers.remove(header::SET_COOKIE);
        headers.remove(header::CONTENT_LENGTH);
        let content_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut counting = Counting { shared: self, reader: Some(Reader::new(content_type)) };
        let pieces = response.bytes_stream().take_until(end.cancelled_owned()).map(move |piece| {
            let piece: Bytes = piece.map_err(|error| io::Error::other(error.without_url()))?;
            counting.read(&piece);
            Ok(Frame::data(piece))
        });
        let mut passed = Response::new(StreamBody::new(pieces).boxed_unsync());
        *passed.status_mut() = status;
        *passed.headers_mut() = headers;
        passed
    }
}

/// Counts an answer when it is over, however it is over.
struct Counting {
    shared: Arc<Shared>,
    reader: Option<Reader>,
}

impl Counting {
    fn read(&mut self, piece: &[u8]) {
        if let Some(reader) = &mut self.reader {
            reader.read(piece);
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        if let Some(tokens) = self.reader.take().and_then(Reader::finish) {
            self.shared.input.fetch_add(tokens.input, Ordering::Relaxed);
            self.shared.output.fetch_add(tokens.output, Ordering::Relaxed);
        }
    }
}
