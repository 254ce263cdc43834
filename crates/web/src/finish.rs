//! Completes requests that change something, even if the client disconnects.
//!
//! When a connection breaks, the future that handles its request is dropped. A request that changes something must not be dropped between
//! its record and its effect, so it runs as a separate task. Requests that only read can be dropped at any time.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tokio_util::task::TaskTracker;

use crate::problem;

/// Handles a request, and completes it without its client if it changes something.
pub(crate) async fn finish(State(work): State<TaskTracker>, request: Request, next: Next) -> Response {
    if request.method().is_safe() {
        return next.run(request).await;
    }
    match work.spawn(next.run(request)).await {
        Ok(response) => response,
        Err(error) => problem::panicked(Box::new(error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::Router;
    use axum::body::Body;
    use axum::middleware::from_fn_with_state;
    use axum::routing::get;
    use tokio::sync::Notify;
    use tower::ServiceExt;

    use super::*;

    /// Disconnects while a handler waits for a signal, then sends the signal. Returns whether the handler received it.
    async fn hang_up_on(method: &str) -> bool {
        let (begun, word, heard) = (Arc::new(Notify::new()), Arc::new(Notify::new()), Arc::new(Notify::new()));
        let handler = {
            let (begun, word, heard) = (begun.clone(), word.clone(), heard.clone());
            async move || {
                begun.notify_one();
                word.notified().await;
                heard.notify_one();
            }
        };
        let tracker = TaskTracker::new();
        let app = Router::new().route("/", get(handler.clone()).post(handler)).layer(from_fn_with_state(tracker.clone(), finish));
        let request = Request::builder().method(method).uri("/").body(Body::empty()).expect("a request");
        let client = tokio::spawn(app.oneshot(request));
        begun.notified().await;
        client.abort();
        assert!(client.await.expect_err("the client's request is cancelled").is_cancelled());
        word.notify_one();
        tracker.close();
        tracker.wait().await;
        futures_util::FutureExt::now_or_never(heard.notified()).is_some()
    }

    #[tokio::test]
    async fn a_change_is_finished_without_its_client() {
        assert!(hang_up_on("POST").await);
    }

    #[tokio::test]
    async fn reading_ends_with_its_client() {
        assert!(!hang_up_on("GET").await);
    }
}
