//! Notifications: what a webhook, ntfy and a browser's push service receive when a task ends, and what they do not receive. Real
//! servers and receivers; the worker runs its prompt as a script.

mod push;
mod settings;

use serde_json::Value;
use testkit::TestHome;
use testkit::receiver::Receiver;
use testkit::upstream::Upstream;
use testkit::worker::scripted_worker;

use crate::BINARY;

async fn stage(config: &str) -> (Upstream, TestHome, String) {
    let upstream = Upstream::new();
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_WORKER", scripted_worker(home.scratch()));
    fs_err::write(home.path().join("config.toml"), format!("[notify]\n{config}\n")).expect("written");
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    (upstream, home, env)
}

#[tokio::test]
async fn ends_are_told_to_a_webhook_and_to_ntfy_once_each() {
    let (mut webhook, mut ntfy) = (Receiver::start().await, Receiver::start().await);
    let config = format!(
        "webhook_url = \"{}\"\nwebhook_secret = \"hush-hush\"\nntfy_url = \"{}\"\npublic_url = \"https://box.example/\"",
        webhook.url(),
        ntfy.url()
    );
    let (_upstream, home, env) = stage(&config).await;
    let done = home.task(&env, "begin; end \"secret words\"").await;
    home.settled(&done).await;
    let told = webhook.next().await;
    let notice: Value = serde_json::from_str(&told.body).expect("JSON");
    assert_eq!((&notice["event"], &notice["task_id"]), (&Value::from("finished"), &Value::from(done.as_str())), "{notice}");
    assert_eq!(notice["url"], format!("https://box.example/tasks/{done}"));
    assert!(told.header("x-codex-orchestrator-signature").is_some_and(|found| found.starts_with("sha256=") && found.len() == 71));
    assert!(!told.body.contains("hush-hush"));
    let told = ntfy.next().await;
    assert_eq!((told.body.as_str(), told.header("tags")), ("Run 1 completed.", Some("white_check_mark")));
    assert_eq!(told.header("click"), Some(format!("https://box.example/tasks/{done}").as_str()));
    let failed = home.task(&env, "begin; failed no").await;
    home.settled(&failed).await;
    assert_eq!(serde_json::from_str::<Value>(&webhook.next().await.body).expect("JSON")["event"], "failed");
    let stopped = home.task(&env, "begin; sleep 1000").await;
    home.wait_for(&format!("/api/v1/tasks/{stopped}"), |task| task["runs"][0]["turn_started"] == true).await;
    home.post(&format!("/api/v1/tasks/{stopped}/stop"), &serde_json::json!({})).await;
    home.settled(&stopped).await;
    let last = home.task(&env, "begin; end last").await;
    home.settled(&last).await;
    let told: Value = serde_json::from_str(&webhook.next().await.body).expect("JSON");
    assert_eq!(told["task_id"], last, "a run that the user stopped causes no notification");
    assert!(webhook.already().is_none(), "each notification is sent once");
}

#[tokio::test]
async fn a_notification_is_not_lost_if_the_server_dies_before_or_after_it_is_sent() {
    let mut webhook = Receiver::start().await;
    let (_upstream, mut home, env) = stage(&format!("webhook_url = \"{}\"", webhook.url())).await;
    home.stop().await;
    let notice = |body: &str| serde_json::from_str::<Value>(body).expect("JSON");
    // The last record of a run is the sixth one of its task: preparing, prepared, running, thread, turn, end.
    for (at, times) in [("record-written:6", 1), ("notice-sent", 2)] {
        home.set("ORCH_CRASH_AT", at);
        home.start().await;
        let task = home.task(&env, "begin; end done").await;
        home.ended().await;
        home.set("ORCH_CRASH_AT", "");
        let meta = fs_err::read_to_string(home.path().join("tasks").join(&task).join("meta.json")).expect("there");
        assert!(meta.contains("\"completed\"") && meta.contains("\"notices\""), "{at}: the record has the notification: {meta}");
        home.start().await;
        for _ in 0..times {
            let told = notice(&webhook.next().await.body);
            assert_eq!((&told["event"], &told["id"]), (&Value::from("finished"), &Value::from(format!("{task}/1"))), "{at}");
        }
        home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["active"] == false).await;
        home.stop().await;
        assert!(webhook.already().is_none(), "{at}");
    }
}

#[tokio::test]
async fn a_receiver_that_refuses_once_is_told_again_and_holds_up_nothing() {
    let mut webhook = Receiver::start().await;
    webhook.refuse(1);
    let (_upstream, home, env) = stage(&format!("webhook_url = \"{}\"", webhook.url())).await;
    let task = home.task(&env, "begin; end done").await;
    assert_eq!(home.settled(&task).await["status"], "completed");
    let told: Value = serde_json::from_str(&webhook.next().await.body).expect("JSON");
    assert_eq!(told["task_id"], task);
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_at_the_start() {
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_WORKER", "host");
    fs_err::write(home.path().join("config.toml"), "[notify]\nntfy_url = \"ntfy.sh/topic\"\n").expect("written");
    let (status, said) = home.start_refused().await;
    assert!(!status.success() && said.contains("`notify.ntfy_url` is not an http or https URL"), "{said}");
}
