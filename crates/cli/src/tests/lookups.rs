//! How commands find a task or a repository: by a complete ID, by a prefix on any page of the list, or by a name.
//! A guess is never made.

use serde_json::json;
use testkit::fake_server::Answer;

use super::samples::{ENV, TASK, completed_run, environment, page, task_json};
use super::stage::Stage;
use crate::ids;

const OTHER: &str = "0192f3a0-1111-7000-8000-000000000002";
const LATER: &str = "0192f3a1-1111-7000-8000-000000000003";

fn task(id: &str) -> serde_json::Value {
    task_json(&[completed_run()], json!({ "task_id": id }))
}

#[tokio::test]
async fn a_prefix_is_searched_on_all_pages() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/tasks", Answer::json(json!({ "items": [task(TASK), task(OTHER)], "next_cursor": "next page" })));
    stage.on("GET /api/v1/tasks", Answer::json(page(&[task(LATER)])));
    let found = ids::task(&stage.client, "0192f3a1").await.expect("one task");
    assert_eq!(found.to_string(), LATER);
    assert_eq!(
        stage.requests(),
        [
            "GET /api/v1/tasks?q=0192f3a1&archived=any&limit=200",
            "GET /api/v1/tasks?q=0192f3a1&archived=any&limit=200&cursor=next+page",
        ]
    );
}

#[tokio::test]
async fn a_task_whose_text_contains_the_prefix_is_not_meant() {
    let stage = Stage::new().await;
    // The server also finds tasks whose title or prompt contains the text.
    stage.on("GET /api/v1/tasks", Answer::json(page(&[task(LATER)])));
    let problem = ids::task(&stage.client, "cafe").await.expect_err("no ID starts with it");
    assert_eq!(problem.report.message, "no task has an ID that starts with `cafe`");
}

#[tokio::test]
async fn a_prefix_of_several_tasks_lists_them() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/tasks", Answer::json(page(&[task(TASK), task(OTHER), task(LATER)])));
    let said = stage.run(&["task", "stop", "0192f3a0-1111"]).await.failed(1);
    assert_eq!(
        said,
        format!(
            "error: `0192f3a0-1111` matches 2 tasks\nhint:  use more characters of one of these IDs:\nhint:  {TASK}\nhint:  {OTHER}\n"
        )
    );
}

#[tokio::test]
async fn text_that_cannot_start_an_id_is_not_sent() {
    let stage = Stage::new().await;
    for text in ["abc", "", "Fix the test", "0192F3A0", "../../etc"] {
        let said = stage.run(&["task", "show", "--", text]).await.failed(1);
        assert!(said.starts_with("error: no task has an ID that starts with "), "{said}");
    }
    assert!(stage.run(&["task", "show", "abc"]).await.stderr.contains("hint:  use at least 4 characters of an ID\n"));
    assert_eq!(stage.requests(), [""; 0]);
}

#[tokio::test]
async fn an_id_in_another_spelling_is_not_a_complete_id() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/tasks", Answer::json(page(&[])));
    let text = "0192f3a01111-7000-8000-0000-00000001";
    let problem = ids::task(&stage.client, text).await.expect_err("the hyphens are at other places");
    assert_eq!(problem.report.code, model::ErrorCode::TaskNotFound);
}

#[tokio::test]
async fn a_repository_is_found_by_name_before_id() {
    let stage = Stage::new().await;
    let other = "0192f3a0-0000-7000-8000-00000000000f";
    // A repository whose name looks like the start of an ID.
    let named = environment(json!({ "env_id": other, "name": "0192f3a0" }));
    stage.on("GET /api/v1/envs", Answer::json(page(&[environment(json!({})), named])));
    let find = async |text: &str| ids::environment(&stage.client, text).await.map(|id| id.to_string());
    assert_eq!(find("0192f3a0").await.as_deref(), Ok(other));
    assert_eq!(find("app").await.as_deref(), Ok(ENV));
    assert_eq!(find(ENV).await.as_deref(), Ok(ENV));
    let problem = find("0192f3a0-0000").await.expect_err("both IDs start with it");
    assert_eq!((problem.report.code.known(), problem.report.hints.len()), (Some(model::ErrorCode::AmbiguousId), 3));
}

#[tokio::test]
async fn two_repositories_with_one_name_are_ambiguous() {
    let stage = Stage::new().await;
    let twin = environment(json!({ "env_id": "0192f3a0-0000-7000-8000-00000000000f" }));
    stage.on("GET /api/v1/envs", Answer::json(page(&[environment(json!({})), twin])));
    let said = stage.run(&["env", "fetch", "app"]).await.failed(1);
    assert!(said.starts_with("error: `app` matches 2 repositories\n"), "{said}");
}

#[tokio::test]
async fn a_list_that_cannot_be_read_is_the_error() {
    let stage = Stage::new().await;
    stage.on("GET /api/v1/envs", Answer::problem(503, "too_many_requests", "too many connections"));
    assert!(stage.run(&["env", "fetch", "app"]).await.failed(1).starts_with("error: too many connections\n"));
}
