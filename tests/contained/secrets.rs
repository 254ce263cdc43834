//! Secrets of a repository: stored, passed to the agent, never returned, and masked for readers. Real servers, and an agent
//! that prints its secrets.

use serde_json::json;

use super::{setup, stage};
use crate::stage::id_of;

/// Contains characters that JSON escapes.
const SECRET: &str = "hunter2 \"quoted\" \\ and\u{e4}";

#[tokio::test]
async fn a_secret_is_never_answered_again() {
    let stage = stage().await;
    let edited = stage.edit(json!({ "secrets": { "TOKEN": SECRET, "OTHER": "other-secret" } })).await;
    assert_eq!(edited["secrets"], json!(["OTHER", "TOKEN"]));
    let forgotten = stage.edit(json!({ "secrets": { "OTHER": null } })).await;
    assert_eq!(forgotten["secrets"], json!(["TOKEN"]));
    let url = stage.upstream.url();
    let new = json!({ "repo_url": url, "secrets": { "TOKEN": SECRET }, "container": { "memory": "1g" } });
    let (status, created) = stage.home.post("/api/v1/envs", &new).await;
    assert_eq!((status, &created["secrets"], &created["container"]["memory"]), (201, &json!(["TOKEN"]), &json!("1g")));
    let list = stage.home.text("/api/v1/envs").await;
    for text in [edited.to_string(), forgotten.to_string(), created.to_string(), list, stage.home.log()] {
        assert!(!text.contains("hunter2") && !text.contains("other-secret"), "{text}");
    }
}

#[tokio::test]
async fn secrets_survive_a_restart_of_the_server() {
    let mut stage = stage().await;
    stage.edit(json!({ "secrets": { "TOKEN": "hunter2" }, "container": { "cpus": 1.5 } })).await;
    stage.home.stop().await;
    stage.home.start().await;
    let task = stage.run("end done").await;
    assert_eq!(stage.containers().variable("CODEX_CONTAINER_ENV_TOKEN").as_deref(), Some("hunter2"), "{task}");
    assert_eq!(stage.containers().variable("CODEX_DOCKER_CPUS").as_deref(), Some("1.5"));
}

