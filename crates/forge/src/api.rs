//! The HTTP client for all Git hosts: one base URL, one token, limits on the size of responses, and considerate polling.
//!
//! Unchanged responses are not sent again (`ETag`), and a Git host that names a retry time gets no requests before that time.
//! Invariant: the token is only sent to the Git host's own URL, even if a response redirects elsewhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use model::forge::ApiUrl;
use model::secret::Secret;
use reqwest::header::{ETAG, HeaderMap, HeaderName, HeaderValue, IF_NONE_MATCH, LOCATION, RETRY_AFTER};
use reqwest::{Client, Method, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::ForgeError;
use super::calls::{Call, Calls};

/// The maximum size of a response in bytes.
const ANSWER_LIMIT_BYTES: usize = 16 << 20;

/// The maximum size of a log in bytes.
const LOG_LIMIT_BYTES: usize = 4 << 20;

/// The time limit of a request.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long requests pause if a Git host limits them without naming a time, in seconds. GitHub asks for a minute.
const PAUSE_SECONDS: i64 = 60;

/// The longest pause that a Git host can ask for, in seconds.
const LONGEST_PAUSE_SECONDS: i64 = 86_400;

/// The maximum number of URLs whose `ETag` is remembered.
const MOST_ETAGS: usize = 2_000;

/// The maximum number of redirects.
const MOST_REDIRECTS: usize = 3;

pub(super) struct Api {
    client: Client,
    base: ApiUrl,
    headers: HeaderMap,
    calls: Arc<Calls>,
    etags: Mutex<HashMap<String, HeaderValue>>,
    paused_until: Mutex<Option<Timestamp>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The guarded data is consistent after every statement, even if a holder panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Api {
    /// Creates a client. `token_header` contains the name of the header and the text before the token.
    pub(super) fn new(
        base: &ApiUrl,
        token: &Secret,
        token_header: (&'static str, &str),
        fixed: &[(&'static str, &'static str)],
        calls: &Arc<Calls>,
    ) -> Result<Self, ForgeError> {
        // An error means that another part of this process has already installed the same provider.
        let _decided = rustls::crypto::ring::default_provider().install_default();
        let mut headers = HeaderMap::new();
        for (name, value) in fixed {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
        let mut secret = HeaderValue::from_str(&format!("{}{}", token_header.1, token.expose().trim()))
            .map_err(|_| ForgeError::TokenRefused("it contains invalid characters".to_owned()))?;
        secret.set_sensitive(true);
        headers.insert(HeaderName::from_static(token_header.0), secret);
        let client = Client::builder()
            .user_agent(concat!("codex-orchestrator/", env!("CARGO_PKG_VERSION")))
            .timeout(PATIENCE)
            .connect_timeout(Duration::from_secs(10))
            .redirect(reqwest::redirect::Policy::none())
            .build()
            .map_err(|error| ForgeError::Unreachable(words(&error)))?;
        Ok(Self {
            client,
            base: base.clone(),
            headers,
            calls: Arc::clone(calls),
            etags: Mutex::default(),
            paused_until: Mutex::default(),
        })
    }

    /// Sends a GET request.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ForgeError> {
        let answer = self.send(Method::GET, path, None, HeaderMap::new()).await?;
        read(answer).await
    }

    /// Sends a GET request, and returns `None` if the response has not changed since the last one.
    pub(super) async fn get_if_changed<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, ForgeError> {
        let mut headers = HeaderMap::new();
        if let Some(known) = locked(&self.etags).get(path) {
            headers.insert(IF_NONE_MATCH, known.clone());
        }
        let answer = self.send(Method::GET, path, None, headers).await?;
        if answer.status() == StatusCode::NOT_MODIFIED {
            return Ok(None);
        }
        let etag = answer.headers().get(ETAG).cloned();
        let value = read(answer).await?;
        let mut etags = locked(&self.etags);
        if etags.len() >= MOST_ETAGS {
            etags.clear();
        }
        if let Some(etag) = etag {
            etags.insert(path.to_owned(), etag);
        }
        Ok(Some(value))
    }

    /// Sends a request that changes something.
    pub(super) async fn change<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, ForgeError> {
        let body = serde_json::to_value(body).map_err(|error| ForgeError::Unreadable(error.to_string()))?;
        read(self.send(method, path, Some(&body), HeaderMap::new()).await?).await
    }

    /// Returns a text such as a log, or only the end of a long text. Returns `None` if the Git host does not provide it.
    pub(super) async fn text(&self, path: &str) -> Result<Option<String>, ForgeError> {
        match self.send(Method::GET, path, None, HeaderMap::new()).await {
            Ok(answer) => {
                Ok(Some(String::from_utf8_lossy(&bytes(answer, LOG_LIMIT_BYTES, Surplus::DropBeginning).await?).into_owned()))
            }
            Err(ForgeError::NotFound(_) | ForgeError::Forbidden(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn send(&self, method: Method, path: &str, body: Option<&Value>, headers: HeaderMap) -> Result<Response, ForgeError> {
        let paused_until = *locked(&self.paused_until);
        if let Some(until) = paused_until.filter(|until| *until > Timestamp::now()) {
            return Err(ForgeError::RateLimited(until));
        }
        let mut url = format!("{}{path}", self.base.as_str());
        for _ in 0..=MOST_REDIRECTS {
            let mut request = self.client.request(method.clone(), &url).headers(headers.clone());
            if is_below(&url, &self.base) {
                request = request.headers(self.headers.clone());
            }
            if let Some(body) = body {
                request = request.json(body);
            }
            let answer = request.send().await.map_err(|error| ForgeError::Unreachable(words(&error)))?;
            let (host, method_name) = (self.base.host().to_owned(), method.to_string());
            self.calls.count(Call { host, method: method_name, status: answer.status().as_u16() });
            match (answer.status(), redirection(&answer)) {
                // The repository was renamed. Keep the method.
                (status, Some(target)) if status.is_redirection() && (method == Method::GET || is_below(&target, &self.base)) => {
                    url = target;
                }
                (status, _) if status.is_success() || status == StatusCode::NOT_MODIFIED => {
                    self.note_limits(answer.headers());
                    return Ok(answer);
                }
                (status, _) => return Err(self.refused(status, answer).await),
            }
        }
        Err(ForgeError::Unreadable("too many redirects".to_owned()))
    }

    /// Pauses requests if the quota is used up, until it is reset.
    fn note_limits(&self, headers: &HeaderMap) {
        if number(headers, "x-ratelimit-remaining") == Some(0) {
            *locked(&self.paused_until) = reset(headers);
        }
    }

    async fn refused(&self, status: StatusCode, answer: Response) -> ForgeError {
        let headers = answer.headers().clone();
        let body = bytes(answer, LOG_LIMIT_BYTES, Surplus::Refuse).await.unwrap_or_default();
        let message = message(&body);
        let used_up = number(&headers, "x-ratelimit-remaining") == Some(0);
        let is_limit = status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::FORBIDDEN
                && (used_up || headers.contains_key(RETRY_AFTER) || message.to_lowercase().contains("rate limit"));
        if is_limit {
            let now = Timestamp::now();
            let after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse::<i64>().ok());
            let after = after.map(|seconds| now + SignedDuration::from_secs(seconds.clamp(1, LONGEST_PAUSE_SECONDS)));
            let until = after.or_else(|| reset(&headers).filter(|_| used_up));
            let until = until.unwrap_or(now + SignedDuration::from_secs(PAUSE_SECONDS));
            *locked(&self.paused_until) = Some(until);
            return ForgeError::RateLimited(until);
        }
        match status.as_u16() {
            401 => ForgeError::TokenRefused(message),
            403 => ForgeError::Forbidden(message),
            404 | 410 | 301..=308 => ForgeError::NotFound(message),
            400..=499 => ForgeError::Refused(message),
            status => ForgeError::Broken { status, message },
        }
    }
}

/// Whether the token may be sent to this URL.
fn is_below(url: &str, base: &ApiUrl) -> bool {
    let origin = |url: &str| reqwest::Url::parse(url).ok().map(|url| url.origin());
    origin(url).is_some_and(|found| Some(found) == origin(base.as_str()))
}

fn redirection(answer: &Response) -> Option<String> {
    let target = answer.headers().get(LOCATION)?.to_str().ok()?;
    answer.url().join(target).ok().map(Into::into)
}

fn number(headers: &HeaderMap, name: &str) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

/// Returns when the quota is reset. A time far in the future, such as one in milliseconds, counts as the longest pause.
fn reset(headers: &HeaderMap) -> Option<Timestamp> {
    let latest = Timestamp::now().as_second() + LONGEST_PAUSE_SECONDS;
    Timestamp::from_second(number(headers, "x-ratelimit-reset")?.min(latest)).ok()
}

/// Returns the network error without the URL.
fn words(error: &reqwest::Error) -> String {
    let mut text = String::new();
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        if !text.is_empty() {
            text.push_str(": ");
        }
        text.push_str(&error.to_string());
        cause = error.source();
    }
    if error.is_timeout() || text.is_empty() { format!("no response within {} s", PATIENCE.as_secs()) } else { text }
}

async fn read<T: DeserializeOwned>(answer: Response) -> Result<T, ForgeError> {
    let body = bytes(answer, ANSWER_LIMIT_BYTES, Surplus::Refuse).await?;
    serde_json::from_slice(&body).map_err(|error| ForgeError::Unreadable(error.to_string()))
}

/// What happens with a response that is longer than its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Surplus {
    /// Only the end of the response is kept.
    DropBeginning,
    /// The response is an error.
    Refuse,
}

/// Reads at most `limit` bytes of a response.
async fn bytes(mut answer: Response, limit: usize, surplus: Surplus) -> Result<Vec<u8>, ForgeError> {
    let mut bytes = vec![];
    while let Some(piece) = answer.chunk().await.map_err(|error| ForgeError::Unreachable(words(&error)))? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > limit && surplus == Surplus::Refuse {
            return Err(ForgeError::Unreadable(format!("it is longer than {limit} bytes")));
        }
        if bytes.len() > 2 * limit {
            bytes.drain(..bytes.len() - limit);
        }
    }
    bytes.drain(..bytes.len().saturating_sub(limit));
    Ok(bytes)
}

/// Returns the Git host's own message: `message`, and the details in `errors`.
fn message(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return "the response is not valid JSON".to_owned() };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.get("message").and_then(Value::as_str).map_or_else(|| other.to_string(), str::to_owned),
    };
    let mut parts: Vec<String> = ["message", "error", "error_description"].iter().map(|key| text(&value[*key])).collect();
    parts.extend(value["errors"].as_array().into_iter().flatten().map(text));
    parts.retain(|part| !part.is_empty());
    parts.dedup();
    let all: String = parts.join(": ").chars().filter(|c| !c.is_control()).take(500).collect();
    if all.is_empty() { "no reason given".to_owned() } else { all }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forges_words_are_found_in_every_form() {
        for (body, expect) in [
            (
                r#"{"message":"Validation Failed","errors":[{"message":"No commits between a and b"}]}"#,
                "Validation Failed: No commits between a and b",
            ),
            (r#"{"message":"x","errors":["y"]}"#, "x: y"),
            (r#"{"message":{"base":["is taken"]}}"#, r#"{"base":["is taken"]}"#),
            (r#"{"error":"invalid_token","error_description":"Token was revoked."}"#, "invalid_token: Token was revoked."),
            ("<html>", "the response is not valid JSON"),
            ("{}", "no reason given"),
        ] {
            assert_eq!(message(body.as_bytes()), expect);
        }
    }

    #[test]
    fn the_token_goes_to_the_forge_alone() {
        let base = ApiUrl::parse("https://ghe.example/api/v3").expect("an address");
        assert!(is_below("https://ghe.example/repositories/1", &base));
        for other in ["http://ghe.example/api/v3/x", "https://ghe.example:444/x", "https://blob.example/x", "nonsense"] {
            assert!(!is_below(other, &base), "{other}");
        }
    }
}
