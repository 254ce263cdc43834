//! What survives a killed server, a killed keeper, a worker that does not end, and a damaged file.
//!
//! Real servers and keepers are killed with SIGKILL. The worker runs its prompt as a script, which can wait for files.

use std::path::Path;

use process::{ProcessIdentity, Signal, processes_with_environment};
use serde_json::{Value, json};
use testkit::TestHome;
use testkit::upstream::Upstream;

use crate::BINARY;

async fn begun(home: &TestHome, task: &str) -> Value {
    home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][0]["turn_started"] == true).await
}

fn logs(home: &TestHome, task: &str) -> std::path::PathBuf {
    home.path().join("tasks").join(task).join("logs")
}

/// Returns the keeper and the worker of run 1, as recorded by the keeper.
fn holders(home: &TestHome, task: &str) -> (ProcessIdentity, ProcessIdentity) {
    let text = fs_err::read(logs(home, task).join("run-001.keeper.json")).expect("the keeper has written its record");
    let record: Value = serde_json::from_slice(&text).expect("JSON");
    let identity = |name: &str| serde_json::from_value(record[name].clone()).expect("a process");
    (identity("keeper"), identity("worker"))
}

fn create(path: &Path) {
    fs_err::write(path, "").expect("the test's folder is writable");
}

#[tokio::test]
async fn a_run_goes_on_without_its_server_and_the_next_one_adopts_it() {
    let upstream = Upstream::new();
    let mut home = TestHome::started(BINARY).await;
    let env = home.environment(&upstream.url()).await;
    let (middle, last) = (home.scratch().join("middle"), home.scratch().join("last"));
    let prompt = format!(
        "begin; for i in $(seq 1000); do say \"line $i\"; done; await {}; say half; await {}; echo x > x; end done",
        middle.display(),
        last.display()
    );
    let task = home.task(&env, &prompt).await;
    begun(&home, &task).await;
    home.kill().await;
    create(&middle);
    home.start().await;
    let adopted = home.get(&format!("/api/v1/tasks/{task}")).await.1;
    assert_eq!(adopted["status"], "running", "{adopted}");
    create(&last);
    let ended = home.settled(&task).await;
    assert_eq!(ended["status"], "completed", "{ended}");
    assert!(ended["runs"][0]["commit"].is_string(), "{ended}");
    let log = home.text(&format!("/api/v1/tasks/{task}/runs/1/log")).await;
    let said: Vec<_> = log.lines().filter(|line| line.contains("\"line ")).collect();
    assert_eq!(said.len(), 1000, "every line is recorded once");
    assert!(log.ends_with("}}\n") && log.contains("half"));
}

#[tokio::test]
async fn the_new_program_adopts_the_runs_of_the_one_that_it_replaced() {
    let upstream = Upstream::new();
    let folder = tempfile::tempdir().expect("a folder");
    let (installed, new) = (folder.path().join("codex-orchestrator"), folder.path().join("new"));
    fs_err::copy(BINARY, &installed).expect("copied");
    fs_err::copy(BINARY, &new).expect("copied");
    let mut home = TestHome::new(installed.to_str().expect("text"));
    home.set("ORCH_WORKER", testkit::worker::scripted_worker(home.scratch()));
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    let (first, second) = (home.scratch().join("first"), home.scratch().join("second"));
    let run = async |home: &TestHome, until: &std::path::Path| {
        let task = home.task(&env, &format!("begin; await {}; echo x > x; end done", until.display())).await;
        begun(home, &task).await;
        task
    };
    let ends_by_itself = run(&home, &first).await;
    let is_stopped = run(&home, &second).await;
    // Do what an upgrade does: replace the program while the old server and its keepers still run.
    fs_err::rename(&new, &installed).expect("replaced");
    assert!(home.stop().await.success());
    home.start().await;
    for task in [&ends_by_itself, &is_stopped] {
        assert_eq!(home.get(&format!("/api/v1/tasks/{task}")).await.1["status"], "running");
    }
    create(&first);
    assert_eq!(home.settled(&ends_by_itself).await["status"], "completed");
    home.post(&format!("/api/v1/tasks/{is_stopped}/stop"), &serde_json::json!({})).await;
    assert_eq!(home.settled(&is_stopped).await["status"], "stopped");
    let after = home.task(&env, "begin; echo y > y; end after").await;
    assert_eq!(home.settled(&after).await["status"], "completed");
}

