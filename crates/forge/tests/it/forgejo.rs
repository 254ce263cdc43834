//! The requests to Forgejo and Gitea, and what the client reads from their responses.

use forge::{EditPullRequest, ForgeError, NewPullRequest};
use model::forge::ForgeKind;
use model::publication::feedback::{Comment, FailedCheck};
use model::publication::{Checks, PullRequestState, Reviews};
use serde_json::{Value, json};

use crate::support::{Host, Reply, branch, pull_request, sha, with};

fn pull(number: u64, head: &str, fields: &Value) -> Value {
    let base = json!({
        "number": number, "html_url": format!("https://codeberg.org/me/app/pulls/{number}"), "title": "Fix it",
        "body": format!("body {number}"), "state": "open", "draft": false, "merged": false, "merged_at": null,
        "created_at": "2026-01-02T03:04:05+01:00", "mergeable": true,
        "base": { "ref": "main", "sha": "a".repeat(40) }, "head": { "ref": head, "sha": "b".repeat(40) },
    });
    with(base, fields)
}

async fn host(reply: Value) -> Host {
    Host::in_order(vec![Reply::json(&reply)]).await
}

fn page_of(line: &str) -> usize {
    let page = line.rsplit_once("&page=").and_then(|(_, page)| page.parse().ok());
    page.expect("the request is for a page")
}

#[tokio::test]
async fn a_branch_is_searched_page_by_page() {
    let host = Host::start(|request| match page_of(&request.line) {
        3 => Reply::json(&json!([pull(8, "codex/b", &json!({})), pull(7, "codex/a", &json!({}))])),
        page => Reply::json(&json!([pull(page as u64, "codex/other", &json!({}))])),
    })
    .await;
    let found = host.client(ForgeKind::Forgejo).find(&branch("codex/a")).await.expect("an answer").expect("found");
    assert_eq!((found.pull_request.number, found.body.as_str()), (7, "body 7"));
    let expect = (1..=3).map(|page| format!("GET /api/v1/repos/me/app/pulls?state=open&sort=recentupdate&limit=50&page={page}"));
    assert_eq!(host.lines(), expect.collect::<Vec<_>>());
    let request = host.requests().remove(0);
    assert_eq!(request.header("authorization"), "token token-0123456789abcdef");
    assert_eq!(request.header("accept"), "application/json");
}

#[tokio::test]
async fn the_search_ends_at_an_empty_page() {
    let host = Host::start(|request| {
        Reply::json(&if page_of(&request.line) == 1 { json!([pull(1, "codex/other", &json!({}))]) } else { json!([]) })
    })
    .await;
    assert!(host.client(ForgeKind::Forgejo).find(&branch("codex/a")).await.expect("an answer").is_none());
    assert_eq!(host.lines().len(), 2);
}

#[tokio::test]
async fn at_most_twenty_pages_are_searched() {
    let check = async |page: usize, expect: Option<u64>| {
        let host = Host::start(move |request| {
            let head = if page_of(&request.line) == page { "codex/a" } else { "codex/other" };
            Reply::json(&json!([pull(7, head, &json!({}))]))
        })
        .await;
        let found = host.client(ForgeKind::Forgejo).find(&branch("codex/a")).await.expect("an answer");
        assert_eq!(found.map(|found| found.pull_request.number), expect, "page {page}");
        assert_eq!(host.lines().len(), 20);
    };
    check(20, Some(7)).await;
    check(21, None).await;
}

#[tokio::test]
async fn a_branch_whose_name_only_begins_alike_is_not_the_one() {
    let host = Host::start(|request| {
        let similar = ["codex/a/b", "codex/ab", "Codex/a", "x/codex/a"].map(|head| pull(1, head, &json!({})));
        Reply::json(&if page_of(&request.line) == 1 { json!(similar) } else { json!([]) })
    })
    .await;
    assert!(host.client(ForgeKind::Forgejo).find(&branch("codex/a")).await.expect("an answer").is_none());
}

#[tokio::test]
async fn a_pull_request_from_a_fork_is_not_the_one_of_the_branch() {
    let from = |number: u64, repo_id: u64| {
        let side = |name: &str, repo_id: u64| json!({ "ref": name, "sha": "b".repeat(40), "repo_id": repo_id });
        pull(number, "codex/a", &json!({ "head": side("codex/a", repo_id), "base": side("main", 1) }))
    };
    let host = Host::start(move |request| match page_of(&request.line) {
        1 => Reply::json(&json!([from(9, 2), from(8, 3)])),
        2 => Reply::json(&json!([from(7, 1)])),
        _ => Reply::json(&json!([])),
    })
    .await;
    let found = host.client(ForgeKind::Forgejo).find(&branch("codex/a")).await.expect("an answer");
    assert_eq!(found.map(|found| found.pull_request.number), Some(7));
}

