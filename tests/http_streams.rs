//! The output of a run over HTTP: the raw log with ranges, the events of a run, and the feed of changes.
//!
//! Runs wait for files that the tests create, so that every tested state is stable.

use reqwest::{Method, Response};
use serde_json::{Value, json};
use testkit::TestHome;
use testkit::upstream::Upstream;

use crate::BINARY;

/// A server-sent event.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Event {
    id: String,
    name: String,
    data: String,
}

/// Reads events as they arrive.
struct Events {
    response: Response,
    unread: String,
}

impl Events {
    async fn open(home: &TestHome, path: &str, last_event_id: Option<&str>) -> Self {
        let mut request = home.request(Method::GET, path);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), 200, "{path}");
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { response, unread: String::new() }
    }

    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(end) = self.unread.find("\n\n") {
                let frame: String = self.unread.drain(..end + 2).collect();
                let mut event = Event::default();
                for line in frame.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => id.clone_into(&mut event.id),
                        Some(("event", name)) => name.clone_into(&mut event.name),
                        Some(("data", data)) => event.data.push_str(data),
                        Some(_) | None => {}
                    }
                }
                if event != Event::default() {
                    return Some(event);
                }
                continue;
            }
            let chunk = self.response.chunk().await.expect("the stream is not cut off")?;
            self.unread.push_str(std::str::from_utf8(&chunk).expect("the chunk is UTF-8"));
        }
    }

    async fn all(mut self) -> Vec<Event> {
        let mut events = Vec::new();
        while let Some(event) = self.next().await {
            events.push(event);
        }
        events
    }
}

async fn finished_run() -> (TestHome, Upstream, String) {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env_id = home.environment(&upstream.url()).await;
    let task_id = home.task(&env_id, "begin; echo 'not json'; printf 'bad \\377 byte\\n'; end done").await;
    assert_eq!(home.settled(&task_id).await["status"], "completed");
    (home, upstream, format!("/api/v1/tasks/{task_id}/runs/1"))
}

async fn log(home: &TestHome, run: &str, range: Option<&str>) -> (u16, Option<String>, Vec<u8>) {
    let mut request = home.request(Method::GET, &format!("{run}/log"));
    if let Some(range) = range {
        request = request.header("range", range);
    }
    let response = request.send().await.expect("the server answers");
    let content_range = response.headers().get("content-range").map(|value| value.to_str().expect("text").to_owned());
    (response.status().as_u16(), content_range, response.bytes().await.expect("a body").to_vec())
}

#[tokio::test]
async fn a_log_is_the_exact_bytes_and_ranges_are_parts_of_them() {
    let (home, _upstream, run) = finished_run().await;
    let (status, _, whole) = log(&home, &run, None).await;
    assert_eq!(status, 200);
    assert!(whole.windows(10).any(|bytes| bytes == b"bad \xff byte"), "{}", String::from_utf8_lossy(&whole));
    let length = whole.len();

    let (status, range, part) = log(&home, &run, Some("bytes=3-9")).await;
    assert_eq!((status, range), (206, Some(format!("bytes 3-9/{length}"))));
    assert_eq!(part, whole[3..10]);
    let (status, _, tail) = log(&home, &run, Some("bytes=-5")).await;
    assert_eq!((status, tail.as_slice()), (206, &whole[length - 5..]));
    let (status, range, _) = log(&home, &run, Some(&format!("bytes={length}-"))).await;
    assert_eq!((status, range), (416, Some(format!("bytes */{length}"))));
    let (status, _, problem) = log(&home, &run.replace("runs/1", "runs/2"), None).await;
    assert_eq!(status, 404, "{}", String::from_utf8_lossy(&problem));
}

