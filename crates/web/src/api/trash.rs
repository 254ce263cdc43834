//! The trash, garbage collection and disk usage.
//!
//! One function per route. The engine makes every decision.

use std::time::Duration;

use axum::Json;
use protocol::{CollectGarbage, DiskView, EnvironmentView, GarbageCollected, Page, ProblemView, TaskView, TrashItem};

use super::operation::{BadBody, EnvPath, NotThere, Refused, TaskPath};
use crate::caller::AsUser;
use crate::extract::{JsonBody, PathOf};
use crate::problem::ProblemResponse;

/// How long a request waits for mirrors to be repacked.
const PATIENCE: Duration = Duration::from_secs(30);

/// List the trash
///
/// Returns removed items that can be restored, on one page, newest first.
#[utoipa::path(get, path = "/trash", operation_id = "list_trash", tag = "trash",
    responses((status = 200, description = "The items in the trash", body = Page<TrashItem>), Refused))]
pub(crate) async fn list(AsUser(user): AsUser) -> Result<Json<Page<TrashItem>>, ProblemResponse> {
    Ok(Json(Page { items: user.trash().await?, next_cursor: None, damaged: vec![] }))
}

/// Restore a task
///
/// Restores a removed task. The request can be repeated.
#[utoipa::path(post, path = "/tasks/{task_id}/restore", operation_id = "restore_task", tag = "trash",
    params(TaskPath),
    responses(
        (status = 200, description = "The restored task", body = TaskView),
        (status = 409, description = "The repository of the task was removed", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn restore_task(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<Json<TaskView>, ProblemResponse> {
    Ok(Json(user.restore_task(&id).await?))
}

/// Restore a repository
///
/// Restores a removed repository, with the tasks that were removed with it. The request can be repeated.
#[utoipa::path(post, path = "/envs/{env_id}/restore", operation_id = "restore_environment", tag = "trash",
    params(EnvPath),
    responses((status = 200, description = "The restored repository", body = EnvironmentView), Refused, NotThere))]
pub(crate) async fn restore_environment(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
) -> Result<Json<EnvironmentView>, ProblemResponse> {
    Ok(Json(user.restore_environment(&id).await?))
}

/// Free disk space
///
/// Permanently deletes expired items from the trash, repacks mirrors, and removes container images that this server built and that nothing
/// uses. Returns after 30 seconds at most. Mirrors that are still being repacked then have the state `running`.
#[utoipa::path(post, path = "/gc", operation_id = "collect_garbage", tag = "trash",
    request_body = CollectGarbage,
    responses((status = 200, description = "What was deleted, repacked and removed, or what would be", body = GarbageCollected), Refused, BadBody))]
pub(crate) async fn collect(
    AsUser(user): AsUser,
    JsonBody(asked): JsonBody<CollectGarbage>,
) -> Result<Json<GarbageCollected>, ProblemResponse> {
    Ok(Json(user.collect_garbage(&asked, PATIENCE).await?))
}

/// Get disk usage
///
/// Returns disk usage in bytes. This reads the whole home, so it can take a while.
#[utoipa::path(get, path = "/disk", operation_id = "show_disk", tag = "trash",
    responses((status = 200, description = "Disk usage by kind, repository and task", body = DiskView), Refused))]
pub(crate) async fn disk(AsUser(user): AsUser) -> Json<DiskView> {
    Json(user.disk().await)
}
