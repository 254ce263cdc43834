//! The two doors from outside: who may come in over the socket and over TCP, and what is in the way of opening them.
//!
//! Requests that a well-behaved client cannot send are written byte by byte.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;
use testkit::TestHome;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixStream};

const BINARY: &str = env!("CARGO_BIN_EXE_codex-orchestrator");

/// Sends a request's head as it is, and reads the status of the answer.
async fn raw(address: &str, head: &str) -> u16 {
    let mut stream = TcpStream::connect(address).await.expect("the server listens");
    stream.write_all(format!("{head}\r\n\r\n").as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("it answers and closes");
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
        request.send().await.expect("an answer").status().as_u16()
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

#[tokio::test]
async fn the_socket_and_the_token_are_for_their_owner_alone() {
    let home = TestHome::started(BINARY).await;
    for file in [home.socket(), home.path().join("token"), home.path().join("pages-host")] {
        let mode = fs_err::metadata(&file).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{}", file.display());
    }
}

#[tokio::test]
async fn a_port_that_is_taken_is_named_with_what_to_do() {
    let other = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let taken = other.local_addr().expect("its address").to_string();
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_LISTEN", &taken);
    let (status, said) = home.start_refused().await;
    assert!(!status.success());
    assert!(said.contains(&taken) && said.contains("ORCH_LISTEN"), "{said}");
    assert!(UnixStream::connect(home.socket()).await.is_err(), "nothing half-started answers");
}

#[tokio::test]
async fn a_killed_servers_socket_is_no_obstacle() {
    let mut home = TestHome::started(BINARY).await;
    home.kill().await;
    assert!(home.socket().exists(), "it left its socket");
    home.start().await;
    assert_eq!(home.get("/api/v1/status").await.0, 200);
    assert!(home.stop().await.success());
    assert!(!home.socket().exists(), "one that ends in order leaves none");
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
        let response = request.send().await.expect("an answer");
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
