//! Every request to GitHub, and every answer that is read, conforms to GitHub's published API description. The tests' Git host
//! is checked against it too, so that it does not behave in ways that GitHub does not.

use std::collections::BTreeSet;

use jsonschema::Validator;
use serde_json::{Value, json};
use testkit::forge::{Check, Comment, Exchange, Review};

use super::{done, stage, wanted};

/// GitHub's published API description in `OpenAPI` 3.0.
struct Description(Value);

impl Description {
    fn published() -> Self {
        let file = testkit::npm::github_description().expect("the description can be installed with npm");
        let text = fs_err::read_to_string(file).expect("the file exists");
        let mut description: Value = serde_json::from_str(&text).expect("the description is JSON");
        speak_json_schema(&mut description["components"]["schemas"]);
        Self(description)
    }

    /// Returns the operation of a request, with the values in its path.
    fn operation(&self, exchange: &Exchange) -> (String, &Value) {
        let asked: Vec<&str> = exchange.path.split('/').collect();
        let paths = self.0["paths"].as_object().expect("paths");
        let fits = |path: &&String| {
            let known: Vec<&str> = path.split('/').collect();
            known.len() == asked.len() && known.iter().zip(&asked).all(|(known, asked)| known.starts_with('{') || known == asked)
        };
        let path = paths.keys().find(fits).unwrap_or_else(|| panic!("the description has no path {}", exchange.path));
        let operation = &self.0["paths"][path][exchange.method.to_lowercase()];
        assert!(operation.is_object(), "the description has no operation {} {path}", exchange.method);
        (format!("{} {path}", exchange.method), operation)
    }

    fn resolved<'v>(&'v self, value: &'v Value) -> &'v Value {
        match value["$ref"].as_str() {
            Some(reference) => self.0.pointer(reference.trim_start_matches('#')).expect("the reference exists"),
            None => value,
        }
    }

    /// Checks a value against a schema of the description.
    fn check(&self, schema: &Value, value: &Value, what: &str) {
        let mut schema = schema.clone();
        speak_json_schema(&mut schema);
        let whole = json!({ "allOf": [schema], "components": { "schemas": self.0["components"]["schemas"] } });
        let validator: Validator = jsonschema::draft7::new(&whole).expect("a schema");
        let errors: Vec<_> = validator.iter_errors(value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{what}: {}", errors.join("\n").chars().take(2000).collect::<String>());
    }

    fn check_query(&self, operation: &Value, exchange: &Exchange, what: &str) {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        for pair in exchange.query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').expect("the parameter has a name and a value");
            let known = parameters.iter().map(|parameter| self.resolved(parameter)).find(|known| known["name"] == name);
            let known = known.unwrap_or_else(|| panic!("{what} has no parameter `{name}`"));
            let typed =
                if known["schema"]["type"] == "integer" { json!(value.parse::<i64>().expect("a number")) } else { json!(value) };
            self.check(&known["schema"], &typed, &format!("{what} ?{name}"));
        }
    }
}

/// Replaces `nullable` of `OpenAPI` 3.0 by a type that allows null, as in JSON Schema.
fn speak_json_schema(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.values_mut().for_each(speak_json_schema);
            if fields.remove("nullable") == Some(json!(true)) {
                let rest = Value::Object(std::mem::take(fields));
                fields.insert("anyOf".to_owned(), json!([rest, { "type": "null" }]));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(speak_json_schema),
        _ => {}
    }
}

/// Returns requests of every kind that the server sends to GitHub, with the answers.
async fn exchanges() -> Vec<Exchange> {
    let stage = stage().await;
    let mut tasks = vec![];
    for _ in 0..3 {
        let task = stage.with_work().await;
        done(&stage.push(&task, &wanted()).await);
        tasks.push(task);
    }
    let task = &tasks[0];
    done(&stage.push(task, &json!({ "pull_request": true, "title": "Another title", "body": "Another body" })).await);
    let sha = stage.remote_commit(task).expect("pushed");
    for (id, passed) in [(1, Some(true)), (2, Some(false)), (3, None)] {
        stage.forge().check(Check { id, sha: sha.clone(), name: format!("check {id}"), passed, log: "log".to_owned() });
    }
    for state in ["APPROVED", "CHANGES_REQUESTED", "COMMENTED"] {
        let (author, body) = (state.to_lowercase(), "words".to_owned());
        stage.forge().review(Review { number: 1, author, state: state.to_owned(), body });
    }
    let (author, path, body) = ("ann".to_owned(), "work.txt".to_owned(), "words".to_owned());
    stage.forge().comment(Comment { number: 1, author, path, line: 1, body, resolved: false });
    stage.home.get(&format!("/api/v1/tasks/{task}/publication")).await;
    let (status, answer) = stage.home.post(&format!("/api/v1/tasks/{task}/feedback"), &json!({})).await;
    assert_eq!(status, 201, "{answer}");
    stage.forge().change(2, |made| "merged".clone_into(&mut made.state));
    stage.forge().change(3, |made| "closed".clone_into(&mut made.state));
    for (task, state) in [(&tasks[1], "merged"), (&tasks[2], "closed")] {
        let path = format!("/api/v1/tasks/{task}");
        stage.home.wait_for(&path, |task| task["publication"]["pull_request"]["state"] == state).await;
    }
    stage.forge().exchanges()
}

#[tokio::test]
async fn all_that_is_asked_and_answered_is_in_githubs_description() {
    let description = Description::published();
    let mut seen = BTreeSet::new();
    for exchange in exchanges().await {
        // Skip the only GraphQL query, which has a different description, and the URLs of logs.
        if exchange.path == "/graphql" || exchange.path.starts_with("/blobs/") {
            continue;
        }
        let (name, operation) = description.operation(&exchange);
        if !seen.insert((name.clone(), exchange.status, exchange.query.clone(), exchange.body.is_some())) {
            continue;
        }
        description.check_query(operation, &exchange, &name);
        if let Some(body) = &exchange.body {
            let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
            description.check(schema, body, &format!("the request of {name}"));
            let known = description.resolved(schema)["properties"].as_object().expect("the schema names its fields");
            let unknown: Vec<_> =
                body.as_object().expect("the value is an object").keys().filter(|field| !known.contains_key(*field)).collect();
            assert!(unknown.is_empty(), "{name} has no fields {unknown:?}");
        }
        // The description omits this status for some requests, but any conditional request can get it.
        if exchange.status == 304 {
            continue;
        }
        let answers = &operation["responses"][exchange.status.to_string()];
        assert!(answers.is_object(), "{name} has no answer with status {}", exchange.status);
        if let Some(answer) = &exchange.answer {
            let schema = &description.resolved(answers)["content"]["application/json"]["schema"];
            description.check(schema, answer, &format!("the {} of {name}", exchange.status));
        }
    }
    let operations: BTreeSet<_> = seen.iter().map(|(name, ..)| name.as_str()).collect();
    assert_eq!(
        operations.into_iter().collect::<Vec<_>>(),
        [
            "GET /repos/{owner}/{repo}/actions/jobs/{job_id}/logs",
            "GET /repos/{owner}/{repo}/commits/{ref}/check-runs",
            "GET /repos/{owner}/{repo}/pulls",
            "GET /repos/{owner}/{repo}/pulls/{pull_number}",
            "GET /repos/{owner}/{repo}/pulls/{pull_number}/reviews",
            "PATCH /repos/{owner}/{repo}/pulls/{pull_number}",
            "POST /repos/{owner}/{repo}/pulls",
        ]
    );
}
