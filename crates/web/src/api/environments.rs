//! `/api/v1/envs`: the repositories that tasks are cut from.
//! One function per route; every decision is the engine's.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use model::api::{CreateEnvironment, EditEnvironment, EnvironmentView, Page, ProblemView, RefsQuery, RefsView};

use crate::extract::{JsonBody, PathOf, QueryOf};
use crate::openapi::{BadBody, NotThere, Refused};
use crate::problem::ProblemResponse;
use crate::router::Api;

/// Create an environment
///
/// Answers as soon as it is recorded; its clone goes on: `cloning`, then `ready` or `failed`.
#[utoipa::path(post, path = "/envs", operation_id = "create_environment", tag = "environments",
    request_body = CreateEnvironment,
    responses(
        (status = 201, description = "It is recorded", body = EnvironmentView, headers(("Location" = String, description = "Its address"))),
        Refused, BadBody,
    ))]
pub(crate) async fn create(
    State(api): State<Api>,
    JsonBody(new): JsonBody<CreateEnvironment>,
) -> Result<impl IntoResponse, ProblemResponse> {
    let view = api.engine.create_environment(new).await?;
    let location = format!("/api/v1/envs/{}", view.env_id);
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)))
}

/// List environments
///
/// All of them, newest first.
#[utoipa::path(get, path = "/envs", operation_id = "list_environments", tag = "environments",
    responses((status = 200, description = "The environments", body = Page<EnvironmentView>), Refused))]
pub(crate) async fn list(State(api): State<Api>) -> Json<Page<EnvironmentView>> {
    Json(api.engine.environments())
}

/// Show an environment
#[utoipa::path(get, path = "/envs/{env_id}", operation_id = "show_environment", tag = "environments",
    params(("env_id" = String, Path, description = "The environment's id")),
    responses((status = 200, description = "The environment", body = EnvironmentView), Refused, NotThere))]
pub(crate) async fn show(State(api): State<Api>, PathOf(id): PathOf<String>) -> Result<Json<EnvironmentView>, ProblemResponse> {
    Ok(Json(api.engine.environment(&id)?))
}

/// Edit an environment
///
/// What is left out stays.
#[utoipa::path(patch, path = "/envs/{env_id}", operation_id = "edit_environment", tag = "environments",
    params(("env_id" = String, Path, description = "The environment's id")),
    request_body = EditEnvironment,
    responses(
        (status = 200, description = "The environment as it is now", body = EnvironmentView),
        (status = 409, description = "It is in a state that does not allow this", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn edit(
    State(api): State<Api>,
    PathOf(id): PathOf<String>,
    JsonBody(edit): JsonBody<EditEnvironment>,
) -> Result<Json<EnvironmentView>, ProblemResponse> {
    Ok(Json(api.engine.edit_environment(&id, edit).await?))
}

/// Remove an environment
///
/// Its tasks are removed first. Answers when all of it is gone; doing it twice is harmless.
#[utoipa::path(delete, path = "/envs/{env_id}", operation_id = "remove_environment", tag = "environments",
    params(("env_id" = String, Path, description = "The environment's id")),
    responses((status = 204, description = "It is gone"), Refused, NotThere))]
pub(crate) async fn remove(State(api): State<Api>, PathOf(id): PathOf<String>) -> Result<StatusCode, ProblemResponse> {
    api.engine.remove_environment(&id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Fetch now
///
/// Asks the remote for what is new, and answers when that has ended. Requests of one moment are served by one fetch.
#[utoipa::path(post, path = "/envs/{env_id}/fetch", operation_id = "fetch_environment", tag = "environments",
    params(("env_id" = String, Path, description = "The environment's id")),
    responses(
        (status = 200, description = "It is up to date", body = EnvironmentView),
        (status = 409, description = "It is not cloned", body = ProblemView, content_type = "application/problem+json"),
        (status = 503, description = "The remote could not be read, in its own words", body = ProblemView,
            content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn fetch(State(api): State<Api>, PathOf(id): PathOf<String>) -> Result<Json<EnvironmentView>, ProblemResponse> {
    Ok(Json(api.engine.fetch_environment(&id).await?))
}

/// Clone again
///
/// For an environment whose clone failed. Answers as soon as that is recorded; doing it twice is harmless.
#[utoipa::path(post, path = "/envs/{env_id}/retry", operation_id = "retry_environment", tag = "environments",
    params(("env_id" = String, Path, description = "The environment's id")),
    responses(
        (status = 200, description = "It is being cloned, or is ready", body = EnvironmentView),
        (status = 409, description = "It is being removed", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn retry(State(api): State<Api>, PathOf(id): PathOf<String>) -> Result<Json<EnvironmentView>, ProblemResponse> {
    Ok(Json(api.engine.retry_environment(&id).await?))
}

/// List branches and tags
///
/// What a task can start from, as of the last fetch: the newest 2,000, and whether there are more.
#[utoipa::path(get, path = "/envs/{env_id}/refs", operation_id = "list_refs", tag = "environments",
    params(("env_id" = String, Path, description = "The environment's id"), RefsQuery),
    responses(
        (status = 200, description = "Branches and tags, the one with the newest commit first", body = RefsView),
        (status = 409, description = "It is not cloned", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn refs(
    State(api): State<Api>,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf<RefsQuery>,
) -> Result<Json<RefsView>, ProblemResponse> {
    Ok(Json(api.engine.refs(&id, &query).await?))
}
