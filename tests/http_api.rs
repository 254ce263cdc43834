//! The API over the socket, as clients see it: repositories, tasks, runs and diffs.
//!
//! The server and git are real, and the worker runs its prompt as a script. The tests do not read the home's files.

use serde_json::{Value, json};
use testkit::TestHome;
use testkit::upstream::Upstream;

use crate::BINARY;

#[tokio::test]
async fn an_environment_is_created_shown_edited_and_removed() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;

    let request = home.request(reqwest::Method::POST, "/api/v1/envs");
    let created = request.json(&json!({ "repo_url": upstream.url() })).send().await.expect("the server answers");
    assert_eq!(created.status(), 201);
    let address = created.headers()["location"].to_str().expect("text").to_owned();
    let view: Value = created.json().await.expect("JSON");
    assert_eq!(address, format!("/api/v1/envs/{}", view["env_id"].as_str().expect("the repository has an ID")));

    let ready = home.wait_for(&address, |environment| environment["status"] != "cloning").await;
    assert_eq!((&ready["status"], &ready["default_branch"]), (&json!("ready"), &json!("main")));
    assert_eq!((&ready["tasks"], &ready["error"], &ready["progress"]), (&json!(0), &Value::Null, &Value::Null));

    let (status, edited) = home.patch(&address, &json!({ "name": "Sample" })).await;
    assert_eq!((status, &edited["name"]), (200, &json!("Sample")));
    let (_, list) = home.get("/api/v1/envs").await;
    assert_eq!((&list["items"][0], &list["next_cursor"]), (&edited, &Value::Null));

    assert_eq!(home.delete(&address).await, (204, Value::Null));
    let (status, gone) = home.get(&address).await;
    assert_eq!((status, &gone["code"]), (404, &json!("environment_not_found")));
}

#[tokio::test]
async fn a_task_runs_is_resumed_and_shows_what_each_run_changed() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env_id = home.environment(&upstream.url()).await;

    let task_id = home.task(&env_id, "begin; echo one > one.txt; end 'wrote one'").await;
    let first = home.settled(&task_id).await;
    assert_eq!(first["status"], "completed", "{first}");
    assert_eq!((&first["env_id"], &first["branch"]), (&json!(env_id), &json!(format!("codex/{task_id}"))));
    assert_eq!(first["runs"][0]["last_message"], "wrote one");
    assert!(first["thread_id"].is_string(), "{first}");

    let address = format!("/api/v1/tasks/{task_id}");
    let asked = json!({ "prompt": "begin; echo two > two.txt; end 'wrote two'" });
    let (status, resumed) = home.post(&format!("{address}/resume"), &asked).await;
    assert_eq!((status, resumed["runs"].as_array().map(Vec::len)), (201, Some(2)), "{resumed}");
    let second = home.settled(&task_id).await;
    assert_eq!((&second["status"], &second["thread_id"]), (&json!("completed"), &first["thread_id"]));

    let paths = async |query: &str| {
        let (status, diff) = home.get(&format!("{address}/diff{query}")).await;
        assert_eq!(status, 200, "{diff}");
        let files = diff["files"].as_array().expect("files").clone();
        files.iter().map(|file| file["new_path"].as_str().expect("a path").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(paths("").await, ["one.txt", "two.txt"]);
    assert_eq!(paths("?run=1").await, ["one.txt"]);
    assert_eq!(paths("?run=2&format=json").await, ["two.txt"]);
    let (status, missing) = home.get(&format!("{address}/diff?run=3")).await;
    assert_eq!(status, 404, "{missing}");
}

#[tokio::test]
async fn a_patch_is_what_git_applies() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env_id = home.environment(&upstream.url()).await;
    let task_id = home.task(&env_id, "begin; echo more >> README.md; printf '\\0\\1' > blob; end done").await;
    assert_eq!(home.settled(&task_id).await["status"], "completed");

    let response = home.request(reqwest::Method::GET, &format!("/api/v1/tasks/{task_id}/diff?format=patch"));
    let response = response.send().await.expect("the server answers");
    assert_eq!(response.headers()["content-type"], "text/x-diff; charset=utf-8");
    let patch = home.scratch().join("task.patch");
    fs_err::write(&patch, response.bytes().await.expect("a body")).expect("the test's folder is writable");

    upstream.git_in(home.scratch(), &["clone", "--quiet", &upstream.url(), "elsewhere"]);
    let elsewhere = home.scratch().join("elsewhere");
    upstream.git_in(&elsewhere, &["apply", &patch.display().to_string()]);
    assert_eq!(fs_err::read_to_string(elsewhere.join("README.md")).expect("a file"), "hello\nmore\n");
    assert_eq!(fs_err::read(elsewhere.join("blob")).expect("a file"), [0, 1]);
}

