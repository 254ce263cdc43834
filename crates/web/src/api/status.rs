//! `/healthz`, `/readyz`, `/metrics`, `/api/v1/status` and the `OpenAPI` document: the state of the server.
//!
//! All values come from the engine.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use model::ErrorCode;
use model::problem::Problem;
use protocol::{Finding, Page, ProblemView, ServerStatus};

use super::operation::Refused;
use crate::caller::AsUser;
use crate::problem::ProblemResponse;
use crate::state::Api;

/// Check that the server is alive
///
/// Needs no token.
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "server", security(()),
    responses((status = 200, description = "The server is alive", body = String, content_type = "text/plain")))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Check that tasks can start
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "server",
    responses(
        (status = 200, description = "Tasks can start", body = String, content_type = "text/plain"),
        (status = 503, description = "Tasks cannot start. The error contains every reason", body = ProblemView, content_type = "application/problem+json"),
        Refused,
    ))]
pub(crate) async fn readyz(AsUser(user): AsUser) -> Result<&'static str, ProblemResponse> {
    readiness(&user.fresh_status().await).map_err(ProblemResponse::from)
}

/// Returns an error with all reasons why tasks cannot start.
fn readiness(status: &ServerStatus) -> Result<&'static str, Problem> {
    let worker = status.worker.problem.as_ref().map(|reason| (reason, &status.worker.hints));
    let home = status.troubles.iter().map(|trouble| (&trouble.detail, &trouble.hints));
    let all: Vec<_> = worker.into_iter().chain(home).collect();
    if all.is_empty() {
        return Ok("ready\n");
    }
    let reasons: Vec<_> = all.iter().map(|(reason, _)| reason.as_str()).collect();
    let problem = Problem::new(ErrorCode::NotReady, format!("tasks cannot start: {}", reasons.join("; ")));
    Err(all.iter().flat_map(|(_, hints)| hints.iter()).fold(problem, Problem::hint))
}

/// Get metrics
///
/// Returns metrics in the `OpenMetrics` text format, which Prometheus reads.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "server",
    responses((status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text; version=1.0.0; charset=utf-8"), Refused))]
pub(crate) async fn metrics(AsUser(user): AsUser) -> Result<impl IntoResponse, ProblemResponse> {
    Ok(([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], user.metrics()?))
}

/// Get the server's status
#[utoipa::path(get, path = "/status", operation_id = "show_status", tag = "server",
    responses((status = 200, description = "The status of the server", body = ServerStatus), Refused))]
pub(crate) async fn status(AsUser(user): AsUser) -> Json<ServerStatus> {
    Json(user.status())
}

/// Run all checks
///
/// Checks git, the home, the disk, the worker and the login, with the settings and the environment of the server. Takes up to a minute.
#[utoipa::path(get, path = "/doctor", operation_id = "run_doctor", tag = "server",
    responses((status = 200, description = "One finding per check, on one page", body = Page<Finding>), Refused))]
pub(crate) async fn doctor(AsUser(user): AsUser) -> Json<Page<Finding>> {
    Json(Page { items: user.doctor().await, next_cursor: None, damaged: vec![] })
}

/// Get this document
#[utoipa::path(get, path = "/openapi.json", operation_id = "show_contract", tag = "server",
    responses((status = 200, description = "The OpenAPI 3.1 document", body = Object), Refused))]
pub(crate) async fn contract(State(api): State<Api>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], api.openapi.as_str())
}

#[cfg(test)]
mod tests {
    use protocol::WorkerStatus;

    use model::problem::ProblemKind;

    use super::*;

    fn status(problem: Option<&str>) -> ServerStatus {
        ServerStatus {
            version: "0.1.0".to_owned(),
            pid: 1,
            home: "/home/somebody/.codex-orchestrator".to_owned(),
            worker: WorkerStatus {
                name: "codex-docker".to_owned(),
                program: None,
                problem: problem.map(str::to_owned),
                hints: vec!["install it, or set ORCH_WORKER=host".to_owned()],
                container: None,
            },
            git: "git version 2.47.3".to_owned(),
            started_at: "2026-01-01T00:00:00Z".parse().expect("a time"),
            listen: None,
            pages: None,
            environments: 2,
            tasks: 30,
            active_runs: 4,
            queued_runs: 1,
            hold: None,
            troubles: vec![],
        }
    }

    #[test]
    fn a_server_without_a_worker_is_not_ready_and_has_hints() {
        assert_eq!(readiness(&status(None)), Ok("ready\n"));
        let problem = readiness(&status(Some("codex-docker is not on PATH"))).expect_err("the worker is not usable");
        assert_eq!(problem.kind, ProblemKind::Unavailable);
        assert_eq!(problem.report.message, "tasks cannot start: codex-docker is not on PATH");
        assert_eq!(problem.report.hints, ["install it, or set ORCH_WORKER=host"]);
        let trouble = model::queue::Blocker {
            code: ErrorCode::DiskLow.into(),
            detail: "no room".to_owned(),
            hints: vec!["make some".to_owned()],
        };
        let both = readiness(&ServerStatus { troubles: vec![trouble], ..status(Some("no worker")) })
            .expect_err("two problems are reported together");
        assert_eq!((both.report.message.as_str(), both.report.hints.len()), ("tasks cannot start: no worker; no room", 2));
    }
}
