//! Event streams: the feed and the log of a run, with any framing, until they end or break off, and resumed after that.
//! No change and no line is received twice or lost.

use client::{AnyFeedEvent, Change, Client, Feed, RunEvent, RunStream};
use model::ErrorCode;
use model::codex::CodexEvent;
use model::ids::RunNumber;
use model::problem::Problem;
use model::run::RunStatus;
use protocol::{FeedEvent, FeedQuery, FollowQuery, RunEnded};
use serde_json::json;
use testkit::fake_server::{Answer, Ending};

use super::{TASK, start, task};

const FEED: &str = "GET /api/v1/events";

fn run_events() -> String {
    format!("GET /api/v1/tasks/{TASK}/runs/1/events")
}

fn queue(number: u64, waiting: usize) -> Change {
    Change { number, event: AnyFeedEvent::Known(FeedEvent::Queue { waiting }) }
}

async fn open_feed(client: &Client) -> Feed {
    client.follow_changes(&FeedQuery::default()).await.expect("the feed is open")
}

async fn open_run(client: &Client, position: FollowQuery) -> RunStream {
    client.follow_run(task(), RunNumber::FIRST, &position).await.expect("the stream is open")
}

/// Reads lines until the run ends or the stream fails. Returns the raw lines with their offsets.
async fn lines(stream: &mut RunStream) -> (Vec<(u64, String)>, Result<RunEnded, Problem>) {
    let mut lines = vec![];
    loop {
        match stream.next().await {
            Ok(RunEvent::Line(line)) => lines.push((line.offset, line.raw().to_owned())),
            Ok(RunEvent::Delta(delta)) => lines.push((delta.end, format!("{}: {}", delta.item, delta.text))),
            Ok(RunEvent::Ended(ended)) => return (lines, Ok(ended)),
            Err(problem) => return (lines, Err(problem)),
        }
    }
}

fn is_lost(problem: &Problem) -> bool {
    problem.report.code == ErrorCode::ServerLost
}

#[tokio::test]
async fn the_feed_has_typed_changes_with_their_numbers() {
    let (_folder, server, client) = start().await;
    let task_event = json!({
        "type": "task", "task_id": TASK, "env_id": "0192f3a0-0000-7000-8000-00000000000e", "status": "running", "run": 2,
    });
    let text = format!(
        "id: 41\ndata: {task_event}\n\n: still here\n\nid: 42\ndata: {{\"type\":\"weather\"}}\n\nid: 43\ndata: {{\"type\":\"reset\"}}\n\n"
    );
    server.on(FEED, Answer::events(&[&text], Ending::Open));
    let mut feed = open_feed(&client).await;
    assert_eq!(feed.position(), FeedQuery::default());
    let first = feed.next().await.expect("a change");
    assert_eq!(first.number, 41);
    assert!(
        matches!(first.event, AnyFeedEvent::Known(FeedEvent::Task { task_id, run: RunNumber(2), .. }) if task_id == task()),
        "{first:?}"
    );
    assert_eq!(feed.next().await, Ok(Change { number: 42, event: AnyFeedEvent::Unknown("weather".to_owned()) }));
    assert_eq!(feed.next().await, Ok(Change { number: 43, event: AnyFeedEvent::Known(FeedEvent::Reset) }));
    assert_eq!(feed.position(), FeedQuery { after: Some(43) });
}

#[tokio::test]
async fn a_change_that_arrives_in_pieces_is_one_change() {
    let (_folder, server, client) = start().await;
    let pieces = [
        "id: 7\nda",
        "ta: {\"type\":\"queue\",",
        "\"waiting\":3}\n",
        "\nid: 8\ndata: {\"type\":\"queue\"",
        ",\"waiting\":4}\n\n",
    ];
    server.on(FEED, Answer::events(&pieces, Ending::Open));
    let mut feed = open_feed(&client).await;
    assert_eq!(feed.next().await, Ok(queue(7, 3)));
    assert_eq!(feed.position().after, Some(7), "a change that was not returned yet does not count");
    assert_eq!(feed.next().await, Ok(queue(8, 4)));
}

