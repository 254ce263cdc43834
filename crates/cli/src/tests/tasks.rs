//! `task`: the requests that each command sends, and what people and programs read.
//! Following a run is tested in `following`, and exports in `exports`.

use serde_json::{Value, json};
use testkit::fake_server::{Answer, Ending};

use super::samples::{self, ENV, TASK, change, completed_run, page, run, task_json};
use super::stage::Stage;

/// The hint that every command prints that starts a run.
const FOLLOW: &str = "follow it: codex-orchestrator task logs --follow 0192f3a0-1111-7000-8000-000000000001\n";

fn of_task(method: &str, action: &str) -> String {
    format!("{method} /api/v1/tasks/{TASK}{action}")
}

/// A task whose run waits in the queue.
fn queued() -> Value {
    task_json(&[run(1, "queued", json!({}))], json!({ "queue": { "position": 3, "waits_for": "turn" } }))
}

fn completed() -> Value {
    task_json(&[completed_run()], samples::thread())
}

async fn with_repository() -> Stage {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/envs", Answer::json(page(&[samples::environment(json!({}))])));
    stage
}

#[tokio::test]
async fn create_sends_every_option_and_prints_the_id() {
    let stage = with_repository().await;
    stage.on("POST /api/v1/tasks", Answer::json(queued()));
    let image = concat!(env!("CARGO_MANIFEST_DIR"), "/../testkit/fixtures/dot.png");
    let words = [
        "task",
        "create",
        "--env",
        "app",
        "--ref",
        "v1.2",
        "--title",
        "A title",
        "--model",
        "gpt-5.5",
        "--effort",
        "high",
        "--priority",
        "low",
        "--image",
        image,
        "Fix the\nfailing test",
    ];
    let (stdout, stderr) = stage.run(&words).await.ok();
    assert_eq!(stdout, format!("{TASK}\n"), "scripts read only the ID");
    assert_eq!(stderr, format!("number 3 in the queue, waiting for its turn\n{FOLLOW}"));
    let mut sent = stage.sent();
    let images = sent.as_object_mut().expect("an object").remove("images").expect("images");
    assert_eq!(images[0]["name"], "dot.png");
    let expect = json!({
        "env_id": ENV, "prompt": "Fix the\nfailing test", "ref": "v1.2", "title": "A title", "model": "gpt-5.5", "effort": "high",
        "priority": "low",
    });
    assert_eq!(sent, expect);
}

#[tokio::test]
async fn create_sends_only_what_was_given() {
    let stage = with_repository().await;
    stage.on("POST /api/v1/tasks", Answer::json(queued()));
    let answer = stage.run(&["--json", "task", "create", "--env", ENV, "--", "-v is broken"]).await.json();
    assert_eq!((&answer["task_id"], &answer["status"]), (&json!(TASK), &json!("queued")));
    assert_eq!(stage.sent(), json!({ "env_id": ENV, "prompt": "-v is broken" }));
}

#[tokio::test]
async fn a_prompt_is_read_from_a_file() {
    let stage = with_repository().await;
    stage.on("POST /api/v1/tasks", Answer::json(queued()));
    let file = stage.path("prompt.txt");
    fs_err::write(&file, "Fix it.\n\nThanks.\n").expect("written");
    let file = file.to_str().expect("text");
    stage.run(&["task", "create", "--env", "app", "--prompt-file", file]).await.ok();
    assert_eq!(stage.sent()["prompt"], "Fix it.\n\nThanks.\n");
    fs_err::write(file, b"caf\xe9").expect("written");
    let said = stage.run(&["task", "create", "--env", "app", "--prompt-file", file]).await.failed(1);
    assert!(said.starts_with("error: the prompt is not UTF-8: invalid byte at position 3\nhint:  "), "{said}");
    let said = stage.run(&["task", "create", "--env", "app", "--prompt-file", "/no/such/file"]).await.failed(1);
    assert!(said.starts_with("error: could not read the prompt: No such file"), "{said}");
    assert_eq!(stage.requests().iter().filter(|line| line.starts_with("POST")).count(), 1, "an unreadable prompt is not sent");
}

#[tokio::test]
async fn an_image_that_cannot_be_used_is_reported_before_the_request() {
    let stage = Stage::new().await;
    let said = stage.run(&["task", "resume", TASK, "--image", "/no/such.png", "x"]).await.failed(1);
    assert!(said.starts_with("error: could not read `/no/such.png`: "), "{said}");
    assert_eq!(stage.requests(), [""; 0]);
}

