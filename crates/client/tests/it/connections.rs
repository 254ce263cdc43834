//! Connections to servers that are missing, silent, restarted, or at a path that is too long for a socket.
//! A client can be created before its server exists.

use std::time::Duration;

use client::Client;
use model::ErrorCode;
use model::ids::TaskId;
use protocol::FeedQuery;
use serde_json::json;
use testkit::fake_server::{Answer, Ending, FakeServer};
use tokio::net::UnixListener;

use super::start;

fn alive() -> Answer {
    Answer::raw(200, "text/plain", "ok")
}

#[tokio::test]
async fn without_a_server_every_request_says_how_to_start_one() {
    let folder = tempfile::tempdir().expect("a folder");
    let long = folder.path().join("d".repeat(120)).join("s");
    for socket in [folder.path().join("s"), folder.path().join("missing/s"), long] {
        let client = Client::at(&socket).await.expect("a client");
        assert!(!client.answers().await);
        let problem = client.show_status().await.expect_err("no server is running");
        assert_eq!(problem.report.code, ErrorCode::ServerLost, "{problem}");
        assert!(problem.report.message.starts_with("the server does not answer: "), "{problem}");
        assert!(!problem.report.message.contains("error sending request"), "the cause is named: {problem}");
    }
}

#[tokio::test]
async fn a_client_finds_a_server_that_starts_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("s");
    let client = Client::at(&socket).await.expect("a client");
    assert!(!client.answers().await);
    let server = FakeServer::start(&socket).await;
    server.on("GET /healthz", alive());
    assert!(client.answers().await && client.clone().answers().await);
    assert_eq!(server.lines(), ["GET /healthz", "GET /healthz"]);
}

#[tokio::test]
async fn a_long_path_reaches_the_server() {
    let folder = tempfile::tempdir().expect("a folder");
    let deep = folder.path().join("d".repeat(150));
    fs_err::create_dir(&deep).expect("a folder");
    let server = FakeServer::start(&deep.join("orchestrator.sock")).await;
    server.on("GET /healthz", alive()).on("GET /api/v1/trash", Answer::json(json!({ "items": [], "next_cursor": null })));
    let client = Client::at(server.socket()).await.expect("a client");
    let kept = client.clone();
    drop(client);
    assert!(kept.answers().await, "a clone keeps the folder open");
    assert_eq!(kept.list_trash().await.map(|page| page.items.len()), Ok(0));
}

#[tokio::test]
async fn a_server_that_fails_its_health_check_does_not_answer() {
    let (_folder, server, client) = start().await;
    server.on("GET /healthz", Answer::problem(500, "internal", "a lock is never released"));
    assert!(!client.answers().await);
}

#[tokio::test(start_paused = true)]
async fn a_suspended_server_is_not_waited_for_forever() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket).expect("the path is free");
    let client = Client::at(&socket).await.expect("a client");
    let begun = tokio::time::Instant::now();
    assert!(!client.answers().await, "the server accepts connections and never answers");
    assert_eq!(begun.elapsed().as_secs(), 10);
    let waiting = tokio::time::timeout(Duration::from_hours(1), client.show_status()).await;
    assert!(waiting.is_err(), "other requests wait, because an operation may take long");
    drop(listener);
}

#[tokio::test]
async fn a_server_that_closes_the_connection_before_it_answers_is_lost() {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("s");
    let listener = UnixListener::bind(&socket).expect("the path is free");
    let client = Client::at(&socket).await.expect("a client");
    let closing = async {
        let (connection, _) = listener.accept().await.expect("a connection");
        connection.readable().await.expect("the request arrives");
    };
    let (asked, ()) = tokio::join!(client.create_sign_in_link(), closing);
    assert_eq!(asked.expect_err("no answer").report.code, ErrorCode::ServerLost);
}

#[tokio::test]
async fn open_streams_do_not_block_other_requests() {
    let (_folder, server, client) = start().await;
    server.on("GET /api/v1/events", Answer::events(&["id: 1\ndata: {\"type\":\"reset\"}\n\n"], Ending::Open));
    server.on("GET /healthz", alive());
    let mut feeds = vec![];
    for _ in 0..20 {
        let mut feed = client.follow_changes(&FeedQuery::default()).await.expect("the feed is open");
        assert_eq!(feed.next().await.map(|change| change.number), Ok(1));
        feeds.push(feed);
    }
    assert!(client.answers().await, "each stream has its own connection");
}

#[tokio::test]
async fn requests_at_the_same_time_get_their_own_answers() {
    let (_folder, server, client) = start().await;
    let tasks: Vec<TaskId> =
        (0..20).map(|number| format!("0192f3a0-1111-7000-8000-{number:012}").parse().expect("an ID")).collect();
    for task in &tasks {
        server.on(&format!("POST /api/v1/tasks/{task}/stop"), Answer::problem(404, "task_not_found", &format!("no task {task}")));
    }
    let requests: Vec<_> = tasks
        .iter()
        .map(|&task| {
            (
                task,
                tokio::spawn({
                    let client = client.clone();
                    async move { client.stop_task(task).await }
                }),
            )
        })
        .collect();
    for (task, request) in requests {
        let problem = request.await.expect("the request ends").expect_err("the task does not exist");
        assert_eq!(problem.report.message, format!("no task {task}"));
    }
    assert_eq!(server.lines().len(), 20, "every request is sent once");
}