#[tokio::test]
async fn a_feed_resumes_after_the_last_change() {
    let (_folder, server, client) = start().await;
    server.on(FEED, Answer::events(&["id: 7\ndata: {\"type\":\"queue\",\"waiting\":3}\n\nid: 8\ndata: {\"ty"], Ending::Broken));
    server.on(FEED, Answer::events(&["id: 8\ndata: {\"type\":\"queue\",\"waiting\":4}\n\n"], Ending::Complete));
    server.on(FEED, Answer::events(&[], Ending::Complete));
    let mut feed = open_feed(&client).await;
    let mut seen = vec![];
    for _ in 0..3 {
        let problem = loop {
            match feed.next().await {
                Ok(change) => seen.push(change),
                Err(problem) => break problem,
            }
        };
        assert!(is_lost(&problem), "the feed never ends: {problem}");
        feed = client.follow_changes(&feed.position()).await.expect("the feed is open again");
    }
    assert_eq!(seen, [queue(7, 3), queue(8, 4)]);
    assert_eq!(feed.position(), FeedQuery { after: Some(8) }, "a feed without changes resumes where it was opened");
    assert_eq!(server.lines(), [FEED, "GET /api/v1/events?after=7", "GET /api/v1/events?after=8", "GET /api/v1/events?after=8"]);
}

#[tokio::test]
async fn a_future_that_is_dropped_loses_no_change() {
    let (_folder, server, client) = start().await;
    server.on(FEED, Answer::events(&["id: 7\ndata: {\"type\":\"queue\",\"waiting\":3}\n\n"], Ending::Open));
    let mut feed = open_feed(&client).await;
    let now = std::future::ready(());
    tokio::select! {
        biased;
        () = now => {}
        change = feed.next() => panic!("this future is polled only once: {change:?}"),
    }
    assert_eq!(feed.next().await, Ok(queue(7, 3)));
}

#[tokio::test]
async fn a_change_without_a_number_or_in_another_format_is_malformed() {
    let (_folder, server, client) = start().await;
    for text in ["data: {\"type\":\"reset\"}\n\n", "id: x\ndata: {\"type\":\"reset\"}\n\n", "id: 7\ndata: reset\n\n"] {
        server.on(FEED, Answer::events(&[text], Ending::Open));
        let problem = open_feed(&client).await.next().await.expect_err("the change cannot be used");
        assert!(problem.report.message.starts_with("could not read the server's answer: "), "{text:?}: {problem}");
    }
}

#[tokio::test]
async fn a_refused_stream_is_a_problem() {
    let (_folder, server, client) = start().await;
    server.on(&run_events(), Answer::problem(404, "run_not_found", "run 1 not found"));
    let refused = client.follow_run(task(), RunNumber::FIRST, &FollowQuery::default()).await;
    assert_eq!(refused.map(drop).expect_err("refused").report.code, ErrorCode::RunNotFound);
}

#[tokio::test]
async fn a_run_has_lines_with_offsets_and_then_its_end() {
    let (_folder, server, client) = start().await;
    let text = "id: 9\r\ndata: {\"a\":1}\r\n\r\n: ping\r\n\r\nid: 20\r\ndata: not JSON\r\ndata: second half\r\n\r\n\
        event: weather\r\ndata: ignored\r\n\r\n\
        event: delta\r\ndata: {\"item\":\"item_0\",\"kind\":\"command\",\"start\":0,\"end\":2,\"text\":\"hi\",\"complete\":false}\r\n\r\n\
        event: end\r\ndata: {\"status\":\"failed\",\"exit_code\":1,\"error\":{\"code\":\"codex_failed\",\"message\":\"no\",\"hints\":[]}}\r\n\r\n";
    server.on(&run_events(), Answer::events(&[text], Ending::Complete));
    let mut stream = open_run(&client, FollowQuery::default()).await;
    let (read, ended) = lines(&mut stream).await;
    let delta = (2, "item_0: hi".to_owned());
    assert_eq!(read, [(9, "{\"a\":1}".to_owned()), (20, "not JSON\nsecond half".to_owned()), delta]);
    let ended = ended.expect("the run ended");
    assert_eq!((ended.status, ended.exit_code), (RunStatus::Failed, Some(1)));
    assert_eq!(ended.error.map(|error| error.message), Some("no".to_owned()));
    assert_eq!(stream.position(), FollowQuery { offset: Some(20) });
}

