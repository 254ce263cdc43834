//! The broker: a run's container has a token of its own, and never the key of the model's API.
//!
//! It passes on what Codex needs to speak to a model and nothing else, swaps the token for the key, counts what the run uses, and
//! refuses more than its budget. For a run without an open network it also takes out of requests what the API would do elsewhere
//! (`hosted`). Invariant: the key goes to the model's API and nowhere else.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use model::container::HostedTools;
use reqwest::Url;
use serde_json::json;
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::hosted::Notes;
use super::secret::Secret;
use super::serve::{Body, Serving, Silence, respond, serve};
use super::usage::Cost;

/// What Codex asks of a model's API.
const PASSED: &[(&str, &str)] = &[("POST", "/v1/responses"), ("POST", "/v1/responses/compact"), ("GET", "/v1/models")];

/// Requests that are with the model at once; more wait. It is also by how many a budget can be overshot, since what an answer
/// costs is known at its end.
const AT_ONCE: usize = 32;

/// How many mebibytes requests may have together that are read as a whole; more wait.
const ROOM: usize = 256;

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
    /// How many tokens the run may use. Requests that have begun when it is used up come to their end.
    pub budget: Option<u64>,
    /// Whether requests may ask the API to act elsewhere, such as to search the web or to fetch an address.
    pub hosted_tools: HostedTools,
    /// Called with what was taken out of requests, once for each kind.
    pub tell_removed: Box<dyn Fn(&str) + Send + Sync>,
}

/// A broker at work. It ends, with all that goes through it, when this is dropped.
#[derive(Debug)]
pub struct Broker {
    shared: Arc<Shared>,
    _serving: Serving,
}

/// What went through a broker. Tokens are those that the model has said; an answer that breaks off says none.
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

/// What the requests of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client: reqwest::Client,
    pub(super) upstream: Url,
    pub(super) key: Secret,
    pub(super) budget: Option<u64>,
    pub(super) places: Arc<Semaphore>,
    pub(super) hosted_tools: HostedTools,
    pub(super) notes: Notes,
    /// Mebibytes for requests that are read as a whole.
    pub(super) room: Arc<Semaphore>,
    /// Held while a request is taken apart, which needs several times its size.
    pub(super) checking: Arc<Semaphore>,
    token: Token,
    requests: AtomicU64,
    refused: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
    /// Whether an answer was asked for whose cost will never be known.
    in_background: AtomicBool,
}

/// What the container says instead of the key.
struct Token(String);

/// Without the token.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
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
        let key = Secret::new(&settings.api_key).map_err(|_| unusable("the key has characters that no key has"))?;
        let shared = Arc::new(Shared {
            client: client()?,
            upstream,
            key,
            budget: settings.budget,
            places: Arc::new(Semaphore::new(AT_ONCE)),
            hosted_tools: settings.hosted_tools,
            notes: Notes::new(settings.tell_removed),
            room: Arc::new(Semaphore::new(ROOM)),
            checking: Arc::new(Semaphore::new(1)),
            token: Token(settings.token),
            requests: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            input: AtomicU64::new(0),
            output: AtomicU64::new(0),
            in_background: AtomicBool::new(false),
        });
        let answering = Arc::clone(&shared);
        let serving = serve(&settings.socket, Silence::Gone, move |request, end| Arc::clone(&answering).answer(request, end))?;
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

/// An answer of ours in the form of the API's own errors, so that Codex shows the message and does not try again.
pub(super) fn refusal(status: StatusCode, code: &str, message: &str) -> Response<Body> {
    let error = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}});
    respond(status, "application/json", error.to_string())
}

impl Shared {
    async fn answer(self: Arc<Self>, request: Request<Incoming>, end: CancellationToken) -> Response<Body> {
        match self.refuse(&request) {
            Some(refused) => self.refused(refused),
            None => self.pass_on(request, end).await,
        }
    }

    fn refuse(&self, request: &Request<Incoming>) -> Option<Response<Body>> {
        let said = request.headers().get(header::AUTHORIZATION).map(header::HeaderValue::as_bytes).unwrap_or_default();
        let expected = format!("Bearer {}", self.token.0);
        if !bool::from(said.ct_eq(expected.as_bytes())) {
            return Some(refusal(StatusCode::UNAUTHORIZED, "invalid_run_token", "this is not the run's token"));
        }
        let asked = (request.method().as_str(), request.uri().path());
        if !PASSED.contains(&asked) {
            let message = format!("{} {} is not passed on: only what Codex needs to speak to the model", asked.0, asked.1);
            return Some(refusal(StatusCode::FORBIDDEN, "not_passed_on", &message));
        }
        self.refuse_by_budget(request.method())
    }

    /// The refusal of what costs tokens, when there are none left.
    pub(super) fn refuse_by_budget(&self, method: &Method) -> Option<Response<Body>> {
        let budget = self.budget.filter(|_| *method == Method::POST)?;
        let used = self.input.load(Ordering::Relaxed).saturating_add(self.output.load(Ordering::Relaxed));
        let message = if used >= budget {
            format!("the run's budget of {budget} tokens is used up: it has used {used}")
        } else if self.in_background.load(Ordering::Relaxed) {
            format!("the run's budget of {budget} tokens cannot be kept: it asked for an answer in the background")
        } else {
            return None;
        };
        Some(refusal(StatusCode::BAD_REQUEST, "budget_exceeded", &message))
    }

    /// Counts a refusal.
    pub(super) fn refused(&self, refused: Response<Body>) -> Response<Body> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        refused
    }

    /// Counts a request that is passed on.
    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts an answer.
    pub(super) fn count(&self, cost: Cost) {
        match cost {
            Cost::Known(tokens) => {
                self.input.fetch_add(tokens.input, Ordering::Relaxed);
                self.output.fetch_add(tokens.output, Ordering::Relaxed);
            }
            Cost::Background => self.in_background.store(true, Ordering::Relaxed),
            Cost::Unknown => tracing::debug!("the model's response has no token usage"),
        }
    }
}