#[tokio::test]
async fn a_run_that_ended_while_no_server_lived_is_finished_by_the_next_one() {
    let upstream = Upstream::new();
    let mut home = TestHome::started(BINARY).await;
    let env = home.environment(&upstream.url()).await;
    let go = home.scratch().join("go");
    let task = home.task(&env, &format!("begin; await {}; echo x > x; usage 7 3; exit 0", go.display())).await;
    begun(&home, &task).await;
    let (keeper, _) = holders(&home, &task);
    home.kill().await;
    create(&go);
    keeper.wait_until_gone().await.expect("the keeper ends");
    home.start().await;
    let ended = home.settled(&task).await;
    assert_eq!((&ended["status"], &ended["runs"][0]["usage"]["input_tokens"]), (&json!("completed"), &json!(7)));
    let branch = format!("codex/{task}");
    let mirror = home.path().join("envs").join(&env).join("mirror");
    assert_eq!(upstream.git_in(&mirror, &["show", "--format=%s", "--name-only", &branch]).lines().last(), Some("x"));
}

#[tokio::test]
async fn a_killed_keeper_leaves_no_process_and_the_run_is_interrupted_and_can_be_resumed() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env = home.environment(&upstream.url()).await;
    let task = home.task(&env, "begin; echo half > half; (setsid sleep 600 &); sleep 600").await;
    begun(&home, &task).await;
    let (keeper, worker) = holders(&home, &task);
    keeper.signal(Signal::KILL).expect("the signal can be sent");
    let ended = home.settled(&task).await;
    assert_eq!((&ended["status"], &ended["runs"][0]["error"]["code"]), (&json!("interrupted"), &json!("interrupted")));
    assert!(!worker.is_alive().expect("/proc can be read"), "the worker ends with its keeper");
    let left = processes_with_environment("ORCH_RUN", &format!("{task}/1/1")).expect("/proc can be read");
    assert!(left.is_empty(), "{left:?}");
    assert!(ended["runs"][0]["commit"].is_string(), "the work of the interrupted run is committed: {ended}");

    let asked = json!({ "prompt": "begin; end 'went on'" });
    assert_eq!(home.post(&format!("/api/v1/tasks/{task}/resume"), &asked).await.0, 201);
    let resumed = home.settled(&task).await;
    assert_eq!((&resumed["status"], &resumed["runs"][1]["thread_id"]), (&json!("completed"), &ended["thread_id"]));
}

#[tokio::test]
async fn a_keeper_killed_after_the_end_of_its_turn_costs_nothing() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env = home.environment(&upstream.url()).await;
    let done = home.scratch().join("done");
    let task = home.task(&env, &format!("begin; end answer; : > {}; sleep 600", done.display())).await;
    begun(&home, &task).await;
    let (keeper, _) = holders(&home, &task);
    let journal = logs(&home, &task).join("run-001.jsonl");
    let mut events =
        home.request(reqwest::Method::GET, &format!("/api/v1/tasks/{task}/runs/1/events")).send().await.expect("a stream");
    while !fs_err::read_to_string(&journal).expect("there").contains("turn.completed") {
        events.chunk().await.expect("the stream can be read");
    }
    keeper.signal(Signal::KILL).expect("the signal can be sent");
    let ended = home.settled(&task).await;
    assert_eq!((&ended["status"], &ended["runs"][0]["last_message"]), (&json!("completed"), &json!("answer")));
}