#[tokio::test]
async fn a_refusal_of_the_server_is_printed_with_its_hints_and_code() {
    let stage = with_repository().await;
    stage.on("POST /api/v1/tasks", Answer::problem(422, "prompt_empty", "the prompt is empty"));
    let said = stage.run(&["task", "create", "--env", "app", ""]).await.failed(1);
    assert_eq!(said, "error: the prompt is empty\nhint:  a hint about prompt_empty\n");
}

#[tokio::test]
async fn resume_and_retry_add_a_run() {
    let stage = Stage::new().await;
    stage.on(&of_task("POST", "/resume"), Answer::json(queued())).on(&of_task("POST", "/retry"), Answer::json(queued()));
    let (stdout, _) = stage.run(&["task", "resume", TASK, "--model", "gpt-5.5", "Go on"]).await.ok();
    assert_eq!(stdout, format!("{TASK}\n"));
    assert_eq!(stage.sent(), json!({ "prompt": "Go on", "model": "gpt-5.5" }));
    assert_eq!(stage.run(&["--json", "task", "retry", TASK]).await.json()["task_id"], TASK);
    assert_eq!(stage.requests(), [of_task("POST", "/resume"), of_task("POST", "/retry")], "a complete ID needs no lookup");
}

#[tokio::test]
async fn list_sends_its_filters() {
    let stage = with_repository().await;
    stage.on("GET /api/v1/tasks", Answer::json(page(&[])));
    let (stdout, stderr) = stage.run(&["task", "list"]).await.ok();
    assert_eq!((stdout.as_str(), stderr.as_str()), ("", "No matching tasks.\n"));
    let filters = ["--env", "app", "--status", "failed,stopped", "--group", "done", "--archived", "-q", "a b", "-n", "3"];
    stage.run(&[&["task", "list"][..], &filters].concat()).await.ok();
    let expect = format!("GET /api/v1/tasks?env={ENV}&status=failed%2Cstopped&q=a+b&archived=only&group=done&limit=3");
    assert_eq!(stage.requests(), ["GET /api/v1/tasks?limit=50".to_owned(), "GET /api/v1/envs".to_owned(), expect]);
}

#[tokio::test]
async fn a_list_in_json_is_the_answer_of_the_api() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/tasks", Answer::json(page(&[completed()])));
    let list = stage.run(&["task", "list", "--json"]).await.json();
    assert_eq!((&list["items"][0]["task_id"], &list["next_cursor"]), (&json!(TASK), &Value::Null));
    assert_eq!(list["items"][0]["runs"][0]["commit"], json!(samples::commit('c')));
}

#[tokio::test]
async fn a_filter_that_the_server_does_not_know_is_its_error() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/tasks", Answer::problem(422, "unknown_status", "`done` is not a status"));
    let said = stage.run(&["task", "list", "--status", "done"]).await.failed(1);
    assert!(said.starts_with("error: `done` is not a status\n"), "{said}");
}

#[tokio::test]
async fn show_names_the_mirror_in_the_servers_home() {
    let stage = Stage::new().await;
    let status = json!({
        "version": "0.1.0", "pid": 42, "home": "/srv/my orchestrator", "git": "git 2.47.3", "started_at": "2026-03-01T12:00:00Z",
        "worker": { "name": "host", "program": null, "problem": null, "hints": [] }, "listen": null, "environments": 1, "tasks": 1,
        "active_runs": 0,
    });
    stage.on(&of_task("GET", ""), Answer::json(completed())).on("GET /api/v1/status", Answer::json(status));
    let (stdout, _) = stage.run(&["task", "show", TASK]).await.ok();
    let fetch = format!("fetch:    git fetch '/srv/my orchestrator/envs/{ENV}/mirror' codex/{TASK}");
    assert!(stdout.lines().any(|line| line == fetch), "{stdout}");
    assert!(!stdout.contains('\u{1b}'), "a pipe gets no colours: {stdout}");
    let (stdout, _) = stage.run_in_terminal(&["task", "show", TASK]).await.ok();
    assert!(stdout.contains("status   \u{1b}[32mcompleted\u{1b}[39m\n"), "{stdout:?}");
}

#[tokio::test]
async fn a_prefix_is_looked_up_before_the_request() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/tasks", Answer::json(page(&[completed()]))).on(&of_task("POST", "/archive"), Answer::json(completed()));
    assert_eq!(stage.run(&["task", "archive", "0192f3a0"]).await.ok().0, format!("Archived {TASK}\n"));
    assert_eq!(stage.requests(), ["GET /api/v1/tasks?q=0192f3a0&archived=any&limit=200".to_owned(), of_task("POST", "/archive")]);
}

