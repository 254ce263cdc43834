//! Requests and their answers: values, text, downloads, problems, and answers that are malformed or incomplete.
//! Every operation sends exactly one request.

use model::ErrorCode;
use model::ids::RunNumber;
use model::problem::{Problem, ProblemKind};
use protocol::{DiffQuery, LogQuery, PublishTask, ResumeTask, SetPassword, TaskQuery};
use serde_json::{Value, json};
use testkit::fake_server::{Answer, Ending};

use super::{TASK, start, task};

fn queue() -> Value {
    json!({ "max_parallel_runs": 4, "running": 1, "hold": null, "items": [] })
}

fn code(problem: &Problem) -> Option<ErrorCode> {
    problem.report.code.known()
}

#[tokio::test]
async fn a_value_is_read_from_a_successful_answer() {
    let (_folder, server, client) = start().await;
    server.on("GET /api/v1/queue", Answer::json(queue()));
    let read = client.show_queue().await.expect("a queue");
    assert_eq!((read.max_parallel_runs, read.running, read.items.len()), (4, 1, 0));
    assert_eq!(server.lines(), ["GET /api/v1/queue"]);
    assert_eq!(server.received()[0].format, None, "a request without a body has no media type");
}

#[tokio::test]
async fn fields_of_later_versions_are_ignored() {
    let (_folder, server, client) = start().await;
    let mut later = queue();
    later["mood"] = json!("good");
    server.on("GET /api/v1/queue", Answer::json(later));
    assert_eq!(client.show_queue().await.map(|queue| queue.running), Ok(1));
}

#[tokio::test]
async fn values_of_a_request_are_in_its_path_query_and_body() {
    let (_folder, server, client) = start().await;
    server.on("GET /api/v1/tasks", Answer::json(json!({ "items": [], "next_cursor": "next" })));
    let query = TaskQuery { q: Some("50% & more".to_owned()), limit: Some(5), ..TaskQuery::default() };
    let page = client.list_tasks(&query).await.expect("a page");
    assert_eq!((page.items.len(), page.next_cursor.as_deref()), (0, Some("next")));
    let prompt = ResumeTask { prompt: "Write a test.\n\"quoted\"".to_owned(), ..ResumeTask::default() };
    // The answer does not matter here.
    client.replace_follow_up(task(), 3, &prompt).await.expect_err("no answer is prepared");
    client.push_task(task(), &PublishTask { pull_request: true, ..PublishTask::default() }).await.expect_err("no answer");
    let received = server.received();
    assert_eq!(
        server.lines(),
        [
            "GET /api/v1/tasks?q=50%25+%26+more&limit=5".to_owned(),
            format!("PUT /api/v1/tasks/{TASK}/follow-ups/3"),
            format!("POST /api/v1/tasks/{TASK}/push"),
        ]
    );
    assert_eq!(received[1].body, json!({ "prompt": "Write a test.\n\"quoted\"" }));
    assert_eq!(received[1].format.as_deref(), Some("application/json"));
    assert_eq!(received[2].body["pull_request"], json!(true));
}

#[tokio::test]
async fn an_answer_without_a_body_is_a_success() {
    let (_folder, server, client) = start().await;
    server.on("PUT /api/v1/password", Answer::nothing());
    let password = SetPassword { password: model::secret::Secret::new("correct horse battery") };
    assert_eq!(client.set_password(&password).await, Ok(()));
    assert_eq!(server.received()[0].body, json!({ "password": "correct horse battery" }));
}

#[tokio::test]
async fn text_is_returned_as_it_is() {
    let (_folder, server, client) = start().await;
    server.on("GET /metrics", Answer::raw(200, "application/openmetrics-text", "# EOF\n"));
    server.on("GET /readyz", Answer::raw(200, "text/plain", "ready"));
    server.on("GET /api/v1/openapi.json", Answer::json(json!({ "openapi": "3.1.0" })));
    assert_eq!(client.metrics().await.as_deref(), Ok("# EOF\n"));
    assert_eq!(client.readyz().await.as_deref(), Ok("ready"));
    assert_eq!(client.show_contract().await.expect("JSON")["openapi"], "3.1.0");
}

#[tokio::test]
async fn a_problem_of_the_server_keeps_its_kind_code_and_hints() {
    let (_folder, server, client) = start().await;
    for (status, kind) in [(409, ProblemKind::WrongState), (404, ProblemKind::NotFound), (503, ProblemKind::Unavailable)] {
        server.on(&format!("POST /api/v1/tasks/{TASK}/stop"), Answer::problem(status, "run_active", "a run is active"));
        let problem = client.stop_task(task()).await.expect_err("the server refused");
        assert_eq!((problem.kind, code(&problem)), (kind, Some(ErrorCode::RunActive)));
        assert_eq!((problem.report.message.as_str(), problem.report.hints.len()), ("a run is active", 1));
    }
}

#[tokio::test]
async fn a_code_of_a_later_version_is_kept() {
    let (_folder, server, client) = start().await;
    server.on("GET /api/v1/disk", Answer::problem(422, "moon_phase", "not tonight"));
    let problem = client.show_disk().await.expect_err("the server refused");
    assert_eq!((code(&problem), problem.report.code.to_string()), (None, "moon_phase".to_owned()));
}

