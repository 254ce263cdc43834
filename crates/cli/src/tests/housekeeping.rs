//! `trash`, `gc`, `disk`, `queue`, `status`, `up`, `sign-in`, `password`, `doctor`, and commands without a server.
//! The wording of their tables is in snapshots next to each command.

use std::process::ExitCode;

use serde_json::{Value, json};
use testkit::fake_server::Answer;

use super::samples::{ENV, TASK, completed_run, environment, page, task_json};
use super::stage::{self, Stage};
use crate::printer::captured::Reader;

fn item(kind: &str, id: &str, name: &str) -> Value {
    json!({
        "kind": kind, "id": id, "name": name, "env_id": ENV, "bytes": 4096, "removed_at": "2026-03-01T12:00:00Z",
        "expires_at": "2026-03-31T12:00:00Z",
    })
}

fn status(fields: &Value) -> Value {
    let mut status = json!({
        "version": "0.1.0", "pid": 42, "home": "/home/me/.codex-orchestrator", "git": "git 2.47.3",
        "worker": { "name": "host", "program": "/usr/bin/codex", "problem": null, "hints": [] }, "listen": "127.0.0.1:8080",
        "started_at": "2026-03-01T12:00:00Z", "environments": 1, "tasks": 3, "active_runs": 1, "queued_runs": 1,
    });
    status.as_object_mut().expect("an object").extend(fields.as_object().cloned().unwrap_or_default());
    status
}

#[tokio::test]
async fn a_task_is_restored_by_the_start_of_its_id_or_by_its_title() {
    let stage = Stage::new().await;
    let other = "0192f3a1-1111-7000-8000-000000000002";
    let items = [item("task", TASK, "Fix the test"), item("task", other, "Write docs"), item("environment", ENV, "app")];
    stage.on("GET /api/v1/trash", Answer::json(page(&items)));
    for id in [TASK, other] {
        let task = task_json(&[completed_run()], json!({ "task_id": id }));
        stage.on(&format!("POST /api/v1/tasks/{id}/restore"), Answer::json(task));
    }
    for (wanted, id) in [("0192f3a1", other), ("Fix the test", TASK), (TASK, TASK)] {
        assert_eq!(stage.run(&["task", "restore", wanted]).await.ok().0, format!("Restored {id} (completed)\n"), "{wanted}");
    }
    assert_eq!(stage.run(&["--json", "task", "restore", TASK]).await.json()["task_id"], TASK);
    let said = stage.run(&["task", "restore", "0192"]).await.failed(1);
    assert!(said.starts_with("error: `0192` matches several items in the trash\n"), "{said}");
}

#[tokio::test]
async fn a_repository_is_restored_with_its_tasks() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/trash", Answer::json(page(&[item("environment", ENV, "app"), item("task", TASK, "app")])));
    stage.on(&format!("POST /api/v1/envs/{ENV}/restore"), Answer::json(environment(json!({}))));
    assert_eq!(stage.run(&["env", "restore", "app"]).await.ok().0, format!("Restored app ({ENV}) with 2 tasks\n"));
    assert_eq!(stage.run(&["--json", "env", "restore", "app"]).await.json()["name"], "app");
}

#[tokio::test]
async fn restoring_twice_is_harmless() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/trash", Answer::json(page(&[]))).on("GET /api/v1/envs", Answer::json(page(&[environment(json!({}))])));
    stage.on(&format!("POST /api/v1/tasks/{TASK}/restore"), Answer::json(task_json(&[completed_run()], json!({}))));
    stage.on(&format!("POST /api/v1/envs/{ENV}/restore"), Answer::json(environment(json!({}))));
    stage.run(&["task", "restore", TASK]).await.ok();
    stage.run(&["env", "restore", "app"]).await.ok();
}

#[tokio::test]
async fn what_is_not_in_the_trash_is_an_error_that_says_where_to_look() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/trash", Answer::json(page(&[item("environment", ENV, "website"), item("task", TASK, "websites")])));
    stage.on("GET /api/v1/envs", Answer::json(page(&[])));
    let said = stage.run(&["env", "restore", "webste"]).await.failed(1);
    let expect = "error: no repository named `webste`, and no ID that starts with it\nhint:  did you mean `website`?\n\
        hint:  list what can be restored: codex-orchestrator trash\n";
    assert_eq!(said, expect);
    let said = stage.run(&["task", "restore", "website"]).await.failed(1);
    assert!(!said.contains("did you mean") && said.ends_with("list what can be restored: codex-orchestrator trash\n"), "{said}");
}

