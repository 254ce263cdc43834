//! Tests the broker on a real socket: which requests pass, and that the container never receives the key.
//! The model's API is a real server on the loopback with scripted responses.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use bytes::Bytes;
use codex_docker::proxy::broker::{Broker, BrokerAccount, BrokerSettings, new_token};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use model::ErrorCode;
use model::container::HostedTools;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use crate::proxy_support::{Brokered, COMPLETED, KEY, Model, ask, piece, speaking, text, whole};

const LIMIT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn the_token_is_swapped_for_the_key_and_nothing_of_it_comes_back() {
    let headers = [("content-type", "text/event-stream"), ("set-cookie", "a=b"), ("x-theirs", "kept"), ("x-echo", KEY)];
    let stage = Brokered::new(vec![whole(200, &headers, COMPLETED)], None).await;
    let response = ask(&stage.socket, "POST /v1/responses?api-version=1&x=1&api-version=/..", &stage.token, "the prompt").await;
    assert_eq!((response.status().as_u16(), &response.headers()["x-theirs"]), (200, &"kept".parse().expect("a value")));
    assert!(response.headers().get("set-cookie").is_none(), "{:?}", response.headers());
    assert!(!format!("{:?}", response.headers()).contains(KEY), "{:?}", response.headers());
    assert_eq!(text(response).await, COMPLETED);
    let asked = stage.model.asked.lock().expect("sound");
    let headers = &asked[0].headers;
    assert_eq!((asked[0].what.as_str(), asked[0].body.as_ref()), ("POST /v1/responses?api-version=1", &b"the prompt"[..]));
    assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!((&headers["x-codex-mine"], &headers["content-length"]), (&"kept".parse().expect("a value"), &10.into()));
    assert_eq!(headers["accept-encoding"], "identity");
    for gone in ["x-hop", "proxy-anything", "transfer-encoding", "openai-organization", "cookie"] {
        assert!(headers.get(gone).is_none(), "{gone}: {headers:?}");
    }
    assert!(!headers["host"].to_str().expect("text").contains("8317"), "{headers:?}");
    let expected = BrokerAccount { requests: 1, refused: 0, input_tokens: 70, output_tokens: 30 };
    assert_eq!(stage.broker.account(), expected);
    let shown = format!("{:?}", stage.broker);
    assert!(!shown.contains(KEY) && !shown.contains(&stage.token), "{shown}");
}

#[tokio::test]
async fn only_the_runs_own_token_and_only_what_codex_needs_is_passed_on() {
    let stage = Brokered::new(vec![], None).await;
    for (what, token, status) in [
        ("POST /v1/responses", "", 401),
        ("POST /v1/responses", KEY, 401),
        ("POST /v1/responses", &stage.token[1..], 401),
        ("POST /v1/files", &stage.token, 403),
        ("GET /v1/responses", &stage.token, 403),
        ("DELETE /v1/models", &stage.token, 403),
        ("POST /v1/responses/../files", &stage.token, 403),
        ("POST /v1/responses/%2e%2e/files", &stage.token, 403),
        ("POST /v1//responses", &stage.token, 403),
        ("POST /responses", &stage.token, 403),
        ("POST http://elsewhere.example/v1/files", &stage.token, 403),
        ("GET /", &stage.token, 403),
    ] {
        let response = ask(&stage.socket, what, token, "").await;
        assert_eq!(response.status(), status, "{what}");
        let said = text(response).await;
        assert!(said.contains("\"error\"") && !said.contains(KEY), "{what}: {said}");
    }
    assert_eq!(stage.model.count(), 0);
    assert_eq!(stage.broker.account(), BrokerAccount { refused: 12, ..BrokerAccount::default() });
    for what in ["GET /v1/models?client_version=1", "POST /v1/responses/compact", "POST http://elsewhere.example/v1/responses"] {
        assert_eq!(ask(&stage.socket, what, &stage.token, "").await.status(), 200, "{what}");
    }
    let asked = stage.model.asked.lock().expect("sound");
    assert!(
        asked.iter().all(|asked| stage.model.url.contains(asked.headers["host"].to_str().expect("text"))),
        "all requests go to the configured API"
    );
    assert!(asked[0].headers.get("transfer-encoding").is_none(), "a request without a body is sent without one");
}

#[tokio::test]
async fn what_the_model_has_against_a_request_comes_back_without_the_key() {
    let error = format!("{{\"error\":{{\"message\":\"Incorrect API key provided: {KEY}. {KEY}\"}}}}");
    let headers = [("content-type", "application/json"), ("retry-after", "7"), ("www-authenticate", KEY)];
    let stage = Brokered::new(vec![whole(401, &headers, &error)], None).await;
    let response = stage.ask("x").await;
    assert_eq!((response.status().as_u16(), &response.headers()["retry-after"]), (401, &7.into()));
    assert!(!format!("{:?}", response.headers()).contains(KEY));
    let said = text(response).await;
    assert_eq!(said, error.replace(KEY, "[hidden]"));
    assert_eq!((stage.broker.account().requests, stage.broker.account().input_tokens), (1, 0));
}

