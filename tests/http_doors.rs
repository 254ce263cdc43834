//! Access to the API: who may connect over the socket and over TCP, and what prevents a server from listening.
//!
//! The tests write requests byte by byte that a well-behaved client would not send, and send very many requests at once.

use std::os::unix::fs::PermissionsExt;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use serde_json::Value;
use testkit::TestHome;
use testkit::pages::Pages;
use testkit::upstream::Upstream;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

use crate::BINARY;

/// Sends the head of a request unchanged, and reads the status of the answer.
async fn raw(address: &str, head: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.expect("the server reads the request");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("the server answers and closes the connection");
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer:?}"))
}

#[tokio::test]
async fn over_tcp_a_client_needs_the_token() {
    let home = TestHome::started(BINARY).await;
    let address = home.tcp_address().await;
    let client = testkit::http_client().build().expect("a client");
    let status = async |path: &str, token: Option<&str>| {
        let request = client.get(format!("http://{address}{path}"));
        let request = token.into_iter().fold(request, reqwest::RequestBuilder::bearer_auth);
        request.send().await.expect("the server answers").status().as_u16()
    };
    let token = home.token();
    assert_eq!(status("/healthz", None).await, 200);
    for path in ["/readyz", "/metrics", "/api/v1/status", "/api/v1/envs", "/api/v1/openapi.json", "/api/v1/events", "/nothing"] {
        assert_eq!(status(path, None).await, 401, "{path}");
        assert_eq!(status(path, Some("0000")).await, 401, "{path}");
    }
    assert_eq!(status("/api/v1/status", Some(&token)).await, 200);
    assert_eq!(status("/nothing", Some(&token)).await, 404);
}

#[tokio::test]
async fn another_sites_page_gets_nowhere() {
    let home = TestHome::started(BINARY).await;
    let address = home.tcp_address().await;
    let port = address.rsplit_once(':').expect("a port").1;
    let token = format!("Authorization: Bearer {}\r\nConnection: close", home.token());
    let ask = async |line: &str, lines: &str| raw(&address, &format!("{line} HTTP/1.1\r\n{token}{lines}")).await;
    assert_eq!(ask("GET /api/v1/status", &format!("\r\nHost: {address}")).await, 200);
    for (lines, expect) in [
        ("\r\nHost: evil.example".to_owned(), 403),
        (format!("\r\nHost: [::1]x:{port}"), 400),
        (format!("\r\nHost: 127.0.0.1:0{port}"), 400),
        (format!("\r\nHost: localhost:+{port}"), 400),
        (format!("\r\nHost: {address}\r\nOrigin: null"), 403),
        (format!("\r\nHost: {address}\r\nOrigin: http://evil.example"), 403),
        (format!("\r\nHost: {address}\r\nHost: {address}"), 400),
        (String::new(), 400),
    ] {
        for path in ["/healthz", "/api/v1/status", "/nothing"] {
            assert_eq!(ask(&format!("GET {path}"), &lines).await, expect, "{path} {lines:?}");
        }
    }
    assert_eq!(ask("GET http://evil.example/api/v1/status", &format!("\r\nHost: {address}")).await, 400);
    let form = format!("\r\nHost: {address}\r\nSec-Fetch-Site: same-site\r\nContent-Length: 0");
    assert_eq!(ask("POST /api/v1/tasks", &form).await, 403);
}

/// Returns the number of files that a process has open.
fn open_files(pid: u32) -> usize {
    fs_err::read_dir(format!("/proc/{pid}/fd")).expect("the process is running").count()
}

/// Sends many incomplete requests at once, and keeps their connections open.
async fn flood(address: &str, request: &str, count: usize) -> Vec<Option<TcpStream>> {
    let one = async || {
        let mut stream = TcpStream::connect(address).await.ok()?;
        // The server may have closed the connection already.
        stream.write_all(request.as_bytes()).await.ok();
        Some(stream)
    };
    futures_util::future::join_all((0..count).map(|_| one())).await
}

/// Sends a request on a connection that stays open. Returns `None` if the server has closed it.
async fn ask_again(stream: &mut TcpStream, request: &str) -> Option<String> {
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    let mut bytes = [0; 4096];
    while !answer.contains("\r\n\r\n") {
        let length = stream.read(&mut bytes).await.ok().filter(|length| *length > 0)?;
        answer.push_str(&String::from_utf8_lossy(&bytes[..length]));
    }
    Some(answer)
}

