//! `/api/v1/tasks`: asked-for work, and what came of it.
//! One function per route; every decision is the engine's.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::Changes;
use model::api::{AnswerTask, CreateTask, DiffFormat, DiffQuery, Page, ProblemView, ResumeTask, TaskQuery, TaskView};
use model::diff::Diff;

use crate::extract::{IdempotencyKey, JsonBody, PathOf, QueryOf, run_number};
use crate::openapi::{BadBody, NotThere, Refused};
use crate::problem::ProblemResponse;
use crate::router::Api;

/// Create a task
///
/// Answers as soon as it is recorded; its first run begins by itself.
#[utoipa::path(post, path = "/tasks", operation_id = "create_task", tag = "tasks",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "1 to 200 visible ASCII characters. The same key with the same request answers the same task.")),
    request_body = CreateTask,
    responses(
        (status = 201, description = "It is recorded", body = TaskView, headers(("Location" = String, description = "Its address"))),
        (status = 200, description = "This key has already created this task", body = TaskView,
            headers(("Location" = String, description = "Its address"))),
        (status = 409, description = "The environment is not ready, its runs could not reach the model, or the key belongs to another request", body = ProblemView,
            content_type = "application/problem+json"),
        (status = 503, description = "There is no worker that could run it", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn create(
    State(api): State<Api>,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(new): JsonBody<CreateTask>,
) -> Result<impl IntoResponse, ProblemResponse> {
    let (view, created) = api.engine.create_task(new, key).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let location = format!("/api/v1/tasks/{}", view.meta.task_id);
    Ok((status, [(header::LOCATION, location)], Json(view)))
}

/// List tasks
///
/// One page, newest first. `group=queued` lists the tasks in the order in which they will start.
#[utoipa::path(get, path = "/tasks", operation_id = "list_tasks", tag = "tasks",
    params(TaskQuery),
    responses(
        (status = 200, description = "The page", body = Page<TaskView>),
        (status = 422, description = "A parameter that cannot be used", body = ProblemView, content_type = "application/problem+json"),
        Refused,
    ))]
pub(crate) async fn list(
    State(api): State<Api>,
    QueryOf(query): QueryOf<TaskQuery>,
) -> Result<Json<Page<TaskView>>, ProblemResponse> {
    Ok(Json(api.engine.tasks(&query)?))
}

/// Show a task
#[utoipa::path(get, path = "/tasks/{task_id}", operation_id = "show_task", tag = "tasks",
    params(("task_id" = String, Path, description = "The task's id")),
    responses((status = 200, description = "The task and its runs", body = TaskView), Refused, NotThere))]
pub(crate) async fn show(State(api): State<Api>, PathOf(id): PathOf<String>) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(api.engine.task(&id)?))
}

/// Remove a task
///
/// Its run is ended first. Answers when all of it is gone; doing it twice is harmless.
#[utoipa::path(delete, path = "/tasks/{task_id}", operation_id = "remove_task", tag = "tasks",
    params(("task_id" = String, Path, description = "The task's id")),
    responses((status = 204, description = "It is gone"), Refused, NotThere))]
