//! Text from agents, remotes and Git hosts in every view: it never controls the terminal, and JSON keeps its meaning.
//! Each view has hostile text in every field that is not restricted to safe characters.

use model::visible::is_invisible;
use serde_json::{Value, json};
use testkit::fake_server::{Answer, Ending};

use super::samples::{self, ENV, TASK, environment, page, publication, run, task_json};
use super::stage::Stage;

/// Text that clears the screen, changes the title, hides itself, changes the direction of text and forges a line.
const TEXT: &str = "\u{1b}[2Jone\u{1b}]0;owned\u{7}\u{1b}[8m\u{202e}two\u{9b}5m\u{2066}three\rforged";

/// The name of a branch, a task or a repository, which cannot contain control characters.
const NAME: &str = "ma\u{202e}ni\u{2066}x";

/// The names of our own colours and styles.
const STYLES: [&str; 13] = ["0", "1", "2", "7", "22", "27", "31", "32", "33", "36", "39", "91", "0;1"];

/// Asserts that nothing except our own styles reaches a terminal.
fn assert_harmless(shown: &str, what: &str) {
    let mut parts = shown.split('\u{1b}');
    let mut rest = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let style = part.strip_prefix('[').and_then(|part| part.split_once('m'));
        let (style, text) = style.unwrap_or_else(|| panic!("{what}: an escape sequence that is not a style: {shown:?}"));
        assert!(STYLES.contains(&style), "{what}: `{style}` is not our style: {shown:?}");
        rest.push_str(text);
    }
    let is_harmful =
        |c: char| (c.is_control() && !matches!(c, '\n' | '\t')) || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    assert!(!rest.contains(is_harmful), "{what}: {shown:?}");
}

/// Runs a command as text and as JSON, after the request was answered with this view.
async fn check(request: &str, view: Value, words: &[&str]) {
    let stage = Stage::new().await;
    let status = json!({
        "version": "0.1.0", "pid": 42, "home": "/home/me", "git": "git 2.47.3", "started_at": "2026-03-01T12:00:00Z",
        "worker": { "name": "host", "program": null, "problem": null, "hints": [] }, "listen": null, "environments": 1, "tasks": 1,
        "active_runs": 0,
    });
    if !request.ends_with("/status") {
        stage.on("GET /api/v1/status", Answer::json(status));
    }
    if !request.ends_with("/envs") {
        stage.on("GET /api/v1/envs", Answer::json(page(&[environment(json!({}))])));
    }
    stage.on("GET /api/v1/events", Answer::events(&[], Ending::Open)).on(request, Answer::json(view.clone()));
    for ran in [stage.run_in_terminal(words).await, stage.run(words).await] {
        assert!(!ran.stderr.contains("no prepared answer"), "{words:?}: {ran:?}");
        assert!(!ran.stdout.is_empty(), "{words:?}: {ran:?}");
        assert_harmless(&ran.stdout, &format!("stdout of {words:?}"));
        assert_harmless(&ran.stderr, &format!("stderr of {words:?}"));
    }
    let json = stage.run(&[&["--json"], words].concat()).await.stdout;
    assert!(!json.contains(|c: char| c != '\n' && is_invisible(c)), "{words:?}: {json:?}");
    let read: Value = serde_json::from_str(&json).expect("the output is JSON");
    let hostile = |value: &Value| value.to_string().matches("\\u202e").count() + value.to_string().matches('\u{202e}').count();
    assert!(hostile(&read) >= hostile(&view), "{words:?}: JSON has every character: {json}");
}

fn problem() -> Value {
    json!({ "code": "codex_failed", "message": TEXT, "hints": [TEXT] })
}

fn blocker() -> Value {
    json!({ "code": "disk_low", "detail": TEXT, "hints": [TEXT] })
}

/// A task with hostile text everywhere.
fn task(status: &str, fields: &Value) -> Value {
    let mut pull = publication();
    pull["pull_request"]["title"] = json!(TEXT);
    pull["pull_request"]["url"] = json!(TEXT);
    pull["pull_request"]["base"] = json!(NAME);
    pull["pull_request"]["checks"]["failed"] = json!([TEXT]);
    pull["pull_request"]["reviews"] = json!({ "approved": [TEXT], "changes_requested": [TEXT] });
    pull["note"] = json!(TEXT);
    pull["error"] = problem();
    let fields_of_run = json!({
        "prompt": TEXT, "last_message": TEXT, "error": problem(), "notes": [TEXT], "commit": samples::commit('c'),
        "images": [{ "file": "1.png", "name": TEXT, "bytes": 10, "sha256": "00" }],
    });
    let mut all = json!({
        "title": NAME, "env_name": NAME, "ref": NAME, "repo_url": format!("https://example.com/{NAME}.git"),
        "publication": pull, "activity": TEXT,
        "follow_ups": [{ "number": 1, "prompt": TEXT, "asked_at": "2026-03-01T12:00:30Z" }],
    });
    all.as_object_mut().expect("an object").extend(fields.as_object().cloned().unwrap_or_default());
    let mut run = run(1, status, fields_of_run);
    // The names of image files have their own format, which other tests cover.
    run.as_object_mut().expect("an object").remove("images");
    task_json(&[run], all)
}

