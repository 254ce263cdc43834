//! `/api/v1/envs/{env_id}/setup`: the setup of a repository's environment.

use axum::Json;
use axum::http::header;
use axum::response::IntoResponse;
use protocol::{AcceptDescription, EditSetup, ProblemView, RunSetupQuery, SetupDiffQuery, SetupDiffView, SetupView};

use super::operation::{BadBody, BadQuery, EnvPath, NotThere, Refused};
use crate::caller::AsUser;
use crate::extract::{JsonBody, PathOf, QueryOf};
use crate::problem::ProblemResponse;

/// Get the setup of a repository
///
/// Returns the description of the environment that is in effect, the last setup and all snapshots. If the repository has none, a
/// proposal is derived from its files.
#[utoipa::path(get, path = "/envs/{env_id}/setup", operation_id = "show_setup", tag = "environments",
    params(EnvPath),
    responses(
        (status = 200, description = "The setup", body = SetupView),
        (status = 409, description = "The repository is not cloned", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn show(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<Json<SetupView>, ProblemResponse> {
    Ok(Json(user.setup(&id).await?))
}

/// Change the setup of a repository
///
/// Replaces the description of the environment or the list of trusted branches, or approves a description. Running tasks keep their
/// snapshots.
#[utoipa::path(patch, path = "/envs/{env_id}/setup", operation_id = "edit_setup", tag = "environments",
    params(EnvPath),
    request_body = EditSetup,
    responses(
        (status = 200, description = "The changed setup", body = SetupView),
        (status = 409, description = "No description with this hash is in effect, or the repository is not cloned", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn edit(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    JsonBody(edit): JsonBody<EditSetup>,
) -> Result<Json<SetupView>, ProblemResponse> {
    Ok(Json(user.edit_setup(&id, edit).await?))
}

/// Run the setup of a repository
///
/// Returns as soon as the setup is recorded. It runs even if it failed or was skipped before. A running setup continues. If the result of
/// the same inputs exists, it stays, unless the setup starts from the image.
#[utoipa::path(post, path = "/envs/{env_id}/setup/run", operation_id = "run_setup", tag = "environments",
    params(EnvPath, RunSetupQuery),
    responses(
        (status = 200, description = "The setup is running", body = SetupView),
        (status = 409, description = "The repository has no setup or is not cloned, or a running setup does not start from the image", body = ProblemView, content_type = "application/problem+json"),
        (status = 422, description = "The description of the environment or a parameter is not valid", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn run(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf<RunSetupQuery>,
) -> Result<Json<SetupView>, ProblemResponse> {
    Ok(Json(user.run_setup(&id, query.start()).await?))
}

/// Start tasks without the setup
///
/// Lets tasks start without a setup that failed, until its inputs change. The request can be repeated.
#[utoipa::path(post, path = "/envs/{env_id}/setup/skip", operation_id = "skip_setup", tag = "environments",
    params(EnvPath),
    responses(
        (status = 200, description = "Tasks start without the setup", body = SetupView),
        (status = 409, description = "The repository is not cloned", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn skip(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<Json<SetupView>, ProblemResponse> {
    Ok(Json(user.skip_setup(&id).await?))
}

/// Compare the description on a branch
///
/// Returns how a branch changes the description of the environment. A change has no effect until the branch is merged, trusted, or its
/// description is accepted.
#[utoipa::path(get, path = "/envs/{env_id}/setup/diff", operation_id = "show_setup_diff", tag = "environments",
    params(EnvPath, SetupDiffQuery),
    responses(
        (status = 200, description = "The changes", body = SetupDiffView),
        (status = 409, description = "The repository is not cloned", body = ProblemView, content_type = "application/problem+json"),
        Refused, BadQuery, NotThere,
    ))]
pub(crate) async fn diff(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf<SetupDiffQuery>,
) -> Result<Json<SetupDiffView>, ProblemResponse> {
    Ok(Json(user.setup_diff(&id, &query.branch).await?))
}

/// Accept the description on a branch
///
/// Lets the description of a branch apply to the tasks that start from the branch, until it changes. Its setup gets no secrets. The request
/// can be repeated.
#[utoipa::path(post, path = "/envs/{env_id}/setup/accept", operation_id = "accept_description", tag = "environments",
    params(EnvPath),
    request_body = AcceptDescription,
    responses(
        (status = 200, description = "The changed setup", body = SetupView),
        (status = 409, description = "The branch has no description with this hash, or the repository is not cloned", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn accept(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    JsonBody(asked): JsonBody<AcceptDescription>,
) -> Result<Json<SetupView>, ProblemResponse> {
    Ok(Json(user.accept_description(&id, asked).await?))
}

/// Get the output of the last setup
///
/// Returns the last 4 MiB at most. Secrets are masked. The text is empty before the first setup.
#[utoipa::path(get, path = "/envs/{env_id}/setup/log", operation_id = "show_setup_log", tag = "environments",
    params(EnvPath),
    responses((status = 200, description = "The output", body = String, content_type = "text/plain"), Refused, NotThere))]
pub(crate) async fn log(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<impl IntoResponse, ProblemResponse> {
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], user.setup_log(&id).await?))
}
