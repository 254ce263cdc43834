//! Passes a request on to the model's API, and its response back to the container.
//!
//! Responses are streamed, and so are requests that need no check. If the run has a budget, a response is read to its end even if
//! the client is gone, because the model reports the cost only at the end. Invariant: every response is uncompressed and passes
//! through the filter that hides the key.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::HeaderValue;
use hyper::{HeaderMap, Method, Request, Response, StatusCode, header};
use model::ErrorCode;
use model::container::HostedTools;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::broker::{Shared, refusal};
use super::hosted::{self, Unchecked};
use super::secret::Veil;
use super::serve::{Body, whole};
use super::usage::{Cost, Reader};

/// The size limit for requests. Codex sends the whole conversation each time, including images.
const REQUEST_BYTES: usize = 128 << 20;

/// The size limit for requests that are held in memory to be checked.
const CHECKED_BYTES: usize = 64 << 20;

/// The time limit for reading a request that is checked.
const BODY_LIMIT: Duration = Duration::from_mins(1);

/// The query parameters that pass.
const QUERY: &[&str] = &["client_version", "api-version"];

/// The size limit for an error response of the API. It is held in memory while the key is filtered out.
const ERROR_BYTES: usize = 256 << 10;

/// The time limit for reading an error response.
const ERROR_LIMIT: Duration = Duration::from_secs(20);

/// The number of pieces of a response that are buffered for a slow reader.
const PIECES: usize = 16;

/// How long the broker keeps reading a response for its cost after the client is gone.
const READ_ON: Duration = Duration::from_mins(15);

type Piece = Result<Frame<Bytes>, io::Error>;

/// A request that is ready to be sent, and the permit for the memory that its body uses until then.
struct PreparedRequest {
    request: reqwest::RequestBuilder,
    room: Option<OwnedSemaphorePermit>,
}

/// Whether the tokens of a response count towards the budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Metering {
    Tokens,
    Off,
}

impl Shared {
    /// Passes a request on. The exchange runs in its own task, so that it can continue after the client is gone.
    pub(super) async fn pass_on(self: Arc<Self>, request: Request<Incoming>, end: CancellationToken) -> Response<Body> {
        if request.body().size_hint().lower() > REQUEST_BYTES as u64 {
            return self.refused(too_long(REQUEST_BYTES));
        }
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else { return over() };
        // Check again, because other requests may have used up the budget while this one waited.
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
        let metering = if request.method() == Method::POST { Metering::Tokens } else { Metering::Off };
        let asked = tokio::select! {
            asked = self.request(request) => asked,
            () = answered.closed() => return,
        };
        let PreparedRequest { request, room } = match asked {
            Ok(asked) => asked,
            Err(refused) => {
                let _listening = answered.send(self.refused(refused));
                return;
            }
        };
        self.count_request();
        let sent = tokio::select! {
            sent = request.send() => sent,
            () = self.abandoned(answered.closed()) => return,
        };
        drop(room);
        let (response, streamed) = match sent {
            Ok(response) if is_encoded(response.headers()) => (encoded(), None),
            Ok(response) if response.status().is_success() => {
                let (pieces, receiver) = mpsc::channel(PIECES);
                (self.head(&response, stream(receiver)), Some((response, pieces)))
            }
            Ok(response) => (self.error(response).await, None),
            Err(error) => (self.unreachable(error), None),
        };
        // The client may be gone, but the response must still be counted.
        let _listening = answered.send(response);
        if let Some((response, pieces)) = streamed {
            self.relay(response, &pieces, metering).await;
        }
    }