pub(crate) async fn remove(State(api): State<Api>, PathOf(id): PathOf<String>) -> Result<StatusCode, ProblemResponse> {
    api.engine.remove_task(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Resume a task
///
/// Adds a run that goes on in the task's thread. Answers as soon as it is recorded.
#[utoipa::path(post, path = "/tasks/{task_id}/resume", operation_id = "resume_task", tag = "tasks",
    params(("task_id" = String, Path, description = "The task's id"), ("Idempotency-Key" = Option<String>, Header,
        description = "1 to 200 visible ASCII characters. The same key with the same request adds one run.")),
    request_body = ResumeTask,
    responses(
        (status = 201, description = "The run is recorded, as the last one of the task, or was under this key", body = TaskView),
        (status = 409, description = "A run is active, or there is no thread to go on in", body = ProblemView,
            content_type = "application/problem+json"),
        (status = 503, description = "There is no worker that could run it", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn resume(
    State(api): State<Api>,
    PathOf(id): PathOf<String>,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(asked): JsonBody<ResumeTask>,
) -> Result<impl IntoResponse, ProblemResponse> {
    Ok((StatusCode::CREATED, Json(api.engine.resume_task(&id, asked, key).await?)))
}

/// Retry a task
///
/// Adds a run to a task whose last run failed or was interrupted. The run continues the thread; if Codex never started one, the
/// run gets the same prompt and images again.
#[utoipa::path(post, path = "/tasks/{task_id}/retry", operation_id = "retry_task", tag = "tasks",
    params(("task_id" = String, Path, description = "The task's id"), ("Idempotency-Key" = Option<String>, Header,
        description = "1 to 200 visible ASCII characters. The same key adds one run.")),
    responses(
        (status = 201, description = "The run is recorded, as the last one of the task, or was under this key", body = TaskView),
        (status = 409, description = "A run is active, or the last run did not fail", body = ProblemView,
            content_type = "application/problem+json"),
        (status = 422, description = "The key was used for another request", body = ProblemView, content_type = "application/problem+json"),
        (status = 503, description = "There is no worker that could run it", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn retry(
    State(api): State<Api>,
    PathOf(id): PathOf<String>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<impl IntoResponse, ProblemResponse> {
    Ok((StatusCode::CREATED, Json(api.engine.retry_task(&id, key).await?)))
}

/// Answer a task's question
///
/// A task asks before its run starts if its branch has submodules from URLs that nobody trusts yet. `fetch` allows them for every task
/// of the repository, `skip` leaves them empty.
#[utoipa::path(post, path = "/tasks/{task_id}/answer", operation_id = "answer_task", tag = "tasks",
    params(("task_id" = String, Path, description = "The task's id")),
    request_body = AnswerTask,
    responses(
        (status = 200, description = "The task as it is now", body = TaskView),
        (status = 409, description = "The task asks nothing, or something else", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn answer(
    State(api): State<Api>,
    PathOf(id): PathOf<String>,
    JsonBody(asked): JsonBody<AnswerTask>,
) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(api.engine.answer_task(&id, &asked).await?))
}

/// Stop a task
///
/// Ends the active run. Answers at once, with the status `stopping` or what it is; doing it twice is harmless.
#[utoipa::path(post, path = "/tasks/{task_id}/stop", operation_id = "stop_task", tag = "tasks",
    params(("task_id" = String, Path, description = "The task's id")),
    responses((status = 200, description = "The task as it is now", body = TaskView), Refused, NotThere))]
pub(crate) async fn stop(State(api): State<Api>, PathOf(id): PathOf<String>) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(api.engine.stop_task(&id).await?))
}

/// Archive a task
///
/// Puts a task that has ended out of the lists, with all that it has. Doing it twice is harmless; another run brings it back.
#[utoipa::path(post, path = "/tasks/{task_id}/archive", operation_id = "archive_task", tag = "tasks",
    params(("task_id" = String, Path, description = "The task's id")),
    responses(
        (status = 200, description = "The task as it is now", body = TaskView),
        (status = 409, description = "A run is active", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn archive(State(api): State<Api>, PathOf(id): PathOf<String>) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(api.engine.archive_task(&id).await?))
}

/// Bring a task back into the lists
///
/// Doing it twice is harmless.
#[utoipa::path(post, path = "/tasks/{task_id}/unarchive", operation_id = "unarchive_task", tag = "tasks",
    params(("task_id" = String, Path, description = "The task's id")),
    responses((status = 200, description = "The task as it is now", body = TaskView), Refused, NotThere))]
pub(crate) async fn unarchive(State(api): State<Api>, PathOf(id): PathOf<String>) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(api.engine.unarchive_task(&id).await?))
}

/// Show a diff
///
/// What the task, or one run of it, changed.
#[utoipa::path(get, path = "/tasks/{task_id}/diff", operation_id = "show_diff", tag = "tasks",
    params(("task_id" = String, Path, description = "The task's id"), DiffQuery),
    responses(
        (status = 200, description = "The diff", content(
            (Diff = "application/json"),
            (String = "text/x-diff; charset=utf-8"),
        )),
        (status = 409, description = "There is nothing to compare yet", body = ProblemView, content_type = "application/problem+json"),
        (status = 422, description = "A parameter that cannot be used", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn diff(
    State(api): State<Api>,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf<DiffQuery>,
) -> Result<Response, ProblemResponse> {
    let run = query.run.as_deref().map(run_number).transpose()?.map(Changes::Run);
    let changes = run.unwrap_or(if query.since_viewed { Changes::SinceViewed } else { Changes::All });
    Ok(match query.format {
        DiffFormat::Json => Json(api.engine.diff(&id, changes).await?).into_response(),
        DiffFormat::Patch => {
            let patch = api.engine.patch(&id, changes).await?;
            ([(header::CONTENT_TYPE, "text/x-diff; charset=utf-8")], patch).into_response()
        }
    })
}
