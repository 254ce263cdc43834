//! A push service and the browsers behind it. It accepts messages as RFC 8030 specifies, checks their sender (RFC 8292), and
//! decrypts them (RFC 8291) with `RustCrypto`, which the server does not use.
//!
//! A test can make it answer the next messages with an error.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aes_gcm::aead::{Aead as _, KeyInit as _};
use aes_gcm::{Aes128Gcm, Nonce};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use hkdf::Hkdf;
use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::{Signature, VerifyingKey};
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::{PublicKey, SecretKey, ecdh};
use serde_json::Value;
use sha2::Sha256;
use tokio::sync::mpsc;

/// A time limit that is longer than a retried push takes.
const LIMIT: Duration = Duration::from_mins(1);

/// A message that arrived at a browser.
#[derive(Debug, Clone)]
pub struct Pushed {
    /// The name with which the browser subscribed.
    pub device: String,
    /// The content of the notification.
    pub message: Value,
    /// The claims that the sender signed.
    pub claims: Value,
    /// The headers, in lower case.
    pub headers: HashMap<String, String>,
}

/// The push subscription that a browser returns to a page.
#[derive(Debug, Clone)]
pub struct Subscription {
    /// The URL for messages.
    pub endpoint: String,
    /// The browser's public key.
    pub p256dh: String,
    /// The browser's authentication secret.
    pub auth: String,
}

struct Browser {
    secret: SecretKey,
    auth: Vec<u8>,
    /// The public key of the allowed sender.
    sender: String,
}

#[derive(Default)]
struct Known {
    browsers: HashMap<String, Browser>,
    refusals: Vec<(u16, u64)>,
    asked: u32,
}

#[derive(Clone)]
struct Counter {
    origin: String,
    known: Arc<Mutex<Known>>,
    heard: mpsc::UnboundedSender<Result<Pushed, String>>,
}

