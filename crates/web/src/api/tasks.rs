//! `/api/v1/tasks`: tasks and their changes.
//!
//! One function per route. The engine makes every decision.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::Changes;
use model::diff::Diff;
use protocol::{AnswerTask, CommitFiles, CreateTask, DiffFormat, DiffQuery, Page, ProblemView, ResumeTask, TaskQuery, TaskView};

use super::operation::{BadBody, BadQuery, IdempotencyHeader, NotThere, Refused, TaskPath};
use crate::caller::AsUser;
use crate::extract::{IdempotencyKey, JsonBody, PathOf, QueryOf, run_number};
use crate::problem::ProblemResponse;

/// Create a task
///
/// Returns as soon as the task is recorded. Its first run starts automatically.
#[utoipa::path(post, path = "/tasks", operation_id = "create_task", tag = "tasks",
    params(IdempotencyHeader),
    request_body = CreateTask,
    responses(
        (status = 201, description = "The new task", body = TaskView, headers(("Location" = String, description = "Path of the task"))),
        (status = 200, description = "The task that this key has already created", body = TaskView,
            headers(("Location" = String, description = "Path of the task"))),
        (status = 409, description = "The repository is not ready, or its runs cannot reach the model", body = ProblemView,
            content_type = "application/problem+json"),
        (status = 503, description = "No worker is available", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn create(
    AsUser(user): AsUser,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(new): JsonBody<CreateTask>,
) -> Result<impl IntoResponse, ProblemResponse> {
    let (view, created) = user.create_task(new, key).await?;
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let location = format!("/api/v1/tasks/{}", view.task_id);
    Ok((status, [(header::LOCATION, location)], Json(view)))
}

/// List tasks
///
/// Returns one page, newest first. With `group=queued`, tasks are in the order in which they will start.
#[utoipa::path(get, path = "/tasks", operation_id = "list_tasks", tag = "tasks",
    params(TaskQuery),
    responses(
        (status = 200, description = "A page of tasks", body = Page<TaskView>),
        Refused, BadQuery,
    ))]
pub(crate) async fn list(
    AsUser(user): AsUser,
    QueryOf(query): QueryOf<TaskQuery>,
) -> Result<Json<Page<TaskView>>, ProblemResponse> {
    Ok(Json(user.tasks(&query)?))
}

/// Get a task
#[utoipa::path(get, path = "/tasks/{task_id}", operation_id = "show_task", tag = "tasks",
    params(TaskPath),
    responses((status = 200, description = "The task with its runs", body = TaskView), Refused, NotThere))]
pub(crate) async fn show(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(user.task(&id)?))
}

/// Remove a task
///
/// Stops the active run, moves the task to the trash, and returns when that is done. The request can be repeated.
#[utoipa::path(delete, path = "/tasks/{task_id}", operation_id = "remove_task", tag = "tasks",
    params(TaskPath),
    responses((status = 204, description = "The task was removed"), Refused, NotThere))]
