//! `task artifacts`: the list of what an agent left, and downloads that create files only in the given folder.

use std::os::unix::fs::symlink;

use fs_err as fs;
use serde_json::{Value, json};
use testkit::fake_server::{Answer, Ending};

use super::samples::{TASK, run, task_json};
use super::stage::Stage;

fn of_run(rest: &str) -> String {
    format!("GET /api/v1/tasks/{TASK}/runs/2/artifacts{rest}")
}

fn artifact(path: &str, bytes: usize, kind: &str) -> Value {
    json!({ "path": path, "bytes": bytes, "kind": kind })
}

async fn with_artifacts(artifacts: &[Value], left_out: &[Value]) -> Stage {
    let stage = Stage::new().await;
    let task = task_json(&[run(1, "completed", json!({})), run(2, "completed", json!({}))], json!({}));
    stage.on(&format!("GET /api/v1/tasks/{TASK}"), Answer::json(task));
    let list = json!({ "artifacts": artifacts, "left_out": left_out, "more_left_out": left_out.len() });
    stage.on(&of_run(""), Answer::json(list));
    stage
}

#[tokio::test]
async fn artifacts_are_listed_with_what_was_left_out() {
    let listed =
        [artifact("shots/a.png", 2048, "image"), artifact("\"a\\033[2J\"", 1, "text"), artifact("\u{202e}gnp", 1, "other")];
    let stage = with_artifacts(&listed, &[json!({ "path": "link", "reason": "not_a_file" })]).await;
    let (stdout, stderr) = stage.run(&["task", "artifacts", TASK]).await.ok();
    insta::assert_snapshot!(format!("{stdout}---\n{stderr}"));
    assert_eq!(stage.run(&["--json", "task", "artifacts", TASK, "--run", "2"]).await.json()["artifacts"][0], listed[0]);

    let none = with_artifacts(&[], &[]).await;
    assert_eq!(none.run(&["task", "artifacts", TASK]).await.ok(), (String::new(), "run 2 has no artifacts\n".to_owned()));
}

#[tokio::test]
async fn a_download_has_all_files_and_replaces_none() {
    let listed = [artifact("log.txt", 3, "text"), artifact("shots/a b.png", 4, "image")];
    let stage = with_artifacts(&listed, &[]).await;
    stage.on(&of_run("/log.txt"), Answer::raw(200, "application/octet-stream", "log"));
    stage.on(&of_run("/shots%2Fa%20b.png"), Answer::raw(200, "image/png", "\u{89}png"));
    let into = stage.path("new/folder");
    let words = ["task", "artifacts", TASK, "--download", into.to_str().expect("text")];
    stage.run(&words).await.ok();
    assert_eq!(fs::read_to_string(into.join("log.txt")).expect("downloaded"), "log");
    assert_eq!(fs::read_to_string(into.join("shots/a b.png")).expect("downloaded"), "\u{89}png");
    fs::write(into.join("log.txt"), "mine").expect("written");
    let stderr = stage.run(&words).await.failed(1);
    assert!(stderr.contains("log.txt") && stderr.contains("never replaced"), "{stderr}");
    assert_eq!(fs::read_to_string(into.join("log.txt")).expect("still there"), "mine");
}

#[tokio::test]
async fn no_file_is_created_outside_of_the_folder() {
    for path in ["../out", "/out", "a/../../out", "a//out", ".."] {
        let stage = with_artifacts(&[artifact(path, 1, "text")], &[]).await;
        let into = stage.path("folder");
        stage.run(&["task", "artifacts", TASK, "--download", into.to_str().expect("text")]).await.failed(1);
        assert!(!stage.path("out").exists() && fs::read_dir(&into).expect("created").next().is_none(), "{path}");
    }
    let stage = with_artifacts(&[artifact("link/out", 1, "text")], &[]).await;
    let (into, outside) = (stage.path("folder"), stage.path("outside"));
    fs::create_dir_all(&into).expect("created");
    fs::create_dir_all(&outside).expect("created");
    symlink(&outside, into.join("link")).expect("a link");
    stage.run(&["task", "artifacts", TASK, "--download", into.to_str().expect("text")]).await.failed(1);
    assert!(!outside.join("out").exists());
}

#[tokio::test]
async fn an_incomplete_download_leaves_no_file() {
    let stage = with_artifacts(&[artifact("log.txt", 9, "text")], &[]).await;
    stage.on(&of_run("/log.txt"), Answer::pieces("application/octet-stream", &["half"], Ending::Broken));
    let into = stage.path("folder");
    stage.run(&["task", "artifacts", TASK, "--download", into.to_str().expect("text")]).await.failed(1);
    assert!(fs::read_dir(&into).expect("created").next().is_none());
}
