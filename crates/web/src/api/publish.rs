//! `/api/v1/tasks/{task_id}/push` and related paths: pushes and pull requests.
//!
//! One function per route. The engine makes every decision.

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use protocol::{ProblemView, PublicationView, PublishTask, TaskView};

use super::operation::{BadBody, NotThere, Refused, TaskPath};
use crate::caller::AsUser;
use crate::extract::{JsonBody, PathOf};
use crate::problem::ProblemResponse;

/// Push a task
///
/// Pushes the task's branch. With `pull_request`, also creates the pull request, or updates the open one. Returns as soon as the request
/// is recorded; the field `publication` of the task shows the progress. The request can be repeated.
#[utoipa::path(post, path = "/tasks/{task_id}/push", operation_id = "push_task", tag = "publish",
    params(TaskPath),
    request_body = PublishTask,
    responses(
        (status = 202, description = "The push was recorded and will run", body = TaskView),
        (status = 409, description = "A run is active, or there is nothing to push", body = ProblemView,
            content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn push(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    JsonBody(asked): JsonBody<PublishTask>,
) -> Result<impl IntoResponse, ProblemResponse> {
    Ok((StatusCode::ACCEPTED, Json(user.publish_task(&id, asked).await?)))
}

/// Get the pull request of a task
///
/// Returns the state of the last push and of the pull request, and a preview of the next pull request. The state is read from the Git
/// host again if it is old. After this request, the server follows the pull request for a while.
#[utoipa::path(get, path = "/tasks/{task_id}/publication", operation_id = "show_publication", tag = "publish",
    params(TaskPath),
    responses((status = 200, description = "The pull request, and a preview of the next one", body = PublicationView), Refused, NotThere))]
pub(crate) async fn show(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<Json<PublicationView>, ProblemResponse> {
    Ok(Json(user.publication(&id).await?))
}

/// Send feedback to Codex
///
/// Sends unresolved review comments and the logs of failed checks to Codex as one follow-up.
#[utoipa::path(post, path = "/tasks/{task_id}/feedback", operation_id = "send_feedback", tag = "publish",
    params(TaskPath),
    responses(
        (status = 201, description = "The feedback was added as a follow-up or as a run", body = TaskView),
        (status = 409, description = "There is no pull request, or no feedback", body = ProblemView,
            content_type = "application/problem+json"),
        (status = 503, description = "The Git host does not respond, or no worker is available", body = ProblemView,
            content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn feedback(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<impl IntoResponse, ProblemResponse> {
    Ok((StatusCode::CREATED, Json(user.send_feedback(&id).await?)))
}
