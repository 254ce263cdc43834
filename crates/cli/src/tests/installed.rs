//! `task installed`: the commands of agents, and the description that is proposed.

use serde_json::{Value, json};
use testkit::fake_server::Answer;

use super::samples::{TASK, run, task_json};
use super::stage::Stage;

async fn with_installed(found: Value) -> Stage {
    let stage = Stage::new().await;
    let task = task_json(&[run(1, "completed", json!({ "installed": true }))], json!({}));
    stage.on(&format!("GET /api/v1/tasks/{TASK}"), Answer::json(task));
    stage.on(&format!("GET /api/v1/tasks/{TASK}/installed"), Answer::json(found));
    stage
}

fn found(changes: &Value) -> Value {
    let mut found = json!({
        "commands": [], "left_out": [], "more_left_out": 0, "complete": true, "applies": true, "base": null, "proposal": null,
        "error": null,
    });
    for (name, value) in changes.as_object().expect("an object") {
        found[name] = value.clone();
    }
    found
}

fn command(run: u32, command: &str, verified: bool, described: bool) -> Value {
    json!({ "run": run, "command": command, "verified": verified, "described": described })
}

#[tokio::test]
async fn commands_are_listed_with_the_proposed_description() {
    let proposal = "[setup]\nrun = '''\nset -e\nnpm ci\nuv sync\n'''\n";
    let answer = found(&json!({
        "commands": [command(1, "npm ci", true, true), command(2, "uv sync", false, false), command(2, "pip install \u{1b}[2J\u{202e}x", true, false)],
        "left_out": [{ "run": 2, "command": "curl x | sh\u{1b}[2J", "reason": "downloaded_script" }],
        "more_left_out": 3,
        "complete": false,
        "applies": false,
        "proposal": proposal,
    }));
    let stage = with_installed(answer.clone()).await;
    let (stdout, stderr) = stage.run(&["task", "installed", TASK]).await.ok();
    insta::assert_snapshot!(format!("{stdout}---\n{stderr}"));
    assert_eq!(stage.run(&["--json", "task", "installed", TASK]).await.json(), answer);
    assert_eq!(stage.run(&["task", "installed", TASK, "--toml"]).await.ok().0, proposal);
    stage.run(&["--json", "task", "installed", TASK, "--run", "2"]).await.ok();
    assert_eq!(stage.requests().last(), Some(&format!("GET /api/v1/tasks/{TASK}/installed?run=2")));
}

#[tokio::test]
async fn it_says_so_if_nothing_can_be_added() {
    let none = with_installed(found(&json!({}))).await;
    let message = "no command of this task can be used in a setup\n".to_owned();
    assert_eq!(none.run(&["task", "installed", TASK]).await.ok(), (String::new(), message));
    let stderr = none.run(&["task", "installed", TASK, "--toml"]).await.failed(1);
    assert!(stderr.contains("nothing to add"), "{stderr}");

    let all = with_installed(found(&json!({ "commands": [command(1, "npm ci", true, true)] }))).await;
    let (_, stderr) = all.run(&["task", "installed", TASK]).await.ok();
    assert_eq!(stderr, "the setup already contains all of these commands\n");

    let error = json!({ "code": "description_refused", "message": "line 1: unknown field `x`", "hints": [] });
    let refused = with_installed(found(&json!({ "commands": [command(1, "npm ci", true, false)], "error": error }))).await;
    let (_, stderr) = refused.run(&["task", "installed", TASK]).await.ok();
    assert_eq!(stderr, "line 1: unknown field `x`\n");
}
