//! The account login that all runs use, and agents that change their copy of it. Real servers; the agents are shell scripts
//! that see the same folder as a container.

use serde_json::{Value, json};
use testkit::login::account;
use testkit::upstream::Upstream;

use super::stage;
use crate::stage::{Stage, id_of};

/// Logs Codex in with an account, like `login --import`.
async fn log_in(stage: &Stage, login: &Value) {
    let file = stage.home.scratch().join("auth.json");
    fs_err::write(&file, login.to_string()).expect("written");
    let path = file.display().to_string();
    let output = stage.home.command(&["login", "--import", &path]).output().await.expect("the command can be started");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Returns a login as containers get it: without the refresh token.
fn lent(login: &Value) -> Value {
    let mut lent = login.clone();
    lent["tokens"]["refresh_token"] = json!("kept-by-the-orchestrator");
    lent
}

/// Runs a task in a different repository, and returns the login that it used and whether it got a key.
async fn seen_elsewhere(stage: &Stage) -> (Value, Option<String>) {
    let other = Upstream::new();
    let env = stage.home.environment(&other.url()).await;
    let seen = stage.home.scratch().join("seen.json");
    let prompt = format!(
        "cp \"$CODEX_DOCKER_AUTH/auth.json\" {}; [ $(ls -A \"$CODEX_DOCKER_AUTH\") = auth.json ] && end done",
        seen.display()
    );
    let task = stage.home.task(&env, &prompt).await;
    let task = stage.home.settled(&task).await;
    assert_eq!(task["runs"][0]["last_message"], "done", "{task}");
    let login = serde_json::from_slice(&fs_err::read(&seen).expect("copied")).expect("JSON");
    (login, stage.containers().variable("CODEX_API_KEY"))
}

#[tokio::test]
async fn an_agent_that_replaces_its_login_changes_nothing_for_other_repositories() {
    let stage = stage().await;
    let own = account("acc-1", "r-1", 5);
    log_in(&stage, &own).await;
    let evil = stage.home.scratch().join("evil.json");
    fs_err::write(&evil, account("acc-evil", "r-evil", 20).to_string()).expect("written");
    let mut swapped = own.clone();
    swapped["tokens"]["refresh_token"] = json!("r-evil");
    let swapped_file = stage.home.scratch().join("swapped.json");
    fs_err::write(&swapped_file, swapped.to_string()).expect("written");
    let forged_file = stage.home.scratch().join("forged.json");
    fs_err::write(&forged_file, account("acc-1", "r-evil", 20).to_string()).expect("written");
    let (evil, swapped, forged) = (evil.display(), swapped_file.display(), forged_file.display());
    for plant in [
        r#"echo '{"OPENAI_API_KEY":"sk-evil"}' > auth.json"#.to_owned(),
        r#"echo '{"auth_mode":"apikey","OPENAI_API_KEY":"sk-evil"}' > new; mv new auth.json"#.to_owned(),
        format!("cp {evil} auth.json"),
        format!("cp {swapped} auth.json"),
        format!("cp {forged} auth.json"),
        "rm auth.json; ln -s /etc/passwd auth.json".to_owned(),
        format!("rm auth.json; ln -s {evil} auth.json"),
        "rm auth.json; mkfifo auth.json".to_owned(),
        "rm auth.json; mkdir -p auth.json/deep".to_owned(),
        "truncate -s 3T auth.json".to_owned(),
        "echo x > config.toml".to_owned(),
        "mkdir ..evil; mkfifo ..evil/x".to_owned(),
        "echo garbage > auth.json".to_owned(),
    ] {
        let task = stage.run(&format!("begin; (cd \"$CODEX_DOCKER_AUTH\"; {plant}); end done")).await;
        let notes = task["runs"][0]["notes"].to_string();
        assert!(notes.contains("changed its copy of the Codex login"), "{plant}: {task}");
        assert_eq!(seen_elsewhere(&stage).await, (lent(&own), None), "{plant}");
    }
    let output = stage.home.command(&["doctor"]).output().await.expect("the command can be started");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("changed its copy of the Codex login") && !said.contains("sk-evil"), "{said}");
    assert!(!stage.home.log().contains("sk-evil") && !stage.home.log().contains("r-evil"));
}

