//! `/api/v1/queue` and the follow-ups of a task: work that waits for its turn.
//! One function per route; every decision is the engine's.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::api::{ProblemView, QueueView, ResumeTask, TaskView};

use crate::extract::{IdempotencyKey, JsonBody, PathOf};
use crate::openapi::{BadBody, NotThere, Refused};
use crate::problem::ProblemResponse;
use crate::router::Api;

/// Show the queue
///
/// What waits, the next one first, and why.
#[utoipa::path(get, path = "/queue", operation_id = "show_queue", tag = "queue",
    responses((status = 200, description = "The queue", body = QueueView), Refused))]
pub(crate) async fn show(State(api): State<Api>) -> Json<QueueView> {
    Json(api.engine.queue())
}

/// Add a follow-up
///
/// A prompt that runs when the runs before it have ended well; at once if none is active. Answers as soon as it is recorded.
#[utoipa::path(post, path = "/tasks/{task_id}/follow-ups", operation_id = "add_follow_up", tag = "queue",
    params(("task_id" = String, Path, description = "The task's id"), ("Idempotency-Key" = Option<String>, Header,
        description = "1 to 200 visible ASCII characters. The same key with the same request adds one follow-up.")),
    request_body = ResumeTask,
    responses(
        (status = 201, description = "It is recorded, as one of `follow_ups` or as a run, or was under this key", body = TaskView),
        (status = 409, description = "There is no thread to go on in, or there are too many follow-ups", body = ProblemView,
            content_type = "application/problem+json"),
        (status = 503, description = "There is no worker that could run it", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn add_follow_up(
    State(api): State<Api>,
    PathOf(id): PathOf<String>,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(asked): JsonBody<ResumeTask>,
) -> Result<impl IntoResponse, ProblemResponse> {
    Ok((StatusCode::CREATED, Json(api.engine.add_follow_up(&id, asked, key).await?)))
}

/// Replace a follow-up
///
/// One that has begun is a run, and can no longer be replaced.
#[utoipa::path(put, path = "/tasks/{task_id}/follow-ups/{number}", operation_id = "replace_follow_up", tag = "queue",
    params(("task_id" = String, Path, description = "The task's id"), ("number" = u32, Path, description = "The follow-up's number")),
    request_body = ResumeTask,
    responses(
        (status = 200, description = "The task as it is now", body = TaskView),
        (status = 409, description = "It has begun, or was removed", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn replace_follow_up(
    State(api): State<Api>,
    PathOf((id, number)): PathOf<(String, u32)>,
    JsonBody(asked): JsonBody<ResumeTask>,
) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(api.engine.edit_follow_up(&id, number, asked).await?))
}

/// Remove a follow-up
///
/// Doing it twice is harmless. One that has begun is a run, which goes on.
#[utoipa::path(delete, path = "/tasks/{task_id}/follow-ups/{number}", operation_id = "remove_follow_up", tag = "queue",
    params(("task_id" = String, Path, description = "The task's id"), ("number" = u32, Path, description = "The follow-up's number")),
    responses((status = 200, description = "The task as it is now", body = TaskView), Refused, NotThere))]
pub(crate) async fn remove_follow_up(
    State(api): State<Api>,
    PathOf((id, number)): PathOf<(String, u32)>,
) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(api.engine.remove_follow_up(&id, number).await?))
}

/// Begin the next follow-up
///
/// For a task whose last run did not end well, so that its follow-ups wait.
#[utoipa::path(post, path = "/tasks/{task_id}/continue", operation_id = "continue_task", tag = "queue",
    params(("task_id" = String, Path, description = "The task's id")),
    responses(
        (status = 201, description = "The run is recorded, as the last one of the task", body = TaskView),
        (status = 409, description = "A run is active, or nothing waits", body = ProblemView, content_type = "application/problem+json"),
        (status = 503, description = "There is no worker that could run it", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn continue_task(
    State(api): State<Api>,
    PathOf(id): PathOf<String>,
) -> Result<impl IntoResponse, ProblemResponse> {
    Ok((StatusCode::CREATED, Json(api.engine.continue_task(&id).await?)))
}
