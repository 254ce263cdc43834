//! Parameters and errors that several operations of the `OpenAPI` document have in common.

use std::collections::BTreeMap;

use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoParams, IntoResponses};

use model::commit::PathText;
use model::ids::{EnvironmentId, ShellId, TaskId};
use model::setup::ServiceName;

use crate::extract::{EventId, IdempotencyKey};
use crate::problem::PROBLEM_JSON;

/// The path of a repository.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct EnvPath {
    /// ID of the repository.
    #[param(inline)]
    env_id: EnvironmentId,
}

/// The path of a shell.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct ShellPath {
    /// ID of the repository.
    #[param(inline)]
    env_id: EnvironmentId,
    /// ID of the shell.
    #[param(inline)]
    shell_id: ShellId,
}

/// The path of a task.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct TaskPath {
    /// ID of the task.
    #[param(inline)]
    task_id: TaskId,
}

/// The path of a run.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct RunPath {
    /// ID of the task.
    #[param(inline)]
    task_id: TaskId,
    /// Number of the run.
    #[param(minimum = 1)]
    n: u32,
}

/// The path of a service of a run.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct ServicePath {
    /// ID of the task.
    #[param(inline)]
    task_id: TaskId,
    /// Number of the run.
    #[param(minimum = 1)]
    n: u32,
    /// Name of the service.
    #[param(inline)]
    service: ServiceName,
}

/// The path of an artifact of a run.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct ArtifactPath {
    /// ID of the task.
    #[param(inline)]
    task_id: TaskId,
    /// Number of the run.
    #[param(minimum = 1)]
    n: u32,
    /// Path of the artifact, as listed. Encode its slashes as `%2F`.
    #[param(inline)]
    path: PathText,
}

/// The path of a follow-up.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct FollowUpPath {
    /// ID of the task.
    #[param(inline)]
    task_id: TaskId,
    /// Number of the follow-up.
    number: u32,
}

/// The header that makes a request safe to repeat.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct IdempotencyHeader {
    /// 1 to 200 visible ASCII characters, e.g. a new UUID. If you repeat the same request with the same key, the server returns the first
    /// result instead of adding another one.
    #[param(rename = "Idempotency-Key", required = false, inline)]
    idempotency_key: IdempotencyKey,
}

/// The header that resumes a stream.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "only its description is used")]
pub(crate) struct LastEventId {
    /// The `id` of the last event that you received. Overrides the query parameter.
    #[param(rename = "Last-Event-ID", required = false, inline)]
    last_event_id: EventId,
}

/// The errors of every operation.
pub(crate) struct Refused;

/// The additional error of an operation on one resource.
pub(crate) struct NotThere;

/// The additional error of an operation with parameters in the query.
pub(crate) struct BadQuery;

/// The additional errors of an operation with a body.
pub(crate) struct BadBody;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors(&[
            ("400", "The request is malformed"),
            ("401", "The token is missing or invalid (TCP only)"),
            ("403", "The host name or the origin is not allowed"),
            ("500", "The server failed. Its log has the details"),
        ])
    }
}

impl IntoResponses for NotThere {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors(&[("404", "There is no resource with this ID")])
    }
}

impl IntoResponses for BadQuery {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors(&[("422", "A parameter is invalid")])
    }
}

impl IntoResponses for BadBody {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        errors(&[
            ("408", "The body did not arrive in time"),
            ("413", "The body, the prompt or an image is too large"),
            ("415", "The content type is not `application/json`"),
            ("422", "A value is invalid"),
        ])
    }
}

/// Returns responses with these status codes and descriptions, which contain a problem.
pub(crate) fn errors(statuses: &[(&str, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let problem = || ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let answer = |text: &str| ResponseBuilder::new().description(text).content(PROBLEM_JSON, problem()).build();
    statuses.iter().map(|(status, text)| ((*status).to_owned(), RefOr::T(answer(text)))).collect()
}