#[tokio::test]
async fn an_id_in_the_trash_that_is_not_an_id_is_an_error() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/trash", Answer::json(page(&[item("task", "not-an-id", "Old")])));
    let said = stage.run(&["task", "restore", "Old"]).await.failed(1);
    assert!(said.starts_with("error: `not-an-id` is not a task ID"), "{said}");
}

#[tokio::test]
async fn gc_deletes_what_it_was_asked_to() {
    let stage = Stage::new().await;
    let done = json!({ "items": [], "bytes": 0, "free": 5_000_000_000_u64 });
    stage.on("POST /api/v1/gc", Answer::json(done));
    for (flags, expect) in [
        (&[][..], json!({ "dry_run": false })),
        (&["--all"], json!({ "older_than_days": 0, "dry_run": false })),
        (&["--older-than", "7", "--dry-run"], json!({ "older_than_days": 7, "dry_run": true })),
    ] {
        let (stdout, _) = stage.run(&[&["gc"], flags].concat()).await.ok();
        let words = if flags.contains(&"--dry-run") { "Would delete" } else { "Deleted" };
        assert_eq!(stdout, format!("{words} 0 items (0 bytes)\nFree: 4.6 GiB\n"));
        assert_eq!(stage.sent(), expect);
    }
}

#[tokio::test]
async fn gc_fails_if_an_item_could_not_be_deleted() {
    let stage = Stage::new().await;
    let failed = json!([{ "id": "x", "name": "old", "detail": "permission denied" }]);
    stage.on("POST /api/v1/gc", Answer::json(json!({ "items": [], "bytes": 0, "free": 1, "failed": failed })));
    for words in [&["gc"][..], &["--json", "gc"]] {
        let ran = stage.run(words).await;
        assert_eq!(ran.code, ExitCode::FAILURE, "{words:?}");
        assert!(ran.stdout.contains("permission denied"), "{ran:?}");
    }
}

#[tokio::test]
async fn lists_are_also_json() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/trash", Answer::json(page(&[item("task", TASK, "Fix")])));
    stage.on("GET /api/v1/queue", Answer::json(json!({ "max_parallel_runs": 4, "running": 1, "hold": null, "items": [] })));
    stage.on("GET /api/v1/status", Answer::json(status(&json!({}))));
    let disk = json!({
        "free": 7, "floor": 1, "mirrors": 1, "unreachable": 1, "worktrees": 1, "logs": 1, "other": 1, "trash": 1, "images": [],
        "environments": [], "tasks": [],
    });
    stage.on("GET /api/v1/disk", Answer::json(disk));
    assert_eq!(stage.run(&["--json", "trash"]).await.json()["items"][0]["name"], "Fix");
    assert_eq!(stage.run(&["--json", "queue"]).await.json()["max_parallel_runs"], 4);
    assert_eq!(stage.run(&["--json", "status"]).await.json()["pid"], 42);
    assert_eq!(stage.run(&["--json", "disk"]).await.json()["free"], 7);
    let (stdout, _) = stage.run(&["disk"]).await.ok();
    assert!(!stdout.contains("REPOSITORY") && !stdout.contains("TASK"), "empty tables have no heading: {stdout}");
    assert_eq!(stage.run(&["trash"]).await.ok().0.lines().count(), 2);
}

#[tokio::test]
async fn a_sign_in_link_is_text_json_and_in_a_terminal_a_qr_code() {
    let stage = Stage::new().await;
    let link = json!({
        "path": "/sign-in?code=1", "listen": "127.0.0.1:8080", "pages": "http://codex-5ec2e7.localhost:8080", "expires_in_seconds": 600,
    });
    stage.on("POST /api/v1/sign-in-links", Answer::json(link));
    let url = "http://codex-5ec2e7.localhost:8080/sign-in?code=1\n";
    let (stdout, stderr) = stage.run(&["sign-in"]).await.ok();
    assert_eq!(stdout, url, "scripts read only the link");
    assert!(stderr.starts_with("The link works once and expires in 10 minutes.\n"), "{stderr}");
    let (stdout, _) = stage.run_in_terminal(&["sign-in"]).await.ok();
    let (code, after) = stdout.split_at(stdout.len() - url.len());
    assert!(after == url && code.contains(['▀', '▄', '█']), "{stdout}");
    assert_eq!(stage.run(&["sign-in", "--address", "box.example"]).await.ok().0, "https://box.example/sign-in?code=1\n");
    assert_eq!(stage.run(&["--json", "sign-in"]).await.json()["path"], "/sign-in?code=1");
}

