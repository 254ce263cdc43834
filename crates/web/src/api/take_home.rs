//! `/api/v1/tasks/{task_id}/bundle` and `…/patches`: exports of a task's commits.
//!
//! Bundles and patches are streamed as git writes them.

use axum::body::Body;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use protocol::ProblemView;
use utoipa::openapi::schema::{ObjectBuilder, Schema, Type};
use utoipa::openapi::{KnownFormat, RefOr, SchemaFormat};

use super::operation::{NotThere, Refused, TaskPath};
use crate::caller::AsUser;
use crate::extract::PathOf;
use crate::problem::ProblemResponse;

/// A file that is not text.
struct Binary;

impl utoipa::PartialSchema for Binary {
    fn schema() -> RefOr<Schema> {
        let format = SchemaFormat::KnownFormat(KnownFormat::Binary);
        ObjectBuilder::new().schema_type(Type::String).format(Some(format)).into()
    }
}

impl utoipa::ToSchema for Binary {}

/// Download a bundle
///
/// Returns a git bundle with the branch `codex/TASK_ID` and the commits that its base does not contain. In a clone that contains the base,
/// `git fetch FILE codex/TASK_ID` imports it. The bundle is streamed, so a response that ends early is incomplete.
#[utoipa::path(get, path = "/tasks/{task_id}/bundle", operation_id = "task_bundle", tag = "tasks",
    params(TaskPath),
    responses(
        (status = 200, description = "The bundle", body = Binary, content_type = "application/x-git-bundle"),
        (status = 409, description = "The task has no commits", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn bundle(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<Response, ProblemResponse> {
    let body = Body::from_stream(user.bundle(&id).await?);
    Ok(attachment("application/x-git-bundle", &format!("codex-{id}.bundle"), body))
}

/// Download patches
///
/// Returns a mailbox with one patch per commit, oldest first, without merges. `git am` recreates the commits with their authors and
/// messages. The mailbox is streamed, so a response that ends early is incomplete.
#[utoipa::path(get, path = "/tasks/{task_id}/patches", operation_id = "task_patches", tag = "tasks",
    params(TaskPath),
    responses(
        (status = 200, description = "The mailbox", body = String, content_type = "application/mbox"),
        (status = 409, description = "The task has no commits", body = ProblemView, content_type = "application/problem+json"),
        Refused, NotThere,
    ))]
pub(crate) async fn patches(AsUser(user): AsUser, PathOf(id): PathOf<String>) -> Result<Response, ProblemResponse> {
    let body = Body::from_stream(user.patches(&id).await?);
    Ok(attachment("application/mbox", &format!("codex-{id}.mbox"), body))
}

/// Returns a download. `name` contains a parsed ID, so it needs no escaping.
fn attachment(kind: &'static str, name: &str, body: Body) -> Response {
    let disposition = format!("attachment; filename=\"{name}\"");
    ([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, disposition)], body).into_response()
}
