//! The broker between a container and the model's API. The container only has a token for its run, never the API key.
//!
//! The broker passes on only the requests that Codex needs, replaces the token with the key, counts tokens, and enforces the
//! budget. If hosted tools are denied, it also removes them and remote references from requests (see `hosted`).
//! Invariant: the key is sent to the model's API and nowhere else.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::{Method, Request, Response, StatusCode, header};
use model::ErrorCode;
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

/// The requests that Codex needs. All others are refused.
const PASSED: &[(&str, &str)] = &[("POST", "/v1/responses"), ("POST", "/v1/responses/compact"), ("GET", "/v1/models")];

/// The number of concurrent requests; other requests have to wait. Because the cost of a response is known only at its end, this
/// many requests can exceed the budget.
const AT_ONCE: usize = 32;

/// The total size in MiB of the requests that are held in memory at once; other requests have to wait.
const ROOM: usize = 256;

/// The time limit for a connection to the model's API.
const CONNECT_LIMIT: Duration = Duration::from_secs(20);

/// The settings of a broker.
pub struct BrokerSettings {
    /// The Unix socket to listen on.
    pub socket: PathBuf,
    /// The base URL of the model's API, such as `https://api.openai.com/v1`.
    pub upstream: String,
    /// The API key.
    pub api_key: String,
    /// The token that the container sends instead of the key.
    pub token: String,
    /// The number of model tokens that the run may use. Requests that are in progress when the budget is used up still complete.
    pub budget: Option<u64>,
    /// Whether the API may run tools for the model, such as a web search.
    pub hosted_tools: HostedTools,
    /// Called with a description of what was removed from requests, once for each kind.
    pub tell_removed: Box<dyn Fn(&str) + Send + Sync>,
}

/// A running broker. It stops and closes its connections when this is dropped.
#[derive(Debug)]
pub struct Broker {
    shared: Arc<Shared>,
    _serving: Serving,
}

/// The counters of a broker. The tokens are those that the model reported. An interrupted response reports none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BrokerAccount {
    /// The number of requests that were passed on.
    pub requests: u64,
    /// The number of requests that were refused.
    pub refused: u64,
    /// The input tokens of the model.
    pub input_tokens: u64,
    /// The output tokens of the model.
    pub output_tokens: u64,
}

/// The state that all requests of a run share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) client: reqwest::Client,
    pub(super) upstream: Url,
    pub(super) key: Secret,
    pub(super) budget: Option<u64>,
    pub(super) places: Arc<Semaphore>,
    pub(super) hosted_tools: HostedTools,
    pub(super) notes: Notes,
    /// Memory for complete requests, in MiB.
    pub(super) room: Arc<Semaphore>,
    /// Held while a request is parsed, which needs several times its size.
    pub(super) checking: Arc<Semaphore>,
    token: Token,
    requests: AtomicU64,
    refused: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
    /// Whether a response runs in the background, so that its cost will never be known.
    in_background: AtomicBool,
}

/// The token that the container sends instead of the key.
struct Token(String);

/// Formats the token without its value.
impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Creates a token from 244 random bits.
pub fn new_token() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

impl Broker {
    /// Starts a broker. Needs a Tokio runtime.
    pub fn start(settings: BrokerSettings) -> io::Result<Self> {
        let unusable = |what: &str| io::Error::new(io::ErrorKind::InvalidInput, what.to_owned());
        let upstream = Url::parse(&settings.upstream).map_err(|_| unusable("the URL of the model's API is invalid"))?;
        if !matches!(upstream.scheme(), "http" | "https") || upstream.host_str().is_none() {
            return Err(unusable("the URL of the model's API must start with http:// or https://"));
        }
        let key = Secret::new(&settings.api_key).map_err(|_| unusable("the API key contains invalid characters"))?;
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

    /// Returns the counters.
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

/// Creates the HTTP client. It follows no redirects, which could send the key elsewhere, and ignores proxy variables.
fn client() -> io::Result<reqwest::Client> {
    // This fails if a provider is already installed. All crates install the same one.
    let _decided = rustls::crypto::ring::default_provider().install_default();
    let builder = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none()).no_proxy();
    builder.connect_timeout(CONNECT_LIMIT).build().map_err(io::Error::other)
}

/// Returns an error in the format of the model's API, so that Codex shows the message and does not retry.
pub(super) fn refusal(status: StatusCode, code: ErrorCode, message: &str) -> Response<Body> {
    let error = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code.as_str()}});
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
            return Some(refusal(StatusCode::UNAUTHORIZED, ErrorCode::InvalidRunToken, "invalid token for this run"));
        }
        let asked = (request.method().as_str(), request.uri().path());
        if !PASSED.contains(&asked) {
            let message =
                format!("{} {} is not allowed: the broker passes on only the requests that Codex needs", asked.0, asked.1);
            return Some(refusal(StatusCode::FORBIDDEN, ErrorCode::NotPassedOn, &message));
        }
        self.refuse_by_budget(request.method())
    }

    /// Returns an error for a request that costs tokens if the budget is used up.
    pub(super) fn refuse_by_budget(&self, method: &Method) -> Option<Response<Body>> {
        let budget = self.budget.filter(|_| *method == Method::POST)?;
        let used = self.input.load(Ordering::Relaxed).saturating_add(self.output.load(Ordering::Relaxed));
        let message = if used >= budget {
            format!("the run's budget of {budget} tokens is used up: the run has used {used}")
        } else if self.in_background.load(Ordering::Relaxed) {
            format!("the run's budget of {budget} tokens cannot be enforced: a response is running in the background")
        } else {
            return None;
        };
        Some(refusal(StatusCode::BAD_REQUEST, ErrorCode::BudgetExceeded, &message))
    }

    /// Counts a refused request.
    pub(super) fn refused(&self, refused: Response<Body>) -> Response<Body> {
        self.refused.fetch_add(1, Ordering::Relaxed);
        refused
    }

    /// Counts a request that is passed on.
    pub(super) fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts the cost of a response.
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