#[tokio::test]
async fn a_server_without_pages_has_no_sign_in_link() {
    let stage = Stage::new().await;
    let link = json!({ "path": "/sign-in?code=1", "listen": null, "pages": null, "expires_in_seconds": 600 });
    stage.on("POST /api/v1/sign-in-links", Answer::json(link));
    let said = stage.run(&["sign-in"]).await.failed(1);
    assert!(said.contains("it does not listen on a TCP address\nhint:  set `listen` in config.toml"), "{said}");
}

#[tokio::test]
async fn a_password_is_removed() {
    let stage = Stage::new().await;
    stage.on("DELETE /api/v1/password", Answer::nothing());
    assert!(stage.run(&["password", "remove"]).await.ok().0.starts_with("The password is removed."));
    assert_eq!(stage.requests(), ["DELETE /api/v1/password"]);
}

#[tokio::test]
async fn doctor_lets_a_running_server_check_itself() {
    let stage = Stage::new().await;
    let finding = |level: &str| json!({ "check": "git", "level": level, "found": "git 2.47.3", "hints": [] });
    stage.on("GET /api/v1/doctor", Answer::json(page(&[finding("ok"), finding("warning")])));
    let (stdout, _) = stage.run(&["doctor"]).await.ok();
    assert_eq!(stdout, "ok       git     git 2.47.3\nwarning  git     git 2.47.3\n");
    stage.on("GET /api/v1/doctor", Answer::json(page(&[finding("failure")])));
    let ran = stage.run(&["--json", "doctor"]).await;
    assert_eq!(ran.code, ExitCode::FAILURE, "a failure is also an exit code in JSON");
    assert!(ran.stdout.contains("\"level\": \"failure\""), "{ran:?}");
    stage.on("GET /api/v1/doctor", Answer::problem(503, "not_ready", "the server is stopping"));
    assert!(stage.run(&["doctor"]).await.failed(1).starts_with("error: the server is stopping\n"));
}

#[tokio::test]
async fn up_reports_a_running_server_and_the_next_steps() {
    let stage = Stage::new().await;
    // Another worker than the default needs no container image.
    fs_err::write(stage.path("config.toml"), "worker = \"/bin/true\"\n").expect("written");
    stage.on("GET /readyz", Answer::raw(200, "text/plain", "ready")).on("GET /api/v1/status", Answer::json(status(&json!({}))));
    let (stdout, _) = stage.run(&["up"]).await.ok();
    assert!(stdout.starts_with("The server is already running.\nserver   0.1.0 (process 42)\n"), "{stdout}");
    assert!(stdout.contains("\nNext steps:\n"), "{stdout}");
    assert_eq!(stage.requests(), ["GET /readyz", "GET /api/v1/status"], "the status is read after the check");
    assert_eq!(stage.run(&["--json", "up"]).await.json()["pid"], 42);
}

#[tokio::test]
async fn up_fails_if_no_task_can_start() {
    let stage = Stage::new().await;
    fs_err::write(stage.path("config.toml"), "worker = \"/bin/true\"\n").expect("written");
    let trouble = |code: &str| json!({ "code": code, "detail": format!("detail of {code}"), "hints": [format!("fix {code}")] });
    let troubles = json!({ "troubles": [trouble("disk_low"), trouble("damaged")] });
    stage.on("GET /readyz", Answer::problem(503, "not_ready", "no task can start"));
    stage.on("GET /api/v1/status", Answer::json(status(&troubles)));
    let ran = stage.run(&["up"]).await;
    assert_eq!(ran.code, ExitCode::FAILURE);
    assert!(ran.stderr.ends_with("error: no task can start: detail of disk_low\nhint:  fix disk_low\n"), "{ran:?}");
    assert!(!ran.stdout.contains("Next steps"), "{ran:?}");
    let only_damaged = json!({ "troubles": [trouble("damaged")] });
    stage.on("GET /api/v1/status", Answer::json(status(&only_damaged)));
    stage.run(&["up"]).await.ok();
    stage.on("GET /readyz", Answer::problem(500, "internal", "out of memory"));
    assert!(stage.run(&["up"]).await.stderr.starts_with("error: out of memory\n"), "another error is not a status");
}

