//! What each receiver gets, and what is recorded about it.
//!
//! Test notifications are sent once, so these tests need no retries.

use model::notice::NoticeSettings;
use model::{ErrorCode, notice};
use notifications::NoticeTarget;
use serde_json::json;
use testkit::push::PushService;

use crate::support::{Hook, SESSION, Stage, ntfy, webhook};

async fn test(stage: &Stage, target: NoticeTarget) -> Option<String> {
    stage.notifications.send_test(target.clone()).await.expect("the receiver exists");
    stage.why_not(&target)
}

#[tokio::test]
async fn a_webhook_gets_the_notification_as_json() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hook = Hook::start().await;
    let fixed = NoticeSettings { public_url: Some("https://box.example".to_owned()), ..webhook(hook.url(), None) };
    let stage = Stage::open(folder.path(), fixed);
    assert_eq!(test(&stage, NoticeTarget::Webhook).await, None);
    let heard = hook.next().await;
    assert_eq!(heard.target, "/hook");
    assert_eq!(heard.header("content-type").as_deref(), Some("application/json"));
    assert_eq!(heard.header("x-codex-orchestrator-signature"), None, "without a secret, nothing is signed");
    let expect = json!({
        "event": "test", "environment": "", "title": "Codex Orchestrator",
        "text": "This is a test. Notifications work.", "url": "https://box.example",
    });
    assert_eq!(heard.json(), expect);
}

#[tokio::test]
async fn a_signature_covers_the_exact_body() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hook = Hook::start().await;
    let stage = Stage::open(folder.path(), webhook(hook.url(), Some("hush")));
    assert_eq!(test(&stage, NoticeTarget::Webhook).await, None);
    let heard = hook.next().await;
    let signature = heard.header("x-codex-orchestrator-signature").expect("signed");
    let digits = signature.strip_prefix("sha256=").expect("the name of the hash");
    let signature = hex::decode(digits).expect("hexadecimal digits");
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"hush");
    ring::hmac::verify(&key, &heard.body, &signature).expect("the signature matches");
    let mut changed = heard.body.to_vec();
    changed[0] ^= 1;
    ring::hmac::verify(&key, &changed, &signature).expect_err("another body has another signature");
}

#[tokio::test]
async fn ntfy_gets_the_title_and_link_in_headers_and_the_text_as_body() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hook = Hook::start().await;
    let fixed = NoticeSettings { public_url: Some("https://box.example/x".to_owned()), ..ntfy(hook.url()) };
    let stage = Stage::open(folder.path(), fixed);
    assert_eq!(test(&stage, NoticeTarget::Ntfy).await, None);
    let heard = hook.next().await;
    assert_eq!(heard.text(), "This is a test. Notifications work.");
    let headers = ["title", "tags", "click"].map(|name| heard.header(name).unwrap_or_default());
    assert_eq!(headers, ["Codex Orchestrator", "wave", "https://box.example/x"]);
}

#[tokio::test]
async fn without_a_public_url_there_is_no_link() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hook = Hook::start().await;
    let both = NoticeSettings { ntfy_url: Some(hook.url().to_owned()), ..webhook(hook.url(), None) };
    let stage = Stage::open(folder.path(), both);
    assert_eq!(stage.notifications.public_url(), None);
    assert_eq!(test(&stage, NoticeTarget::Ntfy).await, None);
    assert_eq!(hook.next().await.header("click"), None);
    assert_eq!(test(&stage, NoticeTarget::Webhook).await, None);
    assert_eq!(hook.next().await.json().get("url"), None);
}

#[tokio::test]
async fn the_outcome_names_the_status_and_the_requested_pause() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut hook = Hook::start().await;
    let stage = Stage::open(folder.path(), ntfy(hook.url()));
    let mut check = async |status: u16, headers: &[(&'static str, &str)], expect: Option<&str>| {
        hook.answer(status, headers);
        assert_eq!(test(&stage, NoticeTarget::Ntfy).await.as_deref(), expect, "{status}");
        assert_eq!(hook.already().len(), 1, "{status}: a test is sent once");
    };
    check(200, &[], None).await;
    check(204, &[], None).await;
    check(301, &[("location", "http://127.0.0.1:1/")], Some("ntfy responded with 301 Moved Permanently")).await;
    check(304, &[], Some("ntfy responded with 304 Not Modified")).await;
    check(403, &[], Some("ntfy responded with 403 Forbidden")).await;
    check(404, &[], Some("ntfy responded with 404 Not Found")).await;
    check(413, &[], Some("ntfy responded with 413 Payload Too Large")).await;
    check(429, &[("retry-after", "7")], Some("ntfy responded with 429 Too Many Requests, retry after 7 s")).await;
    check(429, &[("retry-after", "soon")], Some("ntfy responded with 429 Too Many Requests")).await;
    check(429, &[("retry-after", "-7")], Some("ntfy responded with 429 Too Many Requests")).await;
    check(503, &[], Some("ntfy responded with 503 Service Unavailable")).await;
    check(200, &[], None).await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let folder = tempfile::tempdir().expect("a folder");
    let (hook, mut elsewhere) = (Hook::start().await, Hook::start().await);
    let stage = Stage::open(folder.path(), webhook(hook.url(), Some("hush")));
    for status in [301, 302, 303, 307, 308] {
        hook.answer(status, &[("location", elsewhere.url())]);
        assert!(test(&stage, NoticeTarget::Webhook).await.is_some(), "{status}");
    }
    assert!(elsewhere.already().is_empty(), "only configured receivers get notifications");
}

