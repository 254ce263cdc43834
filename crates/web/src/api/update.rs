//! `/api/v1/tasks/{task_id}/update` and `…/conflicts`: updates from the base branch.
//!
//! One function per route. The engine makes every decision.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use engine::TaskUpdate;
use protocol::{ConflictsQuery, ConflictsView, ProblemView, UpdateConflicts, UpdateTask, UpdateView};

use super::operation::{BadBody, BadQuery, NotThere, Refused, TaskPath};
use crate::caller::AsUser;
use crate::extract::{JsonBody, PathOf, QueryOf};
use crate::problem::{PROBLEM_JSON, ProblemResponse};

/// Update a task from its base branch
///
/// Fetches, and then rebases the task's commits onto the newest commit of the base branch, or merges that commit. The base branch is the
/// branch that the task started from, or else the repository's default branch. The worktree is updated, too, and keeps uncommitted
/// changes. If the branch already contains the newest commit, the outcome is `current`. If there are conflicts, nothing is changed, and the
/// error lists the files. With `hand_over`, Codex is asked to merge them in a follow-up.
#[utoipa::path(post, path = "/tasks/{task_id}/update", operation_id = "update_task", tag = "tasks",
    params(TaskPath),
    request_body = UpdateTask,
    responses(
        (status = 200, description = "The branch is up to date, or Codex was asked to merge the conflicts", body = UpdateView),
        (status = 409, description = "There are conflicts, a run is active, there is no branch yet, or uncommitted files are in the way. `base` and `conflicts` are only set for conflicts",
            body = UpdateConflicts, content_type = "application/problem+json"),
        (status = 503, description = "The remote cannot be read, or no worker is available for the follow-up", body = ProblemView,
            content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn update(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    JsonBody(asked): JsonBody<UpdateTask>,
) -> Result<Response, ProblemResponse> {
    Ok(match user.update_task(&id, asked).await? {
        TaskUpdate::Accepted(view) => Json(view).into_response(),
        TaskUpdate::Conflicts(conflicts) => {
            let mut response = (StatusCode::CONFLICT, Json(conflicts)).into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(PROBLEM_JSON));
            response
        }
    })
}

/// Check for conflicts
///
/// Lists the files in which the task's branch conflicts with its base branch, and with the branches of other tasks of the repository. At
/// most the 50 newest tasks with commits are checked. Nothing is changed.
#[utoipa::path(get, path = "/tasks/{task_id}/conflicts", operation_id = "task_conflicts", tag = "tasks",
    params(TaskPath, ConflictsQuery),
    responses(
        (status = 200, description = "The conflicts", body = ConflictsView),
        (status = 409, description = "There is no branch yet", body = ProblemView, content_type = "application/problem+json"),
        (status = 503, description = "The remote cannot be read", body = ProblemView, content_type = "application/problem+json"),
        Refused, BadQuery, NotThere,
    ))]
pub(crate) async fn conflicts(
    AsUser(user): AsUser,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf<ConflictsQuery>,
) -> Result<Json<ConflictsView>, ProblemResponse> {
    Ok(Json(user.conflicts(&id, &query).await?))
}
