//! A task that asks whether to fetch submodules: on its page and in the list, with and without a script, and the related
//! settings. The browser and the repositories are real.

use serde_json::json;
use testkit::upstream::Upstream;

use super::Visit;

/// Creates a branch with two submodules from a private repository. Returns the second URL, which contains hidden characters.
fn branch(stage: &Visit, private: &Upstream) -> String {
    let url = format!("{}/\u{202e}\u{200b}<b>x", private.url());
    let config =
        format!("[submodule \"x\"]\n\tpath = x\n\turl = {}\n[submodule \"y\"]\n\tpath = y\n\turl = \"{url}\"\n", private.url());
    stage.upstream.commit("agent", &[(".gitmodules", &config)], "submodules");
    let commit = private.commit_of("main").expect("the branch `main` exists");
    stage.upstream.submodule("agent", "x", &commit);
    stage.upstream.submodule("agent", "y", &commit);
    url
}

async fn asking(stage: &Visit) -> String {
    let body = json!({ "env_id": stage.env, "prompt": "begin; end", "ref": "agent" });
    let (status, task) = stage.home.post("/api/v1/tasks", &body).await;
    assert_eq!(status, 201, "{task}");
    let id = task["task_id"].as_str().expect("the task has an ID").to_owned();
    stage.home.wait_for(&format!("/api/v1/tasks/{id}"), |task| task["question"].is_object()).await;
    id
}

#[tokio::test]
async fn a_task_asks_on_its_page_and_starts_when_it_is_answered() {
    let mut stage = Visit::new().await;
    let private = Upstream::new();
    let url = branch(&stage, &private);
    let id = asking(&stage).await;
    stage.open("/").await;
    let list = stage.text().await;
    assert!(list.contains("needs your answer") && list.to_lowercase().contains("needs your attention"), "{list}");
    stage.open(&format!("/tasks/{id}")).await;
    let text = stage.text().await;
    assert!(text.contains("Fetch these submodules?") && text.contains(&private.url()), "{text}");
    assert!(text.contains("<U+202E><U+200B><b>x") && !text.contains(&url), "{text}");
    stage.accessible().await;
    stage.browser.click("[name=answer][value=skip] + button").await;
    let done = stage.home.settled(&id).await;
    assert_eq!(done["status"], "completed", "{done}");
    let folder = stage.home.path().join("tasks").join(&id).join("worktree/x");
    assert!(!folder.join("README.md").exists(), "a skipped submodule is not fetched");
    // Give the other answer without a script.
    let id = asking(&stage).await;
    stage.browser.without_scripts().await;
    stage.open(&format!("/tasks/{id}")).await;
    stage.browser.click("[name=answer][value=fetch] + button").await;
    let done = stage.home.settled(&id).await;
    assert_eq!(done["status"], "completed", "{done}");
    let folder = stage.home.path().join("tasks").join(&id).join("worktree/x");
    assert!(folder.join("README.md").exists(), "{done}");
    // The settings show the allowed URLs, which users can revoke there.
    stage.open(&format!("/environments/{}", stage.env)).await;
    let allowed = stage.browser.value("document.querySelector('[name=allowed_urls]').value").await;
    assert!(allowed.as_str().is_some_and(|urls| urls.contains(&private.url())), "{allowed}");
    stage.content();
}
