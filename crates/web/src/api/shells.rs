//! `/api/v1/envs/{env_id}/shells`: shells in the environment of a repository.

use axum::Json;
use axum::http::StatusCode;
use protocol::{OpenShell, ProblemView, ShellView};

use super::operation::{BadBody, EnvPath, NotThere, Refused, ShellPath};
use crate::caller::AsUser;
use crate::extract::{JsonBody, PathOf};
use crate::problem::ProblemResponse;

/// Prepare a shell
///
/// Creates everything that the container of a new task would get, for the command `env shell`, which starts the container. Returns when the
/// shell is ready. The server removes a shell that nobody starts within 5 minutes.
#[utoipa::path(post, path = "/envs/{env_id}/shells", operation_id = "open_shell", tag = "environments",
    params(EnvPath),
    request_body = OpenShell,
    responses(
        (status = 201, description = "The shell is ready", body = ShellView),
        (status = 409, description = "The worker does not run Codex in containers, or the repository is not cloned", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn open(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    JsonBody(asked): JsonBody<OpenShell>,
) -> Result<(StatusCode, Json<ShellView>), ProblemResponse> {
    Ok((StatusCode::CREATED, Json(user.open_shell(&id, &asked).await?)))
}

/// Remove a shell
///
/// Deletes the files of a shell that has ended, or that nobody started.
#[utoipa::path(delete, path = "/envs/{env_id}/shells/{shell_id}", operation_id = "close_shell", tag = "environments",
    params(ShellPath),
    responses(
        (status = 204, description = "The shell was removed"),
        (status = 409, description = "A program still runs in the shell", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn close(
    AsUser(user): AsUser,
    PathOf((id, shell)): PathOf<(String, String)>,
) -> Result<StatusCode, ProblemResponse> {
    user.close_shell(&id, &shell).await?;
    Ok(StatusCode::NO_CONTENT)
}
