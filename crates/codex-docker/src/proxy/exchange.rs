//! One exchange with the model's API: from a request that may pass to the last byte of its answer.
//!
//! Both ways are streamed. An answer is read to its end although nobody listens any more when the run has a budget: the model
//! says only there what it cost. Invariant: what goes back to the container went past the one who hides the key.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, header};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::broker::{Shared, refusal};
use super::serve::{Body, strip_hop_by_hop, whole};
use super::usage::{Cost, Reader};

/// The longest request. Codex sends the whole conversation each time, with its images.
const REQUEST_BYTES: usize = 128 << 20;

/// The longest answer of the API that says what is wrong. It is short, and is looked through for the key.
const ERROR_BYTES: usize = 256 << 10;

/// How long the API may take to say it.
const ERROR_LIMIT: Duration = Duration::from_secs(20);

/// Pieces of an answer that wait for a slow reader.
const PIECES: usize = 16;

/// How long an answer is read on for its cost alone.
const READ_ON: Duration = Duration::from_mins(15);

type Piece = Result<Frame<Bytes>, io::Error>;

impl Shared {
    /// Passes a request on. The exchange is a task of its own, so that it can outlive the one who asked.
    pub(super) async fn pass_on(self: Arc<Self>, request: Request<Incoming>, end: CancellationToken) -> Response<Body> {
        if request.body().size_hint().lower() > REQUEST_BYTES as u64 {
            return self.refused(too_long());
        }
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return over() };
        // What others have used while this one waited counts.
        if let Some(refused) = self.refuse_by_budget(request.method()) {
            return self.refused(refused);
        }
        let (answered, answer) = oneshot::channel();
        tokio::spawn(async move {
            end.run_until_cancelled(self.exchange(request, answered)).await;
            drop(place);
        });
        answer.await.unwrap_or_else(|_| over())
    }

    async fn exchange(self: Arc<Self>, request: Request<Incoming>, mut answered: oneshot::Sender<Response<Body>>) {
        let is_counted = request.method() == Method::POST;
        let asked = self.request(request);
        self.count_request();
        let sent = tokio::select! {
            sent = asked.send() => sent,
            () = self.abandoned(answered.closed()) => return,
        };
        let (response, streamed) = match sent {
            Ok(response) if response.status().is_success() => {
                let (pieces, receiver) = mpsc::channel(PIECES);
                (self.head(&response, stream(receiver)), Some((response, pieces)))
            }
            Ok(response) => (self.error(response).await, None),
            Err(error) => (self.unreachable(error), None),
        };
        // Whoever asked may be gone; what was asked for is still to be counted.
        let _listening = answered.send(response);
        if let Some((response, pieces)) = streamed {
            self.relay(response, &pieces, is_counted).await;
        }
    }

    fn request(&self, request: Request<Incoming>) -> reqwest::RequestBuilder {
        let (head, body) = request.into_parts();
        let mut url = self.upstream.clone();
        let below = head.uri.path().strip_prefix("/v1").unwrap_or_default();
        url.set_path(&format!("{}{below}", self.upstream.path().trim_end_matches('/')));
        url.set_query(head.uri.query());
        let mut headers = head.headers;
        strip_hop_by_hop(&mut headers);
        // The length is that of the body, which is known again where it is passed on; packed answers could not be counted.
        for name in [header::HOST, header::CONTENT_LENGTH, header::ACCEPT_ENCODING] {
            headers.remove(name);
        }
        headers.insert(header::AUTHORIZATION, self.key.bearer());
        let body = reqwest::Body::wrap(Limited::new(body, REQUEST_BYTES));
        self.client.request(head.method, url).headers(headers).body(body)
    }

    /// Passes the answer on piece by piece, and reads along for what it cost.
    async fn relay(&self, mut response: reqwest::Response, pieces: &mpsc::Sender<Piece>, is_counted: bool) {
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut reader = Reader::new(content_type);
        let mut counted = !is_counted;
        let mut abandoned = pin!(self.abandoned(pieces.closed()));
        loop {
            let piece = tokio::select! {
                piece = response.chunk() => piece,
                () = &mut abandoned => break,
            };
            let passed = match piece {
                Ok(None) => break,
                Ok(Some(piece)) => {
                    reader.read(&piece);
                    // Before it is passed on: what is asked next must meet the budget as it is now.
                    if !counted && matches!(reader.found(), Cost::Known(_)) {
                        self.count(reader.found());
                        counted = true;
                    }
                    Ok(Frame::data(piece))
                }
                Err(error) => Err(io::Error::other(error.without_url())),
            };
            let is_broken = passed.is_err();
            // An answer that nobody takes any more is only counted.
            let _taken = pieces.send(passed).await;
            if is_broken {
                break;
            }
        }
        if !counted {
            self.count(reader.finish());
        }
    }

    /// Over when nobody listens any more, and there is nothing left to find out.
    async fn abandoned(&self, gone: impl Future<Output = ()>) {
        gone.await;
        if self.budget.is_some() {
            tokio::time::sleep(READ_ON).await;
        }
    }

    fn head(&self, response: &reqwest::Response, body: Body) -> Response<Body> {
        let mut passed = Response::new(body);
        *passed.status_mut() = response.status();
        *passed.headers_mut() = self.headers(response.headers().clone());
        passed
    }

    fn headers(&self, mut headers: HeaderMap) -> HeaderMap {
        strip_hop_by_hop(&mut headers);
        headers.remove(header::SET_COOKIE);
        headers.remove(header::CONTENT_LENGTH);
        self.key.hide_in_headers(&mut headers);
        headers
    }

    /// What the API has to say against the request, which may quote the key.
    async fn error(&self, mut response: reqwest::Response) -> Response<Body> {
        let mut said = Vec::new();
        let reading = async {
            while said.len() < ERROR_BYTES
                && let Ok(Some(piece)) = response.chunk().await
            {
                said.extend_from_slice(&piece);
            }
        };
        // What came until then says enough.
        let _in_time = tokio::time::timeout(ERROR_LIMIT, reading).await;
        said.truncate(ERROR_BYTES);
        self.head(&response, whole(self.key.hide_in(&said)))
    }

    fn unreachable(&self, error: reqwest::Error) -> Response<Body> {
        // The address is no secret; whatever else the error knows stays here.
        let error = error.without_url();
        if is_too_long(&error) {
            return self.refused(too_long());
        }
        tracing::warn!(%error, "the model's API could not be asked");
        let host = self.upstream.host_str().unwrap_or_default();
        refusal(StatusCode::BAD_GATEWAY, "model_unreachable", &format!("the model's API at {host} cannot be reached"))
    }
}

fn stream(receiver: mpsc::Receiver<Piece>) -> Body {
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    StreamBody::new(pieces).boxed_unsync()
}

fn is_too_long(error: &reqwest::Error) -> bool {
    std::iter::successors(error.source(), |&cause| cause.source()).any(<dyn Error>::is::<LengthLimitError>)
}

fn too_long() -> Response<Body> {
    let message = format!("the request has more than {} MiB", REQUEST_BYTES >> 20);
    refusal(StatusCode::PAYLOAD_TOO_LARGE, "request_too_long", &message)
}

fn over() -> Response<Body> {
    refusal(StatusCode::BAD_GATEWAY, "run_over", "the run is over")
}
