//! GitLab and Forgejo: the same steps as for GitHub. Each repository has its own Git host and its own token.

use serde_json::{Value, json};
use testkit::forge::{Check, Comment, Make, Review, TOKEN};

use super::{POLL_OFTEN, done, git_host, wanted};
use crate::stage::Stage;

async fn stage(make: Make, word: &str) -> Stage {
    let (forge, upstream) = git_host(make).await;
    let stage = Stage::setup().forge(forge, upstream).config(POLL_OFTEN).start().await;
    let forge = json!({ "kind": word, "project": "me/app", "api_url": stage.forge().api_url(), "token": TOKEN });
    stage.edit(json!({ "forge": forge })).await;
    stage
}

async fn the_story(make: Make, word: &str, draft_title: &str) {
    let stage = stage(make, word).await;
    let task = stage.with_work().await;
    let asked = json!({ "pull_request": true, "title": "Fix it", "draft": true });
    let published = stage.push(&task, &asked).await;
    assert_eq!(done(&published)["pull_request"]["number"], 1);
    assert!(published["compare_url"].as_str().is_some_and(|url| url.contains(&task)), "{published}");
    let again = stage.push(&task, &json!({ "pull_request": true, "title": "Fix it well" })).await;
    done(&again);
    let [found] = &stage.forge().pull_requests()[..] else { panic!("exactly one pull request exists") };
    assert_eq!(found.title, draft_title);
    let sha = stage.remote_commit(&task).expect("pushed");
    let log = "the end of the log".to_owned();
    stage.forge().check(Check { id: 5, sha, name: "test".to_owned(), passed: Some(false), log });
    let review =
        |state: &str, author: &str| Review { number: 1, author: author.to_owned(), state: state.to_owned(), body: String::new() };
    stage.forge().review(review("APPROVED", "ann"));
    let (path, line) = ("work.txt".to_owned(), 1);
    let comment = Comment { number: 1, author: "bob".to_owned(), path, line, body: "Rename this.".to_owned(), resolved: false };
    stage.forge().comment(comment);
    stage.forge().change(1, |found| found.mergeable = Some(false));
    let is_seen = |task: &Value| {
        let pull_request = &task["publication"]["pull_request"];
        pull_request["checks"]["failed"] == json!(["test"])
            && pull_request["mergeable"] == false
            && pull_request["reviews"]["approved"] == json!(["ann"])
    };
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), is_seen).await;
    let (status, view) = stage.home.post(&format!("/api/v1/tasks/{task}/feedback"), &json!({})).await;
    assert_eq!(status, 201, "{view}");
    let prompt = view["runs"][1]["prompt"].as_str().expect("a run").to_owned();
    assert!(prompt.contains("bob on work.txt:1:\n> Rename this.") && prompt.contains("the end of the log"), "{prompt}");
    stage.forge().change(1, |found| "merged".clone_into(&mut found.state));
    let is_merged = |task: &Value| task["publication"]["pull_request"]["state"] == "merged";
    stage.home.wait_for(&format!("/api/v1/tasks/{task}"), is_merged).await;
    stage.home.settled(&task).await;
    assert_eq!(done(&stage.push(&task, &wanted()).await)["status"], "done");
}

#[tokio::test]
async fn gitlab_has_merge_requests() {
    the_story(Make::GitLab, "gitlab", "Draft: Fix it well").await;
}

#[tokio::test]
async fn forgejo_has_pull_requests() {
    the_story(Make::Forgejo, "forgejo", "WIP: Fix it well").await;
}
