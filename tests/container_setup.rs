//! The setup of a repository's environment in real containers: what tasks start from, what stays between their runs, and that no task
//! changes what another one gets.
//!
//! The server, container engine, image and git are real. A shell replaces Codex and runs its prompt.

use serde_json::{Value, json};
use testkit::TestHome;
use testkit::shell_agent::{ShellAgent, id_of};
use testkit::upstream::Upstream;

use crate::BINARY;

/// A description whose setup writes to a kept folder, to a cache and to the root file system.
const DESCRIPTION: &str = r#"
[setup]
run = """
set -e
mkdir -p node_modules ~/.cache/build
echo dependency > node_modules/dep
echo object > ~/.cache/build/o
printf '#!/bin/sh\necho tool\n' > /usr/local/bin/mytool
chmod +x /usr/local/bin/mytool
git log -1 --format=%s > /opt/described
echo installed
"""
keys = ["lock"]
minutes = 5

[keep]
paths = ["node_modules"]

[cache]
paths = ["~/.cache"]
"#;

/// Prints what a task finds in its environment.
const LOOK: &str = "echo DEP $(cat node_modules/dep); echo OBJECT $(cat ~/.cache/build/o); echo TOOL $(mytool); \
                    echo DESCRIBED $(cat /opt/described); echo OWN $(cat /opt/own 2>&1);";

/// Returns an upstream whose default branch has this description.
pub(crate) fn upstream(description: &str) -> Upstream {
    let upstream = Upstream::new();
    let files = [
        (".codex-orchestrator/environment.toml", description),
        (".gitignore", "node_modules\n"),
        ("lock", "1\n"),
        ("README.md", "hello\n"),
    ];
    upstream.commit("main", &files, "a start");
    upstream
}

/// Returns the view of the repository's setup.
pub(crate) async fn setup(stage: &ShellAgent) -> Value {
    let (status, view) = stage.home.get(&format!("/api/v1/envs/{}/setup", stage.env)).await;
    assert_eq!(status, 200, "{view}");
    view
}

/// Waits until the last setup is in this phase.
pub(crate) async fn until_phase(stage: &ShellAgent, phase: &str) -> Value {
    stage.home.wait_for(&format!("/api/v1/envs/{}/setup", stage.env), |view| view["last"]["phase"] == phase).await
}

/// Returns the log of a run.
pub(crate) async fn log_of(stage: &ShellAgent, task: &Value, run: u32) -> String {
    stage.home.text(&format!("/api/v1/tasks/{}/runs/{run}/log", id_of(task))).await
}

/// Returns the rest of the line that starts with this word.
pub(crate) fn said<'a>(log: &'a str, word: &str) -> &'a str {
    let line = log.lines().find_map(|line| line.strip_prefix(word)).unwrap_or_else(|| panic!("`{word}` is missing: {log}"));
    line.trim()
}

