//! Published projects, which build and pass their own tests in containers without a network.
//!
//! The server, container engine, Codex CLI, compilers and package managers are real. Only the model is scripted. The projects in
//! TypeScript and Rust take too long for every change: the benchmark `projects` tests all five.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use scripted_model::{Item, Script, Turn};
use serde_json::{Value, json};
use testkit::docker::codex_image;
use testkit::projects::{CJSON, FLASK, Project, TOML};

use crate::container_codex::setup;
use crate::stage::{Stage, completed};

const PROMPT: &str = "run the tests";

/// The maximum duration of a project's second task.
const SECOND_TASK: Duration = Duration::from_mins(1);

async fn stage(project: &Project) -> Stage {
    // Codex waits at most 30 seconds for a command. The second call waits for the first one, and finds everything built.
    let tests = || Item::shell_within(format!("flock /tmp/tests.lock sh -c '{}'", project.tests), SECOND_TASK / 2);
    let script = Script::new().turn(Turn::containing(PROMPT).step([tests()]).step([tests()]).says("done"));
    // Only the setup has a network.
    let stage = setup(script, codex_image()).upstream(project.upstream()).container(&json!({ "network": "none" }));
    let stage = stage.start().await;
    if !project.setup.is_empty() {
        let ended = stage.home.command(&["env", "setup", "run", &stage.env]).output().await.expect("the program starts");
        assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stdout));
    }
    stage
}

/// Checks that the tests passed in a run, and that nothing of the dependencies and the build was committed.
async fn check(project: &Project, stage: &Stage, task: &Value, run: u32) {
    let log = stage.log(completed(task), run).await;
    assert!(log.contains("\"exit_code\":0") && log.contains(project.passed), "{}: {log}", project.name);
    let commit = &task["runs"][run as usize - 1]["commit"];
    assert!(commit.is_null(), "{}: {}", project.name, stage.git(&["show", "--stat", commit.as_str().unwrap_or_default()]));
}

/// Checks a first task, another run of it, and a second task, all of which start from one setup.
async fn passes(project: &Project) -> Stage {
    let stage = stage(project).await;
    let first = stage.run(PROMPT).await;
    check(project, &stage, &first, 1).await;
    let resumed = stage.resume(&first, PROMPT).await;
    check(project, &stage, &resumed, 2).await;
    let started = Instant::now();
    let second = stage.run(PROMPT).await;
    let took = started.elapsed();
    check(project, &stage, &second, 1).await;
    assert!(took < SECOND_TASK, "{}: {took:?}", project.name);
    one_setup(&stage).await;
    stage
}

async fn one_setup(stage: &Stage) {
    let (_, setup) = stage.home.get(&format!("/api/v1/envs/{}/setup", stage.env)).await;
    assert_eq!((&setup["last"]["number"], &setup["last"]["phase"]), (&json!(1), &json!("ready")), "{setup}");
}

#[tokio::test]
async fn a_project_in_c_passes_its_tests() {
    passes(&CJSON).await;
}

#[tokio::test]
async fn a_project_in_python_passes_its_tests() {
    passes(&FLASK).await;
}

#[tokio::test]
async fn a_project_in_go_passes_its_tests_in_ten_tasks_at_once() {
    let stage = passes(&TOML).await;
    let tasks = join_all((0..10).map(|_| stage.home.task(&stage.env, PROMPT))).await;
    for task in tasks {
        let task = stage.home.settled(&task).await;
        check(&TOML, &stage, &task, 1).await;
    }
    one_setup(&stage).await;
}
