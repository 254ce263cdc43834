//! The `OpenAPI` 3.1 document of the API, made from the handlers and committed as `docs/openapi.json`.
//!
//! The handlers describe their own requests and responses, and `api/operation.rs` describes what they have in common.

use std::sync::LazyLock;

use serde_json::Value;

use protocol::{FeedEvent, ProblemView, RunDelta, RunEnded};
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use crate::api::operation::errors;
use crate::router;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Codex Orchestrator",
        description = "Sends coding tasks to the Codex CLI. The server listens on the unix socket `ORCH_HOME/orchestrator.sock`, which \
                       needs no token, and on TCP, where every path except `/healthz` needs one. An environment is a repository. \
                       Every error is a `Problem`.",
    ),
    components(schemas(FeedEvent, ProblemView, RunDelta, RunEnded)),
    modifiers(&Bearer),
    security((), ("token" = [])),
    tags(
        (name = "environments", description = "Repositories, which the API calls environments"),
        (name = "tasks", description = "Tasks and their changes"),
        (name = "runs", description = "Runs of Codex in a task, and their logs"),
        (name = "queue", description = "The queue and follow-ups"),
        (name = "publish", description = "Pushes, pull requests and feedback from them"),
        (name = "trash", description = "Trash, garbage collection and disk usage"),
        (name = "status", description = "How browsers sign in"),
        (name = "server", description = "The server itself"),
    ),
)]
struct Contract;

struct Bearer;