#[tokio::test]
async fn tasks() {
    let show = format!("GET /api/v1/tasks/{TASK}");
    check("GET /api/v1/tasks", page(&[task("failed", &json!({}))]), &["task", "list"]).await;
    check(&show, task("failed", &json!({})), &["task", "show", TASK]).await;
    check(&show, task("running", &json!({})), &["task", "show", TASK]).await;
    let question =
        json!({ "number": 1, "urls": [format!("https://example.com/{NAME}.git")], "asked_at": "2026-03-01T12:00:00Z" });
    check(&show, task("queued", &json!({ "question": question })), &["task", "show", TASK]).await;
    let place = json!({ "position": 1, "waits_for": "hold", "hold": blocker() });
    check(&show, task("queued", &json!({ "queue": place })), &["task", "show", TASK]).await;
    let damaged = json!([{ "id": "x", "path": TEXT, "reason": TEXT, "hints": [] }]);
    let mut list = page(&[task("failed", &json!({}))]);
    list["damaged"] = damaged;
    check("GET /api/v1/tasks", list, &["task", "list"]).await;
}

#[tokio::test]
async fn answers_to_requests_about_tasks() {
    let of_task = |action: &str| format!("POST /api/v1/tasks/{TASK}{action}");
    let place = json!({ "queue": { "position": 1, "waits_for": "hold", "hold": blocker() } });
    check(&of_task("/retry"), task("queued", &place), &["task", "retry", TASK]).await;
    let mut done = task("completed", &json!({}));
    done["publication"]["error"] = Value::Null;
    check(&of_task("/push"), done, &["task", "push", TASK]).await;
    let base = json!({ "name": NAME, "commit": samples::commit('b') });
    let conflict = json!({ "path": "src/\u{202e}x\u{1b}[2J", "kind": "content" });
    for outcome in ["updated", "current", "handed_over"] {
        let view = json!({ "outcome": outcome, "base": base, "dropped": 1, "conflicts": [conflict], "task": task("completed", &json!({})) });
        check(&of_task("/update"), view, &["task", "update", TASK]).await;
    }
    let others = json!([{ "task_id": TASK, "title": NAME, "conflicts": [conflict] }]);
    let view = json!({ "base": base, "behind": 1, "conflicts": [conflict], "tasks": others, "looked_at": 1, "left_out": 0 });
    check(&format!("GET /api/v1/tasks/{TASK}/conflicts"), view, &["task", "conflicts", TASK]).await;
}

#[tokio::test]
async fn pull_requests() {
    let request = format!("GET /api/v1/tasks/{TASK}/publication");
    let forge = json!({ "kind": "github", "project": "me/app", "compare_url": TEXT });
    let publication = task("completed", &json!({}))["publication"].clone();
    for (publication, forge, by_hand) in [
        (publication, Value::Null, Value::Null),
        (Value::Null, Value::Null, Value::Null),
        (Value::Null, forge, json!(TEXT)),
        (Value::Null, Value::Null, json!(TEXT)),
    ] {
        let view = json!({
            "publication": publication, "head": NAME, "base": NAME, "title": TEXT, "body": TEXT, "forge": forge, "by_hand": by_hand,
        });
        check(&request, view, &["task", "pull-request", TASK]).await;
    }
}