#[tokio::test]
async fn a_finished_run_is_followed_to_its_end_and_resumed_at_every_offset() {
    let (home, _upstream, run) = finished_run().await;
    let (_, _, whole) = log(&home, &run, None).await;
    let path = format!("{run}/events");
    let events = Events::open(&home, &path, None).await.all().await;
    let (end, lines) = events.split_last().expect("events");

    let expected: Vec<_> =
        whole.strip_suffix(b"\n").expect("the log ends with a line end").split(|&byte| byte == b'\n').collect();
    assert_eq!(
        lines.iter().map(|line| line.data.clone()).collect::<Vec<_>>(),
        expected.iter().map(|line| String::from_utf8_lossy(line)).collect::<Vec<_>>()
    );
    assert_eq!(lines.last().map(|line| line.id.clone()), Some(whole.len().to_string()));
    let ended: Value = serde_json::from_str(&end.data).expect("JSON");
    assert_eq!((end.name.as_str(), ended), ("end", json!({ "status": "completed", "exit_code": 0, "error": null })));

    for (index, line) in lines.iter().enumerate() {
        let rest = Events::open(&home, &path, Some(&line.id)).await.all().await;
        assert_eq!(rest, events[index + 1..], "after {}", line.id);
    }
    let from_query = Events::open(&home, &format!("{path}?offset={}", lines[0].id), None).await.all().await;
    assert_eq!(from_query, events[1..]);
}

#[tokio::test]
async fn a_running_run_is_followed_as_it_is_written() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env_id = home.environment(&upstream.url()).await;
    let gate = home.scratch().join("gate");
    let task_id = home.task(&env_id, &format!("begin; await '{}'; say late; complete", gate.display())).await;
    home.wait_for(&format!("/api/v1/tasks/{task_id}"), |task| task["thread_id"].is_string()).await;

    let mut events = Events::open(&home, &format!("/api/v1/tasks/{task_id}/runs/1/events"), None).await;
    let first = events.next().await.expect("a line");
    assert!(first.data.contains("thread.started"), "{first:?}");
    fs_err::write(&gate, "").expect("the test's folder is writable");
    let rest = events.all().await;
    assert!(rest.iter().any(|event| event.data.contains("late")), "{rest:?}");
    assert_eq!(rest.last().map(|event| event.name.as_str()), Some("end"));
}

#[tokio::test]
async fn a_stream_can_be_resumed_after_the_server_was_killed() {
    let upstream = Upstream::new();
    let mut home = TestHome::started(BINARY).await;
    let env_id = home.environment(&upstream.url()).await;
    let gate = home.scratch().join("gate");
    let task_id = home.task(&env_id, &format!("begin; await '{}'; end late", gate.display())).await;
    home.wait_for(&format!("/api/v1/tasks/{task_id}"), |task| task["thread_id"].is_string()).await;
    let path = format!("/api/v1/tasks/{task_id}/runs/1/events");
    let seen = Events::open(&home, &path, None).await.next().await.expect("a line");

    home.kill().await;
    fs_err::write(&gate, "").expect("the test's folder is writable");
    home.start().await;
    let rest = Events::open(&home, &path, Some(&seen.id)).await.all().await;
    assert!(rest[0].data.contains("turn.started"), "no line is lost or repeated: {rest:?}");
    assert_eq!(rest.last().map(|event| event.name.as_str()), Some("end"));
    assert_eq!(home.settled(&task_id).await["status"], "completed");
}

#[tokio::test]
async fn changes_are_numbered_and_go_on_where_a_client_left_off() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let mut feed = Events::open(&home, "/api/v1/events", None).await;
    let env_id = home.environment(&upstream.url()).await;
    let first = feed.next().await.expect("a change");
    let change: Value = serde_json::from_str(&first.data).expect("JSON");
    assert_eq!((&change["type"], &change["env_id"]), (&json!("environment"), &json!(env_id)));
    let second = feed.next().await.expect("the feed has another event");
    let number = |event: &Event| event.id.parse::<u64>().expect("a number");
    assert!(number(&second) > number(&first));

    let resumed = Events::open(&home, "/api/v1/events", Some(&first.id)).await.next().await;
    assert_eq!(resumed, Some(second));
}

#[tokio::test]
async fn a_place_that_is_no_number_is_refused() {
    let (home, _upstream, run) = finished_run().await;
    for path in [format!("{run}/events"), "/api/v1/events".to_owned()] {
        let response = home.request(Method::GET, &path).header("last-event-id", "x").send().await.expect("the server answers");
        assert_eq!(response.status(), 422, "{path}");
    }
    assert_eq!(home.get(&format!("{run}/events?offset=-1")).await.0, 422);
}

#[tokio::test]
async fn a_server_with_open_streams_stops_at_once() {
    let mut home = TestHome::started(BINARY).await;
    let feed = Events::open(&home, "/api/v1/events", None).await;
    let status = home.stop().await;
    assert!(status.success(), "{status}: {}", home.log());
    assert_eq!(feed.all().await, [], "the stream ends without an error");
}
