//! `/api/v1/queue` and the follow-ups of a task: waiting work.
//!
//! One function per route. The engine makes every decision.

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use protocol::{ProblemView, QueueView, ResumeTask, TaskView};

use super::operation::{BadBody, FollowUpPath, IdempotencyHeader, NotThere, Refused, TaskPath};
use crate::caller::AsUser;
use crate::extract::{IdempotencyKey, JsonBody, PathOf};
use crate::problem::ProblemResponse;

/// Get the queue
///
/// Returns the waiting runs in the order in which they will start, and what each of them waits for.
#[utoipa::path(get, path = "/queue", operation_id = "show_queue", tag = "queue",
    responses((status = 200, description = "The queue", body = QueueView), Refused))]
pub(crate) async fn show(AsUser(user): AsUser) -> Json<QueueView> {
    Json(user.queue())
}

/// Add a follow-up
///
/// Adds a prompt that runs when all previous runs have completed. If no run is active, it runs next. Returns as soon as the follow-up is
/// recorded.
#[utoipa::path(post, path = "/tasks/{task_id}/follow-ups", operation_id = "add_follow_up", tag = "queue",
    params(TaskPath, IdempotencyHeader),
    request_body = ResumeTask,
    responses(
        (status = 201, description = "The follow-up was added to `follow_ups` or as a run, or this key has already added it", body = TaskView),
        (status = 409, description = "There is no thread to continue, or there are too many follow-ups", body = ProblemView,
            content_type = "application/problem+json"),
        (status = 503, description = "No worker is available", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn add_follow_up(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(asked): JsonBody<ResumeTask>,
) -> Result<impl IntoResponse, ProblemResponse> {
    Ok((StatusCode::CREATED, Json(user.add_follow_up(&id, asked, key).await?)))
}

/// Replace a follow-up
///
/// A follow-up that has started is a run, and cannot be replaced.
#[utoipa::path(put, path = "/tasks/{task_id}/follow-ups/{number}", operation_id = "replace_follow_up", tag = "queue",
    params(FollowUpPath),
    request_body = ResumeTask,
    responses(
        (status = 200, description = "The changed task", body = TaskView),
        (status = 409, description = "The follow-up has already started or was removed", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn replace_follow_up(
    AsUser(user): AsUser,
    PathOf((id, number)): PathOf<(String, u32)>,
    JsonBody(asked): JsonBody<ResumeTask>,
) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(user.edit_follow_up(&id, number, asked).await?))
}

/// Remove a follow-up
///
/// A follow-up that has started is a run, and continues. The request can be repeated.
#[utoipa::path(delete, path = "/tasks/{task_id}/follow-ups/{number}", operation_id = "remove_follow_up", tag = "queue",
    params(FollowUpPath),
    responses((status = 200, description = "The changed task", body = TaskView), Refused, NotThere))]
pub(crate) async fn remove_follow_up(
    AsUser(user): AsUser,
    PathOf((id, number)): PathOf<(String, u32)>,
) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(user.remove_follow_up(&id, number).await?))
}

/// Start the next follow-up
///
/// Follow-ups wait if the last run of their task did not complete. This request starts the next one anyway.
#[utoipa::path(post, path = "/tasks/{task_id}/continue", operation_id = "continue_task", tag = "queue",
    params(TaskPath),
    responses(
        (status = 201, description = "The task, with the new run at the end of its runs", body = TaskView),
        (status = 409, description = "A run is active, or there is no follow-up", body = ProblemView, content_type = "application/problem+json"),
        (status = 503, description = "No worker is available", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn continue_task(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
) -> Result<impl IntoResponse, ProblemResponse> {
    Ok((StatusCode::CREATED, Json(user.continue_task(&id).await?)))
}
