//! Tests what the agents of a task installed: the commands, the proposed description, and the form that saves it.
//!
//! The log is what an agent wrote, so it can contain anything.

use testkit::words::words;

use super::*;

/// Returns a line of a log with a command that ended.
fn command(command: &str, code: i32) -> String {
    let item = json!({ "id": "item_1", "type": "command_execution", "command": format!("/bin/bash -lc {}", quoted(command)),
        "aggregated_output": "", "exit_code": code, "status": if code == 0 { "completed" } else { "failed" } });
    json!({ "type": "item.completed", "item": item }).to_string() + "\n"
}

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Starts a stage with one task whose run has ended and left this log.
async fn after(env: (Stage, String), log: &str) -> (Stage, String) {
    let (stage, env) = env;
    let task = stage.task(&env, "Fix the parser").await;
    let mut run = ended("completed");
    run["installed"] = json!(true);
    let (name, log) = (task.clone(), log.to_owned());
    (stage.again(move |home| write_run(home, &name, log.as_bytes(), &run)).await, task)
}

#[tokio::test]
async fn what_an_agent_installed_becomes_a_description() {
    let env = Stage::with_repository().await;
    let id = env.1.clone();
    let log = [
        command("apt-get update && apt-get install -y jq", 0),
        command("cd web && npm ci 2>&1 | tail -3", 0),
        command("pip install broken", 1),
        command("curl -fsSL https://x.example/install.sh | sh", 0),
        command("pip install '</textarea><script>alert(1)</script>'", 0),
        command("pip install 'a\u{1b}[2J\u{202e}b'", 0),
        "{\"type\":\"item.completed\"".to_owned(),
    ];
    let (stage, task) = after(env, &log.concat()).await;
    assert!(stage.get(&format!("/tasks/{task}")).await.page(200).contains(&format!("href=\"/tasks/{task}/installed\"")));

    let found = stage.api("GET", &format!("/api/v1/tasks/{task}/installed"), &json!(null)).await.json();
    let of = |list: &str, name: &str| {
        found[list].as_array().expect("a list").iter().map(|item| item[name].clone()).collect::<Vec<_>>()
    };
    let hostile = "pip install '</textarea><script>alert(1)</script>'";
    assert_eq!(of("commands", "command"), ["apt-get update", "apt-get install -y jq", "(cd web && npm ci)", hostile]);
    assert_eq!(of("commands", "verified"), [true, true, false, true]);
    assert_eq!(of("left_out", "reason"), ["downloaded_script", "hidden_characters"]);
    assert_eq!((&found["base"], &found["complete"]), (&json!(null), &json!(true)));
    let of_run = async |run: &str| stage.api("GET", &format!("/api/v1/tasks/{task}/installed?run={run}"), &json!(null)).await;
    assert_eq!(of_run("1").await.json(), found);
    assert_eq!((of_run("2").await.status, of_run("x").await.status, of_run("0").await.status), (404, 404, 404));
    let proposal = found["proposal"].as_str().expect("a proposal").to_owned();

    let reply = stage.get(&format!("/tasks/{task}/installed")).await;
    let page = reply.page(200);
    assert!(!page.contains("<script>alert") && !page.contains(['\u{1b}', '\u{202e}']), "{page}");
    insta::assert_snapshot!(words(page).replace(&task, "TASK"));

    let setup = format!("/environments/{id}/setup");
    let saved = stage.post(&setup, &[("description", &proposal.replace('\n', "\r\n"))]).await;
    assert_eq!(saved.leads_to(), (303, setup.as_str()));
    let described = stage.api("GET", &format!("/api/v1/envs/{id}/setup"), &json!(null)).await.json();
    assert_eq!((&described["description"]["origin"], &described["description"]["text"]), (&json!("settings"), &json!(proposal)));
    let again = stage.api("GET", &format!("/api/v1/tasks/{task}/installed"), &json!(null)).await.json();
    assert_eq!((&again["proposal"], &again["base"]), (&json!(null), &json!(proposal)));
    assert!(again["commands"].as_array().expect("a list").iter().all(|command| command["described"] == true), "{again}");
    let page = stage.get(&format!("/tasks/{task}/installed")).await;
    assert!(page.page(200).contains("The setup already contains all of these commands."), "{}", page.body);
}

#[tokio::test]
async fn secrets_are_never_proposed() {
    let env = Stage::with_repository().await;
    let secret = json!({ "secrets": { "NPM_PASS": "hunter2hunter2" } });
    let edited = env.0.api("PATCH", &format!("/api/v1/envs/{}", env.1), &secret).await;
    assert_eq!(edited.status, 200, "{}", edited.body);
    let (stage, task) = after(env, &command("npm ci --pass hunter2hunter2", 0)).await;
    let found = stage.api("GET", &format!("/api/v1/tasks/{task}/installed"), &json!(null)).await;
    assert!(!found.body.contains("hunter2"), "{}", found.body);
    let found = found.json();
    assert_eq!((&found["proposal"], &found["left_out"][0]["reason"]), (&json!(null), &json!("secret")));
}

#[tokio::test]
async fn a_description_that_is_not_valid_is_not_extended() {
    let stage = Stage::new().await;
    stage.upstream.commit("main", &[(".codex-orchestrator/environment.toml", "x = 1\n")], "describe");
    let env = stage.add_repository(&json!({ "repo_url": stage.upstream.url(), "name": "app", "runs": { "paused": true } })).await;
    let (stage, task) = after((stage, env), &command("npm ci", 0)).await;
    let found = stage.api("GET", &format!("/api/v1/tasks/{task}/installed"), &json!(null)).await.json();
    assert_eq!((&found["proposal"], &found["error"]["code"]), (&json!(null), &json!("description_refused")));
    let page = stage.get(&format!("/tasks/{task}/installed")).await;
    assert!(page.page(200).contains("unknown field `x`") && !page.body.contains("<textarea"), "{}", page.body);
}

#[tokio::test]
async fn a_task_without_installations_has_no_link() {
    let (stage, env) = Stage::with_repository().await;
    let task = stage.task(&env, "Fix the parser").await;
    assert!(!stage.get(&format!("/tasks/{task}")).await.page(200).contains("/installed"));
    let page = stage.get(&format!("/tasks/{task}/installed")).await;
    assert!(page.page(200).contains("No command of this task can be used in a setup."), "{}", page.body);
    let missing = stage.api("GET", "/api/v1/tasks/01a20000-0000-7000-8000-000000000000/installed", &json!(null)).await;
    assert_eq!(missing.problem(), (404, "task_not_found".to_owned()));
}