    /// Builds the request to the model's API. Fails with the response for a refused request.
    async fn request(&self, request: Request<Incoming>) -> Result<PreparedRequest, Response<Body>> {
        let (head, body) = request.into_parts();
        let mut url = self.upstream.clone();
        let below = head.uri.path().strip_prefix("/v1").unwrap_or_default();
        url.set_path(&format!("{}{below}", self.upstream.path().trim_end_matches('/')));
        let query: Vec<_> = head.uri.query().unwrap_or_default().split('&').filter(|pair| passes_in_query(pair)).collect();
        url.set_query(Some(query.join("&")).filter(|query| !query.is_empty()).as_deref());
        let mut headers = super::headers::of_request(head.headers.clone());
        headers.insert(header::AUTHORIZATION, self.key.bearer());
        // In a compressed response, tokens could not be counted and the key could not be found.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let (body, room) = match (&head.method, self.hosted_tools) {
            (&Method::POST, HostedTools::Deny) => {
                let (body, room) = self.checked(&head.headers, head.uri.path(), body).await?;
                headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
                (Some(body.into()), Some(room))
            }
            (&Method::POST, HostedTools::Allow) => {
                for encoding in head.headers.get_all(header::CONTENT_ENCODING) {
                    headers.append(header::CONTENT_ENCODING, encoding.clone());
                }
                (Some(reqwest::Body::wrap(Limited::new(body, REQUEST_BYTES))), None)
            }
            // No other allowed request has a body.
            _ => (None, None),
        };
        let mut request = self.client.request(head.method, url).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        Ok(PreparedRequest { request, room })
    }

    /// Reads a complete request, and removes hosted tools and remote references.
    async fn checked(
        &self,
        headers: &HeaderMap,
        path: &str,
        body: Incoming,
    ) -> Result<(Vec<u8>, OwnedSemaphorePermit), Response<Body>> {
        hosted::check_headers(headers).map_err(|why| unchecked(&why))?;
        let size = body.size_hint().exact().and_then(|size| usize::try_from(size).ok()).unwrap_or(CHECKED_BYTES);
        if size > CHECKED_BYTES {
            return Err(too_long(CHECKED_BYTES));
        }
        let mebibytes = u32::try_from(size.div_ceil(1 << 20).max(1)).unwrap_or(u32::MAX);
        let room = Arc::clone(&self.room).acquire_many_owned(mebibytes).await.map_err(|_| over())?;
        let read = tokio::time::timeout(BODY_LIMIT, Limited::new(body, CHECKED_BYTES).collect()).await;
        let body = match read {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_long(CHECKED_BYTES)),
            Ok(Err(_)) => return Err(broken_off()),
            Err(_) => {
                return Err(refusal(
                    StatusCode::REQUEST_TIMEOUT,
                    ErrorCode::RequestTimeout,
                    "the request did not arrive in time",
                ));
            }
        };
        let turn = Arc::clone(&self.checking).acquire_owned().await.map_err(|_| over())?;
        let path = path.to_owned();
        // The client may be gone before the check ends, but the memory is in use until then. So both permits move into the task.
        let checking = tokio::task::spawn_blocking(move || {
            let checked = hosted::check(&path, &body);
            drop(turn);
            (checked, room)
        });
        let (checked, room) = checking.await.map_err(|_| over())?;
        let checked = checked.map_err(|why| unchecked(&why))?;
        self.notes.note(checked.removed);
        Ok((checked.body, room))
    }

    /// Passes the response on piece by piece, and counts its tokens.
    async fn relay(&self, mut response: reqwest::Response, pieces: &mpsc::Sender<Piece>, metering: Metering) {
        let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let mut reader = Reader::new(content_type);
        let mut counted = metering == Metering::Off;
        let mut veil = Some(self.key.veil());
        let mut abandoned = pin!(self.abandoned(pieces.closed()));
        loop {
            let piece = tokio::select! {
                piece = response.chunk() => piece,
                () = &mut abandoned => break,
            };
            let passed = match piece {
                Ok(None) => {
                    let rest = veil.take().map(Veil::end).unwrap_or_default();
                    if !rest.is_empty() {
                        let _taken = pieces.send(Ok(Frame::data(rest))).await;
                    }
                    break;
                }
                Ok(Some(piece)) => {
                    reader.read(&piece);
                    // Count before passing on, so that the client's next request is checked against the new total.
                    if !counted && matches!(reader.found(), Cost::Known(_)) {
                        self.count(reader.found());
                        counted = true;
                    }
                    let shown = veil.as_mut().map(|veil| veil.pass(piece)).unwrap_or_default();
                    if shown.is_empty() {
                        continue;
                    }
                    Ok(Frame::data(shown))
                }
                Err(error) => Err(io::Error::other(error.without_url())),
            };
            let is_broken = passed.is_err();
            // If the client is gone, the response is only counted.
            let _taken = pieces.send(passed).await;
            if is_broken {
                break;
            }
        }
        if !counted {
            self.count(reader.finish());
        }
    }

    /// Completes when the client is gone. If there is a budget, waits longer, so that the cost can still be read.
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

    fn headers(&self, headers: HeaderMap) -> HeaderMap {
        let mut headers = super::headers::of_answer(headers);
        self.key.hide_in_headers(&mut headers);
        headers
    }

    /// Returns an error response of the API, with the key hidden, because an error message can quote the key.
    async fn error(&self, mut response: reqwest::Response) -> Response<Body> {
        let mut said = Vec::new();
        let mut veil = self.key.veil();
        let reading = async {
            while said.len() < ERROR_BYTES {
                match response.chunk().await {
                    Ok(Some(piece)) => said.extend_from_slice(&veil.pass(piece)),
                    Ok(None) => return Some(()),
                    Err(_) => return None,
                }
            }
            None
        };
        // An incomplete response is still passed on, but without bytes at its end that may be the start of the key.
        if let Ok(Some(())) = tokio::time::timeout(ERROR_LIMIT, reading).await {
            said.extend_from_slice(&veil.end());
        }
        self.head(&response, whole(said))
    }

    fn unreachable(&self, error: reqwest::Error) -> Response<Body> {
        // The response may show the host, but no other part of the URL.
        let error = error.without_url();
        if is_too_long(&error) {
            return self.refused(too_long(REQUEST_BYTES));
        }
        tracing::warn!(%error, "could not reach the model's API");
        let host = self.upstream.host_str().unwrap_or_default();
        refusal(StatusCode::BAD_GATEWAY, ErrorCode::ModelUnreachable, &format!("cannot reach the model's API at {host}"))
    }
}

