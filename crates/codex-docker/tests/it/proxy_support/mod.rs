//! Support for the tests of the broker: a server instead of the model's API, and a client instead of Codex.
//!
//! The tests check both what the server received and what the client received.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use codex_docker::proxy::broker::{Broker, BrokerSettings, new_token};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use model::container::HostedTools;
use tokio::net::{TcpListener, UnixStream};
use tokio::sync::mpsc;

/// The key, which the client must never receive.
pub(crate) const KEY: &str = "sk-the-real-key";

/// The last event of a response that cost 100 tokens.
pub(crate) const COMPLETED: &str = "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":70,\"output_tokens\":30}}}\n\n";

/// A response of the model: its head, and its body in pieces.
pub(crate) struct Said {
    status: u16,
    headers: Vec<(&'static str, String)>,
    pieces: mpsc::UnboundedReceiver<io::Result<Bytes>>,
}

/// Sends the pieces of a response. The response ends when this is dropped.
pub(crate) struct Speaker(mpsc::UnboundedSender<io::Result<Bytes>>);

impl Speaker {
    pub(crate) fn says(&self, piece: &str) {
        self.0.send(Ok(Bytes::copy_from_slice(piece.as_bytes()))).expect("the receiver exists");
    }

    /// Breaks the connection in the middle of the response.
    pub(crate) fn dies(self) {
        self.0.send(Err(io::Error::other("the model died"))).expect("the receiver exists");
    }

    /// Waits until the client has closed the connection.
    pub(crate) async fn unheard(&self) {
        self.0.closed().await;
    }
}

/// Returns a response whose pieces the test sends.
pub(crate) fn speaking() -> (Speaker, Said) {
    let (speaker, pieces) = mpsc::unbounded_channel();
    (Speaker(speaker), Said { status: 200, headers: vec![("content-type", "text/event-stream".to_owned())], pieces })
}

/// Returns a complete response.
pub(crate) fn whole(status: u16, headers: &[(&'static str, &str)], text: &str) -> Said {
    let (speaker, said) = speaking();
    speaker.says(text);
    Said { status, headers: headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), ..said }
}

/// A request that the model received.
pub(crate) struct Asked {
    pub(crate) what: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// A server that answers each request with its next response, and with `COMPLETED` after the last one.
#[derive(Clone)]
pub(crate) struct Model {
    pub(crate) url: String,
    pub(crate) asked: Arc<Mutex<Vec<Asked>>>,
    answers: Arc<Mutex<std::vec::IntoIter<Said>>>,
}

impl Model {
    pub(crate) async fn answering(answers: Vec<Said>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/v1", listener.local_addr().expect("an address"));
        let model = Self { url, asked: Arc::default(), answers: Arc::new(Mutex::new(answers.into_iter())) };
        let serving = model.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let model = serving.clone();
                let service = service_fn(move |request| model.clone().answer(request));
                tokio::spawn(hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service));
            }
        });
        model
    }

    /// Returns the number of requests so far.
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().expect("sound").len()
    }

    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> io::Result<Response<impl hyper::body::Body<Data = Bytes, Error = io::Error>>> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
        let said = {
            // Hold one lock, so that the responses are in the same order as the requests.
            let mut asked = self.asked.lock().expect("sound");
            asked.push(Asked { what: format!("{} {}", head.method, head.uri), headers: head.headers, body });
            self.answers.lock().expect("sound").next()
        };
        let said = said.unwrap_or_else(|| whole(200, &[("content-type", "text/event-stream")], COMPLETED));
        let mut response = Response::builder().status(said.status);
        for (name, value) in said.headers {
            response = response.header(name, value);
        }
        let frames = futures_util::stream::unfold(said.pieces, |mut pieces| async move {
            let piece = pieces.recv().await?;
            Some((piece.map(Frame::data), pieces))
        });
        Ok(response.body(StreamBody::new(frames)).expect("sound"))
    }
}

/// A broker and its model.
pub(crate) struct Brokered {
    pub(crate) broker: Broker,
    pub(crate) model: Model,
    pub(crate) token: String,
    pub(crate) socket: PathBuf,
    _folder: tempfile::TempDir,
}

impl Brokered {
    pub(crate) async fn new(answers: Vec<Said>, budget: Option<u64>) -> Self {
        let model = Model::answering(answers).await;
        let upstream = model.url.clone();
        Self::before(model, upstream, budget)
    }

    /// Starts a broker with this address of the model.
    pub(crate) fn before(model: Model, upstream: String, budget: Option<u64>) -> Self {
        Self::with(model, upstream, budget, HostedTools::Allow, |_| {})
    }

    /// Starts a broker with all settings.
    pub(crate) fn with(
        model: Model,
        upstream: String,
        budget: Option<u64>,
        hosted_tools: HostedTools,
        tell_removed: impl Fn(&str) + Send + Sync + 'static,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (socket, token) = (folder.path().join("broker"), new_token());
        let settings = BrokerSettings {
            socket: socket.clone(),
            upstream,
            api_key: KEY.to_owned(),
            token: token.clone(),
            budget,
            hosted_tools,
            tell_removed: Box::new(tell_removed),
        };
        Self { broker: Broker::start(settings).expect("the broker starts"), model, token, socket, _folder: folder }
    }

    /// Sends a request to the model, as Codex does.
    pub(crate) async fn ask(&self, prompt: &str) -> Response<Incoming> {
        ask(&self.socket, "POST /v1/responses", &self.token, prompt).await
    }
}

/// Sends a request and returns the response with its streamed body.
pub(crate) async fn ask(socket: &Path, what: &str, token: &str, body: &str) -> Response<Incoming> {
    let stream = UnixStream::connect(socket).await.expect("the broker listens");
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a connection");
    tokio::spawn(connection);
    let (method, path) = what.split_once(' ').expect("a method and a path");
    let request = Request::builder().method(method).uri(path).header("host", "127.0.0.1:8317").header("x-codex-mine", "kept");
    let request = request.header("authorization", format!("Bearer {token}")).header("accept-encoding", "gzip");
    let request =
        request.header("content-type", "application/json").header("openai-organization", "org-evil").header("cookie", "a=b");
    let request = request.header("connection", "x-hop").header("x-hop", "dropped").header("proxy-anything", "dropped");
    sender.send_request(request.body(Full::new(Bytes::copy_from_slice(body.as_bytes()))).expect("sound")).await.expect("answered")
}

/// Reads the rest of a response.
pub(crate) async fn text(response: Response<Incoming>) -> String {
    let bytes = response.into_body().collect().await.expect("a body").to_bytes();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads the next piece of a response.
pub(crate) async fn piece(response: &mut Response<Incoming>) -> Bytes {
    response.frame().await.expect("a piece").expect("sound").into_data().expect("data")
}