#[tokio::test]
async fn a_refusal_in_another_format_is_reported_with_its_status() {
    let (_folder, server, client) = start().await;
    for text in ["<h1>Bad gateway</h1>", "", r#"{"code":"run_active"}"#] {
        server.on("GET /api/v1/queue", Answer::raw(502, "text/html", text));
        let problem = client.show_queue().await.expect_err("the server failed");
        assert_eq!(problem.report.message, "the server answered 502 Bad Gateway", "{text:?}");
    }
}

#[tokio::test]
async fn a_malformed_answer_says_what_is_wrong_with_it() {
    let (_folder, server, client) = start().await;
    server.on("GET /api/v1/queue", Answer::raw(200, "application/json", "<html>"));
    server.on("GET /api/v1/queue", Answer::json(json!({ "running": "many" })));
    server.on("GET /api/v1/queue", Answer::raw(200, "application/json", ""));
    for expect in ["expected value at line 1 column 1", "invalid type: string", "EOF while parsing"] {
        let problem = client.show_queue().await.expect_err("the answer is malformed");
        assert_eq!(code(&problem), Some(ErrorCode::Internal));
        assert!(problem.report.message.starts_with("could not read the server's answer: "), "{problem}");
        assert!(problem.report.message.contains(expect), "{problem}");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_lost_server_and_not_a_malformed_answer() {
    let (_folder, server, client) = start().await;
    let json = queue().to_string();
    server.on("GET /api/v1/queue", Answer::pieces("application/json", &[&json[..20]], Ending::Broken));
    // Even a complete value is not trusted, because more could have followed.
    server.on("GET /api/v1/queue", Answer::pieces("application/json", &[&json], Ending::Broken));
    server.on("GET /metrics", Answer::pieces("text/plain", &["# EO"], Ending::Broken));
    for problem in [
        client.show_queue().await.map(drop).expect_err("half an answer"),
        client.show_queue().await.map(drop).expect_err("no end"),
        client.metrics().await.map(drop).expect_err("half an answer"),
    ] {
        assert_eq!(code(&problem), Some(ErrorCode::ServerLost), "{problem}");
        assert!(problem.report.hints[0].contains("codex-orchestrator up"), "{problem:?}");
    }
}

#[tokio::test]
async fn a_download_is_read_piece_by_piece_or_at_once() {
    let (_folder, server, client) = start().await;
    let log = format!("GET /api/v1/tasks/{TASK}/runs/12/log");
    server.on(&log, Answer::pieces("application/x-ndjson", &["{\"a\":1}\n", "{\"b\"", ":2}\n"], Ending::Complete));
    let mut download = client.read_log(task(), RunNumber(12), &LogQuery { masked: true }).await.expect("a log");
    let mut read = vec![];
    while let Some(chunk) = download.chunk().await.expect("a piece") {
        read.extend_from_slice(&chunk);
    }
    assert_eq!(read, b"{\"a\":1}\n{\"b\":2}\n");
    assert_eq!(download.chunk().await, Ok(None), "the end stays the end");
    let again = client.read_log(task(), RunNumber(12), &LogQuery::default()).await.expect("a log");
    assert_eq!(again.bytes().await.expect("the whole log"), read);
    assert_eq!(
        server.lines(),
        [format!("{log}?masked=true"), format!("{log}?masked=false")],
        "run numbers in paths have no leading zeros"
    );
}

#[tokio::test]
async fn a_download_that_breaks_off_is_an_error_after_its_last_piece() {
    let (_folder, server, client) = start().await;
    let bundle = format!("GET /api/v1/tasks/{TASK}/bundle");
    server.on(&bundle, Answer::pieces("application/x-git-bundle", &["# v2 git bundle\n"], Ending::Broken));
    let whole = client.task_bundle(task()).await.expect("it starts").bytes().await.expect_err("it breaks off");
    assert_eq!(code(&whole), Some(ErrorCode::ServerLost));
    let mut download = client.task_bundle(task()).await.expect("it starts");
    let problem = loop {
        match download.chunk().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("half a bundle looks complete"),
            Err(problem) => break problem,
        }
    };
    assert_eq!(code(&problem), Some(ErrorCode::ServerLost));
}

#[tokio::test]
async fn a_refused_download_is_a_problem() {
    let (_folder, server, client) = start().await;
    let patches = format!("GET /api/v1/tasks/{TASK}/patches");
    server.on(&patches, Answer::problem(409, "nothing_to_export", "no commits"));
    assert_eq!(client.task_patches(task()).await.map(drop).expect_err("refused").report.message, "no commits");
}

#[tokio::test]
async fn a_diff_is_requested_in_the_format_that_is_read() {
    let (_folder, server, client) = start().await;
    let diff = format!("GET /api/v1/tasks/{TASK}/diff");
    server.on(&diff, Answer::json(serde_json::to_value(model::diff::Diff::default()).expect("JSON")));
    server.on(&diff, Answer::raw(200, "text/x-diff; charset=utf-8", "diff --git a/x b/x\n"));
    let query = DiffQuery { run: Some("2".to_owned()), ..DiffQuery::default() };
    assert!(client.show_diff(task(), &query).await.expect("a diff").files.is_empty());
    let patch = client.show_patch(task(), &query).await.expect("a patch").bytes().await.expect("a patch");
    assert_eq!(patch, "diff --git a/x b/x\n");
    assert_eq!(server.lines(), [format!("{diff}?run=2&format=json"), format!("{diff}?run=2&format=patch")]);
}
