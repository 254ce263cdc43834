//! Power cuts of a real ext4 while a repository is set up, and while tasks use its snapshot in real containers.
//!
//! Only the home is on that disk: a cut kills the containers, but the images of the container engine stay. The disk stops before the
//! processes, so everything that was not synced is lost. A shell replaces Codex and runs its prompt.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value, json};
use testkit::TestHome;
use testkit::docker::{docker, try_docker};
use testkit::power_disk::{FileSystem, PowerDisk};
use testkit::shell_agent::{ShellAgent, id_of};

use crate::BINARY;
use crate::container_setup::{log_of, said, setup, until_phase, upstream};

/// Far longer than any step of these tests takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// Replaces the output of a setup after each cut, so that it shows whether the setup runs again.
const BEFORE: &str = "before the last cut\n";

/// A description whose setup writes one half of its files, waits until the file `go` exists, and writes the other half.
const IN_TWO_HALVES: &str = r#"
[setup]
run = """
set -e
mkdir -p node_modules/deep ~/.cache/build
seq 1 100000 > node_modules/first
ln -s first node_modules/link
echo half
while [ ! -e go ]; do sleep 0.05; done
for n in $(seq 1 100); do seq $n 500 > node_modules/deep/$n; done
seq 1 50000 > ~/.cache/build/o
"""
minutes = 5

[keep]
paths = ["node_modules"]

[cache]
paths = ["~/.cache"]
"#;

/// Compares each file of the snapshot with what the setup wrote.
const COMPARE: &str = "(seq 1 100000 | cmp - node_modules/first; [ $(readlink node_modules/link) = first ] || echo no link; \
    for n in $(seq 1 100); do seq $n 500 | cmp - node_modules/deep/$n; done; seq 1 50000 | cmp - ~/.cache/build/o) > /tmp/torn 2>&1; \
    echo TORN $(head -n 3 /tmp/torn);";

/// A server whose home is on a disk that can lose its power.
struct Powered {
    disk: PowerDisk,
    stage: ShellAgent,
    cuts: u32,
}

impl Powered {
    async fn new() -> Self {
        let mut home = TestHome::new(BINARY);
        let disk = PowerDisk::mount(FileSystem::Ext4, home.scratch(), &home.path());
        home.set("ORCH_TEST_BOOT_ID", "boot-0");
        let stage = ShellAgent::in_home(home, upstream(IN_TWO_HALVES), &json!({})).await;
        Self { disk, stage, cuts: 0 }
    }

    /// Cuts the power, and starts a server in the next boot, which dies at this point.
    async fn cut_until(&mut self, crash_point: &str) {
        self.disk.cut();
        self.stage.home.power_off().await;
        let home = &self.stage.home;
        self.disk.power_on(|| {
            home.kill_everything();
            kill_containers(home);
        });
        self.cuts += 1;
        if self.output().exists() {
            fs_err::write(self.output(), BEFORE).expect("the disk can be written");
        }
        self.stage.home.set("ORCH_TEST_BOOT_ID", format!("boot-{}", self.cuts));
        self.stage.home.set("ORCH_CRASH_AT", crash_point);
        self.stage.home.start().await;
    }

    async fn cut(&mut self) {
        self.cut_until("").await;
    }

    fn snapshots(&self) -> PathBuf {
        self.stage.home.path().join("envs").join(&self.stage.env).join("snapshots")
    }

    /// Returns the file with the output of the setup.
    fn output(&self) -> PathBuf {
        self.snapshots().join("setup-001.log")
    }

    async fn until_half(&self) {
        let path = format!("/api/v1/envs/{}/setup", self.stage.env);
        let has_written = |view: &Value| {
            assert_ne!(view["last"]["phase"], "failed", "{view}");
            fs_err::read(self.output()).is_ok_and(|output| output == b"half\n")
        };
        self.stage.home.wait_for(&path, has_written).await;
    }

    fn go(&self) {
        fs_err::write(self.snapshots().join("new/checkout/go"), "").expect("the setup waits in its checkout");
    }

    /// Returns the names of all complete snapshots.
    fn complete(&self) -> usize {
        let entries = fs_err::read_dir(self.snapshots()).expect("a setup has started");
        entries.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.file_name().len() == 64)).count()
    }

    /// Runs a setup to its end, and returns its snapshot's view.
    async fn set_up(&self) {
        let (status, answer) = self.stage.home.post(&format!("/api/v1/envs/{}/setup/run", self.stage.env), &json!({})).await;
        assert_eq!(status, 200, "{answer}");
        self.until_half().await;
        self.go();
        until_phase(&self.stage, "ready").await;
    }

    /// Continues a task, and returns the log of the run.
    async fn done(&self, task: &Value, script: &str) -> String {
        // The shell leaves no session of Codex. Without one, the prompt would start with a summary of the earlier runs.
        let (_, view) = self.stage.home.get(&format!("/api/v1/tasks/{}", id_of(task))).await;
        if let Some(thread) = view["thread_id"].as_str() {
            let session = self.stage.folder(task).join(format!("sessions/rollout-{thread}.jsonl"));
            fs_err::write(session, "{}\n").expect("the disk can be written");
        }
        let resumed = self.stage.resumed(task, script).await;
        assert_eq!(resumed["status"], "completed", "{resumed}");
        let run = resumed["runs"].as_array().expect("runs").len();
        log_of(&self.stage, task, u32::try_from(run).expect("few runs")).await
    }
}

