//! The server is killed between an action and its record: after the commit, after the push, and after creating the pull
//! request. Afterwards there is exactly one pull request, and the record is correct.

use serde_json::{Value, json};

use super::{done, stage, wanted};

/// Publishes with a server that is killed at this point. The next server continues automatically.
async fn dies_at(point: &str) {
    let mut stage = stage().await;
    let task = stage.with_work().await;
    stage.home.stop().await;
    stage.home.set("ORCH_CRASH_AT", point);
    stage.home.start().await;
    // The server may be killed before it answers.
    let asked = stage.home.request(reqwest::Method::POST, &format!("/api/v1/tasks/{task}/push")).json(&wanted()).send().await;
    assert!(asked.is_ok() || asked.is_err_and(|error| !error.is_builder()));
    stage.home.ended().await;
    stage.home.set("ORCH_CRASH_AT", "");
    stage.home.start().await;
    let published = stage.published(&task).await;
    assert_eq!(done(&published)["pull_request"]["number"], 1, "{point}");
    assert_eq!(stage.forge().pull_requests().len(), 1, "{point}");
    assert_eq!(published["pushed_sha"].as_str().map(str::to_owned), stage.remote_commit(&task), "{point}");
    let made = stage.forge().exchanges().into_iter().filter(|exchange| exchange.method == "POST" && exchange.status == 201);
    assert_eq!(made.count(), 1, "{point}");
}

#[tokio::test]
async fn after_the_record_of_what_was_asked() {
    dies_at("record-written").await;
}

#[tokio::test]
async fn after_the_push() {
    dies_at("pushed").await;
}

#[tokio::test]
async fn after_the_record_of_the_push() {
    dies_at("record-written:2").await;
}

#[tokio::test]
async fn after_the_pull_request_is_made() {
    dies_at("pull-request-opened").await;
}

#[tokio::test]
async fn after_the_commit_of_the_work() {
    let mut stage = stage().await;
    stage.home.stop().await;
    stage.home.set("ORCH_CRASH_AT", "committed");
    stage.home.start().await;
    let task = stage.home.task(&stage.env, "begin; echo work > work.txt; end done").await;
    stage.home.ended().await;
    stage.home.set("ORCH_CRASH_AT", "");
    stage.home.start().await;
    stage.home.settled(&task).await;
    done(&stage.push(&task, &wanted()).await);
    assert_eq!(stage.upstream.git(&["rev-list", "--count", &format!("main..codex/{task}")]), "1");
    assert_eq!(stage.forge().pull_requests().len(), 1);
}

#[tokio::test]
async fn a_task_that_is_removed_while_it_is_published_is_gone_and_comes_back_published() {
    let stage = stage().await;
    let task = stage.with_work().await;
    done(&stage.push(&task, &wanted()).await);
    assert_eq!(stage.home.delete(&format!("/api/v1/tasks/{task}")).await.0, 204);
    let (status, view) = stage.home.post(&format!("/api/v1/tasks/{task}/restore"), &json!({})).await;
    assert_eq!((status, &view["publication"]["pull_request"]["number"]), (200, &json!(1)), "{view}");
    let again: Value = stage.push(&task, &wanted()).await;
    assert_eq!((done(&again)["attempt"].as_u64(), stage.forge().pull_requests().len()), (Some(2), 1));
}
