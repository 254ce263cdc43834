//! Failures of a Git host, and the errors that users see. The branch is pushed in every case, and a new request continues from there.
//! The token appears in no output and no file.

use serde_json::{Value, json};
use testkit::forge::{Fault, TOKEN, Wrong};

use super::{done, failed, stage, wanted};

fn answers(line: &str, times: u32, status: u16, headers: &[(&'static str, &str)], body: Value) -> Fault {
    let headers = headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
    Fault { line: line.to_owned(), times, what: Wrong::Answer { status, headers, body } }
}

#[tokio::test]
async fn each_kind_of_refusal_has_its_own_words() {
    let stage = stage().await;
    let task = stage.with_work().await;
    let message = |text: &str| json!({ "message": text });
    for (fault, code) in [
        (answers("GET", 1, 401, &[], message("Bad credentials")), "forge_token_refused"),
        (answers("POST", 1, 403, &[], message("Resource not accessible by personal access token")), "forge_forbidden"),
        (answers("GET", 1, 404, &[], message("Not Found")), "forge_not_found"),
        (
            answers(
                "POST",
                1,
                422,
                &[],
                json!({ "message": "Validation Failed", "errors": [{ "message": "No commits between main and codex/x" }] }),
            ),
            "forge_refused",
        ),
        (answers("GET", 3, 502, &[], message("Server Error")), "forge_unavailable"),
        (answers("GET", 1, 200, &[], json!("not a list")), "forge_unreadable"),
    ] {
        stage.forge().fault(fault.clone());
        let published = stage.push(&task, &wanted()).await;
        assert_eq!(failed(&published), code, "{fault:?}: {published}");
        assert!(published["pushed_sha"].is_string() && published["error"]["hints"][0].is_string(), "{published}");
    }
    done(&stage.push(&task, &wanted()).await);
    assert_eq!(stage.forge().pull_requests().len(), 1);
}

#[tokio::test]
async fn a_forge_that_has_enough_is_left_alone_until_it_says_so() {
    let stage = stage().await;
    let task = stage.with_work().await;
    let body = json!({ "message": "You have exceeded a secondary rate limit." });
    stage.forge().fault(answers("GET", 1, 403, &[("retry-after", "2")], body));
    assert_eq!(failed(&stage.push(&task, &wanted()).await), "forge_rate_limited");
    let asked = stage.forge().exchanges().len();
    let again = stage.push(&task, &wanted()).await;
    assert_eq!(failed(&again), "forge_rate_limited");
    assert_eq!(stage.forge().exchanges().len(), asked, "the Git host gets no more requests during the pause");
    let succeeded = async { while stage.push(&task, &wanted()).await["status"] != "done" {} };
    tokio::time::timeout(std::time::Duration::from_secs(30), succeeded).await.expect("publishing succeeds after the pause");
}

#[tokio::test]
async fn a_short_failure_is_tried_over_and_makes_no_second_one() {
    let stage = stage().await;
    let task = stage.with_work().await;
    stage.forge().fault(answers("GET", 1, 503, &[], json!({ "message": "unavailable" })));
    stage.forge().fault(Fault { line: "POST".to_owned(), times: 1, what: Wrong::DoneAndGone });
    let published = stage.push(&task, &wanted()).await;
    assert_eq!(done(&published)["pull_request"]["number"], 1);
    assert_eq!(stage.forge().pull_requests().len(), 1, "the server finds the pull request that was created without an answer");
}

#[tokio::test]
async fn a_network_that_is_gone_is_said_and_the_push_is_kept() {
    let mut stage = stage().await;
    let task = stage.with_work().await;
    stage.home.stop().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let nobody = format!("http://{}", listener.local_addr().expect("the listener has an address"));
    drop(listener);
    stage.home.set("ORCH_GITHUB_API_URL", nobody);
    stage.home.start().await;
    let published = stage.push(&task, &wanted()).await;
    assert_eq!(failed(&published), "forge_unreachable");
    assert!(published["pushed_sha"].is_string());
    stage.home.stop().await;
    let api_url = stage.forge().api_url().to_owned();
    stage.home.set("ORCH_GITHUB_API_URL", api_url);
    stage.home.start().await;
    done(&stage.push(&task, &wanted()).await);
}

#[tokio::test]
async fn a_repository_that_was_renamed_is_found_and_one_that_is_gone_is_said() {
    let stage = stage().await;
    let task = stage.with_work().await;
    done(&stage.push(&task, &wanted()).await);
    stage.forge().rename("me/renamed");
    done(&stage.push(&task, &wanted()).await);
    assert_eq!(stage.forge().pull_requests().len(), 1);
    stage.forge().delete();
    assert_eq!(failed(&stage.push(&task, &wanted()).await), "forge_not_found");
}

#[tokio::test]
async fn a_token_that_was_revoked_is_said_and_a_new_one_goes_on() {
    let mut stage = stage().await;
    let task = stage.with_work().await;
    stage.forge().set_token("ghp_another-token-of-the-same-owner");
    let published = stage.push(&task, &wanted()).await;
    assert_eq!(failed(&published), "forge_token_refused");
    assert!(published["error"]["hints"].to_string().contains("ORCH_GITHUB_TOKEN"), "{published}");
    stage.home.stop().await;
    stage.home.set("ORCH_GITHUB_TOKEN", "ghp_another-token-of-the-same-owner");
    stage.home.start().await;
    done(&stage.push(&task, &wanted()).await);
}

/// Returns all files below the home, except the compressed objects of repositories.
fn files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = vec![];
    for entry in fs_err::read_dir(folder).expect("there") {
        let entry = entry.expect("readable");
        let kind = entry.file_type().expect("known");
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found
}

#[tokio::test]
async fn the_token_is_nowhere_after_a_whole_story() {
    let stage = stage().await;
    let task = stage.done("begin; env; env >&2; say \"$(env | tr '\\n\"' '  ')\"; echo x > x; end done").await;
    stage.forge().fault(answers("POST", 1, 422, &[], json!({ "message": format!("bad request with {TOKEN}") })));
    assert_eq!(failed(&stage.push(&task, &wanted()).await), "forge_refused");
    done(&stage.push(&task, &wanted()).await);
    let mut texts = vec![stage.home.log(), stage.home.text("/metrics").await];
    for path in ["/api/v1/status", "/api/v1/tasks", "/api/v1/envs"] {
        texts.push(stage.home.get(path).await.1.to_string());
    }
    texts.push(stage.home.get(&format!("/api/v1/tasks/{task}/publication")).await.1.to_string());
    for text in texts {
        assert!(!text.contains(TOKEN), "{}", &text[..text.len().min(2000)]);
    }
    for file in files(&stage.home.path()) {
        let bytes = fs_err::read(&file).unwrap_or_default();
        let found = bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes());
        assert!(!found, "{} does not contain the token", file.display());
    }
}
