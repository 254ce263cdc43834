//! `/api/v1/tasks/{task_id}/installed`: what the agents of a task installed.
//!
//! The answer only proposes a text. Saving it is an edit of the repository's setup, like any other.

use axum::Json;
use protocol::{InstalledQuery, InstalledView, ProblemView};

use super::operation::{BadQuery, NotThere, Refused, TaskPath};
use crate::caller::AsUser;
use crate::extract::{PathOf, QueryOf, run_number};
use crate::problem::ProblemResponse;

/// Get what the agents of a task installed
///
/// Returns the commands with which the agents installed things in all runs, or in one of them, and the description of the environment with these commands at
/// the end of its setup script. The proposal has no effect until you save it with `PATCH /api/v1/envs/{env_id}/setup`. Commands come from
/// the agent, so review them first. Only commands that succeeded are proposed.
#[utoipa::path(get, path = "/tasks/{task_id}/installed", operation_id = "show_installed", tag = "tasks",
    params(TaskPath, InstalledQuery),
    responses(
        (status = 200, description = "The commands", body = InstalledView),
        (status = 409, description = "The repository is not cloned", body = ProblemView, content_type = "application/problem+json"),
        Refused, BadQuery, NotThere,
    ))]
pub(crate) async fn show(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf<InstalledQuery>,
) -> Result<Json<InstalledView>, ProblemResponse> {
    let run = query.run.as_deref().map(run_number).transpose()?;
    Ok(Json(user.installed(&id, run).await?))
}