pub(crate) async fn remove(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<StatusCode, ProblemResponse> {
    user.remove_task(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Resume a task
///
/// Adds a run that continues the task's thread with a new prompt. Returns as soon as the run is recorded.
#[utoipa::path(post, path = "/tasks/{task_id}/resume", operation_id = "resume_task", tag = "tasks",
    params(TaskPath, IdempotencyHeader),
    request_body = ResumeTask,
    responses(
        (status = 201, description = "The task, with the new run at the end of its runs, or with the run that this key has already added", body = TaskView),
        (status = 409, description = "A run is active, or there is no thread to continue", body = ProblemView,
            content_type = "application/problem+json"),
        (status = 503, description = "No worker is available", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn resume(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    IdempotencyKey(key): IdempotencyKey,
    JsonBody(asked): JsonBody<ResumeTask>,
) -> Result<impl IntoResponse, ProblemResponse> {
    Ok((StatusCode::CREATED, Json(user.resume_task(&id, asked, key).await?)))
}

/// Retry a task
///
/// Adds a run to a task whose last run failed or was interrupted. The run continues the thread; if Codex never started one, the
/// run gets the same prompt and images again.
#[utoipa::path(post, path = "/tasks/{task_id}/retry", operation_id = "retry_task", tag = "tasks",
    params(TaskPath, IdempotencyHeader),
    responses(
        (status = 201, description = "The task, with the new run at the end of its runs, or with the run that this key has already added", body = TaskView),
        (status = 409, description = "A run is active, or the last run did not fail", body = ProblemView,
            content_type = "application/problem+json"),
        (status = 422, description = "The key was used for another request", body = ProblemView, content_type = "application/problem+json"),
        (status = 503, description = "No worker is available", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn retry(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<impl IntoResponse, ProblemResponse> {
    Ok((StatusCode::CREATED, Json(user.retry_task(&id, key).await?)))
}

/// Answer the question of a task
///
/// A task asks before its run starts if its branch has submodules from URLs that are not trusted yet. `fetch` trusts them for all tasks of
/// the repository, and `skip` leaves them empty. A task with held files asks whether to `commit` or `ignore` them. Ignored files stay in
/// the worktree and are not committed by later runs.
#[utoipa::path(post, path = "/tasks/{task_id}/answer", operation_id = "answer_task", tag = "tasks",
    params(TaskPath),
    request_body = AnswerTask,
    responses(
        (status = 200, description = "The changed task", body = TaskView),
        (status = 409, description = "The task has no question, or another one", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn answer(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    JsonBody(asked): JsonBody<AnswerTask>,
) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(user.answer_task(&id, &asked).await?))
}

/// Commit files of a task
///
/// Commits files and folders of the task's worktree that a run omitted, that are ignored, or that are held. Not possible while a run is
/// active.
#[utoipa::path(post, path = "/tasks/{task_id}/commit", operation_id = "commit_files", tag = "tasks",
    params(TaskPath),
    request_body = CommitFiles,
    responses(
        (status = 200, description = "The changed task", body = TaskView),
        (status = 409, description = "A run is active, the branch cannot be moved, or the worktree has no such changes", body = ProblemView,
            content_type = "application/problem+json"),
        (status = 422, description = "A path is invalid", body = ProblemView,
            content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn commit_files(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    JsonBody(asked): JsonBody<CommitFiles>,
) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(user.commit_files(&id, &asked).await?))
}

/// Stop a task
///
/// Stops the active run. Returns immediately, usually while the status is `stopping`. The request can be repeated.
#[utoipa::path(post, path = "/tasks/{task_id}/stop", operation_id = "stop_task", tag = "tasks",
    params(TaskPath),
    responses((status = 200, description = "The changed task", body = TaskView), Refused, NotThere))]
pub(crate) async fn stop(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(user.stop_task(&id).await?))
}

/// Archive a task
///
/// Hides a finished task from lists. Nothing is deleted, and a new run restores the task to the lists. The request can be repeated.
#[utoipa::path(post, path = "/tasks/{task_id}/archive", operation_id = "archive_task", tag = "tasks",
    params(TaskPath),
    responses(
        (status = 200, description = "The changed task", body = TaskView),
        (status = 409, description = "A run is active", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn archive(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(user.archive_task(&id).await?))
}

/// Unarchive a task
///
/// Returns an archived task to the lists. The request can be repeated.
#[utoipa::path(post, path = "/tasks/{task_id}/unarchive", operation_id = "unarchive_task", tag = "tasks",
    params(TaskPath),
    responses((status = 200, description = "The changed task", body = TaskView), Refused, NotThere))]
pub(crate) async fn unarchive(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(user.unarchive_task(&id).await?))
}

/// Refresh the environment of a task
///
/// The task's next run starts from the newest snapshot of the repository's environment. What earlier runs installed outside of the
/// worktree is deleted. The request can be repeated.
#[utoipa::path(post, path = "/tasks/{task_id}/environment/refresh", operation_id = "refresh_environment", tag = "tasks",
    params(TaskPath),
    responses(
        (status = 200, description = "The changed task", body = TaskView),
        (status = 409, description = "A run is active", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn refresh_environment(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(user.refresh_environment(&id).await?))
}

/// Get a diff
///
/// Returns the changes of a task or of one run, as JSON or as a patch.
#[utoipa::path(get, path = "/tasks/{task_id}/diff", operation_id = "show_diff", tag = "tasks",
    params(TaskPath, DiffQuery),
    responses(
        (status = 200, description = "The diff", content(
            (Diff = "application/json"),
            (String = "text/x-diff; charset=utf-8"),
        )),
        (status = 409, description = "There are no commits to compare yet", body = ProblemView, content_type = "application/problem+json"),
        Refused, BadQuery, NotThere,
    ))]
pub(crate) async fn diff(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf<DiffQuery>,
) -> Result<Response, ProblemResponse> {
    let run = query.run.as_deref().map(run_number).transpose()?.map(Changes::Run);
    let changes = run.unwrap_or(if query.since_viewed { Changes::SinceViewed } else { Changes::All });
    Ok(match query.format {
        DiffFormat::Json => Json(user.diff(&id, changes).await?).into_response(),
        DiffFormat::Patch => {
            let patch = user.patch(&id, changes).await?;
            ([(header::CONTENT_TYPE, "text/x-diff; charset=utf-8")], patch).into_response()
        }
    })
}
