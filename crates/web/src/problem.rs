//! Error responses of the API: `application/problem+json` (RFC 9457).
//!
//! Only this file turns an error into a response. Invariant: every response with a status of 400 or more has this format, whether it comes
//! from a handler, an extractor, a layer, an unknown route or a panic.

use std::any::Any;

use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use model::ErrorCode;
use model::problem::Problem;
use protocol::ProblemView;

/// The media type of a problem.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A response with a problem.
#[derive(Debug)]
pub(crate) struct ProblemResponse {
    problem: Problem,
    /// A status that is more specific than that of the problem's kind.
    status: Option<StatusCode>,
    headers: HeaderMap,
}

impl ProblemResponse {
    /// Creates a response with its own status, such as 405.
    pub(crate) fn with_status(status: StatusCode, problem: Problem) -> Self {
        Self { problem, status: Some(status), headers: HeaderMap::new() }
    }

    /// Adds a header to the response.
    pub(crate) fn header(mut self, name: header::HeaderName, value: header::HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }
}

impl From<Problem> for ProblemResponse {
    fn from(problem: Problem) -> Self {
        Self { problem, status: None, headers: HeaderMap::new() }
    }
}

impl IntoResponse for ProblemResponse {
    fn into_response(self) -> Response {
        let mut view = ProblemView::from(&self.problem);
        if let Some(status) = self.status {
            view.status = status.as_u16();
            status.canonical_reason().unwrap_or_default().clone_into(&mut view.title);
        }
        if view.status == 500 {
            tracing::error!(code = view.code.as_str(), detail = view.detail, "request failed");
        }
        let status = StatusCode::from_u16(view.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&view).expect("the problem can be written as JSON");
        (status, self.headers, [(header::CONTENT_TYPE, PROBLEM_JSON)], body).into_response()
    }
}

/// Responds to an unknown path.
pub(crate) async fn no_route(uri: Uri) -> ProblemResponse {
    Problem::new(ErrorCode::NoSuchRoute, format!("route not found: {}", shown(uri.path())))
        .hint("`GET /api/v1/openapi.json` lists every route")
        .into()
}

/// Responds to a method that a path does not support.
pub(crate) async fn no_method(method: axum::http::Method, uri: Uri) -> ProblemResponse {
    let detail = format!("{} does not support {}", shown(uri.path()), shown(method.as_str()));
    let problem = Problem::new(ErrorCode::MethodNotAllowed, detail).hint("the `Allow` header lists the supported methods");
    ProblemResponse::with_status(StatusCode::METHOD_NOT_ALLOWED, problem)
}

/// Responds after a handler panicked, so that the connection stays open.
#[expect(clippy::needless_pass_by_value, reason = "panics are passed as this box")]
pub(crate) fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let message = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    tracing::error!(panic = message.unwrap_or("no message"), "request handler panicked");
    ProblemResponse::from(Problem::internal("internal server error")).into_response()
}

/// Returns untrusted text, cut to a length that fits a message.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 200;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use model::problem::ProblemKind;

    use super::*;

    async fn body(response: Response) -> ProblemView {
        assert_eq!(response.headers()[header::CONTENT_TYPE], PROBLEM_JSON);
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("the body can be read");
        serde_json::from_slice(&bytes).expect("a problem")
    }

    #[tokio::test]
    async fn every_kind_of_problem_has_its_status() {
        for (kind, status) in [
            (ProblemKind::Malformed, 400),
            (ProblemKind::Unauthenticated, 401),
            (ProblemKind::Forbidden, 403),
            (ProblemKind::NotFound, 404),
            (ProblemKind::WrongState, 409),
            (ProblemKind::TooLarge, 413),
            (ProblemKind::Unusable, 422),
            (ProblemKind::TooMany, 429),
            (ProblemKind::Internal, 500),
            (ProblemKind::Unavailable, 503),
        ] {
            let problem = Problem::new(ErrorCode::RunActive, "what went wrong").with_kind(kind).hint("what to do");
            let response = ProblemResponse::from(problem).into_response();
            assert_eq!(response.status(), status);
            let view = body(response).await;
            assert_eq!((view.status, view.code.known()), (status, Some(ErrorCode::RunActive)));
            assert_eq!((view.detail.as_str(), view.hints), ("what went wrong", vec!["what to do".to_owned()]));
        }
    }

    #[tokio::test]
    async fn a_status_of_http_itself_wins_over_the_kind() {
        let problem = Problem::new(ErrorCode::MethodNotAllowed, "no");
        let response = ProblemResponse::with_status(StatusCode::RANGE_NOT_SATISFIABLE, problem)
            .header(header::CONTENT_RANGE, header::HeaderValue::from_static("bytes */3"))
            .into_response();
        assert_eq!(response.headers()[header::CONTENT_RANGE], "bytes */3");
        let view = body(response).await;
        assert_eq!((view.status, view.title.as_str()), (416, "Range Not Satisfiable"));
    }

    #[tokio::test]
    async fn a_panic_tells_the_client_nothing_of_its_inside() {
        let view = body(panicked(Box::new("token 1234".to_owned()))).await;
        assert_eq!((view.status, view.code.known()), (500, Some(ErrorCode::Internal)));
        assert!(!view.detail.contains("1234"), "{}", view.detail);
    }

    #[test]
    fn long_foreign_text_is_cut_between_characters() {
        assert_eq!(shown("short"), "short");
        let cut = shown(&"ä".repeat(5000));
        assert_eq!(cut.chars().count(), 201);
        assert!(cut.ends_with('…'));
    }
}
