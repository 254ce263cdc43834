//! The public `codex-docker` script as a worker, unchanged: the real Codex CLI in containers that this server does not create.
//!
//! Unless `CODEX_DOCKER_SCRIPT` names the real script, a script with the same interface replaces it. The scripted model listens
//! where containers on the engine's default network can reach it.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;

use rustix::process::Signal;
use scripted_model::{Item, Script, ScriptedModel, Turn, codex_config};
use serde_json::{Value, json};
use testkit::docker::{self, Sandbox};
use testkit::script::{script_image, script_worker};
use testkit::upstream::Upstream;
use testkit::{TestHome, until};

use crate::BINARY;
use crate::stage::{Stage, completed, id_of};

const LIMIT: std::time::Duration = std::time::Duration::from_mins(1);

/// The Codex home of a test.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CodexHome {
    /// No Codex home on the host: the container has its own.
    None,
    /// A folder that the server's `CODEX_HOME` names.
    Named,
    /// The Codex home of the user who starts the script.
    Users,
}

/// Starts a server whose worker is the script. The sandbox is removed after the stage.
async fn stage(script: Script) -> (Sandbox, Stage) {
    stage_with(script, &docker::codex_image(), CodexHome::None).await
}

/// Returns the address of the host in the default network.
fn gateway() -> IpAddr {
    let format = "{{with index .IPAM.Config 0}}{{.Gateway}} {{.Subnet}}{{end}}";
    let found = docker::docker(&["network", "inspect", "bridge", "--format", format]);
    let (gateway, subnet) = found.trim_end().split_once(' ').expect("the default network has a subnet");
    // Docker does not list the gateway of a default network that it has just created. It is the first address.
    let (network, _) = subnet.split_once('/').expect("a subnet has a length");
    let network: Ipv4Addr = network.parse().expect("the default network uses IPv4");
    gateway.parse().unwrap_or_else(|_| Ipv4Addr::from(u32::from(network) + 1).into())
}

async fn stage_with(script: Script, image: &str, codex_home: CodexHome) -> (Sandbox, Stage) {
    let model = ScriptedModel::start_on(SocketAddr::new(gateway(), 0), script).expect("the scripted model starts");
    let (sandbox, home) = (Sandbox::new(), TestHome::new(BINARY));
    let settings = codex_config(&model.url());
    let named = home.scratch().join("named");
    let users = home.scratch().join("user/.codex");
    let codex_toml = home.path().join("codex.toml");
    let worker = script_worker(home.scratch());
    let image = script_image(&sandbox, "script", image);
    let setup = Stage::in_home(home).worker(worker).set("IMAGE_NAME", image).set("CODEX_API_KEY", "sk-test-0123456789");
    let setup = match codex_home {
        CodexHome::None => {
            fs_err::write(codex_toml, settings).expect("the test's home is writable");
            // Codex resumes a thread only with its original model provider, and a broker is a different one.
            setup.config("broker = false\ncodex_config = \"codex.toml\"\n")
        }
        CodexHome::Named => {
            careful(&named, &settings);
            setup.set("CODEX_HOME", named)
        }
        CodexHome::Users => {
            careful(&users, &settings);
            setup
        }
    };
    (sandbox, setup.model(model).start().await)
}

/// Creates the Codex home of a careful user, who also runs Codex outside of containers.
fn careful(folder: &Path, settings: &str) {
    fs_err::create_dir_all(folder).expect("made");
    fs_err::write(folder.join("config.toml"), format!("sandbox_mode = \"read-only\"\n{settings}")).expect("written");
}

/// Returns the containers of a task, in any state.
fn containers(task: &str) -> String {
    docker::docker(&["ps", "--all", "--format", "{{.Names}}", "--filter", &format!("name=codex-{task}-")])
}

impl Stage {
    /// Starts a task whose command does not end, and waits until the command runs.
    async fn long(&self) -> String {
        let task = self.home.task(&self.env, "take long").await;
        let begun = self.folder(&task).join("worktree/begun");
        until(LIMIT, "the command runs", || begun.exists());
        task
    }
}

/// Returns a turn that works in the repository like agents do, and a later turn that looks at the result.
fn with_git() -> Script {
    let work = "set -e; git status --short; git log --oneline -1; git describe --always; echo one > one; git add one; \
        git commit -qm 'my own commit'; git diff HEAD~1 --stat; echo two > two; echo all went well";
    let look = "git log --format=%s -3; git status --short; echo looked";
    Script::new()
        .turn(Turn::containing("work here").step([Item::shell(work)]).says("done"))
        .turn(Turn::containing("look again").step([Item::shell(look)]).says("done"))
}