#[tokio::test]
async fn the_same_key_creates_one_task() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env_id = home.environment(&upstream.url()).await;
    let create = async |key: &str, prompt: &str| {
        let body = json!({ "env_id": env_id, "prompt": prompt });
        let request = home.request(reqwest::Method::POST, "/api/v1/tasks").header("idempotency-key", key).json(&body);
        let response = request.send().await.expect("the server answers");
        let status = response.status().as_u16();
        (status, response.json::<Value>().await.expect("JSON"))
    };
    let (status, first) = create("morning-1", "begin; end a").await;
    assert_eq!(status, 201, "{first}");
    let (status, again) = create("morning-1", "begin; end a").await;
    assert_eq!((status, &again["task_id"]), (200, &first["task_id"]));
    let (status, other) = create("morning-1", "begin; end b").await;
    assert!(matches!(status, 409 | 422), "another request with the same key is rejected: {status} {other}");
    // Omitted values keep the repository's defaults at the time of the first request.
    let (status, answer) = home.patch(&format!("/api/v1/envs/{env_id}"), &json!({ "runs": { "model": "gpt-5.5" } })).await;
    assert_eq!(status, 200, "{answer}");
    let (status, again) = create("morning-1", "begin; end a").await;
    assert_eq!((status, &again["task_id"], &again["runs"][0]["model"]), (200, &first["task_id"], &Value::Null));
    let (status, refused) = create("two words", "begin; end a").await;
    assert_eq!((status, &refused["code"]), (422, &json!("unusable_idempotency_key")));
    let (_, list) = home.get("/api/v1/tasks").await;
    assert_eq!(list["items"].as_array().map(Vec::len), Some(1), "{list}");
}

#[tokio::test]
async fn stopping_twice_is_harmless_and_removing_ends_a_run() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env_id = home.environment(&upstream.url()).await;
    let task_id = home.task(&env_id, "begin; await /never; end never").await;
    let address = format!("/api/v1/tasks/{task_id}");
    home.wait_for(&address, |task| task["thread_id"].is_string()).await;

    let (status, stopping) = home.post(&format!("{address}/stop"), &Value::Null).await;
    assert_eq!(status, 200, "{stopping}");
    assert_eq!(home.post(&format!("{address}/stop"), &Value::Null).await.0, 200);
    assert_eq!(home.settled(&task_id).await["status"], "stopped");
    assert_eq!(home.post(&format!("{address}/stop"), &Value::Null).await.0, 200);

    let (status, resumed) = home.post(&format!("{address}/resume"), &json!({ "prompt": "begin; await /never" })).await;
    assert_eq!(status, 201, "{resumed}");
    let (status, refused) = home.post(&format!("{address}/resume"), &json!({ "prompt": "begin" })).await;
    assert_eq!(status, 409, "{refused}");
    let (first, second) = tokio::join!(home.delete(&address), home.delete(&address));
    assert_eq!(first, (204, Value::Null));
    assert!(matches!(second.0, 204 | 404), "{second:?}");
    assert_eq!(home.get(&address).await.0, 404);
}

#[tokio::test]
async fn lists_are_pages_that_can_be_narrowed() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env_id = home.environment(&upstream.url()).await;
    let mut created = Vec::new();
    for prompt in ["begin; end a", "begin; failed 'no luck'", "begin; end c"] {
        let task_id = home.task(&env_id, prompt).await;
        home.settled(&task_id).await;
        created.push(task_id);
    }
    let ids = async |path: &str| {
        let (status, page) = home.get(path).await;
        assert_eq!(status, 200, "{page}");
        let items = page["items"].as_array().expect("items").clone();
        let ids: Vec<_> = items.iter().map(|task| task["task_id"].as_str().expect("the task has an ID").to_owned()).collect();
        (ids, page["next_cursor"].as_str().map(str::to_owned))
    };
    let (newest, cursor) = ids("/api/v1/tasks?limit=2").await;
    assert_eq!(newest, [created[2].clone(), created[1].clone()]);
    let cursor = cursor.expect("the list has another page");
    assert_eq!(ids(&format!("/api/v1/tasks?limit=2&cursor={cursor}")).await, (vec![created[0].clone()], None));
    assert_eq!(ids("/api/v1/tasks?status=failed").await.0, [created[1].clone()]);
    assert_eq!(ids("/api/v1/tasks?q=NO%20LUCK").await.0, [created[1].clone()]);
    assert_eq!(ids(&format!("/api/v1/tasks?env={env_id}&status=completed,failed")).await.0.len(), 3);
}

