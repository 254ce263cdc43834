//! A server of an ordinary user: all files that root created in its containers can be committed, removed and deleted. Tests run
//! as root, but the server and its programs do not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use serde_json::json;
use testkit::TestHome;
use testkit::docker::socket_group;
use testkit::shell_agent::{ShellAgent, id_of};
use testkit::upstream::Upstream;

use crate::BINARY;

/// A user whose only privilege is access to the container engine's socket.
const USER: &str = "54321:54321";

fn chown(path: &Path) {
    let done = Command::new("chown").args(["-R", "-h", USER]).arg(path).status().expect("chown can be started");
    assert!(done.success(), "tests run as root");
}

/// Creates a stage whose server belongs to an ordinary user.
async fn of_a_plain_user() -> (tempfile::TempDir, ShellAgent) {
    let folder = tempfile::tempdir().expect("a folder");
    let program = folder.path().join("codex-orchestrator");
    let group = socket_group();
    let script =
        format!("#!/bin/sh\nexec setpriv --reuid 54321 --regid 54321 --groups {group} --inh-caps=-all -- {BINARY} \"$@\"\n");
    fs_err::write(&program, script).expect("written");
    for path in [folder.path(), &program] {
        fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let upstream = Upstream::new();
    upstream.commit("main", &[("README.md", "hello\n")], "a start");
    let home = TestHome::new(program.to_str().expect("text"));
    chown(home.scratch());
    chown(upstream.path());
    (folder, ShellAgent::in_home(home, upstream, &json!({})).await)
}

/// Nests folders far beyond the longest path (about two thousand folders): in the worktree, in the agent repository, and in
/// the output folder.
const DEEP: &str = "cat > /tmp/deep.py <<'END'\n\
    import os, sys\n\
    for place, depth in zip(sys.argv[1::2], sys.argv[2::2]):\n\
    \x20   os.makedirs(place + '/deep'); os.chdir(place + '/deep')\n\
    \x20   for i in range(int(depth)):\n\
    \x20       os.mkdir('d'); os.chdir('d')\n\
    \x20   open('file', 'w').close()\n\
    END\n\
    python3 /tmp/deep.py /workspace/worktree 5000 /git/agent.git 3000 /codex-docker/out 3000 && echo x > work && echo MADE it";

#[tokio::test]
async fn folders_nested_beyond_any_path_are_deleted_with_their_task() {
    let (_folder, stage) = of_a_plain_user().await;
    let attacked = stage.attack(DEEP).await;
    assert_eq!(attacked.said("MADE"), "it");
    let notes = attacked.task["runs"][0]["notes"].to_string();
    assert!(notes.len() < 10_000, "the notes are short: {} bytes", notes.len());
    let containers = fs_err::read_dir(stage.home.path().join("containers")).expect("there");
    assert_eq!(containers.count(), 0, "a run's folder is deleted with its container");
    let other = stage.attack("echo y > other").await;
    for task in [&attacked.task, &other.task] {
        let (status, answer) = stage.home.delete(&format!("/api/v1/tasks/{}", id_of(task))).await;
        assert_eq!(status, 204, "{answer}");
    }
    let (status, done) = stage.home.post("/api/v1/gc", &json!({ "older_than_days": 0 })).await;
    assert_eq!((status, done["items"].as_array().map(Vec::len), &done["failed"]), (200, Some(2), &json!(null)), "{done}");
    assert_eq!(fs_err::read_dir(stage.home.path().join("trash")).expect("there").count(), 0);
}

#[tokio::test]
async fn what_was_never_given_back_is_deleted_by_way_of_a_container() {
    let (_folder, stage) = of_a_plain_user().await;
    let attacked = stage.attack("echo x > work").await;
    attacked.completed();
    let left = stage.worktree(&attacked.task).join("left/by/root");
    fs_err::create_dir_all(&left).expect("tests run as root");
    fs_err::write(left.join("file"), "x").expect("written");
    let (status, answer) = stage.home.delete(&format!("/api/v1/tasks/{}", id_of(&attacked.task))).await;
    assert_eq!(status, 204, "{answer}");
    let (status, done) = stage.home.post("/api/v1/gc", &json!({ "older_than_days": 0 })).await;
    assert_eq!((status, done["items"].as_array().map(Vec::len), &done["failed"]), (200, Some(1), &json!(null)), "{done}");
}
