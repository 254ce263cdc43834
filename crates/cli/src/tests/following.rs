//! Following a run: progress before it starts, its transcript, a lost server, and its exit code.
//! Every line is printed exactly once, even if the connection breaks.

use std::process::ExitCode;
use std::time::Duration;

use model::ErrorCode;
use model::ids::RunNumber;
use serde_json::{Value, json};
use testkit::fake_server::{Answer, Ending};

use super::samples::{TASK, change, run, task_id, task_json};
use super::stage::Stage;
use crate::follow::{self, RunFormat};
use crate::printer::captured::{self, Reader};

fn show() -> String {
    format!("GET /api/v1/tasks/{TASK}")
}

fn events(number: u32) -> String {
    format!("GET /api/v1/tasks/{TASK}/runs/{number}/events")
}

/// A task whose only run has this status.
fn task(status: &str) -> Answer {
    Answer::json(task_json(&[run(1, status, json!({}))], json!({})))
}

/// A stage with a task whose run is in progress.
async fn running() -> Stage {
    let stage = Stage::new().await;
    stage.on(&show(), task("running"));
    stage
}

fn line(offset: u64, event: &Value) -> String {
    format!("id: {offset}\ndata: {event}\n\n")
}

fn message(offset: u64, text: &str) -> String {
    line(offset, &json!({ "type": "item.completed", "item": { "id": "item_1", "type": "agent_message", "text": text } }))
}

fn end(status: &str, error: &Value) -> String {
    format!("event: end\ndata: {}\n\n", json!({ "status": status, "exit_code": 0, "error": error }))
}

const LOGS: [&str; 4] = ["task", "logs", "--follow", TASK];

#[tokio::test]
async fn a_transcript_ends_with_the_run() {
    let stage = running().await;
    let command = json!({
        "type": "item.completed",
        "item": { "id": "item_0", "type": "command_execution", "command": "sh test.sh", "aggregated_output": "no\n", "exit_code": 1, "status": "failed" },
    });
    let text = [line(100, &command), message(200, "The test fails.\nI will fix it."), end("completed", &Value::Null)].concat();
    stage.on(&events(1), Answer::events(&[&text], Ending::Complete));
    let (stdout, stderr) = stage.run(&LOGS).await.ok();
    assert_eq!(stdout, "✗ sh test.sh (exit code 1)\n  no\n● agent\n  The test fails.\n  I will fix it.\n");
    assert_eq!(stderr, "");
}

#[tokio::test]
async fn what_an_agent_writes_cannot_control_the_terminal() {
    let stage = running().await;
    let evil = "\u{1b}[2Jgone\u{1b}]0;title\u{7}\u{202e}txet\u{9b}5m\r\nnext";
    let text = [message(100, evil), end("completed", &Value::Null)].concat();
    stage.on(&events(1), Answer::events(&[&text], Ending::Complete));
    for ran in [stage.run(&LOGS).await, stage.run_in_terminal(&LOGS).await] {
        let (stdout, _) = ran.ok();
        let plain = anstream::adapter::strip_str(&stdout).to_string();
        assert_eq!(plain, "● agent\n  gonetxet\n  next\n");
        let codes: Vec<_> =
            stdout.split('\u{1b}').skip(1).filter_map(|code| code.split_once('m')).map(|(code, _)| code).collect();
        assert!(codes.iter().all(|code| ["[32", "[39", "[2", "[0"].contains(code)), "only our own colours: {codes:?}");
    }
}

#[tokio::test]
async fn raw_lines_are_not_changed() {
    let stage = running().await;
    let started = json!({ "type": "thread.started", "thread_id": "0192f3a0-2222-7000-8000-000000000002" });
    let text = [line(90, &started), "id: 100\ndata: not JSON\n\n".to_owned(), end("completed", &Value::Null)].concat();
    stage.on(&events(1), Answer::events(&[&text], Ending::Complete));
    let expect = format!("{started}\nnot JSON\n");
    assert_eq!(stage.run(&[&LOGS[..], &["--raw"]].concat()).await.ok().0, expect);
    assert_eq!(stage.run(&[&["--json"], &LOGS[..]].concat()).await.ok().0, expect, "the log is already JSON");
}

