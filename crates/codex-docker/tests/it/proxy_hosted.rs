//! Tests that the broker of a run without an open network removes hosted tools and remote references. Also tests, for every run,
//! that no response contains the key. The API is a real server on the loopback with scripted responses.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::Request;
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use model::ErrorCode;
use model::container::HostedTools;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::proxy_support::{Brokered, COMPLETED, KEY, Model, piece, speaking, text, whole};

const LIMIT: Duration = Duration::from_secs(20);

/// Returns a request with hosted tools, remote references and other fields that the broker removes.
fn hostile() -> Value {
    json!({
        "model": "gpt-5.5",
        "input": [{ "type": "message", "role": "user", "content": [
            { "type": "input_text", "text": "look at this" },
            { "type": "input_image", "image_url": "https://evil.example/picture" },
            { "type": "input_file", "file_url": "https://evil.example/file" } ] }],
        "tools": [
            { "type": "function", "name": "shell", "parameters": {} },
            { "type": "web_search" },
            { "type": "mcp", "server_label": "x", "server_url": "https://evil.example/mcp" },
            { "type": "code_interpreter", "container": { "type": "auto" } } ],
        "background": true,
        "store": true,
    })
}

/// Starts the broker of a run without an open network. Also returns the list of what the broker removes.
async fn closed() -> (Brokered, Arc<Mutex<Vec<String>>>) {
    let removed: Arc<Mutex<Vec<String>>> = Arc::default();
    let told = Arc::clone(&removed);
    let tell = move |what: &str| told.lock().expect("sound").push(what.to_owned());
    let model = Model::answering(vec![]).await;
    let upstream = model.url.clone();
    (Brokered::with(model, upstream, None, HostedTools::Deny, tell), removed)
}

#[tokio::test]
async fn a_request_of_a_closed_run_names_nothing_elsewhere_and_its_owner_is_told_once() {
    let (stage, removed) = closed().await;
    for _ in 0..2 {
        let response = stage.ask(&hostile().to_string()).await;
        assert_eq!((response.status().as_u16(), text(response).await.as_str()), (200, COMPLETED));
    }
    {
        let asked = stage.model.asked.lock().expect("sound");
        let body: Value = serde_json::from_slice(&asked[1].body).expect("JSON");
        assert!(!body.to_string().contains("evil"), "{body}");
        assert_eq!(
            (&body["tools"], &body["store"]),
            (&json!([{ "type": "function", "name": "shell", "parameters": {} }]), &json!(false))
        );
        assert!(body.get("background").is_none() && body["input"][0]["content"][0]["text"] == "look at this", "{body}");
        assert_eq!(asked[1].headers["content-length"], asked[1].body.len().to_string(), "{:?}", asked[1].headers);
    }
    let expected = [
        "the hosted tool `code_interpreter`",
        "the hosted tool `mcp`",
        "the hosted tool `web_search`",
        "a remote reference in `file_url`",
        "a remote reference in `image_url`",
        "the field `background`",
        "the field `store`",
    ];
    assert_eq!(*removed.lock().expect("sound"), expected);
}

#[tokio::test]
async fn a_request_of_an_open_run_passes_unchanged() {
    let stage = Brokered::new(vec![], None).await;
    let request = hostile().to_string();
    assert_eq!(stage.ask(&request).await.status(), 200);
    assert_eq!(stage.model.asked.lock().expect("sound")[0].body, request);
}

#[tokio::test]
async fn what_cannot_be_read_does_not_pass() {
    let stage = closed().await.0;
    let twice = r#"{"tools":[],"tools":[{"type":"web_search"}]}"#;
    for (headers, body, status) in [
        ("Content-Type: application/json", "x", "400"),
        ("Content-Type: application/json", twice, "400"),
        ("Content-Type: application/json\r\nContent-Encoding: zstd", "{}", "415"),
        ("Content-Type: application/json\r\nContent-Encoding: identity\r\nContent-Encoding: gzip", "{}", "415"),
        ("Content-Type: multipart/form-data; boundary=x", "{}", "415"),
        ("Content-Type: text/plain\r\nContent-Type: application/json", "{}", "415"),
        ("X: y", "{}", "415"),
    ] {
        let said = raw(&stage, "/v1/responses", &format!("{headers}\r\nContent-Length: {}\r\n\r\n{body}", body.len())).await;
        assert!(said.starts_with(&format!("HTTP/1.1 {status}")) && said.contains("\"error\""), "{headers} {body}: {said}");
    }
    let said = raw(&stage, "/v1/responses", "Content-Type: application/json\r\nContent-Length: 99\r\n\r\n{}").await;
    assert!(said.is_empty() || said.starts_with("HTTP/1.1 400"), "{said}");
    assert_eq!((stage.model.count(), stage.broker.account().refused), (0, 8));
    // Trailers after the last chunk are ignored.
    let trailers = "Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nTrailer: content-encoding\r\n\r\n2\r\n{}\r\n0\r\ncontent-encoding: gzip\r\nx-codex-a: b\r\n\r\n";
    let said = raw(&stage, "/v1/responses/compact", trailers).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    let asked = stage.model.asked.lock().expect("sound");
    assert_eq!(asked[0].body, "{}");
    assert!(!format!("{:?}", asked[0].headers).contains("gzip"), "{:?}", asked[0].headers);
}