#[tokio::test]
async fn a_worker_that_ignores_all_but_kill_is_stopped_with_its_children() {
    let upstream = Upstream::new();
    let mut home = TestHome::new(BINARY);
    fs_err::write(home.path().join("config.toml"), "stop_grace = \"200ms\"\n").expect("written");
    home.set("ORCH_WORKER", testkit::worker::scripted_worker(home.scratch()));
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    let task = home
        .task(
            &env,
            "trap '' INT TERM; begin; (trap '' INT TERM; setsid sh -c 'while :; do sleep 1; done' &); while :; do sleep 1; done",
        )
        .await;
    begun(&home, &task).await;
    let path = format!("/api/v1/tasks/{task}/stop");
    let first = home.post(&path, &Value::Null).await;
    let second = home.post(&path, &Value::Null).await;
    assert_eq!((first.0, second.0, &first.1["status"]), (200, 200, &json!("stopping")));
    assert_eq!(home.settled(&task).await["status"], "stopped");
    let left = processes_with_environment("ORCH_RUN", &format!("{task}/1/1")).expect("/proc can be read");
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(home.post(&path, &Value::Null).await.1["status"], "stopped", "stopping a stopped task succeeds");
}

#[tokio::test]
async fn a_run_ends_at_its_time_limit_and_a_lingering_worker_after_its_grace() {
    let upstream = Upstream::new();
    let mut home = TestHome::new(BINARY);
    let settings = "run_time_limit = \"1500ms\"\nturn_end_grace = \"200ms\"\nstop_grace = \"200ms\"\n";
    fs_err::write(home.path().join("config.toml"), settings).expect("written");
    home.set("ORCH_WORKER", testkit::worker::scripted_worker(home.scratch()));
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    let endless = home.task(&env, "begin; echo x > x; sleep 600").await;
    let lingering = home.task(&env, "begin; end answer; sleep 600").await;
    let lingered = home.settled(&lingering).await;
    assert_eq!((&lingered["status"], &lingered["runs"][0]["exit_code"]), (&json!("completed"), &Value::Null), "{lingered}");
    let limited = home.settled(&endless).await;
    assert_eq!((&limited["status"], &limited["runs"][0]["error"]["code"]), (&json!("failed"), &json!("time_limit")));
    assert!(limited["runs"][0]["commit"].is_string(), "the work of the run is committed: {limited}");
}

#[tokio::test]
async fn a_damaged_task_is_shown_and_hides_no_other() {
    let upstream = Upstream::new();
    let mut home = TestHome::started(BINARY).await;
    let env = home.environment(&upstream.url()).await;
    let (sound, damaged) = (home.task(&env, "begin; end a").await, home.task(&env, "begin; end b").await);
    home.settled(&sound).await;
    home.settled(&damaged).await;
    home.stop().await;
    let meta = home.path().join("tasks").join(&damaged).join("meta.json");
    let newer = fs_err::read_to_string(&meta).expect("there").replace("\"schema\": 1", "\"schema\": 99");
    fs_err::write(&meta, &newer).expect("written");
    home.start().await;
    let (_, list) = home.get("/api/v1/tasks").await;
    assert_eq!((&list["items"][0]["task_id"], list["items"].as_array().map(Vec::len)), (&json!(sound), Some(1)));
    assert_eq!(list["damaged"][0]["path"], meta.display().to_string());
    let (status, problem) = home.get(&format!("/api/v1/tasks/{damaged}")).await;
    assert_eq!((status, &problem["code"]), (409, &json!("damaged")));
    assert_eq!(fs_err::read_to_string(&meta).expect("there"), newer, "the damaged record is unchanged");
}

#[tokio::test]
async fn a_clone_that_a_killed_server_left_is_made_anew() {
    let upstream = Upstream::new();
    let mut home = TestHome::started(BINARY).await;
    let (_, created) = home.post("/api/v1/envs", &json!({ "repo_url": upstream.url() })).await;
    home.kill().await;
    home.start().await;
    let path = format!("/api/v1/envs/{}", created["env_id"].as_str().expect("the repository has an ID"));
    let settled = home.wait_for(&path, |environment| environment["status"] != "cloning").await;
    assert_eq!(settled["status"], "ready", "{settled}");
}

#[tokio::test]
async fn the_second_server_of_a_home_says_who_holds_it() {
    let home = TestHome::started(BINARY).await;
    let (status, said) = home.start_refused().await;
    assert!(!status.success());
    assert!(said.contains(&home.server_pid().to_string()) && said.contains("hint:"), "{said}");
}