#[tokio::test]
async fn down_does_not_start_a_server() {
    let home = tempfile::tempdir().expect("a folder");
    let down = async |words: &[&str]| stage::run(home.path(), words, Reader::Pipe).await;
    assert_eq!(down(&["down"]).await.ok().0, "No server is running.\n");
    let json = down(&["--json", "down"]).await.json();
    assert_eq!((&json["stopped"], &json["pid"]), (&json!(false), &Value::Null));
    assert_eq!(fs_err::read_dir(home.path()).expect("a folder").count(), 0, "nothing was created");
}

#[tokio::test]
async fn down_refuses_to_guess_the_process_of_a_server() {
    let stage = Stage::new().await;
    let said = stage.run(&["down"]).await.failed(1);
    assert!(said.starts_with("error: a server answers for this home directory, but its process is not visible here\n"), "{said}");
}

#[tokio::test]
async fn a_home_that_cannot_be_used_is_an_error_of_every_command() {
    let home = std::path::Path::new("/proc/nowhere");
    for words in [&["status"][..], &["task", "list"], &["env", "list"], &["queue"], &["trash"], &["disk"], &["gc"], &["sign-in"]]
    {
        let said = stage::run(home, words, Reader::Pipe).await.failed(1);
        assert!(said.starts_with("error: the server did not start: cannot use the home directory `/proc/nowhere`: "), "{said}");
        assert!(said.contains("ORCH_HOME"), "{said}");
    }
}

#[tokio::test]
async fn a_server_that_cannot_start_is_reported_with_its_last_words() {
    let home = tempfile::tempdir().expect("a folder");
    // This program is a test, not the product: it refuses the arguments of a server and exits.
    let ran = stage::run(home.path(), &["status"], Reader::Pipe).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (ExitCode::FAILURE, ""));
    assert!(ran.stderr.starts_with("error: the server did not start: it exited immediately (exit status: "), "{ran:?}");
    assert!(ran.stderr.contains("hint:  log: ") && ran.stderr.contains("home"), "{ran:?}");
    assert!(ran.stderr.ends_with(&format!("hint:  see {}/server.log\n", home.path().display())), "{ran:?}");
}

#[tokio::test]
async fn commands_without_a_server_start_none() {
    let home = tempfile::tempdir().expect("a folder");
    let (sample, _) = stage::run(home.path(), &["config", "sample"], Reader::Pipe).await.ok();
    assert_eq!(sample, config::sample());
    for (shell, word) in [
        ("bash", "complete -F _codex__orchestrator"),
        ("zsh", "#compdef codex-orchestrator"),
        ("fish", "complete -c codex-orchestrator"),
    ] {
        let (script, _) = stage::run(home.path(), &["completions", shell], Reader::Pipe).await.ok();
        assert!(script.contains(word) && script.contains("follow-up"), "{shell}");
    }
    let man = home.path().join("man");
    stage::run(home.path(), &["man", "--out", man.to_str().expect("text")], Reader::Pipe).await.ok();
    assert!(man.join("codex-orchestrator-task-list.1").exists());
    let (stdout, _) = stage::run(home.path(), &["logout"], Reader::Pipe).await.ok();
    assert!(stdout.starts_with("Codex was not logged in.\n"), "{stdout}");
    assert!(!home.path().join("server.log").exists());
}

#[tokio::test]
async fn an_error_of_the_command_line_has_its_own_exit_code() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/envs", Answer::json(page(&[environment(json!({}))])));
    stage.run(&["env", "config", "app", "memroy"]).await.failed(2);
    stage.run(&["env", "edit", "app", "--secret", "TOKEN=hunter2"]).await.failed(2);
    stage.on("GET /api/v1/queue", Answer::problem(418, "from_the_future", "a later version"));
    assert!(stage.run(&["queue"]).await.failed(1).starts_with("error: a later version\n"), "an unknown code is an error");
}