impl Drop for Powered {
    fn drop(&mut self) {
        kill_containers(&self.stage.home);
    }
}

/// Kills the containers of a home, as a power cut does. The container engine still knows them.
fn kill_containers(home: &TestHome) {
    let filter = format!("label=codex-docker.label.home={}", home.path().display());
    for container in docker(&["ps", "--quiet", "--filter", &filter]).lines() {
        // It may end on its own.
        drop(try_docker(&["kill", container]));
    }
}

#[tokio::test]
async fn a_power_cut_at_any_step_of_a_setup_leaves_a_whole_snapshot_or_none() {
    let mut machine = Powered::new().await;
    let task = machine.stage.home.task(&machine.stage.env, COMPARE).await;

    machine.until_half().await;
    machine.cut_until("set-up").await;
    assert_eq!(machine.complete(), 0, "no complete snapshot exists yet");

    machine.until_half().await;
    machine.go();
    machine.stage.home.ended().await;
    assert!(machine.snapshots().join("new/result.json").exists(), "the server died before the snapshot had its name");
    machine.cut().await;
    assert_eq!(machine.complete(), 0, "the snapshot has no name yet");

    machine.until_half().await;
    machine.go();
    until_phase(&machine.stage, "ready").await;
    machine.cut().await;
    assert_eq!(machine.complete(), 1, "the snapshot that the record calls ready survives");
    // The cut may have interrupted the first run of the task, which waited for the setup.
    let view = machine.stage.home.settled(&task).await;
    let log = machine.done(&view, COMPARE).await;
    assert_eq!(said(&log, "TORN"), "", "{log}");
    let last = setup(&machine.stage).await;
    assert_eq!((&last["last"]["number"], &last["last"]["phase"]), (&json!(1), &json!("ready")), "{last}");
    assert_eq!(fs_err::read_to_string(machine.output()).expect("the output exists"), BEFORE, "the setup did not run again");
    assert!(!machine.snapshots().join("new").exists());
}

#[tokio::test]
async fn a_power_cut_keeps_what_ended_runs_changed_in_kept_folders_and_never_changes_the_snapshot() {
    let mut machine = Powered::new().await;
    machine.set_up().await;
    let own = "seq 1 200000 > node_modules/own; rm node_modules/deep/7; seq 1 300 > node_modules/deep/8; seq 1 9000 > ~/.cache/build/mine";
    let first = machine.stage.attack(own).await;
    first.completed();
    machine.cut().await;
    let compare = "(seq 1 200000 | cmp - node_modules/own; [ ! -e node_modules/deep/7 ] || echo not deleted; \
        seq 1 300 | cmp - node_modules/deep/8; seq 1 9000 | cmp - ~/.cache/build/mine; seq 1 100000 | cmp - node_modules/first) \
        > /tmp/torn 2>&1; echo TORN $(head -n 3 /tmp/torn);";
    let log = machine.done(&first.task, compare).await;
    assert_eq!(said(&log, "TORN"), "", "the run had ended: {log}");

    let id = id_of(&first.task);
    let writes = "seq 1 300000 > node_modules/during; rm -r node_modules/deep; mkdir node_modules/deep; echo written; sleep 1000";
    let (status, answer) = machine.stage.home.post(&format!("/api/v1/tasks/{id}/resume"), &json!({ "prompt": writes })).await;
    assert_eq!(status, 201, "{answer}");
    let run_log = machine.stage.folder(&first.task).join("logs/run-003.jsonl");
    testkit::until(PATIENCE, "the run has changed its folder", || {
        fs_err::read_to_string(&run_log).is_ok_and(|log| log.lines().any(|line| line == "written"))
    });
    machine.cut().await;
    let view = machine.stage.home.settled(&id).await;
    assert_eq!(view["status"], "interrupted", "{view}");
    // What an interrupted run changed may be lost, but the task can use the folder, and what ended runs changed is still there.
    let compare = "seq 1 200000 | cmp - node_modules/own > /tmp/torn 2>&1; echo TORN $(cat /tmp/torn); \
        mkdir -p node_modules/deep && echo new > node_modules/deep/new && echo NEW $(cat node_modules/deep/new);";
    let log = machine.done(&first.task, compare).await;
    assert_eq!((said(&log, "TORN"), said(&log, "NEW")), ("", "new"), "{log}");
    let second = machine.stage.attack(COMPARE).await;
    assert_eq!(second.completed().said("TORN"), "", "the snapshot is as it was: {}", second.log);
    assert_eq!(setup(&machine.stage).await["last"]["number"], 1);
}
