//! Sends a notification to one receiver: ntfy, the webhook or a push service.
//! Requests have time limits, follow no redirects, and are retried a few times.

use std::time::Duration;

use jiff::Timestamp;
use model::ErrorCode;
use model::notice::{Notice, NoticeKind, NoticeSettings, PlainHttp, PushMessage, PushTerms};
use model::problem::Problem;
use model::secret::Secret;
use reqwest::StatusCode;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use store::DeviceRecord;

use super::registry::browser_keys;
use super::seal::seal;
use super::vapid::VapidKey;

/// The number of attempts for a notification.
pub(super) const TRIES: u32 = 3;

/// The number of attempts for a test, while a user waits for the result.
pub(super) const ONCE: u32 = 1;

/// The pause after the first attempt. Each later pause is three times as long as the one before.
const PAUSE: Duration = Duration::from_secs(2);

/// The longest pause that a receiver can ask for. A notification that is sent even later is not useful.
const LONGEST_PAUSE: Duration = Duration::from_mins(5);

/// The time limit of a request.
const PATIENCE: Duration = Duration::from_secs(10);

/// The contact for push services if no public URL is set. Some services reject tokens without a contact.
const NO_CONTACT: &str = "mailto:nobody@example.com";

/// The reason why a notification was not sent.
pub(super) struct SendError {
    pub(super) problem: Problem,
    /// Whether the receiver no longer exists.
    pub(super) is_gone: bool,
}

impl From<Problem> for SendError {
    fn from(problem: Problem) -> Self {
        Self { problem, is_gone: false }
    }
}

pub(super) async fn webhook(settings: &NoticeSettings, url: &str, notice: &Notice, tries: u32) -> Result<(), SendError> {
    let body = serde_json::to_vec(notice).map_err(Problem::internal)?;
    let client = client_for("the webhook", url, settings.webhook_plain_http()).await?;
    let mut request = client.post(url).header("content-type", "application/json");
    if let Some(secret) = &settings.webhook_secret {
        request = request.header("x-codex-orchestrator-signature", format!("sha256={}", signature(secret, &body)));
    }
    tried("the webhook", request.body(body), tries).await
}

pub(super) async fn ntfy(settings: &NoticeSettings, url: &str, notice: &Notice, tries: u32) -> Result<(), SendError> {
    let client = client_for("ntfy", url, settings.ntfy_plain_http()).await?;
    let mut request = client.post(url).header("title", header_text(&notice.title)).header("tags", tag(notice.event));
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
) -> Result<(), SendError> {
    let unsealed = || Problem::internal("could not encrypt a message for a device");
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
    tried("the push service", request.body(body), tries).await
}

fn client() -> Result<reqwest::Client, Problem> {
    builder().build().map_err(Problem::internal)
}

fn builder() -> reqwest::ClientBuilder {
    // An error means that another part of this process installed the same provider first.
    let _decided = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none())
}

/// Returns a client for a URL. With plain HTTP, the client connects only to allowed addresses that are resolved here, and uses
/// no proxy.
async fn client_for(receiver: &str, url: &str, plain: PlainHttp) -> Result<reqwest::Client, Problem> {
    let not_told = |why: String| {
        Problem::new(ErrorCode::NotTold, format!("could not notify {receiver}: {why}"))
            .hint("use an https URL, or allow plain HTTP for an address in a private network")
    };
    let parsed = reqwest::Url::parse(url).map_err(|error| not_told(format!("invalid URL ({error})")))?;
    if parsed.scheme() != "http" {
        return client();
    }
    let host = parsed.host_str().unwrap_or_default();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let port = parsed.port_or_known_default().unwrap_or(80);
    let found = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((bare, port))).await;
    let found = found.map_err(|_| not_told("the name lookup timed out".to_owned()))?;
    let found = found.map_err(|error| not_told(format!("the name lookup failed ({error})")))?;
    let allowed: Vec<_> = found.filter(|address| plain.allows(address.ip())).collect();
    if allowed.is_empty() {
        let where_to = match plain {
            PlainHttp::ThisMachine => "on this machine",
            PlainHttp::PrivateNetwork => "in a private network",
        };
        return Err(not_told(format!("plain HTTP is only allowed {where_to}")));
    }
    builder().no_proxy().resolve_to_addrs(host, &allowed).build().map_err(Problem::internal)
}

/// Returns the HMAC-SHA256 of a body in hexadecimal digits.
fn signature(secret: &Secret, body: &[u8]) -> String {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, secret.expose().as_bytes());
    hex::encode(ring::hmac::sign(&key, body))
}

/// Returns a text for a header: characters outside of printable ASCII become `?`.
fn header_text(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() && !c.is_control() { c } else { '?' }).collect()
}

/// Returns the name of the emoji that ntfy shows.
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

/// Sends a request, and retries it after a network error, an overload, or a request to wait.
async fn tried(receiver: &str, request: reqwest::RequestBuilder, most: u32) -> Result<(), SendError> {
    let mut pause = PAUSE;
    let mut tries = 1;
    loop {
        let again = request.try_clone().ok_or_else(|| Problem::internal("a request cannot be cloned"))?;
        let mut wanted = Duration::ZERO;
        let (passes, is_gone, detail) = match again.send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => {
                let status = answer.status();
                let is_gone = [StatusCode::NOT_FOUND, StatusCode::GONE].contains(&status);
                wanted = patience_asked_for(answer.headers());
                let passes = may_pass(status) && wanted <= LONGEST_PAUSE;
                let until = if wanted.is_zero() { String::new() } else { format!(", retry after {} s", wanted.as_secs()) };
                (passes, is_gone, format!("{receiver} responded with {status}{until}"))
            }
            // The URL can contain a secret.
            Err(error) => (true, false, format!("could not notify {receiver}: {}", why(&error.without_url()))),
        };
        if !passes || tries >= most {
            let problem =
                Problem::new(ErrorCode::NotTold, detail).hint("check that the URL is correct and reachable from the server");
            return Err(SendError { problem, is_gone });
        }
        tokio::time::sleep(pause.max(wanted)).await;
        (tries, pause) = (tries + 1, pause * 3);
    }
}

/// Returns the pause that a receiver asks for in seconds. Dates are ignored, since they depend on the receiver's clock.
fn patience_asked_for(headers: &HeaderMap) -> Duration {
    let seconds = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    seconds.map_or(Duration::ZERO, Duration::from_secs)
}

fn may_pass(status: StatusCode) -> bool {
    status.is_server_error() || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status)
}

/// Formats an error with its causes.
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

    #[tokio::test]
    async fn plain_http_goes_where_it_may_whatever_the_name_is() {
        let allowed = async |url: &str, plain| client_for("ntfy", url, plain).await.is_ok();
        assert!(allowed("https://ntfy.example/x", PlainHttp::ThisMachine).await);
        assert!(allowed("http://localhost:1/x", PlainHttp::ThisMachine).await);
        assert!(allowed("http://[::1]:1/x", PlainHttp::ThisMachine).await);
        assert!(!allowed("http://192.168.1.2/x", PlainHttp::ThisMachine).await);
        assert!(allowed("http://192.168.1.2/x", PlainHttp::PrivateNetwork).await);
        for url in ["http://9.9.9.9/x", "http://169.254.169.254/latest", "http://[2001:db8::1]/x", "http://0x09090909/x"] {
            assert!(!allowed(url, PlainHttp::PrivateNetwork).await, "{url}");
        }
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