#[tokio::test]
async fn a_question_has_no_body() {
    let stage = closed().await.0;
    let mut stream = UnixStream::connect(&stage.socket).await.expect("the broker listens");
    let head = format!(
        "GET /v1/models?client_version=0.1&include=https://evil HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n",
        stage.token
    );
    stream.write_all(format!("{head}Content-Length: 4\r\nConnection: close\r\n\r\nevil").as_bytes()).await.expect("written");
    let mut said = Vec::new();
    tokio::time::timeout(LIMIT, stream.read_to_end(&mut said)).await.expect("the response ends").expect("readable");
    let asked = stage.model.asked.lock().expect("sound");
    assert_eq!((asked[0].what.as_str(), asked[0].body.len()), ("GET /v1/models?client_version=0.1", 0));
}

#[tokio::test]
async fn a_request_that_is_too_long_is_not_kept_in_memory() {
    let stage = closed().await.0;
    let said =
        raw(&stage, "/v1/responses", &format!("Content-Type: application/json\r\nContent-Length: {}\r\n\r\n", (64 << 20) + 1))
            .await;
    assert!(said.starts_with("HTTP/1.1 413"), "{said}");
    let stream = UnixStream::connect(&stage.socket).await.expect("the broker listens");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection);
    let much = Bytes::from(vec![b' '; 1 << 20]);
    let body =
        StreamBody::new(futures_util::stream::repeat_with(move || Ok::<_, std::convert::Infallible>(Frame::data(much.clone()))));
    let request = Request::post("/v1/responses").header("authorization", format!("Bearer {}", stage.token));
    let request = request.header("content-type", "application/json").body(body).expect("sound");
    assert_eq!(sender.send_request(request).await.expect("answered").status(), 413);
    assert_eq!(stage.model.count(), 0);
}

/// Sends a POST request with these raw headers and body, and returns the whole response.
async fn raw(stage: &Brokered, path: &str, rest: &str) -> String {
    let mut stream = UnixStream::connect(&stage.socket).await.expect("the broker listens");
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {}\r\n", stage.token);
    stream.write_all(format!("{head}{rest}").as_bytes()).await.expect("written");
    // The broker waits for the rest of an incomplete body, so this side must be closed.
    if rest.contains("Content-Length: 99") {
        stream.shutdown().await.expect("open");
    }
    let mut said = Vec::new();
    let _broken = tokio::time::timeout(LIMIT, stream.read_to_end(&mut said)).await.expect("the response ends");
    String::from_utf8_lossy(&said).into_owned()
}

#[tokio::test]
async fn an_answer_that_repeats_the_key_comes_back_without_it_however_it_is_cut() {
    for closed in ["application/json", "text/event-stream"] {
        let answer = format!("data: {{\"authorization\":\"Bearer {KEY}\"}}\n\n{KEY}{KEY}");
        let stage = Brokered::new(vec![whole(200, &[("content-type", closed), ("x-request-id", KEY)], &answer)], None).await;
        let response = stage.ask("x").await;
        assert!(!format!("{:?}", response.headers()).contains(KEY));
        assert_eq!(text(response).await, answer.replace(KEY, "[hidden]"));
    }
    for cut in 1..KEY.len() {
        let (model, said) = speaking();
        let stage = Brokered::new(vec![said], None).await;
        model.says(&format!("data: {}", &KEY[..cut]));
        let mut response = stage.ask("x").await;
        assert_eq!(piece(&mut response).await, "data: ", "cut at {cut}");
        model.says(&format!("{}\n\n", &KEY[cut..]));
        assert_eq!(piece(&mut response).await, "[hidden]\n\n", "cut at {cut}");
        model.says(&KEY[..cut]);
        drop(model);
        assert_eq!(text(response).await, &KEY[..cut], "a partial key is passed on at the end");
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_is_too_long_does_not_end_with_most_of_the_key() {
    let (model, said) = speaking();
    let stage = Brokered::new(vec![said], None).await;
    model.says(&format!("data: {}", &KEY[..KEY.len() - 1]));
    let mut response = stage.ask("x").await;
    assert_eq!(piece(&mut response).await, "data: ");
    model.dies();
    assert!(response.into_body().collect().await.is_err(), "the start of the key is not passed on");
    let (model, said) = speaking();
    let stage = Brokered::new(vec![said], None).await;
    model.says(&KEY[..1]);
    drop(stage.ask("x").await);
    tokio::time::timeout(LIMIT, model.unheard()).await.expect("the connection to the model ends");
    let long = format!("{}{KEY}", "x".repeat((256 << 10) - KEY.len() + 1));
    let stage = Brokered::new(vec![whole(400, &[], &long)], None).await;
    let said = text(stage.ask("x").await).await;
    assert!(!said.contains(&KEY[..8]) && said.len() > 200_000, "{}", &said[said.len() - 40..]);
}

#[tokio::test]
async fn an_answer_that_is_packed_is_not_passed_on() {
    for (status, encoding) in
        [(200, "gzip"), (200, "br"), (200, "zstd"), (200, "identity, gzip"), (401, "gzip"), (500, "deflate")]
    {
        let headers = [("content-type", "text/event-stream"), ("content-encoding", encoding)];
        let stage = Brokered::new(vec![whole(status, &headers, KEY)], None).await;
        let response = stage.ask("x").await;
        assert_eq!(response.status(), 502, "{status} {encoding}");
        let said = text(response).await;
        assert!(said.contains(ErrorCode::ModelAnswerEncoded.as_str()) && !said.contains(KEY), "{said}");
    }
}
