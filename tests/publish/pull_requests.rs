//! Pull requests: their text, that a task never gets a second one, and what happens if none can be opened. The Git host keeps real
//! state for the branches of the real remote.

use serde_json::{Value, json};
use testkit::forge::{Check, Comment, Review, TOKEN};

use super::{done, failed, setup, stage, wanted};

#[tokio::test]
async fn a_pull_request_says_what_the_task_did() {
    let stage = stage().await;
    stage.upstream.commit("main", &[(".github/pull_request_template.md", "## Why\n")], "a template");
    let task = stage.with_work().await;
    let (_, proposal) = stage.home.get(&format!("/api/v1/tasks/{task}/publication")).await;
    assert_eq!((&proposal["publication"], &proposal["by_hand"], &proposal["base"]), (&Value::Null, &Value::Null, &json!("main")));
    let published = stage.push(&task, &wanted()).await;
    assert_eq!(done(&published)["pull_request"]["number"], 1);
    let made = &stage.forge().pull_requests()[0];
    assert_eq!((made.head.as_str(), made.base.as_str(), made.draft), (format!("codex/{task}").as_str(), "main", false));
    assert_eq!(json!(made.title), proposal["title"]);
    assert_eq!(json!(made.body), proposal["body"]);
    for part in ["## Why", "I did the work.", "1 file changed, +1 −0", "| 1 | completed |"] {
        assert!(made.body.contains(part), "{part}: {}", made.body);
    }
}

#[tokio::test]
async fn title_body_and_draft_are_what_was_asked_for() {
    let stage = stage().await;
    let task = stage.with_work().await;
    let asked = json!({ "pull_request": true, "title": "Fix 🦀\nthe parser", "body": "by hand\r\n", "draft": true });
    done(&stage.push(&task, &asked).await);
    let made = &stage.forge().pull_requests()[0];
    assert_eq!((made.title.as_str(), made.body.as_str(), made.draft), ("Fix 🦀 the parser", "by hand\r\n", true));
    let long = json!({ "pull_request": true, "body": "x".repeat(70_000) });
    let (status, problem) = stage.home.post(&format!("/api/v1/tasks/{task}/push"), &long).await;
    assert_eq!((status, &problem["code"]), (413, &json!("body_too_large")));
}

#[tokio::test]
async fn a_second_push_renews_the_one_that_is_open_and_leaves_what_people_wrote() {
    let stage = stage().await;
    let task = stage.with_work().await;
    done(&stage.push(&task, &wanted()).await);
    stage.forge().change(1, |made| {
        made.title = "A better title".to_owned();
        made.body = format!("Please look at this first.\n\n{}", made.body);
    });
    stage
        .home
        .post(&format!("/api/v1/tasks/{task}/resume"), &json!({ "prompt": "begin; echo 2 > two.txt; end \"And more.\"" }))
        .await;
    stage.home.settled(&task).await;
    done(&stage.push(&task, &wanted()).await);
    let [made] = &stage.forge().pull_requests()[..] else { panic!("exactly one pull request exists") };
    assert_eq!(made.title, "A better title");
    assert!(made.body.starts_with("Please look at this first.") && made.body.contains("And more."), "{}", made.body);
    assert!(made.body.contains("2 files changed"), "{}", made.body);
    let again = stage.push(&task, &json!({ "pull_request": true, "draft": true })).await;
    assert!(done(&again)["note"].as_str().is_some_and(|note| note.contains("stays ready for review")), "{again}");
    stage.forge().change(1, |made| "closed".clone_into(&mut made.state));
    stage.home.post(&format!("/api/v1/tasks/{task}/resume"), &json!({ "prompt": "begin; echo 3 > three.txt; end 3" })).await;
    stage.home.settled(&task).await;
    assert_eq!(done(&stage.push(&task, &wanted()).await)["pull_request"]["number"], 2, "a closed pull request stays closed");
}

#[tokio::test]
async fn without_a_token_the_push_is_done_and_the_rest_is_left_to_hand() {
    let stage = setup().await.start().await;
    let task = stage.with_work().await;
    let published = stage.push(&task, &wanted()).await;
    let url = format!("{}/me/app/compare/main...codex/{task}?expand=1", stage.forge().api_url());
    assert_eq!(done(&published)["compare_url"], url);
    assert!(published["note"].as_str().is_some_and(|note| note.contains("no token") && note.contains(&url)), "{published}");
    assert!(stage.remote_commit(&task).is_some() && stage.forge().exchanges().is_empty());
}

#[tokio::test]
async fn the_base_is_the_branch_that_the_task_started_from() {
    let stage = stage().await;
    stage.upstream.commit("release/1", &[("old.txt", "x\n")], "a release");
    let body = json!({ "env_id": stage.env, "prompt": "begin; echo x > x; end x", "ref": "release/1" });
    let (_, view) = stage.home.post("/api/v1/tasks", &body).await;
    let task = view["task_id"].as_str().expect("the task has an ID").to_owned();
    stage.home.settled(&task).await;
    done(&stage.push(&task, &wanted()).await);
    assert_eq!(stage.forge().pull_requests()[0].base, "release/1");
}