#[tokio::test]
async fn a_task_is_put_away_and_brought_back() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env_id = home.environment(&upstream.url()).await;
    let task_id = home.task(&env_id, "begin; await /never").await;
    let address = format!("/api/v1/tasks/{task_id}");
    home.wait_for(&address, |task| task["thread_id"].is_string()).await;
    let (status, refused) = home.post(&format!("{address}/archive"), &Value::Null).await;
    assert_eq!((status, &refused["code"]), (409, &json!("run_active")));
    home.post(&format!("{address}/stop"), &Value::Null).await;
    assert_eq!(home.settled(&task_id).await["group"], "needs_you");
    let (status, away) = home.post(&format!("{address}/archive"), &Value::Null).await;
    assert_eq!((status, &away["group"]), (200, &json!("done")), "{away}");
    assert_eq!(home.post(&format!("{address}/archive"), &Value::Null).await.1["archived_at"], away["archived_at"]);
    let listed = async |query: &str| {
        let (_, page) = home.get(&format!("/api/v1/tasks{query}")).await;
        page["items"].as_array().map(Vec::len)
    };
    assert_eq!((listed("").await, listed("?archived=only").await, listed("?archived=any").await), (Some(0), Some(1), Some(1)));
    assert_eq!((listed("?archived=any&group=done").await, listed("?archived=any&group=queued").await), (Some(1), Some(0)));
    // The command line finds an archived task by a part of its ID, even though lists omit it.
    let output = home.command(&["task", "unarchive", &task_id[..13]]).output().await.expect("the command can be started");
    assert!(output.status.success(), "{output:?}");
    assert_eq!(listed("").await, Some(1));
    home.post(&format!("{address}/archive"), &Value::Null).await;
    let (status, resumed) = home.post(&format!("{address}/resume"), &json!({ "prompt": "begin; end more" })).await;
    assert_eq!((status, &resumed["archived_at"]), (201, &Value::Null), "a new run unarchives the task");
    assert_eq!(home.settled(&task_id).await["runs"][1]["status"], "completed");
}

#[tokio::test]
async fn a_task_says_how_much_it_changed() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env_id = home.environment(&upstream.url()).await;
    let task_id = home.task(&env_id, "begin; echo one > one.txt; echo two > two.txt; end a").await;
    let changes = json!({ "files": 2, "additions": 2, "deletions": 0 });
    assert_eq!(home.settled(&task_id).await["runs"][0]["changes"], changes);
    home.post(&format!("/api/v1/tasks/{task_id}/resume"), &json!({ "prompt": "begin; end nothing" })).await;
    assert_eq!(home.settled(&task_id).await["runs"][1]["changes"], changes, "the totals cover the whole branch");
}

#[tokio::test]
async fn the_server_speaks_of_itself() {
    let home = TestHome::started(BINARY).await;
    assert_eq!(home.text("/healthz").await, "ok\n");
    assert_eq!(home.text("/readyz").await, "ready\n");
    assert!(home.text("/metrics").await.contains("\ncodex_orchestrator_tasks 0\n"));
    let (_, status) = home.get("/api/v1/status").await;
    assert_eq!(status["pid"], home.server_pid());
    let (_, contract) = home.get("/api/v1/openapi.json").await;
    assert!(contract["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")));
}

#[tokio::test]
async fn a_description_has_no_effect_on_a_worker_without_containers_and_says_so() {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    // A worker that applied descriptions would hold the task.
    upstream.commit("main", &[(".codex-orchestrator/environment.toml", "setpu = 1\n")], "a typing error");
    let env = home.environment(&upstream.url()).await;
    let task = home.task(&env, "begin; end done").await;
    assert_eq!(home.settled(&task).await["status"], "completed");
    let (_, setup) = home.get(&format!("/api/v1/envs/{env}/setup")).await;
    assert_eq!((&setup["applies"], setup["error"]["code"].as_str()), (&json!(false), Some("description_refused")), "{setup}");
    let (status, answer) = home.post(&format!("/api/v1/envs/{env}/setup/run"), &json!({})).await;
    assert_eq!((status, &answer["code"]), (409, &json!("no_setup")), "{answer}");
    assert!(answer["detail"].as_str().is_some_and(|detail| detail.contains("does not run Codex in containers")), "{answer}");
}