#[tokio::test]
async fn an_unreachable_receiver_is_reported_without_the_secrets_in_its_url() {
    let folder = tempfile::tempdir().expect("a folder");
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    drop(listener);
    let url = format!("http://me:hunter1@{address}/topic?token=hunter2");
    let stage = Stage::open(folder.path(), webhook(&url, Some("hunter3")));
    let why_not = test(&stage, NoticeTarget::Webhook).await.expect("nothing listens");
    assert!(why_not.starts_with("could not notify the webhook: ") && why_not.contains("refused"), "{why_not}");
    assert!(!why_not.contains("hunter"), "{why_not}");
}

#[tokio::test]
async fn plain_http_to_a_public_address_is_not_even_attempted() {
    let folder = tempfile::tempdir().expect("a folder");
    let stage = Stage::open(folder.path(), ntfy("http://9.9.9.9/topic"));
    let why_not = test(&stage, NoticeTarget::Ntfy).await;
    assert_eq!(why_not.as_deref(), Some("could not notify ntfy: plain HTTP is only allowed on this machine"));
    drop(stage);
    let private = NoticeSettings { ntfy_plain_http: Some(true), ..ntfy("http://9.9.9.9/topic") };
    let stage = Stage::open(folder.path(), private);
    let why_not = test(&stage, NoticeTarget::Ntfy).await;
    assert_eq!(why_not.as_deref(), Some("could not notify ntfy: plain HTTP is only allowed in a private network"));
}

#[tokio::test]
async fn an_invalid_url_in_the_file_is_reported_when_it_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let stage = Stage::open(folder.path(), webhook("http://[::1/x", None));
    let why_not = test(&stage, NoticeTarget::Webhook).await.expect("the URL is invalid");
    assert!(why_not.starts_with("could not notify the webhook: invalid URL ("), "{why_not}");
}

#[tokio::test]
async fn a_receiver_that_does_not_exist_cannot_be_tested() {
    let folder = tempfile::tempdir().expect("a folder");
    let stage = Stage::open(folder.path(), NoticeSettings::default());
    for target in [NoticeTarget::Ntfy, NoticeTarget::Webhook, NoticeTarget::Device("1".to_owned())] {
        let refused = stage.notifications.send_test(target).await.expect_err("nothing is configured");
        assert_eq!(refused.report.code, ErrorCode::NoSuchReceiver);
    }
    assert!(stage.notifications.view().outcomes.is_empty(), "nothing was sent");
}

#[tokio::test]
async fn a_push_message_is_sealed_for_its_browser_and_signed_by_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut service = PushService::start().await;
    let check = async |service: &mut PushService, public_url: Option<&str>, contact: &str| {
        let fixed = NoticeSettings { public_url: public_url.map(str::to_owned), ..NoticeSettings::default() };
        let stage = Stage::open(folder.path(), fixed);
        let id = stage.subscribe(service, "phone", SESSION);
        assert_eq!(test(&stage, NoticeTarget::Device(id)).await, None);
        let pushed = service.next().await;
        assert_eq!(pushed.device, "phone");
        let expect = json!({
            "title": "Codex Orchestrator", "body": "This is a test. Notifications work.",
            "path": "/settings/notices", "tag": "test",
        });
        assert_eq!(pushed.message, expect);
        assert_eq!(pushed.claims["sub"], contact, "{public_url:?}");
        assert_eq!((pushed.headers["ttl"].as_str(), pushed.headers["urgency"].as_str()), ("60", "high"));
        assert!(!pushed.headers.contains_key("topic"), "a test replaces no other message");
    };
    check(&mut service, None, "mailto:nobody@example.com").await;
    check(&mut service, Some("https://box.example"), "https://box.example").await;
    check(&mut service, Some("http://box.example"), "mailto:nobody@example.com").await;
}

#[tokio::test]
async fn a_push_service_that_refuses_a_message_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let service = PushService::start().await;
    let stage = Stage::open(folder.path(), NoticeSettings::default());
    let id = stage.subscribe(&service, "phone", SESSION);
    for (status, expect) in [
        (400, "the push service responded with 400 Bad Request"),
        (403, "the push service responded with 403 Forbidden"),
        (413, "the push service responded with 413 Payload Too Large"),
        (500, "the push service responded with 500 Internal Server Error"),
    ] {
        service.refuse(&[status]);
        assert_eq!(test(&stage, NoticeTarget::Device(id.clone())).await.as_deref(), Some(expect));
        assert_eq!(stage.notifications.view().devices.len(), 1, "{status}: the device stays");
    }
}

#[tokio::test]
async fn a_test_is_a_notification_like_any_other_for_every_receiver() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut hook, mut service) = (Hook::start().await, PushService::start().await);
    let both = NoticeSettings { ntfy_url: Some(hook.url().to_owned()), ..webhook(hook.url(), None) };
    let stage = Stage::open(folder.path(), both);
    let id = stage.subscribe(&service, "phone", SESSION);
    let targets = [NoticeTarget::Ntfy, NoticeTarget::Webhook, NoticeTarget::Device(id)];
    for target in &targets {
        assert_eq!(test(&stage, target.clone()).await, None);
    }
    let expect = notice::Notice::test(None);
    assert_eq!(hook.next().await.text(), expect.text);
    assert_eq!(hook.next().await.json(), serde_json::to_value(&expect).expect("JSON"));
    assert_eq!(service.next().await.message["body"], expect.text);
    assert_eq!(stage.notifications.view().outcomes.into_keys().collect::<Vec<_>>(), targets);
}