#[tokio::test]
async fn a_failed_page_ends_the_search_with_its_error() {
    let full = Reply::json(&json!([pull(1, "codex/other", &json!({}))]));
    let broken = Reply::json(&json!({ "message": "database is locked" })).status(500);
    let host = Host::in_order(vec![full, broken]).await;
    let error = host.client(ForgeKind::Forgejo).find(&branch("codex/a")).await.expect_err("the second page is missing");
    assert_eq!(error, ForgeError::Broken { status: 500, message: "database is locked".to_owned() });
}

#[tokio::test]
async fn a_draft_is_marked_in_the_title() {
    let check = async |draft: bool, title: &str| {
        let host = Host::in_order(vec![Reply::json(&pull(7, "codex/a", &json!({ "draft": draft }))).status(201)]).await;
        let new = NewPullRequest {
            head: branch("codex/a"),
            base: branch("main"),
            title: "Fix it".to_owned(),
            body: "Why".to_owned(),
            draft,
        };
        let made = host.client(ForgeKind::Forgejo).open(&new).await.expect("opened");
        assert_eq!((made.number, made.draft), (7, draft));
        let request = host.only_request();
        assert_eq!(request.line, "POST /api/v1/repos/me/app/pulls");
        let expect = json!({ "title": title, "head": "codex/a", "base": "main", "body": "Why" });
        assert_eq!(request.body, Some(expect));
    };
    check(false, "Fix it").await;
    check(true, "WIP: Fix it").await;
}

#[tokio::test]
async fn an_edit_keeps_a_draft_a_draft() {
    let check = async |title: Option<&str>, body: Option<&str>, is_draft: bool, expect: Value| {
        let host = Host::in_order(vec![Reply::json(&pull(7, "codex/a", &json!({}))).status(201)]).await;
        let edit = EditPullRequest { title: title.map(str::to_owned), body: body.map(str::to_owned), is_draft };
        host.client(ForgeKind::Forgejo).edit(7, &edit).await.expect("edited");
        let request = host.only_request();
        assert_eq!((request.line.as_str(), request.body), ("PATCH /api/v1/repos/me/app/pulls/7", Some(expect)));
    };
    check(Some("New"), None, true, json!({ "title": "WIP: New" })).await;
    check(Some("New"), Some("Text"), false, json!({ "title": "New", "body": "Text" })).await;
    check(None, None, true, json!({})).await;
}

#[tokio::test]
async fn the_newest_pull_requests_and_one_of_them_are_read() {
    let merged = pull(6, "codex/b", &json!({ "state": "closed", "merged_at": "2026-01-02T03:04:06+01:00" }));
    let listed = host(json!([pull(7, "codex/a", &json!({})), merged])).await;
    let found = listed.client(ForgeKind::Forgejo).newest().await.expect("an answer").expect("new");
    let seen: Vec<_> = found.iter().map(|one| (one.number, one.state)).collect();
    assert_eq!(seen, [(7, PullRequestState::Open), (6, PullRequestState::Merged)]);
    assert_eq!(listed.only_request().line, "GET /api/v1/repos/me/app/pulls?state=all&sort=recentupdate&limit=50");
    let one = host(pull(7, "codex/a", &json!({ "mergeable": false }))).await;
    let found = one.client(ForgeKind::Forgejo).details(7).await.expect("an answer").expect("new");
    assert_eq!(found.mergeable, Some(false));
    assert_eq!(found.created_at, "2026-01-02T02:04:05Z".parse().expect("a time"), "times have an offset");
    assert_eq!(one.only_request().line, "GET /api/v1/repos/me/app/pulls/7");
}

#[tokio::test]
async fn each_status_is_pending_failed_or_passed() {
    let host = Host::silent().await;
    let client = host.client(ForgeKind::Forgejo);
    let check = async |state: &str, expect: &str| {
        host.answer(&json!({ "state": "pending", "statuses": [{ "context": "ci", "status": state }] }));
        let found = client.checks(7, &sha('b')).await.expect("an answer").expect("new");
        assert_eq!(found.words(), expect, "{state}");
        assert_eq!(host.only_request().line, format!("GET /api/v1/repos/me/app/commits/{}/status?limit=50", "b".repeat(40)));
    };
    check("pending", "1 pending").await;
    check("failure", "1 failed").await;
    check("error", "1 failed").await;
    for state in ["success", "warning", "skipped"] {
        check(state, "1 passed").await;
    }
}

#[tokio::test]
async fn a_commit_without_statuses_has_no_checks() {
    for statuses in [Value::Null, json!([])] {
        let host = host(json!({ "state": "pending", "statuses": statuses })).await;
        let found = host.client(ForgeKind::Forgejo).checks(7, &sha('b')).await.expect("an answer");
        assert_eq!(found, Some(Checks::default()));
    }
}

