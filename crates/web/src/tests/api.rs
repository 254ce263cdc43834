//! Tests the API over both listeners: bodies, queries, paths, methods and limits, and that every error is a problem.
//!
//! Nothing here depends on a run.

use super::*;

const ID: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

impl Stage {
    /// Sends a body as it is to the API over the unix socket.
    async fn raw(&self, method: &str, path: &str, kind: &str, body: impl Into<Body>) -> Reply {
        let request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        reply(&self.unix, request.header(header::CONTENT_TYPE, kind).body(body.into()).expect("a request")).await
    }
}

/// Returns every operation of the description of the API, with IDs for its parameters.
fn operations() -> Vec<(String, String)> {
    let document: Value = serde_json::from_str(&openapi::DOCUMENT).expect("JSON");
    let paths = document["paths"].as_object().expect("paths").clone();
    let operations = paths.into_iter().flat_map(|(path, item)| {
        let path = path.replace("{task_id}", ID).replace("{env_id}", ID).replace("{n}", "1").replace("{number}", "1");
        let methods: Vec<String> = item.as_object().expect("operations").keys().map(|method| method.to_uppercase()).collect();
        methods.into_iter().map(move |method| (method, path.clone())).collect::<Vec<_>>()
    });
    operations.collect()
}

#[tokio::test]
async fn every_operation_answers_for_what_does_not_exist_with_a_problem() {
    let stage = Stage::new().await;
    let mut seen = 0;
    for (method, path) in operations().into_iter().filter(|(_, path)| path.contains(ID)) {
        for body in [Value::Null, json!({}), json!([]), json!({ "prompt": "x", "answer": "fetch", "question": 1 })] {
            let reply = stage.api(&method, &path, &body).await;
            assert!((400..500).contains(&reply.status), "{method} {path} {body}: {} {}", reply.status, reply.body);
            reply.problem();
            seen += 1;
        }
        let malformed = stage.api(&method, &path.replace(ID, "..%2fx"), &json!({ "prompt": "x", "answer": "fetch" })).await;
        let (status, _) = malformed.problem();
        assert!([400, 404, 415, 422].contains(&status), "{method} {path}: {}", malformed.body);
    }
    assert!(seen > 100, "{seen}");
}

#[tokio::test]
async fn over_tcp_every_operation_but_healthz_needs_the_token_before_anything_is_read() {
    let stage = Stage::new().await;
    for (method, path) in operations() {
        let request = Request::builder().method(method.as_str()).uri(&path).header(header::HOST, "localhost:8080");
        let reply = stage.ask(request.body("{".into()).expect("a request")).await;
        if path == "/healthz" {
            assert_eq!(reply.status, 200);
            continue;
        }
        assert_eq!(reply.problem(), (401, "unauthenticated".to_owned()), "{method} {path}");
        assert!(!reply.body.contains(stage.engine.token()), "{path}");
    }
    let session = stage.browser("GET", "/api/v1/tasks").body(Body::empty()).expect("a request");
    assert_eq!(stage.ask(session).await.status, 401, "the session of a browser is not a token");
}

#[tokio::test]
async fn every_path_lists_the_methods_that_it_supports() {
    let stage = Stage::new().await;
    let all = operations();
    let paths: std::collections::BTreeSet<&String> = all.iter().map(|(_, path)| path).collect();
    for path in paths {
        let supported: Vec<&str> = all.iter().filter(|(_, other)| other == path).map(|(method, _)| method.as_str()).collect();
        for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"] {
            if supported.contains(&method) {
                continue;
            }
            let refused = stage.api(method, path, &Value::Null).await;
            assert_eq!(refused.problem(), (405, "method_not_allowed".to_owned()), "{method} {path}");
            let allowed: Vec<&str> = refused.header("allow").split(',').filter(|method| *method != "HEAD").collect();
            assert!(supported.iter().all(|method| allowed.contains(method)), "{path}: {allowed:?} {supported:?}");
            assert_eq!(allowed.len(), supported.len(), "{path}: {allowed:?} {supported:?}");
        }
    }
    for path in
        ["/api/v1", "/api/v1/", "/api/v2/tasks", "/api/v1/tasks/", "/API/v1/tasks", "/api/v1/tasks/x/y/z", "/%2e%2e/etc/passwd"]
    {
        assert_eq!(stage.api("GET", path, &Value::Null).await.problem().0, 404, "{path}");
    }
}

