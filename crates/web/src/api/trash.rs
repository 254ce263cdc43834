//! Undo and room: what was removed, bringing it back, deleting it for good, and what takes how much of the disk.
//! One function per route; every decision is the engine's.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use model::api::{CollectGarbage, DiskView, EnvironmentView, GarbageCollected, Page, ProblemView, TaskView, TrashItem};

use crate::extract::{JsonBody, PathOf};
use crate::openapi::{BadBody, NotThere, Refused};
use crate::problem::ProblemResponse;
use crate::router::Api;

/// How long a request waits for mirrors to be repacked.
const PATIENCE: Duration = Duration::from_secs(30);

/// List the trash
///
/// What was removed and can come back, newest first.
#[utoipa::path(get, path = "/trash", operation_id = "list_trash", tag = "trash",
    responses((status = 200, description = "All of it, as one page", body = Page<TrashItem>), Refused))]
pub(crate) async fn list(State(api): State<Api>) -> Result<Json<Page<TrashItem>>, ProblemResponse> {
    Ok(Json(Page { items: api.engine.trash().await?, next_cursor: None, damaged: vec![] }))
}

/// Restore a task
///
/// Brings a removed task back, whole. Doing it twice is harmless.
#[utoipa::path(post, path = "/tasks/{task_id}/restore", operation_id = "restore_task", tag = "trash",
    params(("task_id" = String, Path, description = "The task's id")),
    responses(
        (status = 200, description = "The task as it was", body = TaskView),
        (status = 409, description = "Its environment is not there", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn restore_task(State(api): State<Api>, PathOf(id): PathOf<String>) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(api.engine.restore_task(&id).await?))
}

/// Restore an environment
///
/// Brings a removed environment back, with the tasks that were removed along with it. Doing it twice is harmless.
#[utoipa::path(post, path = "/envs/{env_id}/restore", operation_id = "restore_environment", tag = "trash",
    params(("env_id" = String, Path, description = "The environment's id")),
    responses((status = 200, description = "The environment as it was", body = EnvironmentView), Refused, NotThere))]
pub(crate) async fn restore_environment(
    State(api): State<Api>,
    PathOf(id): PathOf<String>,
) -> Result<Json<EnvironmentView>, ProblemResponse> {
    Ok(Json(api.engine.restore_environment(&id).await?))
}

/// Free disk space
///
/// Permanently deletes items that have been in the trash for long enough; they can no longer be restored. Repacks mirrors, and removes
/// container images that this server built and that no repository uses. Answers after 30 seconds at most: mirrors that are still
/// being repacked then have the state `running`.
#[utoipa::path(post, path = "/gc", operation_id = "collect_garbage", tag = "trash",
    request_body = CollectGarbage,
    responses((status = 200, description = "What was deleted, repacked and removed, or would be", body = GarbageCollected), Refused, BadBody))]
pub(crate) async fn collect(
    State(api): State<Api>,
    JsonBody(asked): JsonBody<CollectGarbage>,
) -> Result<Json<GarbageCollected>, ProblemResponse> {
    Ok(Json(api.engine.collect_garbage(&asked, PATIENCE).await?))
}

/// Show the disk
///
/// What takes how much of it, in bytes. Reads the whole home, so it takes a while.
#[utoipa::path(get, path = "/disk", operation_id = "show_disk", tag = "trash",
    responses((status = 200, description = "By kind, by environment and by task", body = DiskView), Refused))]
pub(crate) async fn disk(State(api): State<Api>) -> Json<DiskView> {
    Json(api.engine.disk().await)
}