#[tokio::test]
async fn the_command_line_publishes_and_says_where() {
    let stage = stage().await;
    let task = stage.with_work().await;
    let run = async |arguments: &[&str]| {
        let output = stage.home.command(arguments).output().await.expect("the command can be started");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code(), text(&output.stdout), text(&output.stderr))
    };
    let (code, said, _) = run(&["task", "pull-request", &task]).await;
    assert!(code == Some(0) && said.contains("No pull request yet") && said.contains("I did the work."), "{said}");
    let (code, said, _) = run(&["task", "push", "--pr", "--title", "By hand", &task]).await;
    assert!(code == Some(0) && said.contains("https://github.com/me/app/pull/1"), "{said}");
    stage.forge().check(Check {
        id: 1,
        sha: stage.remote_commit(&task).expect("pushed"),
        name: "lint".to_owned(),
        passed: Some(false),
        log: String::new(),
    });
    let (_, said, _) = run(&["task", "pr", &task]).await;
    assert!(said.contains("By hand") && said.contains("1 failed") && said.contains("lint"), "{said}");
    let (_, said, _) = run(&["task", "list"]).await;
    assert!(said.contains("PULL REQUEST") && said.contains("#1 open, 1 failed"), "{said}");
    let (_, said, _) = run(&["task", "show", &task]).await;
    assert!(said.contains("#1 https://github.com/me/app/pull/1"), "{said}");
    stage.upstream.commit(&format!("codex/{task}"), &[("theirs.txt", "x\n")], "theirs");
    stage.home.post(&format!("/api/v1/tasks/{task}/resume"), &json!({ "prompt": "begin; echo 2 > two; end 2" })).await;
    stage.home.settled(&task).await;
    let (code, _, said) = run(&["task", "push", &task]).await;
    assert!(code == Some(1) && said.contains("could not push") && said.contains("--force-with-lease"), "{said}");
}

#[tokio::test]
async fn what_reviewers_and_checks_said_goes_to_the_agent() {
    let stage = stage().await;
    let task = stage.with_work().await;
    let path = format!("/api/v1/tasks/{task}/feedback");
    assert_eq!(stage.home.post(&path, &json!({})).await.1["code"], "no_pull_request");
    done(&stage.push(&task, &wanted()).await);
    assert_eq!(stage.home.post(&path, &json!({})).await.1["code"], "no_feedback");
    let sha = stage.remote_commit(&task).expect("pushed");
    let log = format!("begin of log\n{}test parser ... FAILED {TOKEN}\n", "noise\n".repeat(3000));
    stage.forge().check(Check { id: 77, sha, name: "test".to_owned(), passed: Some(false), log });
    let comment = |body: &str, resolved| Comment {
        number: 1,
        author: "ann".to_owned(),
        path: "work.txt".to_owned(),
        line: 1,
        body: body.to_owned(),
        resolved,
    };
    stage.forge().comment(comment("Rename this.", false));
    stage.forge().comment(comment("Done already.", true));
    let review =
        |state: &str, body: &str| Review { number: 1, author: "bob".to_owned(), state: state.to_owned(), body: body.to_owned() };
    stage.forge().review(review("COMMENTED", "nice"));
    stage.forge().review(review("CHANGES_REQUESTED", "Not like this."));
    let (status, view) = stage.home.post(&path, &json!({})).await;
    assert_eq!(status, 201, "{view}");
    let prompt = view["runs"][1]["prompt"].as_str().expect("the task has a new run").to_owned();
    for part in ["ann on work.txt:1:\n> Rename this.", "> Not like this.", "test parser ... FAILED", "pull/1"] {
        assert!(prompt.contains(part), "{part}: {prompt}");
    }
    for absent in ["Done already", "nice", "begin of log", TOKEN] {
        assert!(!prompt.contains(absent), "{absent}: {prompt}");
    }
}

#[tokio::test]
async fn an_environments_own_forge_and_token_are_kept_and_never_shown() {
    let stage = setup().await.set("ORCH_GITHUB_TOKEN", "ghp_one-that-is-known-to-nobody").start().await;
    let task = stage.with_work().await;
    assert_eq!(failed(&stage.push(&task, &wanted()).await), "forge_token_refused");
    let path = format!("/api/v1/envs/{}", stage.env);
    let (status, view) = stage.home.patch(&path, &json!({ "forge": { "kind": "github", "token": TOKEN } })).await;
    assert_eq!((status, &view["has_forge_token"], &view["forge"]["kind"]), (200, &json!(true), &json!("github")), "{view}");
    assert!(!view.to_string().contains(TOKEN));
    done(&stage.push(&task, &wanted()).await);
    let (status, problem) = stage.home.patch(&path, &json!({ "forge": { "api_url": "http://elsewhere.example" } })).await;
    assert_eq!((status, &problem["code"]), (422, &json!("forge_refused")));
    let (_, view) = stage.home.patch(&path, &json!({ "forge": { "kind": null, "token": null } })).await;
    assert_eq!((&view["has_forge_token"], &view["forge"]), (&json!(false), &json!({})));
}