#[tokio::test]
async fn bodies_are_json_of_the_documented_form_and_size() {
    let (stage, env) = Stage::with_repository().await;
    let json = "application/json";
    let good = json!({ "env_id": env, "prompt": "x" });
    for (kind, body, expected) in [
        (json, "{".to_owned(), (400, "malformed_body")),
        (json, String::new(), (400, "malformed_body")),
        (json, format!("{good} {good}"), (400, "malformed_body")),
        (json, "[]".to_owned(), (422, "unusable_body")),
        (json, "null".to_owned(), (422, "unusable_body")),
        (json, json!({ "env_id": env }).to_string(), (422, "unusable_body")),
        (json, json!({ "env_id": env, "prompt": "x", "modle": "y" }).to_string(), (422, "unusable_body")),
        (json, json!({ "env_id": env, "prompt": ["x"] }).to_string(), (422, "unusable_body")),
        (json, json!({ "env_id": env, "prompt": "" }).to_string(), (422, "prompt_empty")),
        (json, json!({ "env_id": "x", "prompt": "x" }).to_string(), (422, "malformed_id")),
        (json, json!({ "env_id": ID, "prompt": "x" }).to_string(), (404, "environment_not_found")),
        (json, json!({ "env_id": env, "prompt": "x", "priority": "urgent" }).to_string(), (422, "priority_refused")),
        (
            json,
            json!({ "env_id": env, "prompt": "x", "images": [{ "name": "a", "data": "!" }] }).to_string(),
            (422, "unusable_body"),
        ),
        ("text/plain", good.to_string(), (415, "not_json")),
        ("application/x-www-form-urlencoded", good.to_string(), (415, "not_json")),
        ("multipart/form-data", good.to_string(), (415, "not_json")),
        (json, "x".repeat((36 << 20) + 1), (413, "body_too_large")),
    ] {
        let story: String = body.chars().take(100).collect();
        let (status, code) = stage.raw("POST", "/api/v1/tasks", kind, body).await.problem();
        assert_eq!((status, code.as_str()), expected, "{kind}: {story}");
    }
    for path in ["/api/v1/gc", "/api/v1/password"] {
        let large = format!("{{\"id\":\"{}\"}}", "x".repeat(70 << 10));
        let method = if path.ends_with("gc") { "POST" } else { "PUT" };
        assert_eq!(stage.raw(method, path, json, large).await.problem(), (413, "body_too_large".to_owned()), "{path}");
    }
    assert_eq!(stage.api("GET", "/api/v1/tasks", &Value::Null).await.json()["items"], json!([]), "nothing was created");
}

#[tokio::test]
async fn a_key_makes_a_request_happen_once() {
    let (stage, env) = Stage::with_repository().await;
    let send = async |key: Option<&str>, prompt: &str| {
        let request = Request::builder().method("POST").uri("/api/v1/tasks").header(header::HOST, "localhost");
        let request = request.header(header::CONTENT_TYPE, "application/json");
        let request = key.into_iter().fold(request, |request, key| request.header("idempotency-key", key));
        let body = json!({ "env_id": env, "prompt": prompt }).to_string();
        reply(&stage.unix, request.body(body.into()).expect("a request")).await
    };
    let first = send(Some("k"), "one").await;
    let id = first.json()["task_id"].as_str().expect("an ID").to_owned();
    assert_eq!((first.status, first.header("location")), (201, format!("/api/v1/tasks/{id}").as_str()));
    let again = send(Some("k"), "one").await;
    assert_eq!(
        (again.status, again.header("location"), again.json()["task_id"].as_str()),
        (200, first.header("location"), Some(id.as_str()))
    );
    assert_eq!(send(Some("k"), "two").await.problem(), (422, "idempotency_key_reused".to_owned()));
    for bad in ["", "two words", &"k".repeat(201)] {
        assert_eq!(send(Some(bad), "one").await.problem(), (422, "unusable_idempotency_key".to_owned()), "{bad}");
    }
    assert_ne!(send(None, "one").await.json()["task_id"], send(None, "one").await.json()["task_id"]);
}

#[tokio::test]
async fn lists_are_read_page_by_page_and_odd_queries_are_refused() {
    let (stage, env) = Stage::with_repository().await;
    let mut created = vec![];
    for n in 0..5 {
        created.push(stage.task(&env, &format!("number {n}")).await);
    }
    let (mut found, mut query) = (vec![], "?limit=2".to_owned());
    loop {
        let page = stage.api("GET", &format!("/api/v1/tasks{query}"), &Value::Null).await.json();
        let items = page["items"].as_array().expect("a list");
        assert!(items.len() <= 2, "{page}");
        found.extend(items.iter().map(|task| task["task_id"].as_str().expect("an ID").to_owned()));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("?limit=2&cursor={}", model::forge::escaped(cursor));
    }
    found.sort();
    created.sort();
    assert_eq!(found, created, "every task is on exactly one page");
    for query in ["?limit=0", "?limit=-1", "?limit=x", "?cursor=x", "?status=x", "?group=x", "?archived=x", "?limit=1&limit=2"] {
        let reply = stage.api("GET", &format!("/api/v1/tasks{query}"), &Value::Null).await;
        assert_eq!(reply.status, 422, "{query}: {}", reply.body);
    }
    assert_eq!(
        stage.api("GET", "/api/v1/tasks?q=NUMBER+3", &Value::Null).await.json()["items"].as_array().map(Vec::len),
        Some(1)
    );
    assert_eq!(stage.api("GET", &format!("/api/v1/tasks?env={ID}"), &Value::Null).await.json()["items"], json!([]));
}