fn that_takes_long() -> Script {
    let long = Item::shell("echo half > half; git add half; git commit -qm 'half of it'; touch begun; sleep 1000000");
    Script::new()
        .turn(Turn::containing("take long").step([long]).says("never"))
        .turn(Turn::containing("continue").step([Item::shell("git log --format=%s -2; echo rest > rest")]).says("went on"))
}

#[tokio::test]
async fn files_are_written_and_the_agents_own_commits_arrive_with_every_codex() {
    for image in docker::codex_images() {
        let (_sandbox, stage) = stage_with(with_git(), &image, CodexHome::None).await;
        let task = stage.run("work here").await;
        let log = stage.log(completed(&task), 1).await;
        assert!(log.contains("\"exit_code\":0") && log.contains("went well\\n"), "{image}: {log}");
        assert_eq!(stage.git(&["show", &format!("codex/{}:two", id_of(&task))]), "two", "{image}");
        let subjects = stage.git(&["log", "--format=%s", "-2", &format!("codex/{}", id_of(&task))]);
        assert_eq!(subjects, "work here\nmy own commit", "{image}");
        assert_eq!(
            stage.git(&["log", "-1", "--format=%(trailers:key=Run,valueonly)", &format!("codex/{}", id_of(&task))]).trim(),
            "1"
        );

        let again = stage.resume(&task, "look again").await;
        let log = stage.log(completed(&again), 2).await;
        assert_eq!(again["thread_id"], task["thread_id"], "{image}");
        assert!(log.contains("work here\\nmy own commit\\n") && log.contains("looked"), "{image}: {log}");
        assert_eq!(again["runs"][1]["notes"], Value::Null, "the second run has no notes: {again}");
        assert_eq!(containers(id_of(&task)), "", "{image}");
    }
}

#[tokio::test]
async fn caches_last_from_run_to_run_of_a_task_and_no_other_task_sees_them() {
    let look = "cat ~/.cache/build/mine /opt/cache/mine 2>&1; mkdir -p ~/.cache/build; echo first > ~/.cache/build/mine; \
        echo second > /opt/cache/mine; ls node_modules; echo looked";
    let script = Script::new().turn(Turn::containing("look").step([Item::shell(look)]).says("done"));
    let (_sandbox, stage) = stage(script).await;
    let description = "[setup]\nrun = \"touch setup-ran\"\n[cache]\npaths = [\"~/.cache\", \"/opt/cache\"]\n[keep]\npaths = [\"node_modules\"]\n";
    stage.upstream.commit("main", &[(".codex-orchestrator/environment.toml", description)], "a description");
    let first = stage.run("look").await;
    let log = stage.log(completed(&first), 1).await;
    assert!(log.contains("looked") && log.contains("mine: No such file") && !log.contains("first\\n"), "{log}");
    let resumed = stage.resume(&first, "look").await;
    let log = stage.log(completed(&resumed), 2).await;
    assert!(log.contains("first\\nsecond\\n"), "{log}");
    let other = stage.run("look").await;
    let log = stage.log(completed(&other), 1).await;
    assert!(log.contains("mine: No such file") && !log.contains("first\\n"), "{log}");
    let (_, setup) = stage.home.get(&format!("/api/v1/envs/{}/setup", stage.env)).await;
    assert_eq!(
        (&setup["applies"], &setup["keeps_caches"], &setup["last"]),
        (&json!(false), &json!(true), &Value::Null),
        "{setup}"
    );
    // An invalid description does not hold the tasks of such a worker.
    stage.upstream.commit("main", &[(".codex-orchestrator/environment.toml", "[cache")], "a mistake");
    completed(&stage.run("look").await);
    // The folders belong to the root of the containers, and are removed with the task.
    let (status, answer) = stage.home.delete(&format!("/api/v1/tasks/{}", id_of(&first))).await;
    assert_eq!(status, 204, "{answer}");
    let (status, answer) = stage.home.post("/api/v1/gc", &json!({ "older_than_days": 0 })).await;
    assert_eq!((status, &answer["not_deleted"]), (200, &Value::Null), "{answer}");
    assert!(!stage.home.path().join("trash").join(id_of(&first)).exists());
}