impl Modify for Bearer {
    fn modify(&self, openapi: &mut utoipa::openapi::OpenApi) {
        let scheme = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("The content of the file `ORCH_HOME/token`. The unix socket needs no token."))
            .build();
        openapi.components.get_or_insert_default().add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Returns the `OpenAPI` document of the API.
pub fn openapi() -> utoipa::openapi::OpenApi {
    let mut contract = Contract::openapi();
    contract.merge(router::open_routes().into_openapi());
    contract.merge(router::closed_routes().into_openapi());
    document_damage(&mut contract);
    with_maxima(&contract)
}

/// Unsigned formats as utoipa writes them, their names in the registry of `OpenAPI` formats, and their largest numbers.
const UNSIGNED: [(&str, &str, u64); 4] = [
    ("u-int8", "uint8", u8::MAX as u64),
    ("u-int16", "uint16", u16::MAX as u64),
    ("u-int32", "uint32", u32::MAX as u64),
    ("u-int64", "uint64", u64::MAX),
];

/// Adds the largest number of its format to every unsigned integer without a maximum.
fn with_maxima(contract: &utoipa::openapi::OpenApi) -> utoipa::openapi::OpenApi {
    let mut document = serde_json::to_value(contract).expect("the document is valid JSON");
    limit_integers(&mut document);
    serde_json::from_value(document).expect("the document is valid")
}

fn limit_integers(value: &mut Value) {
    if let Value::Object(object) = value
        && let Some((_, format, most)) =
            UNSIGNED.into_iter().find(|(written, ..)| object.get("format") == Some(&(*written).into()))
    {
        object.insert("format".to_owned(), format.into());
        object.entry("maximum").or_insert(most.into());
    }
    match value {
        Value::Object(object) => object.values_mut().for_each(limit_integers),
        Value::Array(items) => items.iter_mut().for_each(limit_integers),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Adds the status 409 to every operation on a task or a repository, since its files may be damaged.
fn document_damage(contract: &mut utoipa::openapi::OpenApi) {
    let on_a_resource =
        contract.paths.paths.iter_mut().filter(|(path, _)| path.contains("{task_id}") || path.contains("{env_id}"));
    for (_, item) in on_a_resource {
        let methods = [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete];
        for operation in methods.into_iter().flatten() {
            for (status, response) in errors(&[("409", "The files of the task or the repository are damaged")]) {
                operation.responses.responses.entry(status).or_insert(response);
            }
        }
    }
}

/// The document as JSON.
pub(crate) static DOCUMENT: LazyLock<String> = LazyLock::new(|| openapi().to_pretty_json().expect("the document is valid JSON"));

#[cfg(test)]
mod tests {
    use crate::problem::PROBLEM_JSON;

    use super::*;

    fn contract() -> Value {
        serde_json::to_value(openapi()).expect("the document is valid JSON")
    }

    /// Returns every operation as `(method, path, operation)`.
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
    fn the_committed_document_is_up_to_date() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/openapi.json");
        let checked_in = std::fs::read_to_string(file).unwrap_or_default();
        let code = openapi().to_pretty_json().expect("the document is valid JSON");
        assert!(checked_in.trim_end() == code.trim_end(), "docs/openapi.json is out of date: run `cargo xtask docs`");
    }

    #[test]
    fn the_document_lists_every_route() {
        let contract = contract();
        let mut routes: Vec<String> =
            operations(&contract).into_iter().map(|(method, path, _)| format!("{method} {path}")).collect();
        routes.sort();
        insta::assert_snapshot!(routes.join("\n"), @"
        delete /api/v1/envs/{env_id}
        delete /api/v1/envs/{env_id}/shells/{shell_id}
        delete /api/v1/password
        delete /api/v1/tasks/{task_id}
        delete /api/v1/tasks/{task_id}/follow-ups/{number}
        get /api/v1/disk
        get /api/v1/doctor
        get /api/v1/envs
        get /api/v1/envs/{env_id}
        get /api/v1/envs/{env_id}/refs
        get /api/v1/envs/{env_id}/setup
        get /api/v1/envs/{env_id}/setup/diff
        get /api/v1/envs/{env_id}/setup/log
        get /api/v1/events
        get /api/v1/openapi.json
        get /api/v1/queue
        get /api/v1/status
        get /api/v1/tasks
        get /api/v1/tasks/{task_id}
        get /api/v1/tasks/{task_id}/bundle
        get /api/v1/tasks/{task_id}/conflicts
        get /api/v1/tasks/{task_id}/diff
        get /api/v1/tasks/{task_id}/installed
        get /api/v1/tasks/{task_id}/patches
        get /api/v1/tasks/{task_id}/publication
        get /api/v1/tasks/{task_id}/runs/{n}/artifacts
        get /api/v1/tasks/{task_id}/runs/{n}/artifacts/{path}
        get /api/v1/tasks/{task_id}/runs/{n}/events
        get /api/v1/tasks/{task_id}/runs/{n}/log
        get /api/v1/tasks/{task_id}/runs/{n}/services/{service}/log
        get /api/v1/tasks/{task_id}/runs/{n}/setup/log
        get /api/v1/trash
        get /healthz
        get /metrics
        get /readyz
        patch /api/v1/envs/{env_id}
        patch /api/v1/envs/{env_id}/setup
        post /api/v1/envs
        post /api/v1/envs/{env_id}/fetch
        post /api/v1/envs/{env_id}/restore
        post /api/v1/envs/{env_id}/retry
        post /api/v1/envs/{env_id}/setup/accept
        post /api/v1/envs/{env_id}/setup/run
        post /api/v1/envs/{env_id}/setup/skip
        post /api/v1/envs/{env_id}/shells
        post /api/v1/gc
        post /api/v1/sign-in-links
        post /api/v1/tasks
        post /api/v1/tasks/{task_id}/answer
        post /api/v1/tasks/{task_id}/archive
        post /api/v1/tasks/{task_id}/commit
        post /api/v1/tasks/{task_id}/continue
        post /api/v1/tasks/{task_id}/environment/refresh
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
    fn every_operation_has_an_id_a_summary_and_errors() {
        let contract = contract();
        let mut ids = std::collections::BTreeSet::new();
        for (method, path, operation) in operations(&contract) {
            let id = operation["operationId"].as_str().expect("the operation has an ID").to_owned();
            assert!(ids.insert(id.clone()), "the operation ID {id} is unique");
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
    fn every_reference_is_valid() {
        let contract = contract();
        let text = contract.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(contract.pointer(reference).is_some(), "{reference}");
        }
    }

    #[test]
    fn integers_have_the_limits_of_their_types() {
        let contract = contract();
        let days = &contract["components"]["schemas"]["CollectGarbage"]["properties"]["older_than_days"];
        assert_eq!((&days["minimum"], &days["maximum"]), (&0.into(), &u32::MAX.into()));
        let size = &contract["components"]["schemas"]["Disk"]["properties"]["trash"];
        assert_eq!(size["maximum"], u64::MAX);
        let retries = &contract["components"]["schemas"]["EditRunPolicy"]["properties"]["retries"];
        assert_eq!(retries["maximum"], 10);
    }

    #[test]
    fn the_document_is_openapi_3_1_with_one_scheme() {
        let contract = contract();
        assert!(contract["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
        assert_eq!(contract["components"]["securitySchemes"]["token"]["scheme"], "bearer");
    }
}