#[tokio::test]
async fn a_line_is_parsed_as_an_event_of_codex() {
    let (_folder, server, client) = start().await;
    let started = json!({ "type": "thread.started", "thread_id": "0192f3a0-2222-7000-8000-000000000002" });
    server.on(&run_events(), Answer::events(&[&format!("id: 90\ndata: {started}\n\n")], Ending::Open));
    let RunEvent::Line(line) = open_run(&client, FollowQuery::default()).await.next().await.expect("a line") else {
        panic!("the first event is a line");
    };
    assert_eq!(line.event(), CodexEvent::parse(started.to_string().as_bytes()));
    assert_eq!((line.offset, line.raw()), (90, started.to_string().as_str()));
}

#[tokio::test]
async fn a_stream_resumes_after_the_last_line() {
    let (_folder, server, client) = start().await;
    let ended = "event: end\ndata: {\"status\":\"completed\",\"exit_code\":0,\"error\":null}\n\n";
    server.on(&run_events(), Answer::events(&["id: 4\ndata: one\n\nid: 8\ndata: two\n\nid: 14\nda"], Ending::Broken));
    server.on(&run_events(), Answer::events(&["id: 14\ndata: three\n\n"], Ending::Complete));
    server.on(&run_events(), Answer::events(&[ended], Ending::Complete));
    let mut all = vec![];
    let mut position = FollowQuery { offset: Some(0) };
    let ended = loop {
        let mut stream = open_run(&client, position).await;
        let (mut read, ended) = lines(&mut stream).await;
        all.append(&mut read);
        position = stream.position();
        match ended {
            Ok(ended) => break ended,
            Err(problem) => assert!(is_lost(&problem), "{problem}"),
        }
    };
    let expect = [(4, "one"), (8, "two"), (14, "three")].map(|(offset, line)| (offset, line.to_owned()));
    assert_eq!((all.as_slice(), ended.status), (expect.as_slice(), RunStatus::Completed));
    let lines = [0, 8, 14].map(|offset| format!("{}?offset={offset}", run_events()));
    assert_eq!(server.lines(), lines);
}

#[tokio::test]
async fn a_stream_that_breaks_off_still_returns_the_lines_before() {
    let (_folder, server, client) = start().await;
    server.on(&run_events(), Answer::events(&["id: 4\ndata: one\n\n"], Ending::Broken));
    let (read, ended) = lines(&mut open_run(&client, FollowQuery::default()).await).await;
    assert_eq!(read, [(4, "one".to_owned())]);
    assert!(is_lost(&ended.expect_err("the connection broke")));
}

#[tokio::test]
async fn a_problem_in_the_stream_is_an_error_with_its_code() {
    let (_folder, server, client) = start().await;
    let problem = json!({
        "type": "about:blank", "title": "Internal error", "status": 500, "code": "internal", "detail": "the log is gone", "hints": [],
    });
    let text = format!("id: 4\ndata: one\n\nevent: problem\ndata: {problem}\n\n");
    server.on(&run_events(), Answer::events(&[&text], Ending::Complete));
    let (read, ended) = lines(&mut open_run(&client, FollowQuery::default()).await).await;
    assert_eq!(read.len(), 1);
    let problem = ended.expect_err("the log cannot be read");
    assert_eq!((problem.report.message.as_str(), is_lost(&problem)), ("the log is gone", false));
}

#[tokio::test]
async fn an_end_in_another_format_is_malformed() {
    let (_folder, server, client) = start().await;
    for text in ["event: end\ndata: {}\n\n", "event: problem\ndata: oops\n\n", "data: a line without an offset\n\n"] {
        server.on(&run_events(), Answer::events(&[text], Ending::Complete));
        let (_, ended) = lines(&mut open_run(&client, FollowQuery::default()).await).await;
        let problem = ended.expect_err("the event cannot be read");
        assert!(problem.report.message.starts_with("could not read the server's answer: "), "{text:?}: {problem}");
    }
}
