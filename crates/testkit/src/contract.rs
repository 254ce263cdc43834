//! Checks every answer of the HTTP API against the `OpenAPI` document and the catalogue of error codes.
//!
//! [`crate::TestHome`] calls this for each request of a test, so no test needs to check its answers for it.

use std::sync::LazyLock;

use model::ErrorCode;
use serde_json::Value;

/// The committed `OpenAPI` document.
static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../docs/openapi.json")).expect("docs/openapi.json is valid JSON"));

/// Checks one answer.
///
/// # Panics
/// If the API never documents this status for this operation, or if the catalogue has no such error code with this status.
pub fn check(method: &str, path: &str, status: u16, body: &Value) {
    if status >= 400 {
        let code = body["code"].as_str().unwrap_or_else(|| panic!("{method} {path}: {status} has no error code: {body}"));
        let known = ErrorCode::parse(code).unwrap_or_else(|| panic!("{method} {path}: the catalogue has no code `{code}`"));
        assert!(known.statuses().contains(&status), "{method} {path}: the catalogue has no status {status} for `{code}`");
    }
    if let Some(operation) = operation(method, path) {
        let documented = operation["responses"].get(status.to_string()).is_some();
        assert!(documented, "{method} {path}: the OpenAPI document has no response {status} ({})", body["code"]);
    }
}

/// Returns the operation that answers a request, if the document has one.
fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let paths = DOCUMENT["paths"].as_object().expect("the document lists paths");
    let matching = paths.iter().filter(|(template, _)| fits(template, path));
    // A literal segment wins over a parameter.
    let (_, item) = matching.min_by_key(|(template, _)| template.matches('{').count())?;
    item.get(method.to_ascii_lowercase())
}

/// Returns whether a path is an instance of a template such as `/api/v1/tasks/{task_id}`.
fn fits(template: &str, path: &str) -> bool {
    let is_same = |(expected, segment): (&str, &str)| expected.starts_with('{') || expected == segment;
    template.split('/').count() == path.split('/').count() && template.split('/').zip(path.split('/')).all(is_same)
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use serde_json::json;

    use super::*;

    fn is_fine(method: &str, path: &str, status: u16, body: &Value) -> bool {
        catch_unwind(|| check(method, path, status, body)).is_ok()
    }

    #[test]
    fn documented_answers_pass_and_all_others_are_named() {
        let code = |code: &str| json!({ "code": code });
        assert!(is_fine("GET", "/api/v1/tasks", 200, &Value::Null));
        assert!(is_fine("GET", "/api/v1/tasks/x", 404, &code("task_not_found")));
        assert!(is_fine("GET", "/api/v1/nothing", 404, &code("no_such_route")));
        assert!(!is_fine("GET", "/api/v1/tasks/x", 404, &code("of_another_version")), "the code is unknown");
        assert!(!is_fine("GET", "/api/v1/tasks/x", 404, &code("run_active")), "the status belongs to another code");
        assert!(!is_fine("GET", "/api/v1/tasks/x", 404, &Value::Null), "the answer has no code");
        assert!(!is_fine("GET", "/api/v1/tasks", 202, &Value::Null), "the status is not documented");
    }
}
