//! Settings of the page and of `config.toml`, quiet hours, and what is sent when they end. The tests only wait for messages:
//! the hours are set around the current time.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use testkit::pages::Pages;
use testkit::receiver::Receiver;

use super::stage;

const PAGE: &str = "/settings/notices";

const ALL: [(&str, &str); 3] = [("tell_finished", "yes"), ("tell_failed", "yes"), ("tell_needs_you", "yes")];

/// Returns the range from an hour ago to three hours from now.
fn now_and_around() -> (String, String) {
    let at = |hours: i64| (Timestamp::now() + SignedDuration::from_hours(hours)).strftime("%H:%M").to_string();
    (at(-1), at(3))
}

fn event(body: &str) -> String {
    let notice: Value = serde_json::from_str(body).expect("JSON");
    notice["event"].as_str().expect("the notification has an event").to_owned()
}

#[tokio::test]
async fn what_the_page_sets_takes_effect_at_once_and_lasts() {
    let (mut webhook, mut ntfy) = (Receiver::start().await, Receiver::start().await);
    let (_upstream, mut home, env) = stage("").await;
    let pages = Pages::sign_in(&home).await;
    let fields = [
        ("ntfy_url", ntfy.url()),
        ("webhook_url", webhook.url()),
        ("webhook_secret", "hush-hush"),
        ("public_url", "https://box.example"),
        ("tell_failed", "yes"),
    ];
    assert_eq!(pages.post(PAGE, PAGE, &fields).await, 303);
    let (_, text) = pages.get(PAGE).await;
    assert!(text.contains(webhook.url()) && text.contains("(set)") && !text.contains("hush-hush"), "{text}");
    for (name, test) in [("ntfy", &mut ntfy), ("webhook", &mut webhook)] {
        assert_eq!(pages.post(PAGE, &format!("{PAGE}/{name}/test"), &[]).await, 303);
        assert!(test.next().await.body.contains("This is a test."));
    }
    assert_eq!(pages.get(PAGE).await.1.matches("The last notification was sent").count(), 2);
    home.stop().await;
    home.start().await;
    let done = home.task(&env, "begin; end done").await;
    home.settled(&done).await;
    let failed = home.task(&env, "begin; failed no").await;
    home.settled(&failed).await;
    let told = webhook.next().await;
    assert_eq!(event(&told.body), "failed", "only failures are sent if the user selects only failures");
    assert!(told.header("x-codex-orchestrator-signature").is_some());
    assert!(webhook.already().is_none());
    let pages = Pages::sign_in(&home).await;
    webhook.refuse(1);
    assert_eq!(pages.post(PAGE, &format!("{PAGE}/webhook/test"), &[]).await, 303);
    let (_, text) = pages.get(PAGE).await;
    assert!(text.contains("The last notification failed") && text.contains("503"), "{text}");
    assert_eq!(pages.post(PAGE, PAGE, &[("ntfy_url", "ntfy.sh/topic")]).await, 422);
}

#[tokio::test]
async fn what_the_file_says_stands_above_the_page() {
    let mut file = Receiver::start().await;
    let mut page = Receiver::start().await;
    let (_upstream, home, env) = stage(&format!("webhook_url = \"{}\"\ntell = [\"finished\"]", file.url())).await;
    let pages = Pages::sign_in(&home).await;
    let fields = [("webhook_url", page.url()), ("ntfy_url", page.url()), ALL[1]];
    assert_eq!(pages.post(PAGE, PAGE, &fields).await, 303);
    let (_, text) = pages.get(PAGE).await;
    assert!(text.contains(file.url()) && text.matches("set in config.toml").count() == 2, "{text}");
    let done = home.task(&env, "begin; end done").await;
    home.settled(&done).await;
    assert_eq!(event(&file.next().await.body), "finished");
    assert_eq!(page.next().await.body, "Run 1 completed.", "the page's ntfy URL applies, because the file sets none");
    assert!(page.already().is_none());
}