#[tokio::test]
async fn two_thousand_half_sent_requests_lock_nobody_out_and_cost_little() {
    // Start the server like a login shell does: with a limit of 1024 open files that it may raise.
    let ours = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(1024), ..ours }).expect("the limit can be lowered");
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    setrlimit(Resource::Nofile, ours).expect("the limit can be restored");
    let pid = home.server_pid();
    let server = Pid::from_raw(i32::try_from(pid).expect("the process ID is in range"));
    let raised = prlimit(server, Resource::Nofile, Rlimit { current: Some(1024), maximum: Some(1024) })
        .expect("the server's limit can be read");
    assert!(ours.maximum.is_some_and(|hard| hard <= 1024) || raised.current > Some(1024), "{raised:?}");

    let env = home.environment(&upstream.url()).await;
    let go = home.scratch().join("go");
    let task = home.task(&env, &format!("begin; await {}; end done", go.display())).await;
    let address = home.tcp_address().await;
    let phone = Pages::sign_in(&home).await;
    let client = testkit::http_client().build().expect("a client");
    let (url, cookie) = phone.session();
    // An event stream that is already open stays open.
    let mut stream = client.get(format!("{url}/live")).header("cookie", cookie).send().await.expect("the server answers");
    assert_eq!(stream.status(), 200);
    stream.chunk().await.expect("the stream can be read").expect("the stream starts with data");
    // An idle connection stays open if its last request had the token. An idle connection without a token does not.
    let request = |more: &str| format!("HEAD /healthz HTTP/1.1\r\nHost: {address}\r\n{more}\r\n");
    let (known, unknown) = (request(&format!("Authorization: Bearer {}\r\n", home.token())), request(""));
    let mut known_stream = TcpStream::connect(&address).await.expect("the server listens");
    let mut unknown_stream = TcpStream::connect(&address).await.expect("the server listens");
    assert!(ask_again(&mut known_stream, &known).await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
    assert!(ask_again(&mut unknown_stream, &unknown).await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
    let (before, files) = (testkit::resident_mib(pid), open_files(pid));
    let half =
        |head: &str, body: usize| format!("{head}\r\nHost: {address}\r\nContent-Length: 8000000\r\n\r\n{}", "x".repeat(body));
    let form = "\r\nContent-Type: application/x-www-form-urlencoded";
    let mut held = vec![];
    for request in [
        half(&format!("POST /sign-in HTTP/1.1{form}"), 6000),
        half("POST /api/v1/tasks HTTP/1.1\r\nContent-Type: application/json", 6000),
        format!("GET /sign-in HTTP/1.1\r\nHost: {address}\r\nX: {}", "x".repeat(30_000)),
        "G".to_owned(),
    ] {
        held.push(flood(&address, &request, 500).await);
        assert!(ask_again(&mut known_stream, &known).await.is_some_and(|answer| answer.starts_with("HTTP/1.1 200")));
        assert!(
            ask_again(&mut unknown_stream, &unknown).await.is_none(),
            "the server closes the connection that has been idle the longest"
        );
        let more = open_files(pid).saturating_sub(files);
        assert!(more < 200, "the server opens fewer than 200 files: {more}");
        // Everything still works over the socket and for signed-in browsers.
        let status = home.command(&["status"]).output().await.expect("the command can be started");
        assert!(status.status.success(), "{status:?}");
        assert_eq!(phone.get("/").await.0, 200);
    }
    let grown = testkit::resident_mib(pid) - before;
    assert!(grown < 100.0, "2000 incomplete requests need less than 100 MiB: {grown} MiB");
    // Another phone can still sign in, and the task ends normally.
    let other = Pages::sign_in(&home).await;
    assert_eq!(other.get("/tasks/new").await.0, 200);
    fs_err::write(&go, "").expect("written");
    let settled = home.settled(&task).await;
    assert_eq!(settled["status"], "completed", "{settled}");
    stream.chunk().await.expect("the stream can still be read").expect("the stream reports the change");
    drop(held);
}

#[tokio::test]
async fn a_small_form_is_small_for_everybody() {
    let home = TestHome::started(BINARY).await;
    let address = home.tcp_address().await;
    let client = testkit::http_client().build().expect("a client");
    let form = client.post(format!("http://{address}/sign-in")).header("content-type", "application/x-www-form-urlencoded");
    let answer = form.body(format!("code={}", "x".repeat(9 << 10))).send().await.expect("the server answers");
    assert!(answer.status().is_client_error(), "{}", answer.status());
    let (status, problem) = home.put("/api/v1/password", &serde_json::json!({ "password": "x".repeat(65 << 10) })).await;
    assert_eq!((status, problem["code"].as_str()), (413, Some("body_too_large")));
}

#[tokio::test]
async fn the_socket_and_the_token_are_for_their_owner_alone() {
    let home = TestHome::started(BINARY).await;
    for file in [home.socket(), home.path().join("token"), home.path().join("pages-host")] {
        let mode = fs_err::metadata(&file).expect("the file exists").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_what_to_do() {
    let other = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let taken = other.local_addr().expect("the listener has an address").to_string();
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_LISTEN", &taken);
    let (status, said) = home.start_refused().await;
    assert!(!status.success());
    assert!(said.contains(&taken) && said.contains("ORCH_LISTEN"), "{said}");
    assert!(UnixStream::connect(home.socket()).await.is_err(), "a server that cannot start leaves no listener");
}

#[tokio::test]
async fn a_killed_servers_socket_is_no_obstacle() {
    let mut home = TestHome::started(BINARY).await;
    home.kill().await;
    assert!(home.socket().exists(), "the killed server leaves its socket");
    home.start().await;
    assert_eq!(home.get("/api/v1/status").await.0, 200);
    assert!(home.stop().await.success());
    assert!(!home.socket().exists(), "a server that exits normally leaves no socket");
}

#[tokio::test]
async fn bad_requests_are_problems_and_leave_nothing_behind() {
    let home = TestHome::started(BINARY).await;
    let id = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";
    let json = |body: &'static str| (reqwest::Method::POST, "/api/v1/envs".to_owned(), "application/json", body);
    let get = |path: String| (reqwest::Method::GET, path, "application/json", "");
    for ((method, path, content_type, body), expect) in [
        (json("{"), (400, "malformed_body")),
        (json(r#"{"repo_url": 1}"#), (422, "unusable_body")),
        (json(r#"{"repo_url": "x", "branch": "y"}"#), (422, "unusable_body")),
        ((reqwest::Method::POST, "/api/v1/envs".to_owned(), "text/plain", "{}"), (415, "not_json")),
        ((reqwest::Method::PUT, "/api/v1/envs".to_owned(), "application/json", "{}"), (405, "method_not_allowed")),
        (get("/api/v1/nothing".to_owned()), (404, "no_such_route")),
        (get(format!("/api/v1/tasks/{id}")), (404, "task_not_found")),
        (get(format!("/api/v1/envs/{id}")), (404, "environment_not_found")),
        (get("/api/v1/tasks/..%2F..%2Fetc".to_owned()), (400, "malformed_id")),
        (get("/api/v1/tasks/%ff".to_owned()), (400, "malformed_path")),
        (get("/api/v1/tasks?limit=many".to_owned()), (422, "unusable_query")),
        (get(format!("/api/v1/tasks/{id}/diff?format=pdf")), (422, "unusable_query")),
        (get(format!("/api/v1/tasks/{id}/runs/one/log")), (404, "run_not_found")),
    ] {
        let request = home.request(method.clone(), &path).header("content-type", content_type).body(body);
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.headers()["content-type"], "application/problem+json", "{method} {path} {body}");
        assert_eq!(response.headers()["x-content-type-options"], "nosniff");
        let problem: Value = response.json().await.expect("JSON");
        assert_eq!(
            (problem["status"].as_u64(), problem["code"].as_str()),
            (Some(expect.0), Some(expect.1)),
            "{method} {path} {body}"
        );
        assert!(problem["hints"].as_array().is_some_and(|hints| !hints.is_empty()), "{problem}");
    }
    let (_, environments) = home.get("/api/v1/envs").await;
    assert_eq!(environments["items"].as_array().map(Vec::len), Some(0));
}