/// A push service on the loopback interface.
pub struct PushService {
    counter: Counter,
    heard: mpsc::UnboundedReceiver<Result<Pushed, String>>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for PushService {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Counter {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl PushService {
    /// Starts the service.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
        let origin = format!("http://{}", listener.local_addr().expect("it is bound"));
        let (sender, heard) = mpsc::unbounded_channel();
        let counter = Counter { origin, known: Arc::default(), heard: sender };
        let app = Router::new().route("/send/{device}", post(take)).with_state(counter.clone());
        let server = tokio::spawn(async move { axum::serve(listener, app).await.expect("the server runs until it is dropped") });
        Self { counter, heard, server }
    }

    /// Subscribes a browser with this name and allows the server with this key to send messages to it.
    pub fn subscribe(&self, device: &str, sender: &str) -> Subscription {
        let random = || uuid::Uuid::new_v4().into_bytes();
        let secret = SecretKey::from_slice(&[random(), random()].concat()).expect("almost every number is a valid key");
        let auth = random().to_vec();
        let subscription = Subscription {
            endpoint: format!("{}/send/{device}", self.counter.origin),
            p256dh: BASE64.encode(secret.public_key().to_sec1_point(false).as_bytes()),
            auth: BASE64.encode(&auth),
        };
        self.counter.known().browsers.insert(device.to_owned(), Browser { secret, auth, sender: sender.to_owned() });
        subscription
    }

    /// Answers the next messages with these errors, one each.
    pub fn refuse(&self, statuses: &[u16]) {
        self.counter.known().refusals = statuses.iter().rev().map(|status| (*status, 0)).collect();
    }

    /// Answers the next message with this error and asks the sender to wait this number of seconds.
    pub fn refuse_for(&self, status: u16, seconds: u64) {
        self.counter.known().refusals = vec![(status, seconds)];
    }

    /// Returns the number of messages, including rejected ones.
    pub fn asked(&self) -> u32 {
        self.counter.known().asked
    }

    /// Waits for the next message.
    ///
    /// # Panics
    /// If no message arrives, or if it violates the standards.
    pub async fn next(&mut self) -> Pushed {
        let heard = tokio::time::timeout(LIMIT, self.heard.recv()).await.expect("a message arrives in time");
        heard.expect("the service listens").expect("the message follows the standards")
    }

    /// Returns a message that has already arrived.
    pub fn already(&mut self) -> Option<Pushed> {
        self.heard.try_recv().ok().map(|heard| heard.expect("the message follows the standards"))
    }
}

async fn take(State(counter): State<Counter>, Path(device): Path<String>, headers: HeaderMap, body: Bytes) -> Response {
    let mut known = counter.known();
    known.asked += 1;
    if let Some((status, seconds)) = known.refusals.pop() {
        let status = StatusCode::from_u16(status).expect("a status");
        let patience = (seconds > 0).then(|| [(RETRY_AFTER, seconds.to_string())]);
        return patience.map_or_else(|| status.into_response(), |patience| (status, patience).into_response());
    }
    let Some(browser) = known.browsers.get(&device) else { return StatusCode::NOT_FOUND.into_response() };
    let text = |value: &axum::http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let headers: HashMap<_, _> = headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
    let pushed = opened(&counter.origin, browser, &headers, &body);
    let pushed = pushed.map(|(message, claims)| Pushed { device, message, claims, headers });
    let status = if pushed.is_ok() { StatusCode::CREATED } else { StatusCode::BAD_REQUEST };
    // At the end of a test, the receiver may have been dropped.
    if counter.heard.send(pushed).is_err() { StatusCode::SERVICE_UNAVAILABLE.into_response() } else { status.into_response() }
}

/// Verifies and decrypts a message. Returns its content and the claims of the sender, or an error that says what is wrong.
fn opened(origin: &str, browser: &Browser, headers: &HashMap<String, String>, body: &[u8]) -> Result<(Value, Value), String> {
    let header = |name: &str| headers.get(name).map(String::as_str).ok_or(format!("no header {name}"));
    if header("content-encoding")? != "aes128gcm" || header("ttl")?.parse::<u32>().is_err() {
        return Err(format!("headers that no push service accepts: {headers:?}"));
    }
    if !["very-low", "low", "normal", "high"].contains(&header("urgency")?) {
        return Err("no such urgency".to_owned());
    }
    let is_topic = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if headers.get("topic").is_some_and(|topic| topic.len() > 32 || !topic.chars().all(is_topic)) {
        return Err("no such topic".to_owned());
    }
    let claims = checked(header("authorization")?, origin, &browser.sender)?;
    let message = open(browser, body)?;
    Ok((serde_json::from_slice(&message).map_err(|error| error.to_string())?, claims))
}

fn checked(authorization: &str, origin: &str, sender: &str) -> Result<Value, String> {
    let parts = authorization.strip_prefix("vapid t=").and_then(|rest| rest.split_once(", k="));
    let (word, key) = parts.ok_or("no vapid")?;
    if key != sender {
        return Err("not the key that the browser allowed".to_owned());
    }
    let bytes = |text: &str| BASE64.decode(text).map_err(|error| error.to_string());
    let (words, signature) = word.rsplit_once('.').ok_or("no signature")?;
    let (head, claims) = words.split_once('.').ok_or("no claims")?;
    let verifier = VerifyingKey::from_sec1_bytes(&bytes(key)?).map_err(|error| error.to_string())?;
    let signature = Signature::from_slice(&bytes(signature)?).map_err(|error| error.to_string())?;
    verifier.verify(words.as_bytes(), &signature).map_err(|error| error.to_string())?;
    let parsed = |text: &str| bytes(text).and_then(|it| serde_json::from_slice::<Value>(&it).map_err(|error| error.to_string()));
    let (head, claims) = (parsed(head)?, parsed(claims)?);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_err(|error| error.to_string())?.as_secs();
    let is_fresh = claims["exp"].as_u64().is_some_and(|until| until > now && until <= now + 24 * 3600);
    let has_contact =
        claims["sub"].as_str().is_some_and(|contact| contact.starts_with("mailto:") || contact.starts_with("https:"));
    if head["alg"] != "ES256" || claims["aud"] != origin || !is_fresh || !has_contact {
        return Err(format!("a token that no push service accepts: {head} {claims}"));
    }
    Ok(claims)
}

fn open(browser: &Browser, body: &[u8]) -> Result<Vec<u8>, String> {
    let (salt, rest) = body.split_at_checked(16).ok_or("too short")?;
    let (size, rest) = rest.split_at_checked(4).ok_or("too short")?;
    let (length, rest) = rest.split_first().ok_or("too short")?;
    let (theirs, record) = rest.split_at_checked(usize::from(*length)).ok_or("too short")?;
    if body.len() > 4096 || size != 4096_u32.to_be_bytes() {
        return Err("more than one record, or more bytes than a push service accepts".to_owned());
    }
    let public = PublicKey::from_sec1_bytes(theirs).map_err(|error| error.to_string())?;
    let shared = ecdh::diffie_hellman(browser.secret.to_nonzero_scalar(), public.as_affine());
    let own = browser.secret.public_key().to_sec1_point(false);
    let derived = |salt: &[u8], material: &[u8], info: &[u8], length: usize| {
        let mut out = vec![0; length];
        Hkdf::<Sha256>::new(Some(salt), material).expand(info, &mut out).map(|()| out).map_err(|error| error.to_string())
    };
    let info = [b"WebPush: info\0", own.as_bytes(), theirs].concat();
    let material = derived(&browser.auth, shared.raw_secret_bytes(), &info, 32)?;
    let key = derived(salt, &material, b"Content-Encoding: aes128gcm\0", 16)?;
    let nonce: [u8; 12] = derived(salt, &material, b"Content-Encoding: nonce\0", 12)?.try_into().map_err(|_| "twelve bytes")?;
    let cipher = Aes128Gcm::new_from_slice(&key).map_err(|error| error.to_string())?;
    let mut message = cipher.decrypt(&Nonce::from(nonce), record).map_err(|_| "the message cannot be decrypted")?;
    // Padding of zeros may follow the 2 that ends the last record.
    while message.last() == Some(&0) {
        message.pop();
    }
    if message.pop() == Some(2) { Ok(message) } else { Err("the last record has no end".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_standard_is_opened() {
        // The example is from appendix A of RFC 8291.
        let secret = BASE64.decode("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94").expect("base64");
        let auth = BASE64.decode("BTBZMqHH6r4Tts7J_aSIgg").expect("base64");
        let browser = Browser { secret: SecretKey::from_slice(&secret).expect("a key"), auth, sender: String::new() };
        let body = "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
        let body = BASE64.decode(body).expect("base64");
        assert_eq!(open(&browser, &body).expect("opened"), b"When I grow up, I want to be a watermelon");
        let mut changed = body;
        *changed.last_mut().expect("not empty") ^= 1;
        assert!(open(&browser, &changed).is_err());
    }
}
