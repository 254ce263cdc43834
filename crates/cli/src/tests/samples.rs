//! Sample responses of the API for tests of the output, one for each state that a user can see.
//! They are written in JSON, as the API returns them.

use model::ids::TaskId;
use protocol::TaskView;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The ID of the sample task.
pub(crate) const TASK: &str = "0192f3a0-1111-7000-8000-000000000001";

/// The ID of the sample repository.
pub(crate) const ENV: &str = "0192f3a0-0000-7000-8000-00000000000e";

/// Returns the ID of the sample task.
pub(crate) fn task_id() -> TaskId {
    TASK.parse().expect("the sample is an ID")
}

/// Parses JSON in the format of the API.
pub(crate) fn from<T: DeserializeOwned>(json: Value) -> T {
    serde_json::from_value(json).expect("the sample has the format of the API")
}

/// Returns a commit ID that repeats one digit.
pub(crate) fn commit(digit: char) -> String {
    digit.to_string().repeat(40)
}

/// Returns a run with this status. The given fields are added to the run or replace its fields.
pub(crate) fn run(number: u32, status: &str, fields: Value) -> Value {
    let run = json!({
        "number": number, "log": format!("logs/run-{number}.jsonl"), "prompt": "Fix the failing test", "model": null,
        "effort": null, "status": status, "queued_at": "2026-03-01T12:00:00Z", "started_at": null, "finished_at": null,
        "exit_code": null, "thread_id": null, "commit": null, "usage": null, "last_message": null, "error": null,
    });
    merged(run, fields)
}

/// Returns a run that completed with a commit.
pub(crate) fn completed_run() -> Value {
    run(
        1,
        "completed",
        json!({
            "started_at": "2026-03-01T12:00:03Z", "finished_at": "2026-03-01T12:01:15.5Z", "exit_code": 0,
            "commit": commit('c'), "last_message": "The test passes now.\nI changed one line.",
            "usage": { "input_tokens": 5200, "cached_input_tokens": 4096, "output_tokens": 310 },
            "notes": ["skipped the nested repository vendor/x"],
        }),
    )
}

/// Returns a task with these runs. The given fields are added to the task or replace its fields.
pub(crate) fn task(runs: &[Value], fields: Value) -> TaskView {
    from(task_json(runs, fields))
}

/// Returns a task as the API sends it.
pub(crate) fn task_json(runs: &[Value], fields: Value) -> Value {
    let status = runs.last().and_then(|run| run["status"].as_str()).unwrap_or("queued").to_owned();
    let active = matches!(status.as_str(), "queued" | "preparing" | "running" | "stopping");
    let task = json!({
        "schema": 1, "task_id": TASK, "env_id": ENV, "repo_url": "https://github.com/me/app.git",
        "title": "Fix the failing test", "ref": "main", "base_sha": commit('b'), "branch": format!("codex/{TASK}"),
        "thread_id": null, "status": status, "created_at": "2026-03-01T12:00:00Z", "updated_at": "2026-03-01T12:00:00Z",
        "runs": runs, "env_name": "app", "group": "running", "active": active, "progress": null,
    });
    merged(task, fields)
}

/// Returns a repository that is ready, as the API sends it. The given fields are added to the repository or replace its fields.
pub(crate) fn environment(fields: Value) -> Value {
    let environment = json!({
        "env_id": ENV, "name": "app", "repo_url": "https://github.com/me/app.git", "default_branch": "main", "status": "ready",
        "error": null, "progress": null, "variables": {}, "tasks": 2, "created_at": "2026-01-02T03:04:05Z",
        "updated_at": "2026-01-02T03:04:05Z",
    });
    merged(environment, fields)
}

/// Returns a page with these items.
pub(crate) fn page(items: &[Value]) -> Value {
    json!({ "items": items, "next_cursor": null })
}

/// Returns an event of the feed that says that the queue changed.
pub(crate) fn change(number: u64) -> String {
    format!("id: {number}\ndata: {{\"type\":\"queue\",\"waiting\":0}}\n\n")
}

/// Returns the field that contains the ID of the task's thread.
pub(crate) fn thread() -> Value {
    json!({ "thread_id": "0192f3a0-2222-7000-8000-000000000002" })
}

/// Returns a publication whose pull request is open.
pub(crate) fn publication() -> Value {
    json!({
        "attempt": 1, "status": "done", "asked": { "pull_request": true }, "asked_at": "2026-03-01T12:05:00Z",
        "pushed_sha": commit('c'), "pushed_at": "2026-03-01T12:05:02Z",
        "pull_request": {
            "number": 7, "url": "https://github.com/me/app/pull/7", "title": "Fix the failing test", "state": "open",
            "draft": true, "base": "main", "head_sha": commit('c'), "created_at": "2026-03-01T12:05:03Z", "mergeable": true,
            "checks": { "passed": 3, "failed": ["lint"], "pending": 1 },
            "reviews": { "approved": ["ada"], "changes_requested": ["bob"] },
        },
    })
}

fn merged(mut value: Value, fields: Value) -> Value {
    if let (Some(object), Value::Object(fields)) = (value.as_object_mut(), fields) {
        object.extend(fields);
    }
    value
}
