//! How the built-in worker is called: for a run, after a run, after a keeper was killed, and when a task is removed. The servers
//! and keepers are real; a stand-in for `codex-docker` records every call.

use std::os::unix::fs::PermissionsExt as _;

use process::{ProcessIdentity, Signal};
use serde_json::{Value, json};

use super::{setup, stage};
use crate::stage::{Stage, id_of};

#[tokio::test]
async fn a_run_is_called_with_its_folders_and_the_environments_limits() {
    let stage = setup().set("CODEX_API_KEY", "k-server-key").set("AWS_SECRET_ACCESS_KEY", "x").start().await;
    let container = json!({ "memory": "2g", "network": "allow", "allow_hosts": ["crates.io"], "user": "caller", "pids": 200 });
    stage.edit(json!({ "container": container, "variables": { "RUST_LOG": "debug" } })).await;
    let task = stage.run("end done").await;
    let id = id_of(&task);
    assert_eq!(stage.calls("exec"), ["codex-docker exec --json --dangerously-bypass-approvals-and-sandbox -"]);
    let folder = stage.home.path().join("tasks").join(id);
    let path = |name: &str| folder.join(name).display().to_string();
    let mirror = stage.home.path().join("envs").join(&stage.env).join("mirror/objects");
    for (name, expected) in [
        ("CONTAINER_NAME", format!("codex-{id}-run-001")),
        ("CODEX_DOCKER_STATE", stage.home.path().join("containers").display().to_string()),
        ("CODEX_DOCKER_SESSIONS", path("sessions")),
        ("CODEX_DOCKER_GIT_DIR", path("agent.git")),
        ("CODEX_DOCKER_GIT_OBJECTS", mirror.display().to_string()),
        ("CODEX_DOCKER_LABELS", format!("home={},task={id},run=1/1", stage.home.path().display())),
        ("CODEX_DOCKER_MEMORY", (2_u64 << 30).to_string()),
        ("CODEX_DOCKER_NETWORK", "allow".to_owned()),
        ("CODEX_DOCKER_ALLOW_HOSTS", "crates.io".to_owned()),
        ("CODEX_DOCKER_USER", "caller".to_owned()),
        ("CODEX_DOCKER_PIDS", "200".to_owned()),
        ("CODEX_DOCKER_BROKER", "on".to_owned()),
        ("CODEX_API_KEY", "k-server-key".to_owned()),
        ("CODEX_PASSTHROUGH_ENV", "ORCH_RUN".to_owned()),
        ("CODEX_CONTAINER_ENV_RUST_LOG", "debug".to_owned()),
    ] {
        assert_eq!(stage.containers().variable(name).as_deref(), Some(expected.as_str()), "{name}");
    }
    for absent in ["AWS_SECRET_ACCESS_KEY", "CODEX_HOME", "RUST_LOG"] {
        assert_eq!(stage.containers().variable(absent), None, "{absent}");
    }
    for path in [folder.join("sessions"), stage.home.path().join("containers")] {
        let mode = fs_err::metadata(&path).expect("the folder exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{}", path.display());
    }
}

#[tokio::test]
async fn after_a_run_its_containers_are_swept_up_and_its_work_is_brought_out() {
    let stage = stage().await;
    let task = stage.run("end done").await;
    let id = id_of(&task);
    let home = stage.home.path().display().to_string();
    let reaps = stage.calls("reap");
    assert_eq!(reaps, [format!("codex-docker reap --if-reachable --label home={home} --label task={id} --label run=1/1")]);
    let harvest = &stage.calls("harvest")[0];
    let base = task["base_sha"].as_str().expect("a base");
    for part in [
        format!("--worktree {home}/tasks/{id}/worktree"),
        format!("--git-dir {home}/tasks/{id}/agent.git"),
        format!("--out {home}/tasks/{id}/harvest"),
        format!("--message {home}/tasks/{id}/logs/run-001.message"),
        format!("--branch codex/{id} --since {base}"),
    ] {
        assert!(harvest.contains(&part), "{part} is not in {harvest}");
    }
    let message = fs_err::read_to_string(stage.home.path().join(format!("tasks/{id}/logs/run-001.message"))).expect("written");
    assert!(message.starts_with("end done\n\ndone\n") && message.contains(&format!("Task-Id: {id}\nRun: 1\n")), "{message}");
}

#[tokio::test]
async fn work_that_cannot_be_brought_out_stays_where_it_is_and_the_run_says_so() {
    let stage = stage().await;
    stage.containers().harvests("echo 'codex-docker: the engine went away' >&2; exit 125");
    let task = stage.run("begin; echo work > work.txt; end done").await;
    let run = &task["runs"][0];
    assert_eq!(
        (&task["status"], &run["error"]["code"], &run["commit"]),
        (&json!("failed"), &json!("commit_failed"), &Value::Null)
    );
    let note = run["notes"][0].as_str().expect("a note");
    assert!(note.contains("could not commit the changes") && note.contains("the engine went away"), "{note}");
    assert!(!run["error"]["hints"].as_array().expect("hints").is_empty());
    let kept = stage.home.path().join("tasks").join(id_of(&task)).join("worktree/work.txt");
    assert_eq!(fs_err::read_to_string(kept).expect("the file exists"), "work\n");
}

