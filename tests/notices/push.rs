//! Web Push end to end: a browser subscribes on the page, and a push service verifies and decrypts what it receives. The tests'
//! push service does not use the server's cryptography code.

use serde_json::json;
use testkit::TestHome;
use testkit::pages::Pages;
use testkit::push::PushService;
use testkit::upstream::Upstream;

use super::stage;

const PAGE: &str = "/settings/notices";

/// Creates a browser with its own session that receives notifications.
async fn device(home: &TestHome, service: &PushService, name: &str) -> Pages {
    let pages = Pages::sign_in(home).await;
    assert_eq!(subscribe(&pages, service, name).await, 303);
    pages
}

async fn subscribe(pages: &Pages, service: &PushService, name: &str) -> u16 {
    let key = pages.value(PAGE, "server_key").await;
    let wish = service.subscribe(name, &key);
    let fields = [("server_key", key.as_str()), ("endpoint", &wish.endpoint), ("p256dh", &wish.p256dh), ("auth", &wish.auth)];
    pages.post(PAGE, "/settings/notices/devices", &fields).await
}

async fn devices(pages: &Pages) -> usize {
    pages.get(PAGE).await.1.matches("/remove\"").count()
}

async fn started() -> (Upstream, TestHome, String, PushService) {
    let (upstream, home, env) = stage("").await;
    (upstream, home, env, PushService::start().await)
}

#[tokio::test]
async fn the_end_of_a_task_is_pushed_once_sealed_signed_and_with_its_link() {
    let (_upstream, mut home, env, mut service) = started().await;
    let pages = device(&home, &service, "phone").await;
    assert_eq!(devices(&pages).await, 1);
    let task = home.task(&env, "begin; end \"secret words\"").await;
    home.settled(&task).await;
    let pushed = service.next().await;
    let path = format!("/tasks/{task}");
    assert_eq!((&pushed.message["path"], &pushed.message["tag"]), (&json!(path), &json!(task)));
    assert_eq!(pushed.message["body"], "Run 1 completed.");
    let text = pushed.message.to_string();
    assert!(pushed.message["title"].as_str().is_some_and(|title| title.starts_with("begin;")), "{text}");
    assert_eq!((pushed.headers["ttl"].as_str(), pushed.headers["urgency"].as_str()), ("86400", "normal"));
    assert_eq!(pushed.headers["topic"], task.replace('-', ""));
    assert_eq!(pushed.claims["sub"], "mailto:nobody@example.com");
    // The server's key survives a restart.
    home.stop().await;
    home.start().await;
    let failed = home.task(&env, "begin; failed no").await;
    home.settled(&failed).await;
    let pushed = service.next().await;
    assert_eq!((&pushed.message["tag"], pushed.headers["urgency"].as_str()), (&json!(failed), "high"));
    assert!(service.already().is_none() && service.asked() == 2, "each notification is sent once");
}

#[tokio::test]
async fn a_push_service_that_is_busy_is_asked_again_and_one_that_refuses_is_not() {
    let (_upstream, home, env, mut service) = started().await;
    let pages = device(&home, &service, "phone").await;
    service.refuse(&[429, 503]);
    let task = home.task(&env, "begin; end done").await;
    assert_eq!(service.next().await.message["tag"], task);
    assert_eq!(service.asked(), 3);
    service.refuse(&[403]);
    let id = device_id(&pages).await;
    assert_eq!(pages.post(PAGE, &format!("{PAGE}/devices/{id}/test"), &[]).await, 303);
    let (_, text) = pages.get(PAGE).await;
    assert!(text.contains("The last notification failed") && text.contains("403 Forbidden"), "{text}");
    assert_eq!((service.asked(), devices(&pages).await), (4, 1));
}

#[tokio::test]
async fn a_push_service_that_asks_for_patience_gets_it() {
    let (_upstream, home, env, mut service) = started().await;
    let pages = device(&home, &service, "phone").await;
    service.refuse_for(429, 4);
    let task = home.task(&env, "begin; end done").await;
    home.settled(&task).await;
    let begun = std::time::Instant::now();
    assert_eq!(service.next().await.message["tag"], task);
    assert!(begun.elapsed().as_secs() >= 3, "the server waits before it retries: {:?}", begun.elapsed());
    assert_eq!(service.asked(), 2);
    // A message that would arrive an hour later is dropped.
    service.refuse_for(503, 3600);
    let task = home.task(&env, "begin; end done").await;
    home.settled(&task).await;
    while !pages.get(PAGE).await.1.contains("503 Service Unavailable, retry after 3600 s") {
        tokio::task::yield_now().await;
    }
    assert_eq!(service.asked(), 3);
}

async fn device_id(pages: &Pages) -> String {
    let (_, text) = pages.get(PAGE).await;
    let rest = text.split_once("/settings/notices/devices/").and_then(|(_, rest)| rest.split_once("/test\""));
    rest.expect("a device").0.to_owned()
}

