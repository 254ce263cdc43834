//! Attacks with the names and types of files and with links, wherever the host reads or deletes. Nothing outside of the task's folder
//! changes.

use std::os::unix::fs::MetadataExt as _;

use serde_json::json;
use testkit::shell_agent::{Attacked, ShellAgent, id_of};

use crate::BINARY;

#[tokio::test]
async fn names_of_every_kind_are_work_like_any_other() {
    let stage = ShellAgent::new(BINARY).await;
    let script = "echo 1 > \"$(printf 'line\\nbreak')\"; echo 2 > ./-rf; echo 3 > ./--help; echo 4 > \"$(head -c 255 /dev/zero | tr '\\0' n)\"; \
        echo 5 > \"$(printf 'inv\\377alid')\"; echo 6 > ' '; echo 7 > '$(touch x)'; echo 8 > 'a\\b'; mkdir -p 'd\te/..f'; echo 9 > 'd\te/..f/\u{202e}x'";
    let attacked = stage.attack(script).await;
    attacked.completed();
    let names = stage.committed(&attacked.task);
    assert!(names.len() >= 10, "{names:?}");
    for name in ["line\nbreak", "-rf", "--help", " "] {
        assert!(names.iter().any(|found| found == name), "{name:?}: {names:?}");
    }
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn links_are_neither_followed_nor_deleted_through() {
    let stage = ShellAgent::new(BINARY).await;
    let outside = stage.home.scratch().join("outside");
    fs_err::create_dir(&outside).expect("made");
    fs_err::write(outside.join("precious"), "precious").expect("written");
    let script = format!(
        "ln -s {0} out; ln -s {0}/precious file; ln -sf /etc/passwd .gitattributes; ln -sf /etc/passwd .gitmodules; ln -sf /etc/passwd .gitignore; \
         ln -s / root; ln -s /codex-docker/in in; ln -s . loop; rm -rf /codex/sessions/*; ln -s {0} /codex/sessions/2026; \
         rm -f /codex-docker/out/*; ln -s {0}/precious /codex-docker/out/stdout; ln -s /etc/passwd /codex-docker/out/stderr; \
         ln -s {0} /codex-docker/out/deep; ln -s {0} /git/agent.git/logs2; echo x > work",
        outside.display()
    );
    let attacked = stage.attack(&script).await;
    attacked.completed();
    let log = stage.home.text(&format!("/api/v1/tasks/{}/runs/1/log", id_of(&attacked.task))).await;
    assert!(!log.contains("root:x:0"), "{log}");
    stage.lives_on(&attacked).await;
    assert_eq!(fs_err::read_to_string(outside.join("precious")).expect("the file outside still exists"), "precious");
}

#[tokio::test]
async fn files_that_are_no_files_and_rights_that_are_too_many_are_harmless() {
    let stage = ShellAgent::new(BINARY).await;
    let script = "mkfifo fifo src/fifo; mknod device c 1 3 && echo WENT; mknod block b 8 0 && echo WENT; \
        python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")'; cp /bin/true suid; chmod 6755 suid; mkdir open; chmod 7777 open; \
        touch unreadable; chmod 000 unreadable; mkdir closed; touch closed/f; chmod 000 closed; rm -f /codex-docker/out/stderr; mkfifo /codex-docker/out/stderr; echo x > work";
    let attacked = stage.attack(script).await;
    attacked.completed();
    assert!(!attacked.log.contains("WENT"), "{}", attacked.log);
    let mode = |name: &str| fs_err::symlink_metadata(stage.worktree(&attacked.task).join(name)).expect("there").mode();
    assert_eq!(mode("suid") & 0o6000, 0, "the setuid and setgid bits are removed");
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn very_many_files_are_committed_and_removed() {
    let stage = ShellAgent::new(BINARY).await;
    let (status, answer) =
        stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &json!({ "commits": { "max_new_files": 30_000 } })).await;
    assert_eq!(status, 200, "{answer}");
    let script = "python3 - <<'E'\nimport os\nfor d in range(25):\n    os.makedirs(f'many/{d}')\n    for n in range(1000):\n        open(f'many/{d}/{n}', 'w').close()\nE\n\
        d=deep; for i in $(seq 200); do d=$d/deeper; done; mkdir -p $d; echo x > $d/f";
    let attacked = stage.attack(script).await;
    attacked.completed();
    assert!(stage.committed(&attacked.task).len() > 25_000);
    stage.lives_on(&attacked).await;
}

#[tokio::test]
async fn output_that_is_cut_or_taken_away_harms_nobody() {
    let stage = ShellAgent::new(BINARY).await;
    let first = stage.attack("echo x > work").await;
    first.completed();
    let script = "echo before; : > /codex-docker/out/stdout; rm -rf /codex-docker/out; rm -f /codex-docker/out/stdout; \
        touch /codex-docker/out/stdout; echo after; echo y > work";
    let task = stage.resumed(&first.task, script).await;
    // Output that the agent deleted before the server read it is missing from the transcript, but nothing else is.
    let log = stage.home.text(&format!("/api/v1/tasks/{}/runs/2/log", id_of(&task))).await;
    assert!(log.contains("after"), "{log}");
    assert!(!task["runs"][1]["commit"].is_null(), "{task}");
    stage.lives_on(&Attacked { task, log }).await;
}