#[tokio::test]
async fn a_harvest_that_was_killed_is_done_once_more() {
    let stage = stage().await;
    for (script, calls) in [("exit 137", 2), ("kill -9 $$", 2), ("exit 125", 1)] {
        let before = stage.calls("harvest").len();
        stage.containers().harvests(script);
        stage.run("begin; echo work > work.txt; end done").await;
        assert_eq!(stage.calls("harvest").len() - before, calls, "{script}");
    }
}

#[tokio::test]
async fn a_repository_that_the_agent_ruined_is_put_aside_and_a_new_one_is_asked() {
    let stage = stage().await;
    stage.containers().harvests("echo 'harvest: it is a file' >&2; exit 4");
    let task = stage.run("begin; echo work > work.txt; end done").await;
    let id = id_of(&task);
    let modes: Vec<_> = stage.calls("harvest").iter().filter_map(|call| call.split(' ').nth(3).map(str::to_owned)).collect();
    assert_eq!(modes, ["harvest", "content"]);
    let run = &task["runs"][0];
    assert_eq!((&task["status"], &run["error"]["code"]), (&json!("failed"), &json!("commit_failed")));
    assert!(run["error"]["message"].as_str().is_some_and(|message| message.contains("it is a file")), "{run}");
    let folder = stage.home.path().join("tasks").join(id);
    assert_eq!(fs_err::read_to_string(folder.join("worktree/work.txt")).expect("the file exists"), "work\n");
    assert!(folder.join("agent.git.aside/HEAD").is_file() && folder.join("agent.git/HEAD").is_file());
}

#[tokio::test]
async fn after_a_run_elsewhere_the_agents_branch_is_brought_up_to_the_tasks() {
    let stage = stage().await;
    let task = stage.run("begin; end done").await;
    stage.resume(&task, "begin; end done").await;
    let modes = |stage: &Stage| stage.calls("harvest").iter().filter(|call| call.contains("--mode sync")).count();
    assert_eq!(modes(&stage), 0, "runs in containers need no separate sync");
    let order = stage.home.path().join("tasks").join(id_of(&task)).join("logs/run-002.order.json");
    let mut content: Value = serde_json::from_slice(&fs_err::read(&order).expect("the order can be read")).expect("JSON");
    content["cleanup"] = Value::Null;
    fs_err::write(&order, content.to_string()).expect("written");
    stage.resume(&task, "begin; end done").await;
    assert_eq!(modes(&stage), 1);
}

#[tokio::test]
async fn a_server_that_starts_sweeps_up_what_nobody_holds() {
    let stage = stage().await;
    let expected = format!("codex-docker reap --if-reachable --label home={}", stage.home.path().display());
    // A task takes longer than the first check.
    stage.run("begin; end done").await;
    assert!(stage.containers().calls().contains(&expected), "{:?}", stage.containers().calls());
}

#[tokio::test]
async fn each_refused_host_is_a_note_of_the_run() {
    let stage = stage().await;
    let line = "codex-docker: refused evil.example:443 (not on the list of allowed hosts)";
    let task = stage.run(&format!("begin; echo '{line}' >&2; echo '{line}' >&2; echo other >&2; end done")).await;
    let notes: Vec<_> = task["runs"][0]["notes"].as_array().expect("notes").iter().filter_map(Value::as_str).collect();
    let refused: Vec<_> = notes.into_iter().filter(|note| note.contains("refused")).collect();
    assert_eq!(refused, ["the network refused evil.example:443 (not on the list of allowed hosts)"]);
}

#[tokio::test]
async fn the_container_of_a_killed_keeper_is_swept_up_by_the_server() {
    let mut stage = stage().await;
    let task = stage.home.task(&stage.env, "begin; sleep 600").await;
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][0]["turn_started"] == true).await;
    let record = fs_err::read(stage.home.path().join(format!("tasks/{task}/logs/run-001.keeper.json")))
        .expect("the keeper has written its record");
    let record: Value = serde_json::from_slice(&record).expect("JSON");
    let identity = |name: &str| -> ProcessIdentity { serde_json::from_value(record[name].clone()).expect("a process") };
    stage.home.kill().await;
    identity("keeper").signal(Signal::KILL).expect("the signal can be sent");
    identity("keeper").wait_until_gone().await.expect("the keeper ends");
    assert!(stage.calls("reap").is_empty(), "no container is cleaned up while neither keeper nor server runs");
    stage.home.start().await;
    let ended = stage.home.settled(&task).await;
    assert_eq!(ended["status"], "interrupted", "{ended}");
    assert!(!identity("worker").is_alive().expect("/proc can be read"));
    let reaps = stage.calls("reap");
    assert!(reaps.len() == 1 && reaps[0].ends_with("--label run=1/1"), "{reaps:?}");
    assert_eq!(stage.calls("harvest").len(), 1, "the work of the killed run is exported");
}

