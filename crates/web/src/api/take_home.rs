//! `/api/v1/tasks/{task_id}/bundle` and `…/patches`: a task's own commits, for who takes them home without a forge.
//! Both are passed on as git writes them; nothing of them is held here.

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use model::api::ProblemView;

use crate::extract::PathOf;
use crate::openapi::{NotThere, Refused};
use crate::problem::ProblemResponse;
use crate::router::Api;

/// Take a task's branch as a bundle
///
/// A git bundle with the branch `codex/<task_id>` and the commits that its base has not: `git fetch FILE codex/<task_id>` takes it
/// in any clone that has the base. Streamed; an answer that breaks off is not complete.
#[utoipa::path(get, path = "/tasks/{task_id}/bundle", operation_id = "task_bundle", tag = "tasks",
    params(("task_id" = String, Path, description = "The task's id")),
    responses(
        (status = 200, description = "The bundle", body = Vec<u8>, content_type = "application/x-git-bundle"),
        (status = 409, description = "The task has no commits of its own", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn bundle(State(api): State<Api>, PathOf(id): PathOf<String>) -> Result<Response, ProblemResponse> {
    let body = Body::from_stream(api.engine.bundle(&id).await?);
    Ok(attachment("application/x-git-bundle", &format!("codex-{id}.bundle"), body))
}

/// Take a task's commits as mails
///
/// A mailbox of one mail per commit, the oldest first, merges left out: `git am` makes the same commits of it, with authors and
/// messages kept. Streamed; an answer that breaks off is not complete.
#[utoipa::path(get, path = "/tasks/{task_id}/patches", operation_id = "task_patches", tag = "tasks",
    params(("task_id" = String, Path, description = "The task's id")),
    responses(
        (status = 200, description = "The mailbox", body = String, content_type = "application/mbox"),
        (status = 409, description = "The task has no commits of its own", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn patches(State(api): State<Api>, PathOf(id): PathOf<String>) -> Result<Response, ProblemResponse> {
    let body = Body::from_stream(api.engine.patches(&id).await?);
    Ok(attachment("application/mbox", &format!("codex-{id}.mbox"), body))
}

/// `name` is made of an id that was read, so that it needs no quoting.
fn attachment(kind: &'static str, name: &str, body: Body) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    ([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)], body).into_response()
}