#[tokio::test]
async fn a_codex_home_of_the_user_lets_codex_write_and_stays_as_it_is() {
    for (place, folder) in [(CodexHome::Named, "named"), (CodexHome::Users, "user/.codex")] {
        let (_sandbox, stage) = stage_with(with_git(), &docker::oldest_codex_image(), place).await;
        let settings = stage.home.scratch().join(folder).join("config.toml");
        let before = fs_err::read_to_string(&settings).expect("there");
        let task = stage.run("work here").await;
        let log = stage.log(completed(&task), 1).await;
        assert!(log.contains("\"exit_code\":0") && log.contains("went well\\n"), "{place:?}: {log}");
        assert!(task["runs"][0]["commit"].is_string(), "{place:?}: {task}");
        assert_eq!(
            fs_err::read_to_string(&settings).expect("there"),
            before,
            "{place:?}: the user's settings still have the sandbox"
        );
        let again = stage.resume(&task, "look again").await;
        assert_eq!(
            completed(&again)["thread_id"],
            task["thread_id"],
            "{place:?}: the thread continues from its session in the Codex home"
        );
    }
}

#[tokio::test]
async fn a_run_that_could_not_write_says_so() {
    let (_sandbox, mut stage) = stage_with(with_git(), &docker::oldest_codex_image(), CodexHome::Named).await;
    // Use a custom worker that calls the script, so that the server cannot recognize the script.
    let wrapper = stage.home.scratch().join("wrapper");
    let text = format!("#!/bin/sh\nexec {} \"$@\"\n", script_worker(stage.home.scratch()).display());
    fs_err::write(&wrapper, text).expect("written");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(&wrapper, mode).expect("ours");
    stage.home.stop().await;
    stage.home.set("ORCH_WORKER", wrapper);
    stage.home.start().await;
    let task = stage.run("work here").await;
    assert_eq!(completed(&task)["runs"][0]["commit"], Value::Null, "{task}");
    assert!(task["runs"][0]["notes"].to_string().contains("read-only sandbox"), "{task}");
}

#[tokio::test]
async fn stopped_in_the_middle_and_resumed() {
    let (_sandbox, stage) = stage(that_takes_long()).await;
    let task = stage.long().await;
    stage.home.post(&format!("/api/v1/tasks/{task}/stop"), &json!({})).await;
    let stopped = stage.home.settled(&task).await;
    assert_eq!(stopped["status"], "stopped", "{stopped}");
    assert_eq!(stage.git(&["show", &format!("codex/{task}:half")]), "half");
    assert_eq!(containers(&task), "");
    let resumed = stage.resume(&stopped, "continue").await;
    assert_eq!(completed(&resumed)["runs"][1]["last_message"], "went on");
    assert_eq!(stage.git(&["show", &format!("codex/{task}:rest")]), "rest");
}

#[tokio::test]
async fn a_killed_server_finds_its_run_again() {
    let (_sandbox, mut stage) = stage(that_takes_long()).await;
    let task = stage.long().await;
    stage.home.kill().await;
    stage.home.start().await;
    let (_, running) = stage.home.get(&format!("/api/v1/tasks/{task}")).await;
    assert_eq!(running["status"], "running", "{running}");
    stage.home.post(&format!("/api/v1/tasks/{task}/stop"), &json!({})).await;
    let stopped = stage.home.settled(&task).await;
    assert!(stopped["runs"][0]["commit"].is_string(), "{stopped}");
    assert_eq!(containers(&task), "");
}

#[tokio::test]
async fn a_killed_keeper_or_script_leaves_no_container_and_loses_no_work() {
    for who in ["keeper", "worker"] {
        let (_sandbox, stage) = stage(that_takes_long()).await;
        let task = stage.long().await;
        let record =
            fs_err::read(stage.folder(&task).join("logs/run-001.keeper.json")).expect("the keeper has written its record");
        let record: Value = serde_json::from_slice(&record).expect("JSON");
        let pid = i32::try_from(record[who]["pid"].as_u64().expect("a pid")).expect("a pid");
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).expect("a pid"), Signal::KILL)
            .expect("the signal can be sent");
        let ended = stage.home.settled(&task).await;
        assert!(["failed", "interrupted"].contains(&ended["status"].as_str().expect("a word")), "{who}: {ended}");
        assert_eq!(containers(&task), "", "{who}");
        assert_eq!(stage.git(&["show", &format!("codex/{task}:half")]), "half", "{who}");
        let resumed = stage.resume(&ended, "continue").await;
        assert_eq!(completed(&resumed)["runs"][1]["last_message"], "went on", "{who}: {resumed}");
    }
}