#[tokio::test]
async fn an_agent_that_keeps_writing_to_its_login_reaches_no_run_that_starts_meanwhile() {
    let stage = stage().await;
    let own = account("acc-1", "r-1", 5);
    log_in(&stage, &own).await;
    let (ready, stop) = (stage.home.scratch().join("ready"), stage.home.scratch().join("stop"));
    let prompt = format!(
        "begin; while [ ! -e {1} ]; do echo '{{\"OPENAI_API_KEY\":\"sk-evil\"}}' > \"$CODEX_DOCKER_AUTH/auth.json\"; touch {0}; done; end done",
        ready.display(),
        stop.display()
    );
    let task = stage.home.task(&stage.env, &prompt).await;
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |_| ready.exists()).await;
    assert_eq!(seen_elsewhere(&stage).await, (lent(&own), None));
    fs_err::write(&stop, "").expect("written");
    stage.home.settled(&task).await;
}

#[tokio::test]
async fn tokens_are_renewed_without_an_agent_and_reach_runs_under_way() {
    let stage = stage().await;
    let (renewed, later) = (account("acc-1", "r-2", 5), account("acc-1", "r-3", 9));
    stage.containers().renews(&renewed);
    log_in(&stage, &account("acc-1", "r-1", 0)).await;
    let token = later["tokens"]["access_token"].as_str().expect("text");
    let ready = stage.home.scratch().join("ready");
    let waiting = format!(
        "begin; cp \"$CODEX_DOCKER_AUTH/auth.json\" {0}.json; touch {0}; while ! grep -qF {token} \"$CODEX_DOCKER_AUTH/auth.json\"; do sleep 0.02; done; end renewed",
        ready.display()
    );
    let task = stage.home.task(&stage.env, &waiting).await;
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |_| ready.exists()).await;
    let first: Value = serde_json::from_slice(&fs_err::read(ready.with_extension("json")).expect("copied")).expect("JSON");
    assert_eq!(first, lent(&renewed), "the tokens are renewed before the run starts");
    log_in(&stage, &later).await;
    let task = stage.home.settled(&task).await;
    assert_eq!(task["runs"][0]["last_message"], "renewed", "{task}");
    assert!(!task["runs"][0]["notes"].to_string().contains("login"), "{task}");
    let folder = stage.home.path().join(format!("tasks/{}/auth", id_of(&task)));
    assert!(!folder.exists(), "no token is left in the folder of a task that is not running");
    assert!(!stage.home.path().join("codex/renewal").exists(), "no token is left in the folder of the renewal");
}

#[tokio::test]
async fn a_login_that_expires_and_cannot_be_renewed_starts_no_run() {
    let stage = stage().await;
    log_in(&stage, &account("acc-1", "r-1", 0)).await;
    let task = stage.run("end done").await;
    assert_eq!(task["runs"][0]["error"]["code"], "login_expired", "{task}");
    stage.containers().renews(&account("acc-2", "r-2", 5));
    let task = stage.run("end done").await;
    assert_eq!(task["runs"][0]["error"]["code"], "login_expired", "renewed tokens of another account are rejected: {task}");
}

#[tokio::test]
async fn a_login_of_an_older_version_is_recorded_at_the_first_start_and_not_looked_for_again() {
    let mut stage = stage().await;
    stage.home.stop().await;
    let shared = stage.home.path().join("codex/auth");
    fs_err::create_dir_all(&shared).expect("made");
    fs_err::remove_file(stage.home.path().join("login.json")).expect("the login record exists");
    let own = account("acc-1", "r-1", 5);
    fs_err::write(shared.join("auth.json"), own.to_string()).expect("written");
    stage.home.start().await;
    assert_eq!(seen_elsewhere(&stage).await, (lent(&own), None));
    assert!(!shared.exists(), "the shared folder is removed");
    stage.home.stop().await;
    fs_err::create_dir_all(&shared).expect("made");
    fs_err::write(shared.join("auth.json"), r#"{"OPENAI_API_KEY":"sk-evil"}"#).expect("written");
    stage.home.start().await;
    assert_eq!(seen_elsewhere(&stage).await, (lent(&own), None));
}
