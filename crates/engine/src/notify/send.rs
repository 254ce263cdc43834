//! Sending a notice to one receiver: the words of ntfy, of the webhook and of push services, and how often each is tried.
//! No redirect is followed, and nothing here waits for ever.

use std::time::Duration;

use jiff::Timestamp;
use model::notice::{Notice, NoticeKind, NoticeSettings, PushMessage, PushTerms};
use model::problem::{Problem, ProblemKind};
use model::secret::Secret;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};

use super::book::browser_keys;
use super::seal::seal;
use super::vapid::VapidKey;
use crate::store::DeviceRecord;

/// How often a receiver is tried, with what happened.
pub(super) const TRIES: u32 = 3;

/// How often it is tried while a person waits for the answer.
pub(super) const ONCE: u32 = 1;

/// How long is waited after the first try; three times as long after the next.
const PAUSE: Duration = Duration::from_secs(2);

/// The longest that is waited because a receiver asks for it. A notice that comes much later is worth little.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// How long a receiver may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whom a push service may write to, where no address of ours is known. Some of them refuse a word without one.
const NO_CONTACT: &str = "mailto:nobody@example.com";

/// Why somebody was not told.
pub(super) struct NotTold {
    pub(super) problem: Problem,
    /// The receiver is there no more.
    pub(super) is_gone: bool,
}

impl From<Problem> for NotTold {
    fn from(problem: Problem) -> Self {
        Self { problem, is_gone: false }
    }
}

pub(super) async fn webhook(settings: &NoticeSettings, url: &str, notice: &Notice, tries: u32) -> Result<(), NotTold> {
    let body = serde_json::to_vec(notice).map_err(Problem::internal)?;
    let mut request = client()?.post(url).header("content-type", "application/json");
    if let Some(secret) = &settings.webhook_secret {
        request = request.header("x-codex-orchestrator-signature", format!("sha256={}", signature(secret, &body)));
    }
    tried("the webhook", request.body(body), tries).await
}

pub(super) async fn ntfy(url: &str, notice: &Notice, tries: u32) -> Result<(), NotTold> {
    let mut request = client()?.post(url).header("title", header_text(&notice.title)).header("tags", tag(notice.event));
    if let Some(link) = &notice.url {
        request = request.header("click", header_text(link));
    }
    tried("ntfy", request.body(notice.text.clone()), tries).await
}

pub(super) async fn push(
    settings: &NoticeSettings,
    key: &VapidKey,
    device: &DeviceRecord,
    notice: &Notice,
    tries: u32,
) -> Result<(), NotTold> {
    let unsealed = || Problem::internal("a message for a device could not be sealed");
    let keys = browser_keys(&device.p256dh, device.auth.expose()).ok_or_else(unsealed)?;
    let message = serde_json::to_vec(&PushMessage::new(notice)).map_err(Problem::internal)?;
    let body = seal(&message, &keys).map_err(|_| unsealed())?;
    let contact = settings.public_url.as_deref().filter(|url| url.starts_with("https://")).unwrap_or(NO_CONTACT);
    let word = key.authorization(&device.endpoint, contact, Timestamp::now()).map_err(|_| unsealed())?;
    let terms = PushTerms::new(notice);
    let mut request = client()?
        .post(device.endpoint.as_str())
        .header("authorization", word)
        .header("content-encoding", "aes128gcm")
        .header("content-type", "application/octet-stream")
        .header("ttl", terms.ttl_seconds)
        .header("urgency", terms.urgency);
    if let Some(topic) = terms.topic {
        request = request.header("topic", topic);
    }
    tried("the push service of a device", request.body(body), tries).await
}

fn client() -> Result<reqwest::Client, Problem> {
    // An error means that another part of this process came first, with the same one.
    let _decided = rustls::crypto::ring::default_provider().install_default();
    let built = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build();
    built.map_err(Problem::internal)
}

/// HMAC-SHA256 in hexadecimal digits.
fn signature(secret: &Secret, body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.expose().as_bytes());
    hex::encode(ring::hmac::sign(&key, body))
}

/// What a header takes; ntfy reads UTF-8 there as RFC 2047 writes it, and plain ASCII needs nothing.
fn header_text(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() && !c.is_control() { c } else { '?' }).collect()
}

/// What ntfy shows as a picture.
fn tag(event: NoticeKind) -> &'static str {
    match event {
        NoticeKind::Finished => "white_check_mark",
        NoticeKind::Failed => "x",
        NoticeKind::Interrupted => "zap",
        NoticeKind::NeedsYou => "warning",
        NoticeKind::Summary => "sunrise",
        NoticeKind::Test => "wave",
    }
}

/// Sends it, and again where that may help: nobody answered, was overloaded or asked for patience.
async fn tried(whom: &str, request: reqwest::RequestBuilder, most: u32) -> Result<(), NotTold> {
    let mut pause = PAUSE;
    let mut tries = 1;
    loop {
        let again = request.try_clone().ok_or_else(|| Problem::internal("a request cannot be sent twice"))?;
        let mut wanted = Duration::ZERO;
        let (passes, is_gone, detail) = match again.send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                let is_gone = [StatusCode::NOT_FOUND, StatusCode::GONE].contains(&status);
                wanted = patience_asked_for(answer.headers());
                let passes = may_pass(status) && wanted <= LONGEST_PAUSE;
                let until = if wanted.is_zero() { String::new() } else { format!(", for {} s", wanted.as_secs()) };
                (passes, is_gone, format!("{whom} answered {status}{until}"))
            }
            // Its address may have a secret in it.
            Err(error) => (true, false, format!("{whom} could not be told: {}", why(&error.without_url()))),
        };
        if !passes || tries >= most {
            let problem =
                Problem::new(ProblemKind::Unavailable, "not_told", detail).hint("is its address right, and reachable from here?");
            return Err(NotTold { problem, is_gone });
        }
        tokio::time::sleep(pause.max(wanted)).await;
        (tries, pause) = (tries + 1, pause * 3);
    }
}

/// How long to leave a receiver alone, where it says so in seconds. Some say a date, which needs its clock to be ours.
fn patience_asked_for(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map_or(Duration::ZERO, Duration::from_secs)
}

fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
}

/// An error with what is beneath it: the first sentence alone says only that there was one.
fn why(error: &dyn std::error::Error) -> String {
    let mut said = error.to_string();
    let mut beneath = error.source();
    while let Some(cause) = beneath {
        said = format!("{said}: {cause}");
        beneath = cause.source();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_others_compute() {
        // The second example of RFC 4231.
        let expect = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature(&Secret::new("Jefe"), b"what do ya want for nothing?"), expect);
    }

    #[test]
    fn a_header_is_one_line_of_ascii() {
        assert_eq!(header_text("Fix \u{1f980}\r\nX: y"), "Fix ???X: y");
    }

    #[test]
    fn what_will_not_pass_is_not_tried_again() {
        let passing = [408, 429, 500, 503].map(|code| StatusCode::from_u16(code).expect("a status"));
        assert!(passing.into_iter().all(may_pass));
        let lasting = [301, 400, 403, 404, 410, 413].map(|code| StatusCode::from_u16(code).expect("a status"));
        assert!(!lasting.into_iter().any(may_pass));
    }
}
