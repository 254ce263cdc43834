//! `/api/v1/tasks/{task_id}/push` and what belongs to it: a task's way to its remote and its forge.
//! One function per route; every decision is the engine's.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::api::{ProblemView, PublicationView, PublishTask, TaskView};

use crate::extract::{JsonBody, PathOf};
use crate::openapi::{BadBody, NotThere, Refused};
use crate::problem::ProblemResponse;
use crate::router::Api;

/// Push a task
///
/// Pushes its branch, and opens its pull request or renews the one that is open. Answers as soon as that is recorded; how it goes
/// is in the task's `publication`. Asking twice is fine.
#[utoipa::path(post, path = "/tasks/{task_id}/push", operation_id = "push_task", tag = "publish",
    params(("task_id" = String, Path, description = "The task's id")),
    request_body = PublishTask,
    responses(
        (status = 202, description = "It is recorded, and under way", body = TaskView),
        (status = 409, description = "A run is active, or there is nothing to publish", body = ProblemView,
            content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn push(
    State(api): State<Api>,
    PathOf(id): PathOf<String>,
    JsonBody(asked): JsonBody<PublishTask>,
) -> Result<impl IntoResponse, ProblemResponse> {
    Ok((StatusCode::ACCEPTED, Json(api.engine.publish_task(&id, asked).await?)))
}

/// Show a task's publication
///
/// How it stands, asked of the forge anew if that was a while ago, and what a pull request would say. Who asks is taken to have it
/// open, so it is followed for a while.
#[utoipa::path(get, path = "/tasks/{task_id}/publication", operation_id = "show_publication", tag = "publish",
    params(("task_id" = String, Path, description = "The task's id")),
    responses((status = 200, description = "The publication", body = PublicationView), Refused, NotThere))]
pub(crate) async fn show(State(api): State<Api>, PathOf(id): PathOf<String>) -> Result<Json<PublicationView>, ProblemResponse> {
    Ok(Json(api.engine.publication(&id).await?))
}

/// Send feedback to the agent
///
/// Comments of reviewers that are not resolved and the logs of failed checks, as one follow-up.
#[utoipa::path(post, path = "/tasks/{task_id}/feedback", operation_id = "send_feedback", tag = "publish",
    params(("task_id" = String, Path, description = "The task's id")),
    responses(
        (status = 201, description = "It is recorded, as a follow-up or as a run", body = TaskView),
        (status = 409, description = "There is no pull request, or nothing was said", body = ProblemView,
            content_type = "application/problem+json"),
        (status = 503, description = "The forge does not answer, or there is no worker", body = ProblemView,
            content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn feedback(State(api): State<Api>, PathOf(id): PathOf<String>) -> Result<impl IntoResponse, ProblemResponse> {
    Ok((StatusCode::CREATED, Json(api.engine.send_feedback(&id).await?)))
}