#[tokio::test]
async fn the_key_does_not_follow_a_redirect() {
    let elsewhere = Model::answering(vec![]).await;
    let away = |status| whole(status, &[("location", &elsewhere.url)], "");
    let stage = Brokered::new(vec![away(307), away(302), away(303)], None).await;
    // A client could follow the redirect of the GET request, but could not repeat the bodies of the POST requests.
    for (what, status) in [("POST /v1/responses", 307), ("GET /v1/models", 302), ("POST /v1/responses", 303)] {
        assert_eq!(ask(&stage.socket, what, &stage.token, "").await.status(), status, "{what}");
    }
    assert_eq!((stage.model.count(), elsewhere.count()), (3, 0));
}

#[tokio::test]
async fn an_answer_is_streamed_while_the_model_still_speaks() {
    let (model, said) = speaking();
    let stage = Brokered::new(vec![said], None).await;
    model.says("data: first\n\n");
    let mut response = stage.ask("x").await;
    assert_eq!(piece(&mut response).await, "data: first\n\n", "the piece arrives before the response is complete");
    model.says(COMPLETED);
    drop(model);
    assert_eq!(text(response).await, COMPLETED);
}

#[tokio::test]
async fn a_request_is_streamed_while_the_client_still_speaks_and_has_an_end() {
    let stage = Brokered::new(vec![], None).await;
    let authorization = format!("Authorization: Bearer {}", stage.token);
    let declared =
        format!("POST /v1/responses HTTP/1.1\r\nHost: x\r\n{authorization}\r\nContent-Length: {}\r\n\r\n", (128 << 20) + 1);
    let mut stream = UnixStream::connect(&stage.socket).await.expect("the broker listens");
    stream.write_all(declared.as_bytes()).await.expect("written");
    let mut said = [0; 12];
    let read = tokio::time::timeout(LIMIT, stream.read_exact(&mut said)).await;
    read.expect("the broker responds before it reads the body").expect("open");
    assert_eq!(&said, b"HTTP/1.1 413");
    let response = ask_without_end(&stage).await;
    assert_eq!(response.status(), 413);
    assert!(text(response).await.contains(ErrorCode::RequestTooLong.as_str()));
    assert_eq!((stage.model.count(), stage.broker.account().refused), (0, 2));
}

/// Sends a request with a body that never ends.
async fn ask_without_end(stage: &Brokered) -> Response<hyper::body::Incoming> {
    let stream = UnixStream::connect(&stage.socket).await.expect("the broker listens");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection);
    let much = Bytes::from(vec![b' '; 1 << 20]);
    let body = StreamBody::new(futures_util::stream::repeat_with(move || Ok::<_, Infallible>(Frame::data(much.clone()))));
    let request = Request::post("/v1/responses").header("authorization", format!("Bearer {}", stage.token));
    sender.send_request(request.body(body).expect("sound")).await.expect("answered")
}

#[tokio::test]
async fn ten_answers_at_once_do_not_mix() {
    let (models, answers): (Vec<_>, Vec<_>) = (0..10).map(|_| speaking()).unzip();
    let stage = Brokered::new(answers, None).await;
    let prompts: Vec<String> = (0..10).map(|n| format!("prompt {n}")).collect();
    for (n, model) in models.iter().enumerate() {
        model.says(&format!("data: answer {n}\n\n"));
    }
    let stage = &stage;
    let asking = prompts.iter().map(|prompt| async move {
        let mut response = stage.ask(prompt).await;
        (prompt, piece(&mut response).await, response)
    });
    // All responses start before one of them ends.
    let begun = futures_util::future::join_all(asking).await;
    for model in models {
        model.says(COMPLETED);
    }
    for (prompt, first, response) in begun {
        let asked =
            stage.model.asked.lock().expect("sound").iter().position(|asked| asked.body == prompt).expect("the request arrived");
        assert_eq!(first, format!("data: answer {asked}\n\n"), "{prompt}");
        assert_eq!(text(response).await, COMPLETED);
    }
    assert_eq!((stage.broker.account().requests, stage.broker.account().input_tokens), (10, 700));
}

#[tokio::test]
async fn a_model_that_dies_in_the_middle_breaks_the_answer_off_and_nothing_else() {
    let (model, said) = speaking();
    let stage = Brokered::new(vec![said], None).await;
    model.says("data: first\n\n");
    let mut response = stage.ask("x").await;
    piece(&mut response).await;
    model.dies();
    let rest = tokio::time::timeout(LIMIT, response.into_body().collect()).await.expect("the response ends");
    assert!(rest.is_err(), "an interrupted response does not look complete");
    assert_eq!(text(stage.ask("again").await).await, COMPLETED);
}

