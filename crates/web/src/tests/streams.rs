//! Tests event streams and logs over whole routers: where they start, how they resume, and that they end.
//!
//! A stream stays open after its last event, so these tests read until an expected event has arrived.

use super::*;

/// The start of a log with three lines, and the offsets after them.
const LINES: [&str; 3] = ["{\"type\":\"turn.started\"}\n", "not JSON \r here\n", "{\"type\":\"error\",\"message\":\"x\"}\n"];

/// An open stream.
struct Open {
    parts: axum::body::BodyDataStream,
    read: String,
}

impl Open {
    /// Reads until this text has arrived, and returns everything since the last call.
    async fn until(&mut self, text: &str) -> String {
        loop {
            if let Some(at) = self.read.find(text) {
                let rest = self.read.split_off(at + text.len());
                return std::mem::replace(&mut self.read, rest);
            }
            let part = self.parts.next().await.unwrap_or_else(|| panic!("the stream ends before {text:?}: {}", self.read));
            self.read.push_str(std::str::from_utf8(&part.expect("the stream continues")).expect("events are UTF-8"));
        }
    }

    /// Reads to the end of the stream.
    async fn rest(mut self) -> String {
        while let Some(part) = self.parts.next().await {
            self.read.push_str(&String::from_utf8_lossy(&part.expect("the stream ends")));
        }
        self.read
    }
}

async fn open(router: &Router, request: Request<Body>) -> Open {
    let response = router.clone().oneshot(request).await.expect("the router answers");
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()[header::CONTENT_TYPE], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    assert!(!response.headers().contains_key(header::CONTENT_ENCODING), "a compressed stream would be late");
    Open { parts: response.into_body().into_data_stream(), read: String::new() }
}

/// Returns a request for a stream of the API over the unix socket.
fn events(path: &str, last: Option<&str>) -> Request<Body> {
    let request = Request::builder().uri(path).header(header::HOST, "localhost");
    let request = last.into_iter().fold(request, |request, last| request.header("last-event-id", last));
    request.body(Body::empty()).expect("a request")
}

impl Stage {
    /// Returns a browser's request for a stream of its page.
    fn live(&self, path: &str, last: Option<&str>) -> Request<Body> {
        let request = self.browser("GET", path).header(header::ACCEPT_ENCODING, "gzip");
        last.into_iter()
            .fold(request, |request, last| request.header("last-event-id", last))
            .body(Body::empty())
            .expect("a request")
    }
}

async fn finished() -> (Stage, String) {
    let (stage, env) = Stage::with_repository().await;
    let task = stage.task(&env, "Fix it").await;
    let name = task.clone();
    (stage.again(move |home| write_run(home, &name, LINES.concat().as_bytes(), &ended("completed"))).await, task)
}

#[tokio::test]
async fn a_run_is_streamed_from_any_offset_to_its_end() {
    let (stage, task) = finished().await;
    let path = format!("/api/v1/tasks/{task}/runs/1/events");
    let whole = open(&stage.unix, events(&path, None)).await.rest().await;
    let first = LINES[0].len();
    let (second, third) = (first + LINES[1].len(), first + LINES[1].len() + LINES[2].len());
    let expected = [
        format!("id: {first}\ndata: {{\"type\":\"turn.started\"}}\n\n"),
        format!("id: {second}\ndata: not JSON \ndata:  here\n\n"),
        format!("id: {third}\ndata: {{\"type\":\"error\",\"message\":\"x\"}}\n\n"),
        "event: end\ndata: {\"status\":\"completed\",\"exit_code\":0,\"error\":null}\n\n".to_owned(),
    ];
    assert_eq!(whole, expected.concat());
    for (query, last, from) in [
        ("", Some(first.to_string()), 1),
        (&format!("?offset={second}"), None, 2),
        // A browser repeats the first URL when it reconnects.
        ("?offset=0", Some(third.to_string()), 3),
        (&format!("?offset={first}"), Some(String::new()), 1),
        ("?offset=99999999", None, 3),
    ] {
        let rest = open(&stage.unix, events(&format!("{path}{query}"), last.as_deref())).await.rest().await;
        assert_eq!(rest, expected[from..].concat(), "{query} {last:?}");
    }
    for (path, last, problem) in [
        (path.clone(), Some("x"), (422, "unusable_event_id")),
        (format!("{path}?offset=-1"), None, (422, "unusable_query")),
        (path.replace("/1/", "/2/"), None, (404, "run_not_found")),
        (path.replace("/1/", "/0/"), None, (404, "run_not_found")),
        (path.replace("/1/", "/one/"), None, (404, "run_not_found")),
    ] {
        let refused = reply(&stage.unix, events(&path, last)).await.problem();
        assert_eq!((refused.0, refused.1.as_str()), problem, "{path} {last:?}");
    }
}

