//! The contract as an `OpenAPI` 3.1 document: put together from the handlers, checked in as `docs/openapi.json`, held to the code by a test.
//!
//! The handlers say what they take and answer; this file says what all of them have in common.

use std::collections::BTreeMap;

use model::api::{FeedEvent, ProblemView, RunEnded};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response, ResponseBuilder};
use utoipa::{IntoResponses, Modify, OpenApi};

use crate::problem::PROBLEM_JSON;
use crate::router;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Codex Orchestrator",
        description = "Hands coding tasks to the Codex CLI. Served on the unix socket `ORCH_HOME/orchestrator.sock`, which needs \
                       no token, and on TCP, where every route but `/healthz` does. Every error is a `Problem`.",
    ),
    components(schemas(FeedEvent, ProblemView, RunEnded)),
    modifiers(&Bearer),
    security((), ("token" = [])),
    tags(
        (name = "environments", description = "Repositories that tasks are cut from"),
        (name = "tasks", description = "Units of asked-for work"),
        (name = "runs", description = "Turns of the agent in a task, and what it said"),
        (name = "server", description = "The server itself"),
    ),
)]
struct Contract;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The content of `ORCH_HOME/token`. Not needed on the unix socket."))
            .build();
        openapi.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// The contract of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut contract = Contract::openapi();
    contract.merge(router::open_routes().into_openapi());
    contract.merge(router::closed_routes().into_openapi());
    contract
}

/// How any route may refuse.
pub(crate) struct Refused;

/// How a route about one thing may refuse besides.
pub(crate) struct NotThere;

/// How a route that reads a body may refuse besides.
pub(crate) struct BadBody;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[
            ("400", "The request could not be read"),
            ("401", "No valid token (over TCP)"),
            ("403", "A host or origin that is not this server's"),
            ("500", "A defect or a broken disk; the log has more"),
        ])
    }
}

impl IntoResponses for NotThere {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[("404", "Nothing has this id")])
    }
}

impl IntoResponses for BadBody {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        refusals(&[
            ("413", "The body, the prompt or an image is too large"),
            ("415", "The body is not marked as JSON"),
            ("422", "A value that cannot be used"),
        ])
    }
}

fn refusals(statuses: &[(&str, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let problem = || ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let answer = |text: &str| ResponseBuilder::new().description(text).content(PROBLEM_JSON, problem()).build();
    statuses.iter().map(|(status, text)| ((*status).to_owned(), RefOr::T(answer(text)))).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn contract() -> Value {
        serde_json::to_value(openapi()).expect("the contract is JSON")
    }

    /// Every operation as `(method, path, operation)`.
    fn operations(contract: &Value) -> Vec<(String, String, Value)> {
        let paths = contract["paths"].as_object().expect("paths");
        paths
            .iter()
            .flat_map(|(path, item)| {
                let methods = item.as_object().expect("operations").iter();
                methods.map(move |(method, operation)| (method.clone(), path.clone(), operation.clone()))
            })
            .collect()
    }

    #[test]
    fn the_checked_in_contract_is_the_codes() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let checked_in = std::fs::read_to_string(file).unwrap_or_default();
        let code = openapi().to_pretty_json().expect("the contract is JSON");
        assert!(checked_in.trim_end() == code.trim_end(), "docs/openapi.json is not the code's: run `cargo xtask openapi`");
    }

    #[test]
    fn it_lists_every_route_of_the_product() {
        let contract = contract();
        let mut routes: Vec<String> =
            operations(&contract).into_iter().map(|(method, path, _)| format!("{method} {path}")).collect();
        routes.sort();
        insta::assert_snapshot!(routes.join("\n"), @"
        delete /api/v1/envs/{env_id}
        delete /api/v1/password
        delete /api/v1/tasks/{task_id}
        delete /api/v1/tasks/{task_id}/follow-ups/{number}
        get /api/v1/disk
        get /api/v1/doctor
        get /api/v1/envs
        get /api/v1/envs/{env_id}
        get /api/v1/envs/{env_id}/refs
        get /api/v1/events
        get /api/v1/openapi.json
        get /api/v1/queue
        get /api/v1/status
        get /api/v1/tasks
        get /api/v1/tasks/{task_id}
        get /api/v1/tasks/{task_id}/bundle
        get /api/v1/tasks/{task_id}/conflicts
        get /api/v1/tasks/{task_id}/diff
        get /api/v1/tasks/{task_id}/patches
        get /api/v1/tasks/{task_id}/publication
        get /api/v1/tasks/{task_id}/runs/{n}/events
        get /api/v1/tasks/{task_id}/runs/{n}/log
        get /api/v1/trash
        get /healthz
        get /metrics
        get /readyz
        patch /api/v1/envs/{env_id}
        post /api/v1/envs
        post /api/v1/envs/{env_id}/fetch
        post /api/v1/envs/{env_id}/restore
        post /api/v1/envs/{env_id}/retry
        post /api/v1/gc
        post /api/v1/sign-in-links
        post /api/v1/tasks
        post /api/v1/tasks/{task_id}/answer
        post /api/v1/tasks/{task_id}/archive
        post /api/v1/tasks/{task_id}/continue
        post /api/v1/tasks/{task_id}/feedback
        post /api/v1/tasks/{task_id}/follow-ups
        post /api/v1/tasks/{task_id}/push
        post /api/v1/tasks/{task_id}/restore
        post /api/v1/tasks/{task_id}/resume
        post /api/v1/tasks/{task_id}/retry
        post /api/v1/tasks/{task_id}/stop
        post /api/v1/tasks/{task_id}/unarchive
        post /api/v1/tasks/{task_id}/update
        put /api/v1/password
        put /api/v1/tasks/{task_id}/follow-ups/{number}
        ");
    }

    #[test]
    fn every_operation_has_an_id_a_summary_and_says_how_it_refuses() {
        let contract = contract();
        let mut ids = std::collections::BTreeSet::new();
        for (method, path, operation) in operations(&contract) {
            let id = operation["operationId"].as_str().expect("an id").to_owned();
            assert!(ids.insert(id.clone()), "{id} names two operations");
            assert!(operation["summary"].is_string(), "{method} {path}");
            if path != "/healthz" {
                assert_eq!(
                    operation["responses"]["401"]["content"][PROBLEM_JSON]["schema"]["$ref"],
                    "#/components/schemas/Problem"
                );
            }
        }
    }

    #[test]
    fn no_reference_points_nowhere() {
        let contract = contract();
        let text = contract.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(contract.pointer(reference).is_some(), "{reference}");
        }
    }

    #[test]
    fn it_is_openapi_3_1_with_one_scheme() {
        let contract = contract();
        assert!(contract["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
        assert_eq!(contract["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    }
}