#[tokio::test]
async fn a_resumed_run_goes_on_in_its_thread_with_the_same_folders() {
    let stage = stage().await;
    let task = stage.run("begin; end done").await;
    let resumed = stage.resume(&task, "begin; end again").await;
    assert_eq!(resumed["thread_id"], task["thread_id"]);
    let thread = task["thread_id"].as_str().expect("a thread");
    let expected = format!("codex-docker exec --json --dangerously-bypass-approvals-and-sandbox resume {thread} -");
    assert_eq!(stage.calls("exec").pop(), Some(expected));
    assert_eq!(stage.containers().variable("CONTAINER_NAME"), Some(format!("codex-{}-run-002", id_of(&task))));
    assert!(stage.calls("reap").pop().is_some_and(|call| call.ends_with("--label run=2/2")));
}

#[tokio::test]
async fn removing_a_task_sweeps_up_every_container_of_it() {
    let stage = stage().await;
    let task = stage.run("end done").await;
    let id = id_of(&task);
    assert_eq!(stage.home.delete(&format!("/api/v1/tasks/{id}")).await.0, 204);
    let last = stage.calls("reap").pop().expect("`reap` was called");
    assert!(last.ends_with(&format!("--label task={id}")), "{last}");
}

#[tokio::test]
async fn an_environments_own_dockerfile_is_built_when_it_is_set_and_before_each_run() {
    let stage = stage().await;
    let edited = stage.edit(json!({ "container": { "dockerfile": "/srv/Dockerfile" } })).await;
    assert_eq!(edited["progress"]["phase"], "Building the image");
    let image = format!("codex-orchestrator-env:{}", stage.env);
    let build = format!("codex-docker image build --json --tag {image} --dockerfile /srv/Dockerfile");
    let ready = stage.home.wait_for(&format!("/api/v1/envs/{}", stage.env), |env| env["progress"].is_null()).await;
    assert_eq!((&ready["image_error"], stage.calls("image")), (&Value::Null, vec![build.clone()]));
    let task = stage.run("end done").await;
    assert_eq!(stage.calls("image"), [build.clone(), build]);
    assert_eq!(stage.containers().variable("IMAGE_NAME").as_deref(), Some(image.as_str()), "{task}");
    assert!(stage.calls("harvest")[0].contains(&format!("--image {image}")));
}

#[tokio::test]
async fn a_dockerfile_that_copies_files_gets_those_of_the_default_branch() {
    let stage = stage().await;
    let dockerfile = stage.home.scratch().join("Dockerfile");
    fs_err::write(&dockerfile, "FROM x\nCOPY README.md /\n").expect("written");
    stage.edit(json!({ "container": { "dockerfile": dockerfile } })).await;
    let env = format!("/api/v1/envs/{}", stage.env);
    let built = stage.home.wait_for(&env, |env| env["progress"].is_null()).await;
    assert_eq!(built["image_error"], Value::Null, "{built}");
    let call = stage.calls("image").pop().expect("the image was built");
    assert!(call.ends_with(&format!("--dockerfile {} --context /dev/stdin", dockerfile.display())), "{call}");
    let edited = stage.edit(json!({ "container": { "dockerfile": null } })).await;
    assert_eq!((&edited["progress"], stage.calls("image").len()), (&Value::Null, 1), "without a Dockerfile, nothing is built");
}

#[tokio::test]
async fn without_a_network_an_account_cannot_reach_the_model_and_the_task_is_refused() {
    let stage = stage().await;
    stage.edit(json!({ "container": { "network": "none" } })).await;
    let (status, problem) = stage.home.post("/api/v1/tasks", &json!({ "env_id": stage.env, "prompt": "end done" })).await;
    assert_eq!((status, &problem["code"]), (409, &json!("network_needs_key")), "{problem}");
    let auth = stage.home.scratch().join("auth.json");
    fs_err::write(&auth, r#"{"auth_mode":"apikey","OPENAI_API_KEY":"sk-stored-key"}"#).expect("written");
    let words = ["login", "--import", &auth.display().to_string()];
    assert!(stage.home.command(&words).status().await.expect("the command can be started").success());
    stage.run("end done").await;
    assert_eq!(stage.containers().variable("CODEX_API_KEY").as_deref(), Some("sk-stored-key"));
}