#[tokio::test]
async fn repositories() {
    let hostile = environment(json!({
        "name": NAME, "default_branch": NAME, "repo_url": format!("https://example.com/{NAME}.git"), "error": problem(),
        "status": "failed", "variables": { "MODE": TEXT },
        "fetch": { "running": false, "ended_at": "2026-01-02T03:04:05Z", "error": problem() },
    }));
    let mut list = page(std::slice::from_ref(&hostile));
    list["damaged"] = json!([{ "id": "x", "path": TEXT, "reason": TEXT, "hints": [] }]);
    check("GET /api/v1/envs", list, &["env", "list"]).await;
    let show = format!("GET /api/v1/envs/{ENV}");
    check(&show, hostile.clone(), &["env", "show", ENV]).await;
    check(&format!("POST /api/v1/envs/{ENV}/fetch"), hostile, &["env", "fetch", ENV]).await;
    let refs = json!({ "items": [{ "kind": "branch", "name": TEXT, "commit": samples::commit('a'), "committed_at": null }], "truncated": false });
    check(&format!("GET /api/v1/envs/{ENV}/refs"), refs, &["env", "refs", ENV]).await;
}

#[tokio::test]
async fn the_server_and_its_queue() {
    let worker = json!({ "name": "host", "program": TEXT, "problem": TEXT, "hints": [TEXT] });
    let status = json!({
        "version": "0.1.0", "pid": 42, "home": TEXT, "git": TEXT, "started_at": "2026-03-01T12:00:00Z", "worker": worker,
        "listen": TEXT, "pages": TEXT, "environments": 1, "tasks": 1, "active_runs": 0, "hold": blocker(), "troubles": [blocker()],
    });
    check("GET /api/v1/status", status, &["status"]).await;
    let item = json!({
        "task_id": TASK, "title": NAME, "env_id": ENV, "env_name": NAME, "run": 1, "priority": "normal",
        "queued_at": "2026-03-01T12:00:00Z", "position": 1, "waits_for": "hold", "hold": blocker(),
    });
    let queue = json!({ "max_parallel_runs": 4, "running": 1, "hold": blocker(), "items": [item] });
    check("GET /api/v1/queue", queue, &["queue"]).await;
    let findings = page(&[json!({ "check": "git", "level": "failure", "found": TEXT, "hints": [TEXT] })]);
    let stage = Stage::new().await;
    stage.on("GET /api/v1/doctor", Answer::json(findings));
    let ran = stage.run_in_terminal(&["doctor"]).await;
    assert_eq!(ran.code, std::process::ExitCode::FAILURE);
    assert!(ran.stdout.contains("git") && ran.stdout.contains("three"), "{ran:?}");
    assert_harmless(&ran.stdout, "doctor");
}

#[tokio::test]
async fn the_trash_and_the_disk() {
    let item = |kind: &str| {
        json!({
            "kind": kind, "id": TASK, "name": TEXT, "env_id": ENV, "bytes": 4096, "removed_at": "2026-03-01T12:00:00Z",
            "expires_at": "2026-03-31T12:00:00Z",
        })
    };
    let folder = json!({
        "kind": "other", "id": TEXT, "name": TEXT, "env_id": null, "bytes": 1, "removed_at": "2026-03-01T12:00:00Z",
        "expires_at": "2026-03-31T12:00:00Z",
    });
    check("GET /api/v1/trash", page(&[item("task"), item("environment"), folder]), &["trash"]).await;
    let image = json!({
        "image_id": "sha256:1", "name": TEXT, "env_id": ENV, "bytes": 1, "built_at": "2026-03-01T12:00:00Z", "used_by": "nothing",
    });
    let mirror = json!({ "env_id": ENV, "name": NAME, "state": "failed", "before": 1, "after": null, "unreachable": null });
    let done = json!({
        "items": [item("task")], "bytes": 1, "free": 1, "failed": [{ "id": TEXT, "name": TEXT, "detail": TEXT }],
        "mirrors": [mirror], "images": [image],
    });
    check("POST /api/v1/gc", done, &["gc"]).await;
    let disk = json!({
        "free": 1, "floor": 1, "mirrors": 1, "unreachable": 1, "worktrees": 1, "logs": 1, "other": 1, "trash": 1, "images": [image],
        "environments": [{ "env_id": ENV, "name": NAME, "mirror": 1, "unreachable": 1, "tasks": 1 }],
        "tasks": [{ "task_id": TASK, "env_id": ENV, "title": NAME, "bytes": 1, "worktree": 1, "logs": 1 }],
    });
    check("GET /api/v1/disk", disk, &["disk"]).await;
}

#[tokio::test]
async fn errors() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/queue", Answer::problem(503, "not_ready", TEXT));
    let ran = stage.run_in_terminal(&["queue"]).await;
    assert!(ran.stderr.contains("one") && ran.stderr.contains("three"), "{ran:?}");
    assert_harmless(&ran.stderr, "an error");
    let ran = stage.run_in_terminal(&["env", "show", TEXT]).await;
    assert_harmless(&ran.stderr, "an error that repeats an argument");
}
