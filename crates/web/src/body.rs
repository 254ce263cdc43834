//! The time limit for request bodies: 30 seconds, and longer while data keeps arriving.
//!
//! The limit applies to every route. The size limit is set by each route, and no memory is allocated before data arrives.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};
use model::ErrorCode;
use model::problem::Problem;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::connection::Caller;
use crate::guard::wants_page;
use crate::pages::answer::PageProblem;
use crate::problem::ProblemResponse;

/// The time limit of every body.
const GRACE: Duration = Duration::from_secs(30);

/// The rate above which a body gets more time, in bytes per second.
const SLOWEST: u64 = 16 << 10;

/// Responds with an error if the body of a request arrives too slowly.
pub(crate) async fn in_time(request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>().cloned();
    if request.body().is_end_stream() {
        if let Some(caller) = caller {
            caller.asked();
        }
        return next.run(request).await;
    }
    let wants_page = wants_page(request.headers(), request.uri().path());
    let is_late = Arc::new(AtomicBool::new(false));
    let (late, begun) = (is_late.clone(), Instant::now());
    let request = request.map(|body| {
        let limit = Box::pin(sleep_until(begun + GRACE));
        Body::new(TimedBody { body, caller, begun, received: 0, limit, is_late: late })
    });
    let response = next.run(request).await;
    if !is_late.load(Ordering::Relaxed) {
        return response;
    }
    let problem =
        Problem::new(ErrorCode::BodyTooSlow, "the request body did not arrive in time").hint("retry over a faster connection");
    if wants_page {
        let mut page = PageProblem::from(problem).into_response();
        *page.status_mut() = StatusCode::REQUEST_TIMEOUT;
        return page;
    }
    ProblemResponse::with_status(StatusCode::REQUEST_TIMEOUT, problem).into_response()
}

struct TimedBody {
    body: Body,
    caller: Option<Caller>,
    begun: Instant,
    received: u64,
    limit: Pin<Box<Sleep>>,
    is_late: Arc<AtomicBool>,
}

impl TimedBody {
    /// Records that the whole request has been read.
    fn end(&mut self) {
        if let Some(caller) = self.caller.take() {
            caller.asked();
        }
    }
}

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        match Pin::new(&mut self.body).poll_frame(context) {
            Poll::Ready(Some(Ok(frame))) => {
                self.received += frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
                let more = Duration::from_secs(self.received / SLOWEST);
                let until = self.begun + GRACE + more;
                self.limit.as_mut().reset(until);
                Poll::Ready(Some(Ok(frame)))
            }
            Poll::Ready(ended) => {
                self.end();
                Poll::Ready(ended)
            }
            Poll::Pending if self.limit.as_mut().poll(context).is_ready() => {
                self.is_late.store(true, Ordering::Relaxed);
                self.end();
                let error = std::io::Error::new(std::io::ErrorKind::TimedOut, "the body did not arrive in time");
                Poll::Ready(Some(Err(axum::Error::new(error))))
            }
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::middleware::from_fn;
    use axum::routing::post;
    use futures_util::StreamExt as _;
    use tower::ServiceExt as _;

    use super::*;

    /// Sends this number of pieces, one per second. The rest of the body never arrives.
    async fn sent(bytes: usize, pieces: usize) -> (StatusCode, Duration) {
        let app = Router::new().route("/", post(async |all: Bytes| all.len().to_string())).layer(from_fn(in_time));
        let pieces = futures_util::stream::iter(0..pieces).then(move |_| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, std::io::Error>(Bytes::from(vec![b'x'; bytes]))
        });
        let body = Body::from_stream(pieces.chain(futures_util::stream::pending()));
        let begun = Instant::now();
        let response = app.oneshot(Request::post("/").body(body).expect("a request")).await.expect("the router answers");
        (response.status(), begun.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stops_or_trickles_is_ended_after_half_a_minute() {
        for (bytes, pieces) in [(0, 0), (1, 1), (1, 10_000), (100, 10_000)] {
            let (status, took) = sent(bytes, pieces).await;
            assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
            assert!(took <= GRACE + Duration::from_secs(2), "a body of {bytes} bytes per second is ended in time: {took:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_large_body_that_keeps_coming_has_its_time() {
        let (status, took) = sent(20 << 10, 90).await;
        // The limit is reached after all 90 pieces have arrived.
        assert_eq!(status, StatusCode::REQUEST_TIMEOUT);
        assert!(took > Duration::from_mins(2), "{took:?}");
    }

    #[tokio::test]
    async fn a_body_that_came_is_answered() {
        let app = Router::new().route("/", post(async |all: Bytes| all.len().to_string())).layer(from_fn(in_time));
        let response =
            app.oneshot(Request::post("/").body(Body::from("whole")).expect("a request")).await.expect("the router answers");
        assert_eq!(response.status(), StatusCode::OK);
    }
}
