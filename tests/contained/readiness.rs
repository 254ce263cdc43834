//! Whether tasks can start: the answer of the container engine, the suggested fixes, and how changes are noticed. Real servers;
//! a test writes the engine's answer to a file.

use serde_json::json;
use testkit::TestHome;
use testkit::worker::{ScriptedContainers, USABLE};

use super::stage;
use crate::BINARY;

const NO_ENGINE: &str = r#"{"usable":false,"engine":null,"image":null,
    "problem":{"code":"no_engine","detail":"no container engine answers at /var/run/docker.sock","hints":["start it"]}}"#;

const STALE: &str =
    r#"{"usable":true,"engine":{"version":"27.0"},"image":{"name":"mine:1","codex_version":"0.1.0","stale":true}}"#;

#[tokio::test]
async fn a_server_without_an_engine_starts_says_why_no_task_can_and_notices_when_one_can() {
    let mut home = TestHome::new(BINARY);
    let containers = ScriptedContainers::install(&home);
    containers.answers(NO_ENGINE);
    home.start().await;
    let upstream = testkit::upstream::Upstream::new();
    let env = home.environment(&upstream.url()).await;
    let (status, ready) = home.get("/readyz").await;
    assert_eq!((status, &ready["code"]), (503, &json!("not_ready")));
    assert!(ready["detail"].as_str().is_some_and(|detail| detail.contains("no container engine answers")), "{ready}");
    let (_, shown) = home.get("/api/v1/status").await;
    assert_eq!(
        (&shown["worker"]["name"], &shown["worker"]["container"]),
        (&json!("codex-docker"), &json!({ "engine": null, "image": null }))
    );
    let asked = json!({ "env_id": env, "prompt": "end done" });
    let (status, problem) = home.post("/api/v1/tasks", &asked).await;
    assert_eq!((status, &problem["code"], &problem["hints"][0]), (503, &json!("no_worker"), &json!("start it")), "{problem}");
    assert_eq!(home.get("/api/v1/tasks").await.1["items"], json!([]), "the rejected request creates no task");
    containers.answers(USABLE);
    // The error is cached for a few seconds, and then the container engine is asked again.
    let ready = async {
        while home.post("/api/v1/tasks", &asked).await.0 != 201 {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), ready)
        .await
        .expect("the server notices that the container engine works");
    assert_eq!(home.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn the_status_shows_the_engine_and_the_image() {
    let mut home = TestHome::new(BINARY);
    ScriptedContainers::install(&home).answers(STALE);
    home.start().await;
    let (_, shown) = home.get("/api/v1/status").await;
    let worker = &shown["worker"];
    assert_eq!((&worker["problem"], &worker["container"]["engine"]["version"]), (&json!(null), &json!("27.0")), "{worker}");
    assert_eq!(worker["container"]["image"]["codex_version"], "0.1.0");
    assert!(worker["hints"][0].as_str().is_some_and(|hint| hint.contains("mine:1")), "a hint mentions the old image: {worker}");
    assert_eq!(home.get("/readyz").await.0, 200);
}

#[tokio::test]
async fn each_image_is_asked_about_by_its_name_and_lists_ask_nothing() {
    let stage = stage().await;
    stage.edit(json!({ "container": { "image": "mine:2" } })).await;
    stage.run("end done").await;
    let checks = stage.calls("check");
    assert!(checks.contains(&"codex-docker check --json --image mine:2".to_owned()), "{checks:?}");
    for path in ["/api/v1/tasks", "/api/v1/envs", "/healthz"] {
        stage.home.get(path).await;
    }
    assert_eq!(stage.calls("check"), checks);
}

#[tokio::test]
async fn an_engine_that_hangs_does_not_keep_the_server_from_starting() {
    let mut home = TestHome::new(BINARY);
    let containers = ScriptedContainers::install(&home);
    // The answer is a pipe that nobody writes to.
    containers.hangs();
    home.start().await;
    let (_, shown) = home.get("/api/v1/status").await;
    assert!(shown["worker"]["problem"].as_str().is_some_and(|problem| problem.contains("has not been checked yet")), "{shown}");
}