#[tokio::test]
async fn a_container_of_the_same_name_that_is_not_of_the_run_is_left_alone() {
    let sandbox = Sandbox::new();
    let name = sandbox.container("foreign");
    docker::docker(&[
        "run",
        "--detach",
        "--init",
        "--name",
        &name,
        "--env",
        "ORCH_RUN=other",
        &docker::base_image(),
        "sleep",
        "1000000",
    ]);
    let stop = |variable: &str| {
        let mut command = std::process::Command::new(BINARY);
        command
            .args(["codex-docker", "stop", "--variable", variable, &name])
            .env_remove("DOCKER_HOST")
            .output()
            .expect("`codex-docker` can be started")
    };
    let refused = stop("ORCH_RUN=mine");
    assert!(!refused.status.success(), "{refused:?}");
    assert_eq!(docker::docker(&["inspect", "--format", "{{.State.Running}}", &name]).trim(), "true");
    assert!(stop("ORCH_RUN=other").status.success());
    assert!(sandbox.containers().is_empty());
    assert!(stop("ORCH_RUN=other").status.success(), "a second stop succeeds");
}

#[tokio::test]
async fn without_an_image_that_brings_commits_out_the_files_are_committed_and_the_run_says_why() {
    // This worker starts no container, and no container engine can be reached.
    let script = "#!/usr/bin/env bash\n: ${CODEX_MOUNT_MAPS:-}\ncat > /dev/null; echo x > made\n\
        printf '{\"type\":\"thread.started\",\"thread_id\":\"%s\"}\\n{\"type\":\"turn.started\"}\\n' $(cat /proc/sys/kernel/random/uuid)\n\
        echo '{\"type\":\"turn.completed\",\"usage\":{\"input_tokens\":1,\"cached_input_tokens\":0,\"output_tokens\":1}}'\n";
    let upstream = Upstream::new();
    let mut home = TestHome::new(BINARY);
    let worker = home.scratch().join("worker");
    fs_err::write(&worker, script).expect("written");
    fs_err::set_permissions(&worker, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    home.set("ORCH_WORKER", worker);
    home.set("DOCKER_HOST", "unix:///nowhere/docker.sock");
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    let task = home.task(&env, "make a file").await;
    let task = home.settled(&task).await;
    assert!(completed(&task)["runs"][0]["commit"].is_string(), "{task}");
    let notes = task["runs"][0]["notes"].to_string();
    assert!(notes.contains("without the agent's own commits") && notes.contains("container engine"), "{notes}");
}

#[tokio::test]
async fn a_repository_with_a_closed_network_is_refused_and_limits_that_do_not_apply_are_noted() {
    let (sandbox, stage) = stage(with_git()).await;
    let edit = async |container: Value| {
        let (status, answer) = stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &json!({ "container": container })).await;
        assert_eq!(status, 200, "{answer}");
    };
    edit(json!({ "network": "none" })).await;
    let (status, refused) = stage.home.post("/api/v1/tasks", &json!({ "env_id": stage.env, "prompt": "work here" })).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("network_not_closed")), "{refused}");
    edit(json!({ "network": "open", "memory": "1g", "disk": "10g", "pids": 500 })).await;
    let task = stage.run("work here").await;
    let notes = completed(&task)["runs"][0]["notes"].to_string();
    assert!(notes.contains("does not apply these settings: `memory`, `disk`, `pids`"), "{notes}");
    assert!(sandbox.containers().is_empty() && !stage.model().requests().is_empty());
}

#[tokio::test]
async fn the_built_in_worker_can_replace_the_script_and_the_other_way_round() {
    let (_sandbox, mut stage) = stage(with_git()).await;
    let link = stage.home.scratch().join("codex-docker");
    std::os::unix::fs::symlink(BINARY, &link).expect("linked");
    let script = script_worker(stage.home.scratch());
    // Use this program, called by its path like the script, then the script, and then this program as the built-in worker.
    let mut first: Option<Value> = None;
    for worker in [link, script, "codex-docker".into()] {
        stage.home.stop().await;
        stage.home.set("ORCH_WORKER", worker.clone());
        stage.home.start().await;
        let Some(begun) = &first else {
            let task = stage.run("work here").await;
            completed(&task);
            first = Some(task);
            continue;
        };
        let task = stage.resume(begun, "look again").await;
        let runs = completed(&task)["runs"].as_array().expect("runs").len();
        let log = stage.log(&task, u32::try_from(runs).expect("a few")).await;
        assert!(log.contains("my own commit\\n") && log.contains("looked\\n"), "{}: {log}", worker.display());
        assert_eq!(task["thread_id"], begun["thread_id"], "{}", worker.display());
    }
}