#[tokio::test]
async fn a_log_is_sent_whole_in_ranges_or_with_its_secrets_masked() {
    let (stage, env) = Stage::with_repository().await;
    let secret = json!({ "secrets": { "TOKEN": "hunter2-hunter2" } });
    assert_eq!(stage.api("PATCH", &format!("/api/v1/envs/{env}"), &secret).await.status, 200);
    let task = stage.task(&env, "Fix it").await;
    let (name, log) = (task.clone(), said(1, "the token is hunter2-hunter2"));
    let written = log.clone();
    let stage = stage.again(move |home| write_run(home, &name, written.as_bytes(), &ended("completed"))).await;
    let path = format!("/api/v1/tasks/{task}/runs/1/log");
    let get = async |path: &str, range: Option<&str>| {
        let request = Request::builder().uri(path).header(header::HOST, "localhost");
        let request = range.into_iter().fold(request, |request, range| request.header(header::RANGE, range));
        reply(&stage.unix, request.body(Body::empty()).expect("a request")).await
    };
    assert_eq!(get(&path, None).await.body, log, "the raw log is exact");
    let part = get(&path, Some("bytes=0-7")).await;
    assert_eq!((part.status, part.body.as_str()), (206, &log[..8]));
    assert_eq!(part.header("content-range"), format!("bytes 0-7/{}", log.len()));
    let outside = get(&path, Some("bytes=9999-")).await;
    assert_eq!(outside.problem(), (416, "range_outside".to_owned()));
    let masked = get(&format!("{path}?masked=true"), Some("bytes=0-7")).await;
    assert!(masked.status == 200 && !masked.body.contains("hunter2") && masked.body.contains("the token is"), "{masked:?}");
    let page = stage.get(&format!("/tasks/{task}")).await;
    assert!(!page.page(200).contains("hunter2"), "{}", page.body);
    let stream = open(&stage.unix, events(&path.replace("/log", "/events"), None)).await.rest().await;
    assert!(!stream.contains("hunter2") && stream.contains("the token is"), "{stream}");
}

#[tokio::test]
async fn an_open_page_gets_the_rest_of_the_run_once_and_then_waits() {
    let (stage, task) = finished().await;
    let path = format!("/tasks/{task}/live?run=1&offset=0");
    let mut stream = open(&stage.tcp, stage.live(&path, None)).await;
    let first = stream.until("event: state").await;
    assert!(first.starts_with("event: server\ndata: 20"), "a page learns which server answers: {first}");
    let entries = stream.until("id=\"end-1\"").await;
    assert!(entries.contains("data-lines=\"1:") && entries.contains("event: entry"), "{entries}");
    assert!(!entries.contains('\r'), "a carriage return would end a line of the stream");
    stream.until("event: state").await;
    let all = LINES.concat().len();
    let mut resumed = open(&stage.tcp, stage.live(&path, Some(&format!("1:{all}")))).await;
    let rest = resumed.until("id=\"end-1\"").await;
    assert!(!rest.contains("data-lines"), "no entry is sent twice: {rest}");
    assert!(rest.contains(&format!("id: 1:{all}")) || resumed.until(&format!("id: 1:{all}")).await.contains("id: 1:"), "{rest}");
    assert_eq!(stage.post(&format!("/tasks/{task}/remove"), &[]).await.status, 303);
    stream.until("event: gone\ndata: 1\n\n").await;
    assert_eq!(stream.rest().await, "", "there is nothing more to follow");
}

#[tokio::test]
async fn a_new_run_continues_on_the_page_of_the_last_one() {
    let (stage, task) = finished().await;
    let mut stream = open(&stage.tcp, stage.live(&format!("/tasks/{task}/live?run=1&offset=0"), None)).await;
    stream.until("id=\"end-1\"").await;
    let said = stage.post(&format!("/tasks/{task}/say"), &[("prompt", "Go <b>on</b>")]).await;
    assert_eq!(said.status, 303, "{}", said.body);
    let head = stream.until("id=\"run-2\"").await + &stream.until("</pre>").await;
    assert!(head.contains("Go &lt;b&gt;on&lt;/b&gt;"), "{head}");
}

#[tokio::test]
async fn a_list_hears_that_something_changed_and_is_closed_when_its_browser_is_signed_out() {
    let (stage, env) = Stage::with_repository().await;
    let position = stage.user().feed_position();
    let mut stream = open(&stage.tcp, stage.live(&format!("/live?after={position}"), None)).await;
    stream.until("event: server").await;
    stage.task(&env, "One").await;
    stage.task(&env, "Two").await;
    let changed = stream.until("event: changed\ndata: 1\n\n").await;
    let number: u64 = changed.rsplit_once("id: ").and_then(|(_, rest)| rest.lines().next()?.parse().ok()).expect("a number");
    assert!(number > position, "{changed}");
    // The position is that of the newest change, so nothing is left for a browser that reconnects with it.
    let mut again = open(&stage.tcp, stage.live("/live?after=1", Some(&stage.user().feed_position().to_string()))).await;
    again.until("event: server").await;
    assert_eq!(stage.post("/sign-out", &[]).await.status, 303);
    stage.task(&env, "Three").await;
    assert!(!again.rest().await.contains("event: changed"), "who is signed out hears nothing more");
    assert!(!stream.rest().await.contains(&format!("id: {}", stage.user().feed_position())));
}

#[tokio::test]
async fn changes_are_numbered_and_every_stream_ends_with_the_server() {
    let (stage, env) = Stage::with_repository().await;
    let before = stage.user().feed_position();
    let mut stream = open(&stage.unix, events("/api/v1/events", None)).await;
    let task = stage.task(&env, "One").await;
    stream.until(&task).await;
    let event = stream.until("\n\n").await;
    assert!(!event.is_empty());
    let mut resumed = open(&stage.unix, events(&format!("/api/v1/events?after={before}"), None)).await;
    let first = resumed.until("\n\n").await;
    let number: u64 = first.lines().find_map(|line| line.strip_prefix("id: ")?.parse().ok()).expect("a number");
    assert_eq!(number, before + 1, "nothing is omitted: {first}");
    let live = open(&stage.tcp, stage.live(&format!("/tasks/{task}/live"), None)).await;
    stage.closing.cancel();
    live.rest().await;
    stream.rest().await;
    resumed.rest().await;
    let refused = reply(&stage.unix, events("/api/v1/events", Some("x"))).await.problem();
    assert_eq!((refused.0, refused.1.as_str()), (422, "unusable_event_id"));
}
