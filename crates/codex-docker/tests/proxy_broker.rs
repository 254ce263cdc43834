//! The broker on a real socket, with a real server in the place of the model's API.
//!
//! What the server saw and what the client got are looked at from both sides: the key is only ever on the first.

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use codex_docker::proxy::broker::{Broker, BrokerAccount, BrokerSettings, new_token};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::mpsc;

const KEY: &str = "sk-the-real-key";

const COMPLETED: &str = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":70,\"output_tokens\":30}}}\n\n";

type Pieces = mpsc::UnboundedReceiver<Bytes>;

/// A model's API: what it was asked, and what it says, piece by piece.
struct Model {
    url: String,
    seen: Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>,
}

impl Model {
    /// One that answers each request with the next of these.
    async fn answering(answers: Vec<Pieces>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let answers = Arc::new(Mutex::new(answers.into_iter()));
        let remembered = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (seen, answers) = (Arc::clone(&remembered), Arc::clone(&answers));
                let service = service_fn(move |request: Request<Incoming>| {
                    let (seen, answers) = (Arc::clone(&seen), Arc::clone(&answers));
                    async move {
                        let (head, body) = request.into_parts();
                        let body = body.collect().await.expect("a body").to_bytes();
                        seen.lock().expect("sound").push((format!("{} {}", head.method, head.uri), head.headers, body));
                        let pieces = answers.lock().expect("sound").next().unwrap_or_else(|| whole(COMPLETED));
                        let frames = futures_util::stream::unfold(pieces, |mut pieces| async move {
                            Some((Ok::<_, Infallible>(Frame::data(pieces.recv().await?)), pieces))
                        });
                        let response =
                            Response::builder().header("content-type", "text/event-stream").header("set-cookie", "a=b");
                        Ok::<_, Infallible>(response.body(StreamBody::new(frames)).expect("sound"))
                    }
                });
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { url, seen }
    }

    fn asked(&self) -> Vec<(String, HeaderMap, Bytes)> {
        self.seen.lock().expect("sound").clone()
    }
}

fn whole(text: &str) -> Pieces {
    let (pieces, receiver) = mpsc::unbounded_channel();
    pieces.send(Bytes::copy_from_slice(text.as_bytes())).expect("open");
    receiver
}

struct Stage {
    broker: Broker,
    model: Model,
    token: String,
    socket: PathBuf,
    _folder: tempfile::TempDir,
}

async fn stage(answers: Vec<Pieces>, budget: Option<u64>) -> Stage {
    let model = Model::answering(answers).await;
    let upstream = model.url.clone();
    let (broker, token, socket, folder) = broker(upstream, budget);
    Stage { broker, model, token, socket, _folder: folder }
}

fn broker(upstream: String, budget: Option<u64>) -> (Broker, String, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let (socket, token) = (folder.path().join("broker"), new_token());
    let settings = BrokerSettings { socket: socket.clone(), upstream, api_key: KEY.to_owned(), token: token.clone(), budget };
    (Broker::start(settings).expect("it starts"), token, socket, folder)
}

/// Asks as Codex does; the head of the answer, and its body as it comes.
async fn ask(socket: &PathBuf, what: &str, token: &str, body: &str) -> Response<Incoming> {
    let stream = UnixStream::connect(socket).await.expect("it listens");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection);
    let (method, path) = what.split_once(' ').expect("a method and a path");
    let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:8317").header("x-mine", "kept");
    let request =
        request.header("authorization", format!("Bearer {token}")).header("connection", "x-hop").header("x-hop", "dropped");
    sender.send_request(request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("sound")).await.expect("answered")
}

async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn the_token_is_swapped_for_the_key_and_nothing_of_it_comes_back() {
    let stage = stage(vec![], None).await;
    let response = ask(&stage.socket, "POST /v1/responses?x=1", &stage.token, "the prompt").await;
    assert_eq!(response.status(), 200);
    assert!(response.headers().get("set-cookie").is_none(), "{:?}", response.headers());
    assert!(!format!("{:?}", response.headers()).contains(KEY));
    assert_eq!(text(response).await, COMPLETED);
    let asked = stage.model.asked();
    let (what, headers, body) = &asked[0];
    assert_eq!((what.as_str(), body.as_ref()), ("POST /v1/responses?x=1", &b"the prompt"[..]));
    assert_eq!(headers["authorization"], format!("Bearer {KEY}"));
    assert_eq!(headers["x-mine"], "kept");
    assert!(headers.get("x-hop").is_none() && !headers["host"].to_str().expect("text").contains("8317"), "{headers:?}");
    let expected = BrokerAccount { requests: 1, refused: 0, input_tokens: 70, output_tokens: 30 };
    assert_eq!(stage.broker.account(), expected);
    assert!(!format!("{:?}", stage.broker).contains(KEY));
}