#[tokio::test]
async fn a_model_that_cannot_be_reached_is_said_without_the_key() {
    let plain = Model::answering(vec![]).await;
    let no_tls = plain.url.replace("http:", "https:");
    for upstream in ["http://127.0.0.1:1/v1".to_owned(), no_tls] {
        let stage = Brokered::before(plain.clone(), upstream, None);
        let response = stage.ask("x").await;
        assert_eq!(response.status(), 502);
        let said = text(response).await;
        assert!(
            said.contains("127.0.0.1") && said.contains(ErrorCode::ModelUnreachable.as_str()) && !said.contains(KEY),
            "{said}"
        );
    }
    assert_eq!(plain.count(), 0);
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_at_the_start() {
    for upstream in ["", "api.openai.com", "ftp://x/v1", "file:///etc/passwd"] {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("broker");
        let settings = BrokerSettings {
            socket,
            upstream: upstream.to_owned(),
            api_key: KEY.to_owned(),
            token: new_token(),
            budget: None,
            hosted_tools: HostedTools::Allow,
            tell_removed: Box::new(|_| {}),
        };
        let error = Broker::start(settings).expect_err(upstream);
        assert!(!error.to_string().contains(KEY), "{error}");
    }
}

#[tokio::test]
async fn any_user_of_the_container_reaches_the_broker_and_the_next_run_has_another_token() {
    let stage = Brokered::new(vec![], None).await;
    let mode = std::fs::metadata(&stage.socket).expect("the socket exists").permissions().mode();
    assert_eq!(mode & 0o777, 0o666);
    assert!(stage.token.len() == 64 && stage.token.bytes().all(|byte| byte.is_ascii_hexdigit()) && stage.token != new_token());
}

#[tokio::test]
async fn when_the_run_ends_its_broker_ends_with_all_that_goes_through_it() {
    let (model, said) = speaking();
    let stage = Brokered::new(vec![said], Some(1000)).await;
    model.says("data: first\n\n");
    let mut response = stage.ask("x").await;
    piece(&mut response).await;
    let Brokered { broker, socket, .. } = stage;
    drop(broker);
    let rest = tokio::time::timeout(LIMIT, response.into_body().collect()).await;
    assert!(rest.is_ok(), "the response ends with the broker");
    tokio::time::timeout(LIMIT, model.unheard()).await.expect("the connection to the model ends too");
    assert!(!socket.exists() && UnixStream::connect(&socket).await.is_err());
}

#[tokio::test]
async fn a_request_of_two_lengths_is_not_two_requests() {
    let stage = Brokered::new(vec![], None).await;
    for smuggled in [
        "Content-Length: 4\r\nContent-Length: 0\r\n\r\nGET ",
        "Content-Length: x\r\n\r\n",
        "Content-Length: +4\r\n\r\nGET ",
        "Transfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n",
    ] {
        let said = raw(&stage, smuggled).await;
        assert!(said.is_empty() || said.starts_with("HTTP/1.1 4"), "{smuggled:?}: {said}");
    }
    assert_eq!(stage.model.count(), 0);
}

#[tokio::test]
async fn a_length_beside_pieces_counts_for_nothing_and_what_follows_is_not_heard() {
    let stage = Brokered::new(vec![], None).await;
    let follows = format!("POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n", stage.token);
    for lengths in ["Content-Length: 3\r\nTransfer-Encoding: chunked", "Transfer-Encoding: chunked\r\nContent-Length: 3"] {
        let said = raw(&stage, &format!("{lengths}\r\n\r\n5\r\nhello\r\n0\r\n\r\n{follows}")).await;
        assert_eq!(said.matches("HTTP/1.1 ").count(), 1, "{said}");
    }
    let asked = stage.model.asked.lock().expect("sound");
    assert_eq!(asked.len(), 2);
    for asked in asked.iter() {
        assert_eq!(asked.body, "hello");
        assert!(asked.headers.get("content-length").is_none(), "{:?}", asked.headers);
    }
}

/// Sends a request with these raw headers and body, and returns the whole response.
async fn raw(stage: &Brokered, rest: &str) -> String {
    let mut stream = UnixStream::connect(&stage.socket).await.expect("the broker listens");
    let head = format!("POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n", stage.token);
    stream.write_all(format!("{head}{rest}").as_bytes()).await.expect("written");
    let mut said = Vec::new();
    // The broker may close the connection without a response.
    let _broken = tokio::time::timeout(LIMIT, stream.read_to_end(&mut said)).await.expect("the response ends");
    String::from_utf8_lossy(&said).into_owned()
}
