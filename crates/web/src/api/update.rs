//! `/api/v1/tasks/{task_id}/update` and `…/conflicts`: a task's branch and what it is based on.
//! One function per route; every decision is the engine's.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use model::api::{ConflictsQuery, ConflictsView, ProblemView, UpdateConflicts, UpdateTask, UpdateView};

use crate::extract::{JsonBody, PathOf, QueryOf};
use crate::openapi::{BadBody, NotThere, Refused};
use crate::problem::{PROBLEM_JSON, ProblemResponse};
use crate::router::Api;

/// Bring a task up to its base
///
/// Fetches, then makes the task's commits anew on the newest commit of its base, or merges that. The base is the branch that the
/// task was asked to start from, or else the environment's default branch. The worktree follows; what is not committed there stays.
/// A branch that has all of its base already is answered with `current`. Where the two conflict nothing is changed, and the answer
/// lists the files; with `hand_over` the agent is asked to merge them, as a follow-up.
#[utoipa::path(post, path = "/tasks/{task_id}/update", operation_id = "update_task", tag = "tasks",
    params(("task_id" = String, Path, description = "The task's id")),
    request_body = UpdateTask,
    responses(
        (status = 200, description = "The branch has all of its base, or the agent was asked to merge it", body = UpdateView),
        (status = 409, description = "The two conflict, a run is active, there is no branch yet, or files that are not committed are in the way. `base` and `conflicts` are there where the two conflict",
            body = UpdateConflicts, content_type = "application/problem+json"),
        (status = 503, description = "The remote cannot be read, or nothing could run the follow-up", body = ProblemView,
            content_type = "application/problem+json"),
        Refused, NotThere, BadBody,
    ))]
pub(crate) async fn update(
    State(api): State<Api>,
    PathOf(id): PathOf<String>,
    JsonBody(asked): JsonBody<UpdateTask>,
) -> Result<Response, ProblemResponse> {
    Ok(match api.engine.update_task(&id, asked).await? {
        Ok(view) => Json(view).into_response(),
        Err(conflicts) => {
            let mut response = (StatusCode::CONFLICT, Json(conflicts)).into_response();
            response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(PROBLEM_JSON));
            response
        }
    })
}

/// Look for conflicts
///
/// In which files the task's branch conflicts with its base, and with the branches of other tasks of its environment: at most the 50
/// newest ones with work on their branch. Nothing is changed, and no worktree is touched.
#[utoipa::path(get, path = "/tasks/{task_id}/conflicts", operation_id = "task_conflicts", tag = "tasks",
    params(("task_id" = String, Path, description = "The task's id"), ConflictsQuery),
    responses(
        (status = 200, description = "What conflicts", body = ConflictsView),
        (status = 409, description = "There is no branch yet", body = ProblemView, content_type = "application/problem+json"),
        (status = 503, description = "The remote cannot be read", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn conflicts(
    State(api): State<Api>,
    PathOf(id): PathOf<String>,
    QueryOf(query): QueryOf<ConflictsQuery>,
) -> Result<Json<ConflictsView>, ProblemResponse> {
    Ok(Json(api.engine.conflicts(&id, query.fetch).await?))
}