#[tokio::test]
async fn a_test_arrives_at_its_device_alone_and_the_page_says_so() {
    let (_upstream, home, _, mut service) = started().await;
    let pages = device(&home, &service, "phone").await;
    let id = device_id(&pages).await;
    let _other = device(&home, &service, "laptop").await;
    assert_eq!(pages.post(PAGE, &format!("{PAGE}/devices/{id}/test"), &[]).await, 303);
    let pushed = service.next().await;
    assert_eq!((pushed.device.as_str(), &pushed.message["path"]), ("phone", &json!("/settings/notices")));
    assert_eq!((pushed.headers["ttl"].as_str(), service.asked()), ("60", 1));
    assert!(pages.get(PAGE).await.1.contains("The last notification was sent"));
    assert_eq!(pages.post(PAGE, &format!("{PAGE}/devices/{id}/remove"), &[]).await, 303);
    assert_eq!(devices(&pages).await, 1);
    assert_eq!(pages.post(PAGE, &format!("{PAGE}/devices/{id}/test"), &[]).await, 409, "a removed device cannot be tested");
}

#[tokio::test]
async fn a_device_that_is_gone_is_forgotten_and_the_others_hear() {
    let (_upstream, mut home, env, mut service) = started().await;
    let pages = device(&home, &service, "phone").await;
    let id = device_id(&pages).await;
    service.refuse(&[410]);
    assert_eq!(pages.post(PAGE, &format!("{PAGE}/devices/{id}/test"), &[]).await, 303);
    let (_, text) = pages.get(PAGE).await;
    assert!(text.contains("A device was removed") && text.contains("410 Gone"), "{text}");
    assert_eq!(devices(&pages).await, 0);
    home.stop().await;
    home.start().await;
    let pages = device(&home, &service, "laptop").await;
    assert_eq!(devices(&pages).await, 1, "the removed device stays removed after a restart");
    let task = home.task(&env, "begin; end done").await;
    assert_eq!((service.next().await.message["tag"].as_str(), service.asked()), (Some(task.as_str()), 2));
}

#[tokio::test]
async fn who_is_signed_out_gets_nothing() {
    let (_upstream, home, env, mut service) = started().await;
    let revoked = device(&home, &service, "revoked").await;
    let out = device(&home, &service, "out").await;
    let stays = device(&home, &service, "stays").await;
    assert_eq!(devices(&stays).await, 3);
    assert_eq!(out.post(PAGE, "/sign-out", &[]).await, 303);
    let (_, text) = stays.get("/settings").await;
    // The newest session comes first. It is the browser's own, which has no form to revoke it.
    let id = text.split_once("/settings/sessions/").and_then(|(_, rest)| rest.split_once("/revoke")).expect("a session").0;
    assert_eq!(stays.post("/settings", &format!("/settings/sessions/{id}/revoke"), &[]).await, 303);
    assert_eq!(devices(&stays).await, 1);
    assert_eq!(revoked.get(PAGE).await.0, 303, "the revoked browser is signed out");
    let file = fs_err::read_to_string(home.path().join("devices.json")).expect("there");
    assert!(file.contains("/send/stays") && !file.contains("/send/out") && !file.contains("/send/revoked"), "{file}");
    let task = home.task(&env, "begin; end done").await;
    home.settled(&task).await;
    assert_eq!(service.next().await.device, "stays");
    assert!(service.already().is_none() && service.asked() == 1);
}

#[tokio::test]
async fn what_is_no_subscription_is_refused_and_a_damaged_file_stops_nothing() {
    let (_upstream, mut home, env, mut service) = started().await;
    let pages = Pages::sign_in(&home).await;
    let key = pages.value(PAGE, "server_key").await;
    let wish = service.subscribe("phone", &key);
    for (endpoint, p256dh) in [
        ("", wish.p256dh.as_str()),
        ("http://192.0.2.1/send", &wish.p256dh),
        ("file:///etc/passwd", &wish.p256dh),
        (&wish.endpoint, "AAAA"),
    ] {
        let fields = [("server_key", key.as_str()), ("endpoint", endpoint), ("p256dh", p256dh), ("auth", &wish.auth)];
        assert_eq!(pages.post(PAGE, "/settings/notices/devices", &fields).await, 422, "{endpoint}");
    }
    assert!(!home.path().join("devices.json").exists());
    home.stop().await;
    for name in ["devices.json", "notices.json", "held-notices.json"] {
        fs_err::write(home.path().join(name), "{\"schema\":1,\"content\":").expect("written");
    }
    home.start().await;
    assert!(home.log().contains("devices.json"), "{}", home.log());
    let pages = Pages::sign_in(&home).await;
    for page in [PAGE, "/settings"] {
        assert_eq!(pages.get(page).await.1.matches("Could not read").count(), 3, "{page}");
    }
    assert_eq!(subscribe(&pages, &service, "phone").await, 303);
    assert_eq!(pages.get(PAGE).await.1.matches("Could not read").count(), 2);
    let task = home.task(&env, "begin; end done").await;
    assert_eq!(service.next().await.message["tag"], task);
}
