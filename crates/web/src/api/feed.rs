//! `/api/v1/events`: what changed, numbered, as it changes.
//! A slow reader is the stream's own affair; nothing is kept for it here.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::StreamExt;
use model::api::{FeedQuery, ProblemView};

use crate::extract::{QueryOf, resume_point};
use crate::openapi::Refused;
use crate::problem::ProblemResponse;
use crate::router::Api;
use crate::sse::{self, json_event};

/// Follow all changes
///
/// Server-sent events: one message per change of state, a `FeedEvent` with its number as `id`. It has no end. After a `reset`, events
/// are missing: read the lists anew.
#[utoipa::path(get, path = "/events", operation_id = "follow_changes", tag = "server",
    params(
        FeedQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The same, from a client that reconnects; goes before `after`"),
    ),
    responses(
        (status = 200, description = "The stream", body = String, content_type = "text/event-stream"),
        (status = 422, description = "A number that cannot be used", body = ProblemView, content_type = "application/problem+json"),
        Refused,
    ))]
pub(crate) async fn events(
    State(api): State<Api>,
    QueryOf(query): QueryOf<FeedQuery>,
    headers: HeaderMap,
) -> Result<Response, ProblemResponse> {
    let after = resume_point(&headers, query.after)?;
    let changes = api.engine.feed(after).map(|(number, change)| json_event(&change).id(number.to_string()));
    Ok(sse::answer(changes, api.closing))
}