#[tokio::test]
async fn a_run_continues_after_the_last_line_when_the_server_comes_back() {
    let stage = running().await;
    stage.on(&events(1), Answer::events(&[&message(100, "one"), &message(200, "two"), "id: 300\nda"], Ending::Broken));
    stage.on(&events(1), Answer::events(&[&message(300, "three")], Ending::Complete));
    stage.on(&events(1), Answer::events(&[&end("completed", &Value::Null)], Ending::Complete));
    let (stdout, stderr) = stage.run(&LOGS).await.ok();
    assert_eq!((stdout.as_str(), stderr.as_str()), ("● agent\n  one\n● agent\n  two\n● agent\n  three\n", ""));
    let streams: Vec<_> = stage.requests().into_iter().filter(|line| line.contains("/events")).collect();
    assert_eq!(streams, [events(1), format!("{}?offset=200", events(1)), format!("{}?offset=300", events(1))]);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_come_back_is_reported_after_a_while() {
    let stage = running().await;
    stage.on(&events(1), Answer::events(&[&message(100, "one")], Ending::Broken));
    stage.on(&events(1), Answer::events(&[&message(200, "two")], Ending::Broken));
    stage.on("GET /healthz", Answer::problem(503, "not_ready", "stopping"));
    let begun = tokio::time::Instant::now();
    let following = follow::to_the_end(&stage.client, task_id(), RunNumber::FIRST, RunFormat::Transcript);
    let (ended, captured) = captured::during(Reader::Pipe, following).await;
    assert_eq!(ended.expect_err("the server stays away").report.code, ErrorCode::ServerLost);
    assert_eq!(captured.stdout, "● agent\n  one\n● agent\n  two\n".as_bytes(), "the server came back only once");
    assert!(begun.elapsed() >= Duration::from_secs(10), "an upgrade of the server takes a few seconds");
}

#[tokio::test]
async fn the_exit_code_is_the_outcome_of_the_run() {
    let error = json!({ "code": "codex_failed", "message": "out of\u{1b}[2J tokens", "hints": ["raise the budget"] });
    for (status, error, code, expect) in [
        ("completed", Value::Null, 0, ""),
        ("failed", error, 1, "codex_failed: out of tokens\nhint:  raise the budget\n"),
        ("interrupted", Value::Null, 1, ""),
        ("stopped", Value::Null, 130, ""),
    ] {
        let stage = running().await;
        stage.on(&events(1), Answer::events(&[&end(status, &error)], Ending::Complete));
        let ran = stage.run(&LOGS).await;
        assert_eq!((ran.code, ran.stderr.as_str()), (ExitCode::from(code), expect), "{status}");
    }
}

#[tokio::test]
async fn a_problem_in_the_stream_is_an_error() {
    let stage = running().await;
    let problem = json!({
        "type": "about:blank", "title": "Internal error", "status": 500, "code": "internal", "detail": "the log is gone", "hints": [],
    });
    stage.on(&events(1), Answer::events(&[&format!("event: problem\ndata: {problem}\n\n")], Ending::Complete));
    assert_eq!(stage.run(&LOGS).await.failed(1), "error: the log is gone\n");
}

#[tokio::test]
async fn progress_and_a_question_are_shown_until_the_run_starts() {
    let stage = Stage::new().await;
    let preparing = |phase: &str| {
        let progress = json!({ "progress": { "phase": phase, "percent": 40 } });
        Answer::json(task_json(&[run(1, "preparing", json!({}))], progress))
    };
    let question = json!({ "number": 1, "urls": ["https://example.com/lib.git"], "asked_at": "2026-03-01T12:00:00Z" });
    let asking = || Answer::json(task_json(&[run(1, "queued", json!({}))], json!({ "question": question })));
    for answer in [task("queued"), preparing("Checking out files"), preparing("Checking out files"), asking(), asking()] {
        stage.on(&show(), answer);
    }
    stage.on(&show(), preparing("Updating files")).on(&show(), task("running"));
    let feed: String = (1..9).map(change).collect();
    stage.on("GET /api/v1/events", Answer::events(&[&feed], Ending::Open));
    stage.on(&events(1), Answer::events(&[&end("completed", &Value::Null)], Ending::Complete));
    let (stdout, stderr) = stage.run(&LOGS).await.ok();
    assert_eq!(stdout, "");
    let expect = format!(
        "Checking out files …\nquestion fetch submodules from these URLs?\n         https://example.com/lib.git\nanswer   codex-orchestrator task answer {TASK} fetch   (or skip)\nUpdating files …\n"
    );
    assert_eq!(stderr, expect, "each phase and each question is shown once");
}

#[tokio::test]
async fn a_run_that_has_started_needs_no_feed() {
    let stage = running().await;
    stage.on(&events(1), Answer::events(&[&end("completed", &Value::Null)], Ending::Complete));
    stage.run(&LOGS).await.ok();
    assert_eq!(stage.requests(), [show(), show(), events(1)]);
}

#[tokio::test]
async fn a_feed_that_breaks_off_ends_only_the_progress() {
    let stage = Stage::new().await;
    stage.on(&show(), task("queued")).on("GET /api/v1/events", Answer::events(&[], Ending::Broken));
    stage.on(&events(1), Answer::events(&[&message(9, "hi"), &end("completed", &Value::Null)], Ending::Complete));
    assert_eq!(stage.run(&LOGS).await.ok().0, "● agent\n  hi\n");
}

#[tokio::test]
async fn a_command_that_starts_a_run_can_follow_it() {
    let stage = Stage::new().await;
    let two = || task_json(&[run(1, "completed", json!({})), run(2, "running", json!({}))], json!({}));
    stage.on(&format!("POST /api/v1/tasks/{TASK}/resume"), Answer::json(two())).on(&show(), Answer::json(two()));
    stage.on(&events(2), Answer::events(&[&message(9, "hi"), &end("stopped", &Value::Null)], Ending::Complete));
    let ran = stage.run(&["task", "resume", "-f", TASK, "Go on"]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (ExitCode::from(130), "● agent\n  hi\n"));
    assert_eq!(ran.stderr, format!("task {TASK}, run 2\n"), "the answer on stdout is only the transcript");
}

#[tokio::test]
async fn the_run_to_follow_can_be_chosen() {
    let stage = Stage::new().await;
    let two = task_json(&[run(1, "failed", json!({})), run(2, "running", json!({}))], json!({}));
    stage.on(&show(), Answer::json(two)).on(&events(1), Answer::events(&[&end("failed", &Value::Null)], Ending::Complete));
    assert_eq!(stage.run(&[&LOGS[..], &["--run", "1"]].concat()).await.code, ExitCode::from(1));
    stage.on(&events(7), Answer::problem(404, "run_not_found", "run 7 not found"));
    let said = stage.run(&[&LOGS[..], &["--run", "7"]].concat()).await.failed(1);
    assert!(said.starts_with("error: run 7 not found\n"), "{said}");
}