fn stream(receiver: mpsc::Receiver<Piece>) -> Body {
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    StreamBody::new(pieces).boxed_unsync()
}

fn is_too_long(error: &reqwest::Error) -> bool {
    std::iter::successors(error.source(), |&cause| cause.source()).any(<dyn Error>::is::<LengthLimitError>)
}

/// Returns whether a response is compressed although the request did not allow it.
fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(header::CONTENT_ENCODING).iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

fn encoded() -> Response<Body> {
    let message =
        "the model's API sent a compressed response, which cannot be checked; the request asked for an uncompressed one";
    refusal(StatusCode::BAD_GATEWAY, ErrorCode::ModelAnswerEncoded, message)
}

/// Returns whether a `name=value` pair of a query passes.
fn passes_in_query(pair: &str) -> bool {
    let plain = |value: &str| value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    pair.split_once('=').is_some_and(|(name, value)| QUERY.contains(&name) && plain(value))
}

fn unchecked(why: &Unchecked) -> Response<Body> {
    refusal(why.status(), why.code(), &why.to_string())
}

fn broken_off() -> Response<Body> {
    refusal(StatusCode::BAD_REQUEST, ErrorCode::RequestBrokenOff, "the request was interrupted")
}

fn too_long(limit: usize) -> Response<Body> {
    let message = format!("the request is larger than {} MiB", limit >> 20);
    refusal(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::RequestTooLong, &message)
}

fn over() -> Response<Body> {
    refusal(StatusCode::BAD_GATEWAY, ErrorCode::RunOver, "the run has ended")
}
