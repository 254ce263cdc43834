//! `/healthz`, `/readyz`, `/metrics`, `/api/v1/status` and the contract: the server about itself.
//! What is said is what the engine says; nothing is measured here.

use std::sync::LazyLock;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use model::api::{ProblemView, ServerStatus};
use model::problem::{Problem, ProblemKind};

use crate::openapi::{Refused, openapi};
use crate::problem::ProblemResponse;
use crate::router::Api;

static CONTRACT: LazyLock<String> = LazyLock::new(|| openapi().to_pretty_json().expect("the contract is JSON"));

/// Is it alive?
///
/// Needs no token, and says nothing but that.
#[utoipa::path(get, path = "/healthz", operation_id = "healthz", tag = "server", security(()),
    responses((status = 200, description = "The process answers", body = String, content_type = "text/plain")))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Can it run tasks?
#[utoipa::path(get, path = "/readyz", operation_id = "readyz", tag = "server",
    responses(
        (status = 200, description = "A task that is created now would start", body = String, content_type = "text/plain"),
        (status = 503, description = "Tasks cannot start, and why", body = ProblemView, content_type = "application/problem+json"),
        Refused,
    ))]
pub(crate) async fn readyz(State(api): State<Api>) -> Result<&'static str, ProblemResponse> {
    readiness(&api.engine.fresh_status().await).map_err(ProblemResponse::from)
}

fn readiness(status: &ServerStatus) -> Result<&'static str, Problem> {
    match &status.worker.problem {
        None => Ok("ready\n"),
        Some(reason) => {
            let detail = format!("tasks cannot start: {reason}");
            let problem = Problem::new(ProblemKind::Unavailable, "not_ready", detail);
            Err(status.worker.hints.iter().fold(problem, Problem::hint))
        }
    }
}

/// Metrics
///
/// In the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", operation_id = "metrics", tag = "server",
    responses((status = 200, description = "The figures", body = String, content_type = "text/plain; version=0.0.4"), Refused))]
pub(crate) async fn metrics(State(api): State<Api>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], exposition(&api.engine.status()))
}

fn exposition(status: &ServerStatus) -> String {
    let gauges = [
        ("environments", "Environments that exist.", status.environments),
        ("tasks", "Tasks that exist.", status.tasks),
        ("active_runs", "Tasks with an active run.", status.active_runs),
        ("worker_usable", "Whether tasks can start (1) or not (0).", usize::from(status.worker.problem.is_none())),
    ];
    let lines = gauges.iter().map(|(name, help, value)| {
        let name = format!("codex_orchestrator_{name}");
        format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n")
    });
    lines.collect()
}

/// The server's state
#[utoipa::path(get, path = "/status", operation_id = "show_status", tag = "server",
    responses((status = 200, description = "What this server is and how it is", body = ServerStatus), Refused))]
pub(crate) async fn status(State(api): State<Api>) -> Json<ServerStatus> {
    Json(api.engine.status())
}

/// This contract
#[utoipa::path(get, path = "/openapi.json", operation_id = "show_contract", tag = "server",
    responses((status = 200, description = "The contract as OpenAPI 3.1", body = Object), Refused))]
pub(crate) async fn contract() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], CONTRACT.as_str())
}

#[cfg(test)]
mod tests {
    use model::api::WorkerStatus;

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
            environments: 2,
            tasks: 30,
            active_runs: 4,
            queued_runs: 1,
            hold: None,
        }
    }

    #[test]
    fn a_server_without_a_worker_is_not_ready_and_says_what_to_do() {
        assert_eq!(readiness(&status(None)), Ok("ready\n"));
        let problem = readiness(&status(Some("codex-docker is not on PATH"))).expect_err("no worker");
        assert_eq!(problem.kind, ProblemKind::Unavailable);
        assert_eq!(problem.detail, "tasks cannot start: codex-docker is not on PATH");
        assert_eq!(problem.hints, ["install it, or set ORCH_WORKER=host"]);
    }

    #[test]
    fn the_figures_are_those_of_the_status() {
        insta::assert_snapshot!(exposition(&status(None)), @"
        # HELP codex_orchestrator_environments Environments that exist.
        # TYPE codex_orchestrator_environments gauge
        codex_orchestrator_environments 2
        # HELP codex_orchestrator_tasks Tasks that exist.
        # TYPE codex_orchestrator_tasks gauge
        codex_orchestrator_tasks 30
        # HELP codex_orchestrator_active_runs Tasks with an active run.
        # TYPE codex_orchestrator_active_runs gauge
        codex_orchestrator_active_runs 4
        # HELP codex_orchestrator_worker_usable Whether tasks can start (1) or not (0).
        # TYPE codex_orchestrator_worker_usable gauge
        codex_orchestrator_worker_usable 1
        ");
    }
}