#[tokio::test]
async fn only_the_runs_own_token_and_only_what_codex_needs_is_passed_on() {
    let stage = stage(vec![], None).await;
    for (what, token, status) in [
        ("POST /v1/responses", "", 401),
        ("POST /v1/responses", KEY, 401),
        ("POST /v1/responses", &stage.token[1..], 401),
        ("POST /v1/files", &stage.token, 403),
        ("GET /v1/responses", &stage.token, 403),
        ("DELETE /v1/models", &stage.token, 403),
        ("POST /v1/responses/../files", &stage.token, 403),
        ("POST /v1//responses", &stage.token, 403),
        ("POST /responses", &stage.token, 403),
        ("GET /", &stage.token, 403),
    ] {
        let response = ask(&stage.socket, what, token, "").await;
        assert_eq!(response.status(), status, "{what}");
        let said = text(response).await;
        assert!(said.contains("\"error\"") && !said.contains(KEY), "{what}: {said}");
    }
    assert!(stage.model.asked().is_empty());
    assert_eq!(stage.broker.account(), BrokerAccount { refused: 10, ..BrokerAccount::default() });
    assert_eq!(ask(&stage.socket, "GET /v1/models", &stage.token, "").await.status(), 200);
}

#[tokio::test]
async fn an_answer_is_streamed_while_the_model_still_speaks() {
    let (pieces, receiver) = mpsc::unbounded_channel();
    let stage = stage(vec![receiver], None).await;
    pieces.send(Bytes::from_static(b"data: first\n\n")).expect("open");
    let mut response = ask(&stage.socket, "POST /v1/responses", &stage.token, "x").await;
    let first = response.frame().await.expect("a piece").expect("sound").into_data().expect("data");
    assert_eq!(first, "data: first\n\n", "it is here before the model has ended");
    pieces.send(Bytes::from_static(COMPLETED.as_bytes())).expect("open");
    drop(pieces);
    assert_eq!(text(response).await, COMPLETED);
}

#[tokio::test]
async fn ten_answers_at_once_do_not_mix() {
    let stage = Arc::new(stage(vec![], None).await);
    let asking: Vec<_> = (0..10)
        .map(|n| {
            let stage = Arc::clone(&stage);
            tokio::spawn(async move {
                text(ask(&stage.socket, "POST /v1/responses", &stage.token, &format!("prompt {n}")).await).await
            })
        })
        .collect();
    for one in asking {
        assert_eq!(one.await.expect("no panic"), COMPLETED);
    }
    assert_eq!((stage.broker.account().requests, stage.broker.account().input_tokens), (10, 700));
}

#[tokio::test]
async fn a_budget_that_is_used_up_is_said_and_the_model_is_not_asked() {
    let stage = stage(vec![], Some(150)).await;
    for _ in 0..2 {
        let response = ask(&stage.socket, "POST /v1/responses", &stage.token, "x").await;
        assert_eq!(response.status(), 200);
        text(response).await;
    }
    let response = ask(&stage.socket, "POST /v1/responses", &stage.token, "x").await;
    assert_eq!(response.status(), 400);
    let said = text(response).await;
    assert!(said.contains("budget_exceeded") && said.contains("150 tokens") && said.contains("used 200"), "{said}");
    assert_eq!(stage.model.asked().len(), 2);
}

#[tokio::test]
async fn a_model_that_cannot_be_reached_is_said_without_the_key() {
    let (_broker, token, socket, _folder) = broker("http://127.0.0.1:1/v1".to_owned(), None);
    let response = ask(&socket, "POST /v1/responses", &token, "x").await;
    assert_eq!(response.status(), 502);
    let said = text(response).await;
    assert!(said.contains("127.0.0.1") && said.contains("model_unreachable") && !said.contains(KEY), "{said}");
}

#[tokio::test]
async fn an_address_that_is_none_is_refused_at_the_start() {
    for upstream in ["", "api.openai.com", "ftp://x/v1", "file:///etc/passwd"] {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("broker");
        let settings =
            BrokerSettings { socket, upstream: upstream.to_owned(), api_key: KEY.to_owned(), token: new_token(), budget: None };
        let error = Broker::start(settings).expect_err(upstream);
        assert!(!error.to_string().contains(KEY), "{error}");
    }
}

#[tokio::test]
async fn when_the_run_ends_its_broker_ends_with_all_that_goes_through_it() {
    let (pieces, receiver) = mpsc::unbounded_channel();
    let stage = stage(vec![receiver], None).await;
    pieces.send(Bytes::from_static(b"data: first\n\n")).expect("open");
    let mut response = ask(&stage.socket, "POST /v1/responses", &stage.token, "x").await;
    response.frame().await.expect("a piece").expect("sound");
    let Stage { broker, socket, .. } = stage;
    drop(broker);
    let rest = tokio::time::timeout(Duration::from_secs(20), response.into_body().collect()).await;
    assert!(rest.is_ok(), "the answer ends with the broker");
    assert!(!socket.exists() && UnixStream::connect(&socket).await.is_err());
    drop(pieces);
}

#[tokio::test]
async fn a_request_of_two_lengths_is_not_two_requests() {
    let stage = stage(vec![], None).await;
    for smuggled in [
        "Content-Length: 4\r\nContent-Length: 0\r\n\r\nGET ",
        "Content-Length: x\r\n\r\n",
        "Transfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n",
    ] {
        let mut stream = UnixStream::connect(&stage.socket).await.expect("it listens");
        let head = format!("POST /v1/responses HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n{smuggled}", stage.token);
        stream.write_all(head.as_bytes()).await.expect("written");
        let mut said = vec![0; 12];
        let read = tokio::time::timeout(Duration::from_secs(20), stream.read_exact(&mut said)).await.expect("answered");
        assert!(read.is_err() || said.starts_with(b"HTTP/1.1 4"), "{smuggled:?}: {}", String::from_utf8_lossy(&said));
    }
    assert!(stage.model.asked().is_empty());
}