fn review(id: u64, who: Option<&str>, state: &str, fields: &Value) -> Value {
    let user = who.map(|who| json!({ "login": who }));
    with(json!({ "id": id, "user": user, "state": state, "body": "", "dismissed": false, "comments_count": 0 }), fields)
}

#[tokio::test]
async fn the_last_verdict_of_each_reviewer_counts() {
    let host = Host::silent().await;
    let client = host.client(ForgeKind::Forgejo);
    let check = async |said: &[Value], approved: &[&str], changes_requested: &[&str]| {
        host.answer(&json!(said));
        let found = client.reviews(7).await.expect("an answer").expect("new");
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(found, Reviews { approved: owned(approved), changes_requested: owned(changes_requested) }, "{said:?}");
    };
    let said = |who: &str, state: &str| review(1, Some(who), state, &json!({}));
    let dismissed = review(2, Some("ann"), "REQUEST_CHANGES", &json!({ "dismissed": true }));
    check(&[said("ann", "REQUEST_CHANGES"), said("ann", "APPROVED")], &["ann"], &[]).await;
    check(&[said("ann", "REQUEST_CHANGES"), said("ann", "COMMENT"), said("bob", "APPROVED")], &["bob"], &["ann"]).await;
    check(&[said("ann", "REQUEST_REVIEW"), said("bob", "PENDING")], &[], &[]).await;
    check(&[said("ann", "APPROVED"), dismissed], &[], &[]).await;
    check(&[review(3, None, "APPROVED", &json!({}))], &[], &[]).await;
}

const REVIEWS: &str = "GET /api/v1/repos/me/app/pulls/7/reviews?limit=50";
const COMMENTS_1: &str = "GET /api/v1/repos/me/app/pulls/7/reviews/1/comments";
const STATUS: &str = "GET /api/v1/repos/me/app/commits/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb/status?limit=50";

#[tokio::test]
async fn feedback_contains_the_open_comments_of_every_review() {
    let reviews = json!([
        review(1, Some("ann"), "REQUEST_CHANGES", &json!({ "comments_count": 3, "body": "Too slow" })),
        review(2, Some("bob"), "COMMENT", &json!({ "body": "Nice" })),
        review(3, Some("bob"), "REQUEST_CHANGES", &json!({ "dismissed": true, "comments_count": 1, "body": "Gone" })),
        review(4, None, "REQUEST_CHANGES", &json!({ "body": "Left" })),
    ]);
    let comments = json!([
        { "user": { "login": "ann" }, "body": "Why?", "path": "a.rs", "position": 3, "resolver": null },
        { "user": { "login": "ann" }, "body": "Done", "path": "a.rs", "position": 4, "resolver": { "login": "bob" } },
        { "user": null, "body": "In general", "path": null, "position": null, "resolver": null },
    ]);
    let host = Host::with([(REVIEWS, reviews), (COMMENTS_1, comments)]).await;
    let found = host.client(ForgeKind::Forgejo).feedback(&pull_request(None)).await.expect("an answer");
    let at = |author: &str, path: Option<&str>, line: Option<u64>, body: &str| Comment {
        author: author.to_owned(),
        path: path.map(str::to_owned),
        line,
        body: body.to_owned(),
    };
    let expect = [
        at("ann", Some("a.rs"), Some(3), "Why?"),
        at("somebody", None, None, "In general"),
        at("ann", None, None, "Too slow"),
        at("somebody", None, None, "Left"),
    ];
    assert_eq!(found.comments, expect);
    assert_eq!(host.lines(), [REVIEWS, COMMENTS_1], "reviews without comments and dismissed ones cause no requests");
}

#[tokio::test]
async fn the_description_of_a_failed_status_takes_the_place_of_its_log() {
    let statuses = json!([
        { "context": "lint", "status": "failure", "target_url": "https://ci.example/1", "description": "2 errors" },
        { "context": "test", "status": "error", "target_url": null, "description": "" },
        { "context": "docs", "status": "failure" },
        { "context": "fine", "status": "success", "description": "ok" },
    ]);
    let host = Host::with([(REVIEWS, json!([])), (STATUS, json!({ "statuses": statuses }))]).await;
    let found = host.client(ForgeKind::Forgejo).feedback(&pull_request(Some(sha('b')))).await.expect("an answer");
    let check = |name: &str, url: Option<&str>, log: Option<&str>| FailedCheck {
        name: name.to_owned(),
        url: url.map(str::to_owned),
        log: log.map(str::to_owned),
    };
    let expect =
        [check("lint", Some("https://ci.example/1"), Some("2 errors")), check("test", None, None), check("docs", None, None)];
    assert_eq!(found.checks, expect);
}