#[tokio::test]
async fn what_the_agent_says_is_masked_for_readers_and_the_raw_log_keeps_it() {
    let stage = stage().await;
    stage.edit(json!({ "secrets": { "TOKEN": SECRET } })).await;
    let in_json = serde_json::to_string(SECRET).expect("text");
    let said = format!(r#"{{"type":"item.completed","item":{{"id":"item_0","type":"agent_message","text":{in_json}}}}}"#);
    let task =
        stage.run(&format!("begin\ncat <<'EOF'\n{said}\nEOF\ncomplete\nprintf 'torn %s' \"$CODEX_CONTAINER_ENV_TOKEN\"")).await;
    let id = id_of(&task);
    assert_eq!(task["runs"][0]["last_message"], "***", "{task}");
    let log = format!("/api/v1/tasks/{id}/runs/1/log");
    let raw = stage.home.text(&log).await;
    assert!(raw.contains(&said) && raw.ends_with(&format!("torn {SECRET}")), "{raw}");
    let masked = stage.home.text(&format!("{log}?masked=true")).await;
    assert!(!masked.contains("hunter2") && masked.contains(r#""text":"***""#) && masked.ends_with("torn ***"), "{masked}");
    let events = stage.home.text(&format!("/api/v1/tasks/{id}/runs/1/events")).await;
    assert!(!events.contains("hunter2") && events.contains(r#""text":"***""#), "{events}");
    let message = fs_err::read_to_string(stage.home.path().join(format!("tasks/{id}/logs/run-001.message"))).expect("written");
    assert!(!message.contains("hunter2") && message.contains("***"), "{message}");
}

#[tokio::test]
async fn a_key_is_masked_line_by_line_and_however_json_writes_it() {
    let stage = stage().await;
    let key = "-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\n9w0BAQEFAASCBKcwggSj\n-----END KEY-----\n";
    stage.edit(json!({ "secrets": { "TOKEN": "hunter2-and-more", "KEY": key } })).await;
    let said = [
        r#"{"type":"item.completed","item":{"id":"item_0","type":"agent_message","text":"\u0068unter2-\u0061nd-more"}}"#,
        r#"{"type":"item.completed","item":{"id":"item_1","type":"agent_message","text":"  MIIEvQIBADANBgkqhkiG\r\n"}}"#,
        r#"{"type":"item.completed","item":{"id":"item_2","type":"agent_message","text":"aHVudGVyMi1hbmQtbW9yZQ== ?t=hunter2%2dand%2Dmore"}}"#,
        r#"{"type":"item.completed","item":{"id":"item_3","type":"agent_message","text":"9w0BAQEFAASCBKcwggSj"}}"#,
    ];
    let task = stage.run(&format!("begin\ncat <<'EOF'\n{}\nEOF\ncomplete", said.join("\n"))).await;
    let id = id_of(&task);
    assert_eq!(task["runs"][0]["last_message"], "***", "{task}");
    let masked = stage.home.text(&format!("/api/v1/tasks/{id}/runs/1/log?masked=true")).await;
    let events = stage.home.text(&format!("/api/v1/tasks/{id}/runs/1/events")).await;
    for text in [&masked, &events] {
        for part in ["unter2-", "MIIEvQ", "9w0BAQ", "aHVudGVyMi1hbmQtbW9y"] {
            assert!(!text.contains(part), "{part}: {text}");
        }
        assert!(text.contains(r#""text":"***""#) && text.contains(r#""text":"  ***\r\n""#), "{text}");
    }
}

#[tokio::test]
async fn what_was_a_secret_once_stays_masked() {
    let stage = stage().await;
    stage.edit(json!({ "secrets": { "TOKEN": "first-secret" } })).await;
    let task = stage.run("end first-secret").await;
    stage.edit(json!({ "secrets": { "TOKEN": "second-secret" } })).await;
    stage.edit(json!({ "secrets": { "TOKEN": null } })).await;
    let events = stage.home.text(&format!("/api/v1/tasks/{}/runs/1/events", id_of(&task))).await;
    assert!(!events.contains("first-secret"), "{events}");
}

#[tokio::test]
async fn an_error_that_repeats_a_secret_is_masked() {
    let stage = stage().await;
    stage.edit(json!({ "secrets": { "TOKEN": "hunter2" } })).await;
    let task = stage.run("begin; failed 'no access with hunter2'").await;
    let error = &task["runs"][0]["error"];
    assert!(error["message"].as_str().is_some_and(|message| message.contains("***") && !message.contains("hunter2")), "{error}");
}

#[tokio::test]
async fn the_servers_own_keys_are_masked_too() {
    let stage = setup().set("CODEX_API_KEY", "k-server-key").start().await;
    let auth = stage.home.scratch().join("auth.json");
    fs_err::write(&auth, r#"{"tokens":{"access_token":"a-stored-token"}}"#).expect("written");
    let words = ["login", "--import", &auth.display().to_string()];
    assert!(stage.home.command(&words).status().await.expect("the command can be started").success());
    let task = stage.run("end 'k-server-key and a-stored-token'").await;
    assert_eq!(task["runs"][0]["last_message"], "*** and ***", "{task}");
}

#[tokio::test]
async fn a_secret_that_cannot_be_kept_is_refused_and_not_repeated() {
    let stage = stage().await;
    for (edit, code) in [
        (json!({ "secrets": { "TOKEN": "abc" } }), "secret_refused"),
        (json!({ "secrets": { "TOKEN": "hunter2\0" } }), "secret_refused"),
        (json!({ "secrets": { "NOT A NAME": "hunter2" } }), "variable_refused"),
        (json!({ "secrets": { "TOKEN": "hunter2" }, "variables": { "TOKEN": "x" } }), "variable_refused"),
        (json!({ "container": { "memory": "1m" } }), "container_refused"),
        (json!({ "container": { "network": "allow", "allow_hosts": ["https://x/"] } }), "container_refused"),
    ] {
        let (status, problem) = stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &edit).await;
        assert_eq!((status, &problem["code"]), (422, &json!(code)), "{problem}");
        assert!(!problem.to_string().contains("hunter2"), "{problem}");
    }
    let (_, shown) = stage.home.get(&format!("/api/v1/envs/{}", stage.env)).await;
    assert_eq!(
        (&shown["secrets"], &shown["container"]["network"]),
        (&json!([]), &json!("open")),
        "rejected settings change nothing"
    );
}
