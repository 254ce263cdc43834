//! `/api/v1/envs`: repositories.
//!
//! One function per route. The engine makes every decision.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use protocol::{CreateEnvironment, EditEnvironment, EnvironmentView, Page, ProblemView, RefsQuery, RefsView};

use super::operation::{BadBody, BadQuery, EnvPath, NotThere, Refused};
use crate::caller::AsUser;
use crate::extract::{JsonBody, PathOf, QueryOf};
use crate::problem::ProblemResponse;

/// Add a repository
///
/// Returns as soon as the repository is recorded. The clone continues in the background: the status is `cloning`, and then `ready` or
/// `failed`.
#[utoipa::path(post, path = "/envs", operation_id = "create_environment", tag = "environments",
    request_body = CreateEnvironment,
    responses(
        (status = 201, description = "The new repository", body = EnvironmentView, headers(("Location" = String, description = "Path of the repository"))),
        Refused, BadBody,
    ))]
pub(crate) async fn create(
    AsUser(user): AsUser,
    JsonBody(new): JsonBody<CreateEnvironment>,
) -> Result<impl IntoResponse, ProblemResponse> {
    let view = user.create_environment(new).await?;
    let location = format!("/api/v1/envs/{}", view.env_id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)))
}

/// List repositories
///
/// Returns all repositories on one page, newest first.
#[utoipa::path(get, path = "/envs", operation_id = "list_environments", tag = "environments",
    responses((status = 200, description = "All repositories", body = Page<EnvironmentView>), Refused))]
pub(crate) async fn list(AsUser(user): AsUser) -> Json<Page<EnvironmentView>> {
    Json(user.environments())
}

/// Get a repository
#[utoipa::path(get, path = "/envs/{env_id}", operation_id = "show_environment", tag = "environments",
    params(EnvPath),
    responses((status = 200, description = "The repository", body = EnvironmentView), Refused, NotThere))]
pub(crate) async fn show(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<Json<EnvironmentView>, ProblemResponse> {
    Ok(Json(user.environment(&id)?))
}

/// Change a repository
///
/// Changes the settings in the body. Omitted settings keep their values.
#[utoipa::path(patch, path = "/envs/{env_id}", operation_id = "edit_environment", tag = "environments",
    params(EnvPath),
    request_body = EditEnvironment,
    responses(
        (status = 200, description = "The changed repository", body = EnvironmentView),
        (status = 409, description = "The state of the repository does not allow this", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn edit(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    JsonBody(edit): JsonBody<EditEnvironment>,
) -> Result<Json<EnvironmentView>, ProblemResponse> {
    Ok(Json(user.edit_environment(&id, edit).await?))
}

/// Remove a repository
///
/// Moves the repository and its tasks to the trash, and returns when that is done. The request can be repeated.
#[utoipa::path(delete, path = "/envs/{env_id}", operation_id = "remove_environment", tag = "environments",
    params(EnvPath),
    responses((status = 204, description = "The repository was removed"), Refused, NotThere))]
pub(crate) async fn remove(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<StatusCode, ProblemResponse> {
    user.remove_environment(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Fetch from the remote
///
/// Returns when the fetch ended. Requests at the same time share one fetch.
#[utoipa::path(post, path = "/envs/{env_id}/fetch", operation_id = "fetch_environment", tag = "environments",
    params(EnvPath),
    responses(
        (status = 200, description = "The repository is up to date", body = EnvironmentView),
        (status = 409, description = "The repository is not cloned", body = ProblemView, content_type = "application/problem+json"),
        (status = 503, description = "The remote cannot be read. The error contains git's message", body = ProblemView,
            content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn fetch(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<Json<EnvironmentView>, ProblemResponse> {
    Ok(Json(user.fetch_environment(&id).await?))
}

/// Clone again
///
/// Clones a repository again after its clone failed. Returns as soon as the request is recorded. The request can be repeated.
#[utoipa::path(post, path = "/envs/{env_id}/retry", operation_id = "retry_environment", tag = "environments",
    params(EnvPath),
    responses(
        (status = 200, description = "The repository is being cloned, or is ready", body = EnvironmentView),
        (status = 409, description = "The repository is being removed", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn retry(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<Json<EnvironmentView>, ProblemResponse> {
    Ok(Json(user.retry_environment(&id).await?))
}

/// List branches and tags
///
/// Returns the branches and tags that a task can start from, as of the last fetch. The list contains at most 2,000 names.
#[utoipa::path(get, path = "/envs/{env_id}/refs", operation_id = "list_refs", tag = "environments",
    params(EnvPath, RefsQuery),
    responses(
        (status = 200, description = "Branches and tags. Those with the newest commits come first", body = RefsView),
        (status = 409, description = "The repository is not cloned", body = ProblemView, content_type = "application/problem+json"),
        Refused, BadQuery, NotThere,
    ))]
pub(crate) async fn refs(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf<RefsQuery>,
) -> Result<Json<RefsView>, ProblemResponse> {
    Ok(Json(user.refs(&id, &query).await?))
}