#[tokio::test]
async fn a_page_and_a_command_show_the_output_of_a_setup_while_it_runs() {
    let slow = "[setup]\nrun = \"echo first line; sleep 6; echo last line; exit 3\"\n";
    let stage = ShellAgent::on(BINARY, upstream(slow), &json!({})).await;
    let mut browser = testkit::browser::Browser::start().await;
    let url = browser.sign_in(&stage.home).await;
    browser.open(&format!("{url}/environments/{}/setup", stage.env)).await;
    let (status, answer) = stage.home.post(&format!("/api/v1/envs/{}/setup/run", stage.env), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let followed = tokio::spawn({
        let mut command = stage.home.command(&["env", "setup", "log", "--follow", &stage.env]);
        async move { command.output().await.expect("the program starts") }
    });
    let shows = |text: &str| format!("document.querySelector('#list').innerText.includes('{text}')");
    browser.until(&format!("{} && {} && !{}", shows("Setup is running"), shows("first line"), shows("last line"))).await;
    browser.value("document.querySelector('#output').open = false").await;
    browser.until(&format!("{} && !{}", shows("Setup failed"), shows("Setup is running"))).await;
    assert_eq!(browser.value("document.querySelector('#output').open").await, false, "it stays folded");
    let followed = followed.await.expect("it ends");
    let output = String::from_utf8_lossy(&followed.stdout);
    assert!(followed.status.success() && output.contains("first line\nlast line\n") && output.contains("code 3"), "{output}");
}

#[tokio::test]
async fn tasks_start_from_the_setup_keep_what_they_install_and_change_nothing_for_others() {
    let stage = ShellAgent::on(BINARY, upstream(DESCRIPTION), &json!({})).await;
    let poison = "echo mine > node_modules/dep; echo mine > ~/.cache/build/o; echo mine > /opt/own; \
                  printf '#!/bin/sh\\necho mine\\n' > /usr/local/bin/mytool";
    let first = stage.attack(&format!("{LOOK} {poison}")).await;
    first.completed();
    for (word, expected) in [("DEP", "dependency"), ("OBJECT", "object"), ("TOOL", "tool"), ("DESCRIBED", "a start")] {
        assert_eq!(first.said(word), expected, "{}", first.log);
    }
    let view = setup(&stage).await;
    assert_eq!((view["last"]["phase"].as_str(), view["last"]["number"].as_u64()), (Some("ready"), Some(1)), "{view}");
    assert_eq!((view["snapshots"][0]["files"].as_u64(), view["description"]["origin"].as_str()), (Some(2), Some("repository")));
    assert!(stage.home.text(&format!("/api/v1/envs/{}/setup/log", stage.env)).await.contains("installed"));
    let resumed = stage.resumed(&first.task, LOOK).await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
    let own = log_of(&stage, &first.task, 2).await;
    for word in ["DEP", "OBJECT", "TOOL", "OWN"] {
        assert_eq!(said(&own, word), "mine", "{own}");
    }
    let second = stage.attack(LOOK).await;
    second.completed();
    for (word, expected) in [("DEP", "dependency"), ("OBJECT", "object"), ("TOOL", "tool")] {
        assert_eq!(second.said(word), expected, "{}", second.log);
    }
    assert!(second.said("OWN").contains("No such file"), "{}", second.log);
    let committed = stage.committed(&first.task);
    assert!(!committed.iter().any(|path| path.starts_with("node_modules")), "{committed:?}");
    // A changed key file is another snapshot.
    stage.upstream.commit("main", &[("lock", "2\n")], "newer dependencies");
    let third = stage.attack(LOOK).await;
    third.completed();
    assert_eq!(third.said("DESCRIBED"), "newer dependencies", "{}", third.log);
    assert_eq!(setup(&stage).await["last"]["number"], 2);
    stage.lives_on(&first).await;
}

#[tokio::test]
async fn a_refreshed_task_starts_from_the_newest_snapshot_without_what_it_installed() {
    let stage = ShellAgent::on(BINARY, upstream(DESCRIPTION), &json!({})).await;
    let own = "echo mine > node_modules/dep; mkdir -p node_modules/private; chmod 700 node_modules/private; echo mine > /opt/own; \
               echo work > work.txt";
    let first = stage.attack(own).await;
    first.completed();
    stage.upstream.commit("main", &[("lock", "2\n")], "newer dependencies");
    let id = id_of(&first.task);
    let earlier = stage.folder(&first.task).join("upper");
    assert!(earlier.exists());
    let (status, view) = stage.home.post(&format!("/api/v1/tasks/{id}/environment/refresh"), &json!({})).await;
    assert_eq!((status, &view["environment_refreshed"]), (200, &json!(true)), "{view}");
    testkit::until(std::time::Duration::from_mins(1), "the earlier layers are deleted", || !earlier.exists());
    let image = format!("reference=codex-orchestrator-task:{id}*");
    testkit::until(std::time::Duration::from_mins(1), "the earlier image is deleted", || {
        testkit::docker::docker(&["images", "--quiet", "--filter", &image]).is_empty()
    });
    let resumed = stage.resumed(&first.task, &format!("{LOOK} echo WORK $(cat work.txt); echo again > /opt/own")).await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
    let said_now = log_of(&stage, &first.task, 2).await;
    for (word, expected) in [("DEP", "dependency"), ("DESCRIBED", "newer dependencies"), ("WORK", "work")] {
        assert_eq!(said(&said_now, word), expected, "{said_now}");
    }
    assert!(said(&said_now, "OWN").contains("No such file"), "{said_now}");
    let resumed = stage.resumed(&first.task, LOOK).await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
    assert_eq!(said(&log_of(&stage, &first.task, 3).await, "OWN"), "again", "it keeps what it installs now");
}

#[tokio::test]
async fn a_moved_base_updates_the_snapshot_and_a_failed_update_sets_it_up_again() {
    let maintain = "\n[maintain]\nrun = \"\"\"\nset -e\n[ $(cat lock) != bad ]\necho $(cat lock) >> node_modules/dep\n\
                    echo object $(cat lock) > ~/.cache/build/o\ngit log -1 --format=%s > /opt/described\necho updated\n\"\"\"\n";
    let stage = ShellAgent::on(BINARY, upstream(&format!("{DESCRIPTION}{maintain}")), &json!({})).await;
    let poison = "echo mine > node_modules/dep; echo mine > ~/.cache/build/o; echo mine > /opt/own; echo mine > /opt/described";
    stage.attack(poison).await.completed();
    let first = setup(&stage).await["snapshots"][0]["key"].clone();
    stage.upstream.commit("main", &[("lock", "2\n")], "newer dependencies");
    let second = stage.attack(LOOK).await;
    second.completed();
    for (word, expected) in
        [("DEP", "dependency 2"), ("OBJECT", "object 2"), ("TOOL", "tool"), ("DESCRIBED", "newer dependencies")]
    {
        assert_eq!(second.said(word), expected, "{}", second.log);
    }
    assert!(second.said("OWN").contains("No such file"), "{}", second.log);
    let view = setup(&stage).await;
    assert_eq!((&view["last"]["script"], &view["snapshots"][0]["updated_from"]), (&json!("maintain"), &first), "{view}");
    let output = stage.home.text(&format!("/api/v1/envs/{}/setup/log", stage.env)).await;
    assert!(output.starts_with("[updating the snapshot ") && output.ends_with("\nupdated\n"), "{output}");
    stage.upstream.commit("main", &[("lock", "bad\n")], "no update for this");
    let third = stage.attack(LOOK).await;
    third.completed();
    assert_eq!((third.said("DEP"), third.said("DESCRIBED")), ("dependency", "no update for this"), "{}", third.log);
    let view = setup(&stage).await;
    assert_eq!((&view["last"]["script"], &view["snapshots"][0]["updated_from"]), (&json!("setup"), &Value::Null), "{view}");
    let output = stage.home.text(&format!("/api/v1/envs/{}/setup/log", stage.env)).await;
    assert!(
        output.contains("[the update failed: the setup script exited with code 1]") && output.contains("installed"),
        "{output}"
    );
    // A new task still starts from an updated snapshot whose image is based on that of a deleted snapshot.
    let (status, answer) = stage.home.post("/api/v1/gc", &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let resumed = stage.resumed(&second.task, LOOK).await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
}

#[tokio::test]
async fn a_setup_from_the_image_is_for_new_tasks_only() {
    let description =
        "[setup]\nrun = \"od -An -N8 -tx8 /dev/urandom > /opt/random; ls /opt/random* | wc -l\"\nkeys = [\"lock\"]\n";
    let stage = ShellAgent::on(BINARY, upstream(description), &json!({})).await;
    let look = "echo RANDOM $(cat /opt/random)";
    let first = stage.attack(look).await;
    let random = first.completed().said("RANDOM").to_owned();
    let run = async |arguments: &[&str]| {
        let output = stage.home.command(&[&["env", "setup", "run", &stage.env], arguments].concat()).output().await;
        let output = output.expect("the program starts");
        assert!(output.status.success(), "{output:?}");
    };
    run(&[]).await;
    assert_eq!(stage.attack(look).await.completed().said("RANDOM"), random, "the result of the same inputs stays");
    run(&["--fresh"]).await;
    let view = setup(&stage).await;
    assert_eq!((&view["last"]["script"], view["snapshots"].as_array().map(Vec::len)), (&json!("setup"), Some(2)), "{view}");
    let second = stage.attack(look).await;
    assert_ne!(second.completed().said("RANDOM"), random);
    let resumed = stage.resumed(&first.task, look).await;
    assert_eq!(resumed["status"], "completed", "{resumed}");
    assert_eq!(said(&log_of(&stage, &first.task, 2).await, "RANDOM"), random, "a task keeps its snapshot");
}

#[tokio::test]
async fn a_setup_that_fails_asks_once_and_tasks_start_after_the_answer() {
    let description = "[setup]\nrun = \"echo the reason; exit 7\"\n";
    let stage = ShellAgent::on(BINARY, upstream(description), &json!({})).await;
    let waiting = [stage.home.task(&stage.env, "echo A").await, stage.home.task(&stage.env, "echo B").await];
    let failed = until_phase(&stage, "failed").await;
    assert_eq!(failed["last"]["error"]["message"], "the setup script exited with code 7", "{failed}");
    let output = stage.home.text(&format!("/api/v1/envs/{}/setup/log", stage.env)).await;
    assert!(output.contains("the reason"), "{output}");
    for task in &waiting {
        let waits = |view: &Value| view["queue"]["waits_for"] == "setup_answer";
        let view = stage.home.wait_for(&format!("/api/v1/tasks/{task}"), waits).await;
        assert_eq!(view["status"], "queued", "{view}");
    }
    let (status, answer) = stage.home.post(&format!("/api/v1/envs/{}/setup/skip", stage.env), &json!({})).await;
    assert_eq!((status, &answer["last"]["phase"]), (200, &json!("skipped")), "{answer}");
    for task in &waiting {
        let view = stage.home.settled(task).await;
        assert_eq!(view["status"], "completed", "{view}");
    }
}

#[tokio::test]
async fn a_setup_that_leaks_its_secret_has_no_result() {
    let description = "[setup]\nrun = \"echo token=$NPM_TOKEN > node_modules_token; mkdir -p node_modules; cp node_modules_token node_modules/.npmrc\"\n\
                       secrets = [\"NPM_TOKEN\"]\n[keep]\npaths = [\"node_modules\"]\n";
    let stage = ShellAgent::on(BINARY, upstream(description), &json!({})).await;
    let secrets = json!({ "secrets": { "NPM_TOKEN": "npm-s3cret-value" } });
    let (status, answer) = stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &secrets).await;
    assert_eq!(status, 200, "{answer}");
    let path = format!("/api/v1/envs/{}/setup", stage.env);
    let hash = setup(&stage).await["description"]["hash"].clone();
    let (status, approved) = stage.home.patch(&path, &json!({ "approve": hash })).await;
    assert_eq!((status, &approved["description"]["approved"]), (200, &json!(true)), "{approved}");
    let (status, answer) = stage.home.post(&format!("{path}/run"), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let failed = until_phase(&stage, "failed").await;
    let message = failed["last"]["error"]["message"].to_string();
    assert!(message.contains("NPM_TOKEN") && !message.contains("npm-s3cret-value"), "{message}");
    assert_eq!(failed["snapshots"], json!([]), "{failed}");
}

#[tokio::test]
async fn a_server_that_dies_before_the_snapshot_has_its_name_runs_the_setup_again() {
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_CRASH_AT", "set-up");
    let mut stage = ShellAgent::in_home(home, upstream(DESCRIPTION), &json!({})).await;
    let task = stage.home.task(&stage.env, LOOK).await;
    stage.home.ended().await;
    stage.home.set("ORCH_CRASH_AT", "");
    stage.home.start().await;
    let view = stage.home.settled(&task).await;
    assert_eq!(view["status"], "completed", "{view}");
    assert_eq!(said(&log_of(&stage, &view, 1).await, "DEP"), "dependency");
    let last = setup(&stage).await;
    assert_eq!((&last["last"]["number"], &last["last"]["phase"]), (&json!(1), &json!("ready")), "{last}");
    assert!(!snapshots(&stage).contains(&"new".to_owned()), "{:?}", snapshots(&stage));
}

#[tokio::test]
async fn snapshots_that_nobody_needs_are_deleted_even_if_the_server_dies_meanwhile() {
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_CRASH_AT", "snapshot-discarded");
    let mut stage = ShellAgent::in_home(home, upstream(DESCRIPTION), &json!({})).await;
    for number in 1..=3 {
        stage.upstream.commit("main", &[("lock", &format!("{number}\n"))], "dependencies");
        let (status, answer) = stage.home.post(&format!("/api/v1/envs/{}/fetch", stage.env), &json!({})).await;
        assert_eq!(status, 200, "{answer}");
        let (status, answer) = stage.home.post(&format!("/api/v1/envs/{}/setup/run", stage.env), &json!({})).await;
        assert_eq!((status, &answer["last"]["number"]), (200, &json!(number)), "{answer}");
        until_phase(&stage, "ready").await;
    }
    let keys = |stage: &ShellAgent| snapshots(stage).iter().filter(|name| name.len() == 64).count();
    assert_eq!(keys(&stage), 3);
    let collection = stage.home.request(reqwest::Method::POST, "/api/v1/gc").json(&json!({}));
    collection.send().await.expect_err("the server dies before it answers");
    stage.home.ended().await;
    stage.home.set("ORCH_CRASH_AT", "");
    stage.home.start().await;
    let (status, answer) = stage.home.post("/api/v1/gc", &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(keys(&stage), 2);
    assert!(!snapshots(&stage).iter().any(|name| name.starts_with("discarded-")), "{:?}", snapshots(&stage));
}

/// Returns the names in the folder of the repository's snapshots.
fn snapshots(stage: &ShellAgent) -> Vec<String> {
    let folder = stage.home.path().join("envs").join(&stage.env).join("snapshots");
    let entries = fs_err::read_dir(folder).expect("there are snapshots");
    entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
}
