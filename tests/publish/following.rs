//! Following an open pull request: which changes the server notices, and how few requests it sends. The Git host answers 304 if
//! nothing has changed.

use serde_json::json;
use testkit::forge::{Check, Review};

use super::{done, stage, wanted};

#[tokio::test]
async fn what_happens_at_the_forge_is_seen_in_the_task() {
    let stage = stage().await;
    let task = stage.with_work().await;
    done(&stage.push(&task, &wanted()).await);
    let path = format!("/api/v1/tasks/{task}");
    let sha = stage.remote_commit(&task).expect("pushed");
    let check = |passed| Check { id: 1, sha: sha.clone(), name: "test".to_owned(), passed, log: String::new() };
    stage.forge().check(check(None));
    stage.home.wait_for(&path, |task| task["publication"]["pull_request"]["checks"]["pending"] == 1).await;
    stage.forge().check(check(Some(false)));
    stage.forge().review(Review { number: 1, author: "ann".to_owned(), state: "APPROVED".to_owned(), body: String::new() });
    stage.forge().change(1, |made| made.mergeable = Some(false));
    let seen = stage.home.wait_for(&path, |task| {
        let pull_request = &task["publication"]["pull_request"];
        pull_request["checks"]["failed"] == json!(["test"])
            && pull_request["mergeable"] == false
            && pull_request["reviews"]["approved"] == json!(["ann"])
    });
    seen.await;
    stage.forge().change(1, |made| "merged".clone_into(&mut made.state));
    stage.home.wait_for(&path, |task| task["publication"]["pull_request"]["state"] == "merged").await;
}

#[tokio::test]
async fn nothing_new_costs_one_call_a_tick_without_a_body_and_what_is_merged_none() {
    let stage = stage().await;
    let mut tasks = vec![];
    for _ in 0..5 {
        let task = stage.with_work().await;
        done(&stage.push(&task, &wanted()).await);
        tasks.push(task);
    }
    let asked = || stage.forge().exchanges().into_iter().filter(|exchange| exchange.method == "GET").collect::<Vec<_>>();
    // Wait until every pull request has been polled and has got answers without a body.
    let settled = async {
        loop {
            let all = asked();
            let unchanged = all.iter().filter(|exchange| exchange.status == 304).count();
            let kinds: std::collections::BTreeSet<_> = all.iter().map(|exchange| exchange.path.clone()).collect();
            if unchanged > 16 && kinds.len() >= 16 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_mins(1), settled).await.expect("all pull requests are polled");
    for number in 1..=5 {
        stage.forge().change(number, |made| "merged".clone_into(&mut made.state));
    }
    for task in &tasks {
        let path = format!("/api/v1/tasks/{task}");
        stage.home.wait_for(&path, |task| task["publication"]["pull_request"]["state"] == "merged").await;
    }
    let before = asked().len();
    // Wait for several polling intervals in which there is nothing to request.
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    assert!(asked().len() <= before + 1, "polling stops, except for a request in progress");
}

#[tokio::test]
async fn who_looks_at_it_sees_it_as_it_is_now() {
    let mut stage = stage().await;
    stage.home.stop().await;
    fs_err::write(stage.home.path().join("config.toml"), "forge_poll_interval = \"1h\"\n").expect("written");
    stage.home.start().await;
    let task = stage.with_work().await;
    done(&stage.push(&task, &wanted()).await);
    stage.forge().change(1, |made| made.mergeable = Some(true));
    let (_, view) = stage.home.get(&format!("/api/v1/tasks/{task}/publication")).await;
    let pull_request = &view["publication"]["pull_request"];
    assert_eq!((&pull_request["mergeable"], &pull_request["checks"]["pending"]), (&json!(true), &json!(0)), "{view}");
    let calls = stage.forge().exchanges().len();
    stage.home.get(&format!("/api/v1/tasks/{task}/publication")).await;
    assert_eq!(stage.forge().exchanges().len(), calls, "a state that is seconds old is not read again");
}
