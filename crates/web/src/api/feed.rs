//! `/api/v1/events`: the feed of changes.
//!
//! Nothing is buffered here for slow readers.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use futures_util::StreamExt;
use protocol::FeedQuery;

use super::operation::{BadQuery, LastEventId, Refused};
use crate::caller::AsUser;
use crate::extract::{QueryOf, resume_point};
use crate::problem::ProblemResponse;
use crate::sse::{self, json_event};
use crate::state::Api;

/// Stream changes
///
/// Sends server-sent events: one `FeedEvent` per change of state, with its number as `id`. The stream does not end. After a `reset`, some
/// events are missing, so read the lists again.
#[utoipa::path(get, path = "/events", operation_id = "follow_changes", tag = "server",
    params(
        FeedQuery,
        LastEventId,
    ),
    responses(
        (status = 200, description = "The stream", body = String, content_type = "text/event-stream"),
        Refused, BadQuery,
    ))]
pub(crate) async fn events(
    State(api): State<Api>,
    AsUser(user): AsUser,
    QueryOf(query): QueryOf<FeedQuery>,
    headers: HeaderMap,
) -> Result<Response, ProblemResponse> {
    let after = resume_point(&headers, query.after)?;
    let changes = user.feed(after).map(|(number, change)| json_event(&change).id(number.to_string()));
    Ok(sse::answer(changes, api.closing))
}