#[tokio::test]
async fn quiet_hours_hold_back_and_tell_in_one_when_they_end() {
    let mut webhook = Receiver::start().await;
    let (_upstream, mut home, env) = stage("").await;
    let pages = Pages::sign_in(&home).await;
    let (from, to) = now_and_around();
    let url = webhook.url().to_owned();
    let base = [&[("webhook_url", url.as_str()), ("zone", "UTC")][..], &ALL].concat();
    let quiet = [&base[..], &[("from", &from), ("to", &to), ("let_failed", "yes")]].concat();
    assert_eq!(pages.post(PAGE, PAGE, &quiet).await, 303);
    for prompt in ["begin; end one", "begin; end two"] {
        let task = home.task(&env, prompt).await;
        home.settled(&task).await;
    }
    let failed = home.task(&env, "begin; failed no").await;
    home.settled(&failed).await;
    assert_eq!(event(&webhook.next().await.body), "failed", "failures pass during quiet hours");
    testkit::until(std::time::Duration::from_mins(1), "both notifications are held", || {
        let held = fs_err::read_to_string(home.path().join("held-notices.json")).unwrap_or_default();
        held.matches("\"finished\"").count() == 2
    });
    testkit::until(std::time::Duration::from_mins(1), "the sent notification is recorded", || {
        let meta = fs_err::read_to_string(home.path().join("tasks").join(&failed).join("meta.json")).expect("there");
        !meta.contains("\"notices\"")
    });
    let (_, text) = pages.get(PAGE).await;
    assert!(text.contains("Notifications are paused until") && text.contains("2 held."), "{text}");
    home.kill().await;
    home.start().await;
    assert!(webhook.already().is_none(), "held notifications are not sent after a restart");
    let pages = Pages::sign_in(&home).await;
    assert_eq!(pages.post(PAGE, PAGE, &base).await, 303);
    let told = webhook.next().await;
    assert_eq!(event(&told.body), "summary");
    assert!(told.body.contains("Tasks: 2 finished."), "{}", told.body);
    let last = home.task(&env, "begin; end last").await;
    home.settled(&last).await;
    assert_eq!(event(&webhook.next().await.body), "finished");
    assert!(webhook.already().is_none(), "each notification is sent once");
}

#[tokio::test]
async fn what_was_held_is_told_again_where_nobody_knows_that_it_was() {
    let mut webhook = Receiver::start().await;
    let (_upstream, mut home, env) = stage("").await;
    let pages = Pages::sign_in(&home).await;
    let (from, to) = now_and_around();
    let url = webhook.url().to_owned();
    let quiet = [("webhook_url", url.as_str()), ("zone", "UTC"), ("tell_finished", "yes"), ("from", &from), ("to", &to)];
    assert_eq!(pages.post(PAGE, PAGE, &quiet).await, 303);
    let task = home.task(&env, "begin; end one").await;
    home.settled(&task).await;
    let held = home.path().join("held-notices.json");
    testkit::until(std::time::Duration::from_mins(1), "the notification is held", || held.exists());
    home.stop().await;
    home.set("ORCH_CRASH_AT", "held-told");
    home.start().await;
    let pages = Pages::sign_in(&home).await;
    // The server may be killed before it answers.
    let ended = tokio::spawn(async move { pages.post(PAGE, PAGE, &[("webhook_url", &url), ("tell_finished", "yes")]).await });
    let told = webhook.next().await;
    home.ended().await;
    drop(ended);
    home.set("ORCH_CRASH_AT", "");
    home.start().await;
    assert_eq!(
        (webhook.next().await.body, event(&told.body).as_str()),
        (told.body, "finished"),
        "a single held notification is sent unchanged"
    );
    testkit::until(std::time::Duration::from_mins(1), "the held notification is removed", || {
        fs_err::read_to_string(&held).is_ok_and(|text| !text.contains("finished"))
    });
    assert!(webhook.already().is_none());
}

#[tokio::test]
async fn quiet_hours_of_the_file_hold_too() {
    let mut webhook = Receiver::start().await;
    let (from, to) = now_and_around();
    let config = format!(
        "webhook_url = \"{}\"\n[notify.quiet_hours]\nfrom = \"{from}\"\nto = \"{to}\"\nzone = \"UTC\"\nlet_through = [\"failed\"]",
        webhook.url()
    );
    let (_upstream, home, env) = stage(&config).await;
    for prompt in ["begin; end done", "begin; failed no"] {
        let task = home.task(&env, prompt).await;
        home.settled(&task).await;
    }
    assert_eq!(event(&webhook.next().await.body), "failed");
    assert!(webhook.already().is_none());
    assert!(Pages::sign_in(&home).await.get(PAGE).await.1.contains("Quiet hours (set in config.toml)"));
}