#[tokio::test]
async fn archive_stops_at_the_first_error_and_names_the_task() {
    let stage = Stage::new().await;
    let other = "0192f3a0-1111-7000-8000-000000000002";
    stage.on(&of_task("POST", "/archive"), Answer::json(completed()));
    stage.on(&format!("POST /api/v1/tasks/{other}/archive"), Answer::problem(409, "run_active", "the task is active"));
    let ran = stage.run(&["task", "archive", TASK, other, TASK]).await;
    assert_eq!(ran.stdout, format!("Archived {TASK}\n"), "the first task is archived");
    assert!(ran.stderr.starts_with(&format!("error: {other}: the task is active\n")), "{ran:?}");
    assert_eq!(stage.requests().len(), 2);
}

#[tokio::test]
async fn unarchive_prints_all_tasks_as_json() {
    let stage = Stage::new().await;
    stage.on(&of_task("POST", "/unarchive"), Answer::json(completed()));
    assert_eq!(stage.run(&["task", "unarchive", TASK]).await.ok().0, format!("Unarchived {TASK}\n"));
    let both = stage.run(&["--json", "task", "unarchive", TASK, TASK]).await.json();
    assert_eq!(both.as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn refresh_environment_says_what_the_next_run_uses() {
    let stage = Stage::new().await;
    stage.on(&of_task("POST", "/environment/refresh"), Answer::json(completed()));
    let said = stage.run(&["task", "refresh-environment", TASK]).await.ok().0;
    assert_eq!(said, format!("The next run of {TASK} starts from the newest environment\n"));
    assert_eq!(stage.run(&["--json", "task", "refresh-environment", TASK]).await.json()["task_id"], TASK);
}

#[tokio::test]
async fn stop_waits_until_the_run_has_ended() {
    let stage = Stage::new().await;
    let running = task_json(&[run(2, "running", json!({}))], json!({}));
    let stopping = task_json(&[run(2, "stopping", json!({}))], json!({}));
    let stopped = task_json(&[run(2, "stopped", json!({}))], json!({}));
    let feed = [change(1), change(2)].concat();
    stage
        .on("GET /api/v1/events", Answer::events(&[&feed], Ending::Open))
        .on(&of_task("POST", "/stop"), Answer::json(stopping.clone()));
    for answer in [running, stopping, stopped] {
        stage.on(&of_task("GET", ""), Answer::json(answer));
    }
    let (stdout, _) = stage.run(&["task", "stop", TASK]).await.ok();
    assert_eq!(stdout, format!("Run 2 of {TASK}: stopped\n"));
    let (show, feed, stop) = (of_task("GET", ""), "GET /api/v1/events".to_owned(), of_task("POST", "/stop"));
    assert_eq!(stage.requests(), [show.clone(), feed, stop, show.clone(), show], "the feed is open before the run can end");
}

#[tokio::test]
async fn stopping_a_task_that_has_ended_is_harmless() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/events", Answer::events(&[], Ending::Open));
    stage.on(&of_task("GET", ""), Answer::json(completed())).on(&of_task("POST", "/stop"), Answer::json(completed()));
    let (stdout, _) = stage.run(&["task", "stop", TASK]).await.ok();
    assert_eq!(stdout, format!("Nothing to stop. Run 1 of {TASK} has already ended: completed\n"));
    assert_eq!(stage.run(&["--json", "task", "stop", TASK]).await.json()["status"], "completed");
}

#[tokio::test]
async fn a_server_that_is_lost_while_a_run_stops_is_reported() {
    let stage = Stage::new().await;
    let stopping = || Answer::json(task_json(&[run(1, "stopping", json!({}))], json!({})));
    stage.on("GET /api/v1/events", Answer::events(&[], Ending::Complete));
    stage.on(&of_task("GET", ""), stopping()).on(&of_task("POST", "/stop"), stopping());
    let said = stage.run(&["task", "stop", TASK]).await.failed(1);
    assert!(
        said.starts_with("error: the server does not answer: it closed the event stream\nhint:  start the server: "),
        "{said}"
    );
}

#[tokio::test]
async fn remove_says_how_to_restore() {
    let stage = Stage::new().await;
    stage.on(&of_task("DELETE", ""), Answer::nothing());
    let (stdout, stderr) = stage.run(&["task", "remove", TASK]).await.ok();
    assert_eq!(stdout, format!("Removed {TASK}\n"));
    assert_eq!(stderr, format!("restore it: codex-orchestrator task restore {TASK}\n"));
}

#[tokio::test]
async fn an_answer_is_for_the_question_that_is_open() {
    let stage = Stage::new().await;
    let question = json!({ "number": 4, "urls": ["https://example.com/li\u{202e}b.git"], "asked_at": "2026-03-01T12:00:00Z" });
    stage.on(&of_task("GET", ""), Answer::json(task_json(&[run(1, "queued", json!({}))], json!({ "question": question }))));
    stage.on(&of_task("POST", "/answer"), Answer::json(queued()));
    let (stdout, stderr) = stage.run(&["task", "answer", TASK, "fetch"]).await.ok();
    assert_eq!((stdout.as_str(), stderr.as_str()), ("Allowed https://example.com/li<U+202E>b.git\n", FOLLOW));
    assert_eq!(stage.sent(), json!({ "answer": "fetch", "question": 4 }));
    let (stdout, _) = stage.run(&["task", "answer", TASK, "skip", "--question", "3"]).await.ok();
    assert_eq!(stdout, "Skipped https://example.com/li<U+202E>b.git\n");
    assert_eq!(stage.sent(), json!({ "answer": "skip", "question": 3 }), "a question that was named is not replaced");
}

#[tokio::test]
async fn an_answer_without_a_question_is_the_servers_error() {
    let stage = Stage::new().await;
    stage.on(&of_task("GET", ""), Answer::json(completed()));
    stage.on(&of_task("POST", "/answer"), Answer::problem(409, "no_question", "the task asks nothing"));
    let said = stage.run(&["task", "answer", TASK, "skip"]).await.failed(1);
    assert!(said.starts_with("error: the task asks nothing\n"), "{said}");
    assert_eq!(stage.sent(), json!({ "answer": "skip" }));
}

#[tokio::test]
async fn a_follow_up_is_added_replaced_removed_and_started() {
    let stage = Stage::new().await;
    let follow_up = json!({ "number": 5, "prompt": "Then write a test", "asked_at": "2026-03-01T12:00:30Z" });
    let waiting = task_json(&[run(1, "running", json!({}))], json!({ "follow_ups": [follow_up] }));
    stage.on(&of_task("POST", "/follow-ups"), Answer::json(waiting.clone()));
    stage
        .on(&of_task("PUT", "/follow-ups/5"), Answer::json(waiting))
        .on(&of_task("DELETE", "/follow-ups/5"), Answer::json(completed()));
    stage.on(&of_task("POST", "/continue"), Answer::json(queued()));
    let (stdout, _) = stage.run(&["task", "follow-up", "add", TASK, "Then write a test"]).await.ok();
    assert_eq!(stdout, "Follow-up 5 starts when run 1 completes\n");
    assert_eq!(stage.run(&["task", "follow-up", "replace", TASK, "5", "Then stop"]).await.ok().0, "Replaced follow-up 5\n");
    assert_eq!(stage.sent(), json!({ "prompt": "Then stop" }));
    assert_eq!(stage.run(&["task", "follow-up", "remove", TASK, "5"]).await.ok().0, "Removed follow-up 5\n");
    assert_eq!(stage.run(&["--json", "task", "follow-up", "remove", TASK, "5"]).await.json()["task_id"], TASK);
    assert_eq!(stage.run(&["task", "follow-up", "start", TASK]).await.ok().0, format!("{TASK}\n"));
}

#[tokio::test]
async fn a_follow_up_that_starts_immediately_is_shown_as_a_run() {
    let stage = Stage::new().await;
    stage.on(&of_task("POST", "/follow-ups"), Answer::json(queued()));
    let (stdout, stderr) = stage.run(&["task", "follow-up", "add", TASK, "Now"]).await.ok();
    assert_eq!((stdout, stderr), (format!("{TASK}\n"), format!("number 3 in the queue, waiting for its turn\n{FOLLOW}")));
}

#[tokio::test]
async fn push_waits_until_the_pull_request_is_open() {
    let stage = Stage::new().await;
    let with = |publication: Value| task_json(&[completed_run()], json!({ "publication": publication }));
    let mut pushing = samples::publication();
    pushing["status"] = json!("pushing");
    pushing["pull_request"] = Value::Null;
    stage.on("GET /api/v1/events", Answer::events(&[&change(1)], Ending::Open));
    stage
        .on(&of_task("POST", "/push"), Answer::json(with(pushing)))
        .on(&of_task("GET", ""), Answer::json(with(samples::publication())));
    let body = stage.path("body.md");
    fs_err::write(&body, "# Why\n").expect("written");
    let words = ["task", "push", TASK, "--pr", "--title", "T", "--draft", "--body-file", body.to_str().expect("text")];
    let (stdout, _) = stage.run(&words).await.ok();
    assert_eq!(stdout, format!("Pushed codex/{TASK} (cccccccccccc)\nhttps://github.com/me/app/pull/7\n"));
    let sent = stage.sent();
    assert_eq!(
        (&sent["pull_request"], &sent["title"], &sent["body"], &sent["draft"]),
        (&json!(true), &json!("T"), &json!("# Why\n"), &json!(true))
    );
}

#[tokio::test]
async fn a_push_that_fails_is_an_error_after_what_was_done() {
    let stage = Stage::new().await;
    let mut failed = samples::publication();
    failed["status"] = json!("failed");
    failed["pull_request"] = Value::Null;
    failed["error"] =
        json!({ "code": "push_rejected", "message": "the remote has newer commits", "hints": ["update the branch"] });
    let task = task_json(&[completed_run()], json!({ "publication": failed }));
    stage.on("GET /api/v1/events", Answer::events(&[], Ending::Open)).on(&of_task("POST", "/push"), Answer::json(task));
    let said = stage.run(&["task", "push", TASK]).await.failed(1);
    assert_eq!(said, "error: the remote has newer commits\nhint:  update the branch\n");
    let ran = stage.run(&["--json", "task", "push", TASK]).await;
    assert_eq!(ran.code, std::process::ExitCode::FAILURE);
    assert!(ran.stdout.contains("\"code\": \"push_rejected\"") && ran.stderr.is_empty(), "{ran:?}");
}

#[tokio::test]
async fn a_description_that_cannot_be_read_pushes_nothing() {
    let stage = Stage::new().await;
    let said = stage.run(&["task", "push", TASK, "--pr", "--body-file", "/no/such/file"]).await.failed(1);
    assert!(said.starts_with("error: could not read the description: "), "{said}");
    assert_eq!(stage.requests(), [""; 0]);
}

#[tokio::test]
async fn feedback_and_update_say_what_codex_was_asked() {
    let stage = Stage::new().await;
    stage.on(&of_task("POST", "/feedback"), Answer::json(queued()));
    let (stdout, stderr) = stage.run(&["task", "feedback", TASK]).await.ok();
    assert_eq!((stdout, stderr.as_str()), (format!("Sent the review comments and failed checks to Codex ({TASK})\n"), FOLLOW));
    let base = json!({ "name": "main", "commit": samples::commit('b') });
    let view = json!({ "outcome": "updated", "base": base, "dropped": 0, "conflicts": [], "task": completed() });
    stage.on(&of_task("POST", "/update"), Answer::json(view));
    for (flags, expect) in [
        (&[][..], json!({ "hand_over": false, "onto_remote": false })),
        (&["--rebase"], json!({ "strategy": "rebase", "hand_over": false, "onto_remote": false })),
        (&["--merge", "--hand-over"], json!({ "strategy": "merge", "hand_over": true, "onto_remote": false })),
        (&["--onto-remote"], json!({ "hand_over": false, "onto_remote": true })),
    ] {
        let (stdout, _) = stage.run(&[&["task", "update", TASK], flags].concat()).await.ok();
        assert_eq!(stdout, format!("Updated codex/{TASK} to `main` at bbbbbbbbbbbb\n"));
        let mut sent = stage.sent();
        sent.as_object_mut().expect("an object").retain(|_, value| !value.is_null());
        assert_eq!(sent, expect, "{flags:?}");
    }
}

#[tokio::test]
async fn conflicts_and_pull_requests_are_also_json() {
    let stage = Stage::new().await;
    let base = json!({ "name": "main", "commit": samples::commit('b') });
    let conflicts = json!({ "base": base, "behind": 1, "conflicts": [], "tasks": [], "looked_at": 1, "left_out": 0 });
    stage.on(&of_task("GET", "/conflicts"), Answer::json(conflicts));
    assert_eq!(stage.run(&["--json", "task", "conflicts", TASK, "--fetch"]).await.json()["behind"], 1);
    let publication = json!({
        "publication": null, "head": "codex/x", "base": "main", "title": "T", "body": "B", "forge": null, "by_hand": null,
    });
    stage.on(&of_task("GET", "/publication"), Answer::json(publication));
    assert_eq!(stage.run(&["--json", "task", "pr", TASK]).await.json()["head"], "codex/x");
    assert_eq!(stage.requests(), [of_task("GET", "/conflicts?fetch=true"), of_task("GET", "/publication")]);
}