#[tokio::test]
async fn the_server_describes_itself() {
    let stage = Stage::new().await;
    let get = async |path: &str| stage.api("GET", path, &Value::Null).await;
    let (health, readiness) = (get("/healthz").await, get("/readyz").await);
    assert_eq!((health.status, readiness.status), (200, 200), "{}", readiness.body);
    let metrics = get("/metrics").await;
    assert!(
        metrics.header("content-type").starts_with("application/openmetrics-text")
            && metrics.body.lines().any(|line| line.starts_with("# HELP")),
        "{metrics:?}"
    );
    let contract = get("/api/v1/openapi.json").await;
    assert_eq!(contract.json(), serde_json::from_str::<Value>(&openapi::DOCUMENT).expect("JSON"));
    let status = get("/api/v1/status").await.json();
    assert_eq!((&status["worker"]["name"], &status["listen"]), (&json!("/bin/true"), &json!("127.0.0.1:8080")));
    assert_eq!(get("/api/v1/doctor").await.status, 200);
    assert_eq!(get("/api/v1/disk").await.json()["environments"], json!([]));
    assert_eq!(get("/api/v1/queue").await.json()["items"], json!([]));
    let link = stage.api("POST", "/api/v1/sign-in-links", &Value::Null).await;
    assert_eq!(link.status, 201);
    let path = link.json()["path"].as_str().expect("a path").to_owned();
    assert!(stage.engine.is_sign_in_code(path.strip_prefix("/sign-in?code=").expect("a code")), "{path}");
    for short in ["", "short", "        "] {
        let refused = stage.api("PUT", "/api/v1/password", &json!({ "password": short })).await;
        assert_eq!(refused.problem().0, 422, "{short:?}");
    }
}

#[tokio::test]
async fn a_task_without_commits_has_nothing_to_export_or_publish() {
    let (stage, env) = Stage::with_repository().await;
    let task = stage.task(&env, "x").await;
    let path = |rest: &str| format!("/api/v1/tasks/{task}/{rest}");
    for (method, rest, body, status) in [
        ("GET", "bundle", Value::Null, 409),
        ("GET", "patches", Value::Null, 409),
        ("GET", "conflicts", Value::Null, 409),
        ("POST", "push", json!({}), 409),
        ("POST", "feedback", Value::Null, 409),
        ("POST", "update", json!({}), 409),
        ("POST", "retry", Value::Null, 409),
        ("POST", "continue", Value::Null, 409),
        ("POST", "resume", json!({ "prompt": "x" }), 409),
        ("POST", "archive", Value::Null, 409),
        ("POST", "answer", json!({ "answer": "fetch" }), 409),
        ("PUT", "follow-ups/1", json!({ "prompt": "x" }), 409),
        ("GET", "runs/2/log", Value::Null, 404),
        ("GET", "diff?run=0", Value::Null, 404),
        ("GET", "diff?format=yaml", Value::Null, 422),
    ] {
        let refused = stage.api(method, &path(rest), &body).await;
        assert_eq!(refused.problem().0, status, "{method} {rest}: {}", refused.body);
        assert!(!refused.json()["hints"].is_null(), "{method} {rest}: {}", refused.body);
    }
    let added = stage.api("POST", &path("follow-ups"), &json!({ "prompt": "then" })).await;
    assert_eq!((added.status, &added.json()["follow_ups"][0]["prompt"]), (201, &json!("then")));
    let replaced = stage.api("PUT", &path("follow-ups/1"), &json!({ "prompt": "other" })).await;
    assert_eq!((replaced.status, &replaced.json()["follow_ups"][0]["prompt"]), (200, &json!("other")));
    for _ in 0..2 {
        let removed = stage.api("DELETE", &path("follow-ups/1"), &Value::Null).await;
        assert_eq!(removed.status, 200, "removing it twice is harmless: {}", removed.body);
    }
    for _ in 0..2 {
        let stopped = stage.api("POST", &path("stop"), &Value::Null).await;
        assert_eq!((stopped.status, &stopped.json()["status"]), (200, &json!("stopped")), "stopping twice is harmless");
    }
    assert_eq!(stage.api("GET", &path("publication"), &Value::Null).await.status, 200);
    assert_eq!(stage.api("DELETE", &format!("/api/v1/tasks/{task}"), &Value::Null).await.status, 204);
    assert_eq!(
        stage.api("GET", &format!("/api/v1/tasks/{task}"), &Value::Null).await.problem(),
        (404, "task_not_found".to_owned())
    );
    let listed = stage.api("GET", "/api/v1/trash", &Value::Null).await.json();
    assert_eq!(listed["items"][0]["id"].as_str(), Some(task.as_str()));
    let kept = stage.api("POST", "/api/v1/gc", &json!({ "dry_run": true, "older_than_days": 0 })).await;
    assert_eq!(kept.status, 200, "{}", kept.body);
    assert_eq!(stage.api("POST", &path("restore"), &Value::Null).await.status, 200, "a dry run deletes nothing");
}
