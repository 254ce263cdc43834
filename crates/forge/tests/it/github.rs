//! The requests to GitHub, and what the client reads from its responses.

use forge::{EditPullRequest, ForgeError, NewPullRequest};
use model::forge::ForgeKind;
use model::publication::feedback::{Comment, FailedCheck};
use model::publication::{Checks, PullRequestState, Reviews};
use serde_json::{Value, json};

use crate::support::{Host, Reply, branch, client, place, pull_request, sha, with};

fn pull(fields: &Value) -> Value {
    let base = json!({
        "number": 7, "html_url": "https://github.com/me/app/pull/7", "title": "Fix it", "body": "Why", "state": "open",
        "draft": false, "merged_at": null, "created_at": "2026-01-02T03:04:05Z", "mergeable": true,
        "base": { "ref": "main", "sha": "a".repeat(40) }, "head": { "ref": "codex/a", "sha": "b".repeat(40) },
        "labels": [{ "name": "a field that the client does not know" }],
    });
    with(base, fields)
}

async fn host(reply: Value) -> Host {
    Host::in_order(vec![Reply::json(&reply)]).await
}

#[tokio::test]
async fn the_pull_request_of_a_branch_is_found_by_its_owner_and_name() {
    let host = host(json!([pull(&json!({})), pull(&json!({ "number": 6 }))])).await;
    let found = host.client(ForgeKind::GitHub).find(&branch("codex/a#b")).await.expect("an answer").expect("found");
    assert_eq!((found.pull_request.number, found.body.as_str()), (7, "Why"));
    assert_eq!(found.pull_request.head_sha, Some(sha('b')));
    let request = host.only_request();
    assert_eq!(request.line, "GET /api/v3/repos/me/app/pulls?state=open&head=me%3Acodex/a%23b&per_page=10");
    assert_eq!(request.header("authorization"), "Bearer token-0123456789abcdef");
    assert_eq!(request.header("accept"), "application/vnd.github+json");
    assert_eq!(request.header("x-github-api-version"), "2022-11-28");
    assert!(request.header("user-agent").starts_with("codex-orchestrator/"), "GitHub requires a user agent");
}

#[tokio::test]
async fn a_branch_without_an_open_pull_request_has_none() {
    let host = host(json!([])).await;
    assert!(host.client(ForgeKind::GitHub).find(&branch("codex/a")).await.expect("an answer").is_none());
}

#[tokio::test]
async fn a_pull_request_without_a_description_has_an_empty_one() {
    let host = host(json!([pull(&json!({ "body": null }))])).await;
    let found = host.client(ForgeKind::GitHub).find(&branch("codex/a")).await.expect("an answer").expect("found");
    assert_eq!(found.body, "");
}

#[tokio::test]
async fn a_merge_time_decides_before_the_state() {
    let host = Host::silent().await;
    let client = host.client(ForgeKind::GitHub);
    let check = async |state: &str, merged_at: Value, expect: PullRequestState| {
        host.answer(&pull(&json!({ "state": state, "merged_at": merged_at })));
        let found = client.details(7).await.expect("an answer").expect("new");
        assert_eq!(found.state, expect, "{state} {merged_at}");
    };
    check("open", Value::Null, PullRequestState::Open).await;
    check("closed", Value::Null, PullRequestState::Closed).await;
    check("closed", json!("2026-01-02T03:04:06Z"), PullRequestState::Merged).await;
    check("a state of the future", Value::Null, PullRequestState::Closed).await;
}

#[tokio::test]
async fn details_tell_whether_a_pull_request_can_be_merged_once_github_knows() {
    let host = Host::silent().await;
    let client = host.client(ForgeKind::GitHub);
    let check = async |mergeable: Value, expect: Option<bool>| {
        host.answer(&pull(&json!({ "mergeable": mergeable })));
        let found = client.details(7).await.expect("an answer").expect("new");
        assert_eq!(found.mergeable, expect);
        assert_eq!(host.only_request().line, "GET /api/v3/repos/me/app/pulls/7");
    };
    check(Value::Null, None).await;
    check(json!(true), Some(true)).await;
    check(json!(false), Some(false)).await;
}

#[tokio::test]
async fn a_head_that_is_not_a_commit_is_left_out_and_an_invalid_base_is_an_error() {
    let host_of = async |fields: Value| host(pull(&fields)).await;
    let headless = host_of(json!({ "head": { "ref": "codex/a", "sha": "unknown" } })).await;
    let found = headless.client(ForgeKind::GitHub).details(7).await.expect("an answer").expect("new");
    assert_eq!(found.head_sha, None);
    let hostile = host_of(json!({ "base": { "ref": "--upload-pack=x", "sha": "a".repeat(40) } })).await;
    let error = hostile.client(ForgeKind::GitHub).details(7).await.expect_err("the name is not a branch");
    assert!(matches!(error, ForgeError::Unreadable(_)), "{error:?}");
}

#[tokio::test]
async fn a_draft_is_a_property_of_the_request() {
    let host = Host::in_order(vec![Reply::json(&pull(&json!({ "draft": true }))).status(201)]).await;
    let new = NewPullRequest {
        head: branch("codex/a"),
        base: branch("release/1"),
        title: "Fix \"it\"".to_owned(),
        body: "Line 1\nLine 2".to_owned(),
        draft: true,
    };
    let made = host.client(ForgeKind::GitHub).open(&new).await.expect("opened");
    assert!(made.draft);
    let request = host.only_request();
    assert_eq!(request.line, "POST /api/v3/repos/me/app/pulls");
    let expect =
        json!({ "title": "Fix \"it\"", "head": "codex/a", "base": "release/1", "body": "Line 1\nLine 2", "draft": true });
    assert_eq!(request.body, Some(expect));
}

#[tokio::test]
async fn an_edit_sends_only_what_changes() {
    let host = Host::silent().await;
    let client = host.client(ForgeKind::GitHub);
    let check = async |edit: EditPullRequest, expect: Value| {
        host.answer(&pull(&json!({})));
        client.edit(7, &edit).await.expect("edited");
        let request = host.only_request();
        assert_eq!((request.line.as_str(), request.body), ("PATCH /api/v3/repos/me/app/pulls/7", Some(expect)));
    };
    let edit = |title: Option<&str>, body: Option<&str>, is_draft: bool| EditPullRequest {
        title: title.map(str::to_owned),
        body: body.map(str::to_owned),
        is_draft,
    };
    check(edit(Some("New"), None, false), json!({ "title": "New" })).await;
    check(edit(None, Some("Text"), false), json!({ "body": "Text" })).await;
    check(edit(Some("New"), Some(""), true), json!({ "title": "New", "body": "" })).await;
    check(edit(None, None, true), json!({})).await;
}

#[tokio::test]
async fn the_newest_pull_requests_include_closed_ones() {
    let listed = pull(&json!({ "number": 6, "state": "closed" }));
    let host = host(json!([pull(&json!({})), listed])).await;
    let found = host.client(ForgeKind::GitHub).newest().await.expect("an answer").expect("new");
    let seen: Vec<_> = found.iter().map(|one| (one.number, one.state)).collect();
    assert_eq!(seen, [(7, PullRequestState::Open), (6, PullRequestState::Closed)]);
    let expect = "GET /api/v3/repos/me/app/pulls?state=all&sort=updated&direction=desc&per_page=100";
    assert_eq!(host.only_request().line, expect);
}

#[tokio::test]
async fn one_unreadable_pull_request_makes_the_list_unreadable() {
    let host = Host::silent().await;
    let client = host.client(ForgeKind::GitHub);
    let check = async |fields: Value| {
        host.answer(&json!([pull(&json!({})), pull(&fields)]));
        let error = client.newest().await.expect_err("the list is not complete");
        assert!(matches!(error, ForgeError::Unreadable(_)), "{error:?}");
    };
    check(json!({ "number": "7" })).await;
    check(json!({ "created_at": "yesterday" })).await;
    check(json!({ "head": null })).await;
    check(json!({ "base": { "ref": "a..b", "sha": "" } })).await;
}

#[tokio::test]
async fn each_check_run_is_pending_failed_or_passed() {
    let host = Host::silent().await;
    let client = host.client(ForgeKind::GitHub);
    let check = async |status: &str, conclusion: Value, expect: &str| {
        let run = json!({ "id": 1, "name": "ci", "status": status, "conclusion": conclusion });
        host.answer(&json!({ "total_count": 1, "check_runs": [run] }));
        let found = client.checks(7, &sha('b')).await.expect("an answer").expect("new");
        assert_eq!(found.words(), expect, "{status} {conclusion}");
        let expect = format!("GET /api/v3/repos/me/app/commits/{}/check-runs?per_page=100", "b".repeat(40));
        assert_eq!(host.only_request().line, expect);
    };
    for status in ["queued", "in_progress", "waiting", "requested", "pending", "a status of the future"] {
        check(status, Value::Null, "1 pending").await;
    }
    for conclusion in ["failure", "timed_out", "cancelled", "action_required", "startup_failure"] {
        check("completed", json!(conclusion), "1 failed").await;
    }
    for conclusion in ["success", "neutral", "skipped", "stale"] {
        check("completed", json!(conclusion), "1 passed").await;
    }
    check("completed", Value::Null, "1 passed").await;
}

#[tokio::test]
async fn a_commit_without_check_runs_has_no_checks() {
    let host = host(json!({ "total_count": 0, "check_runs": [] })).await;
    let found = host.client(ForgeKind::GitHub).checks(7, &sha('b')).await.expect("an answer");
    assert_eq!(found, Some(Checks::default()));
}

#[tokio::test]
async fn the_last_verdict_of_each_reviewer_counts() {
    let host = Host::silent().await;
    let client = host.client(ForgeKind::GitHub);
    let check = async |said: &[(&str, &str)], approved: &[&str], changes_requested: &[&str]| {
        let review = |(who, state): &(&str, &str)| json!({ "user": { "login": who }, "state": state, "body": "" });
        host.answer(&said.iter().map(review).collect());
        let found = client.reviews(7).await.expect("an answer").expect("new");
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(found, Reviews { approved: owned(approved), changes_requested: owned(changes_requested) }, "{said:?}");
        assert_eq!(host.only_request().line, "GET /api/v3/repos/me/app/pulls/7/reviews?per_page=100");
    };
    check(&[], &[], &[]).await;
    check(&[("bob", "APPROVED"), ("ann", "APPROVED")], &["ann", "bob"], &[]).await;
    check(&[("ann", "CHANGES_REQUESTED"), ("ann", "APPROVED")], &["ann"], &[]).await;
    check(&[("ann", "APPROVED"), ("ann", "CHANGES_REQUESTED")], &[], &["ann"]).await;
    check(&[("ann", "CHANGES_REQUESTED"), ("ann", "COMMENTED"), ("bob", "PENDING")], &[], &["ann"]).await;
    check(&[("ann", "CHANGES_REQUESTED"), ("ann", "DISMISSED")], &[], &[]).await;
}

#[tokio::test]
async fn the_verdict_of_a_deleted_account_does_not_count() {
    let host = host(json!([{ "user": null, "state": "APPROVED", "body": "" }])).await;
    let found = host.client(ForgeKind::GitHub).reviews(7).await.expect("an answer");
    assert_eq!(found, Some(Reviews::default()));
}

fn threads(nodes: &Value) -> Value {
    json!({ "data": { "repository": { "pullRequest": { "reviewThreads": { "nodes": nodes } } } } })
}

fn thread(is_resolved: bool, path: &str, line: Option<u64>, comments: &[(Option<&str>, &str)]) -> Value {
    let comments = comments.iter().map(|(who, body)| json!({ "author": who.map(|who| json!({ "login": who })), "body": body }));
    json!({ "isResolved": is_resolved, "path": path, "line": line, "comments": { "nodes": comments.collect::<Vec<_>>() } })
}

fn comment(author: &str, path: Option<&str>, line: Option<u64>, body: &str) -> Comment {
    Comment { author: author.to_owned(), path: path.map(str::to_owned), line, body: body.to_owned() }
}

const REVIEWS: &str = "GET /api/v3/repos/me/app/pulls/7/reviews?per_page=100";
const GRAPHQL: &str = "POST /api/graphql";
const CHECKS: &str = "GET /api/v3/repos/me/app/commits/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb/check-runs?per_page=100";

#[tokio::test]
async fn feedback_contains_requested_changes_and_every_unresolved_conversation() {
    let reviews = json!([
        { "user": { "login": "ann" }, "state": "CHANGES_REQUESTED", "body": "Too slow" },
        { "user": { "login": "ann" }, "state": "CHANGES_REQUESTED", "body": "" },
        { "user": { "login": "bob" }, "state": "APPROVED", "body": "Nice" },
        { "user": null, "state": "CHANGES_REQUESTED", "body": "Left" },
    ]);
    let open = thread(false, "src/a.rs", Some(3), &[(Some("bob"), "Why?"), (None, "Yes, why?")]);
    let outdated = thread(false, "src/b.rs", None, &[(Some("bob"), "Outdated")]);
    let resolved = thread(true, "src/c.rs", Some(1), &[(Some("bob"), "Done")]);
    let answers = [(REVIEWS, reviews), (GRAPHQL, threads(&json!([open, outdated, resolved])))];
    let host = Host::with(answers).await;
    let found = host.client(ForgeKind::GitHub).feedback(&pull_request(None)).await.expect("an answer");
    let expect = [
        comment("ann", None, None, "Too slow"),
        comment("somebody", None, None, "Left"),
        comment("bob", Some("src/a.rs"), Some(3), "Why?"),
        comment("somebody", Some("src/a.rs"), Some(3), "Yes, why?"),
        comment("bob", Some("src/b.rs"), None, "Outdated"),
    ];
    assert_eq!(found.comments, expect);
    assert_eq!(found.checks, [], "a pull request without a known commit has no checks");
    let variables = host.requests()[1].body.as_ref().map(|body| body["variables"].clone());
    assert_eq!(variables, Some(json!({ "owner": "me", "name": "app", "number": 7 })));
}

#[tokio::test]
async fn the_graphql_api_is_next_to_the_rest_api() {
    let check = async |path: &str, expect: &str| {
        let host =
            Host::start(|request| Reply::json(&if request.line.starts_with("POST") { threads(&json!([])) } else { json!([]) }))
                .await;
        let place = place(ForgeKind::GitHub, &format!("{}{path}", host.url()), "me/app");
        client(&place).feedback(&pull_request(None)).await.expect("an answer");
        assert_eq!(host.lines()[1], expect);
    };
    check("", "POST /graphql").await;
    check("/api/v3", "POST /api/graphql").await;
}

#[tokio::test]
async fn a_graphql_error_is_an_error_although_its_status_is_200() {
    let refused = json!({ "data": null, "errors": [{ "type": "FORBIDDEN", "message": "Resource not accessible" }] });
    let host = Host::with([(REVIEWS, json!([])), (GRAPHQL, refused)]).await;
    let error = host.client(ForgeKind::GitHub).feedback(&pull_request(None)).await.expect_err("the comments are missing");
    assert!(matches!(&error, ForgeError::Refused(why) if why.contains("Resource not accessible")), "{error:?}");
}

fn failed_run(id: u64, app: &str, output: &Value) -> Value {
    json!({
        "id": id, "name": format!("check {id}"), "status": "completed", "conclusion": "failure",
        "html_url": format!("https://github.com/me/app/runs/{id}"), "app": { "slug": app }, "output": output,
    })
}

fn check(id: u64, log: Option<&str>) -> FailedCheck {
    let url = Some(format!("https://github.com/me/app/runs/{id}"));
    FailedCheck { name: format!("check {id}"), url, log: log.map(str::to_owned) }
}

/// Starts a host with these check runs. Only job 1 has a log.
async fn host_with_runs(runs: Value) -> Host {
    Host::start(move |request| match request.line.as_str() {
        REVIEWS => Reply::json(&json!([])),
        GRAPHQL => Reply::json(&threads(&json!([]))),
        CHECKS => Reply::json(&json!({ "check_runs": runs })),
        "GET /api/v3/repos/me/app/actions/jobs/1/logs" => Reply::text("the log of job 1"),
        line => Reply::json(&json!({ "message": line })).status(404),
    })
    .await
}

#[tokio::test]
async fn the_log_of_a_failed_check_is_that_of_its_job_or_its_own_summary() {
    let none = json!({ "summary": null, "text": null });
    let both = json!({ "summary": "2 errors", "text": "E1\nE2" });
    let passed = json!({ "id": 9, "name": "fine", "status": "completed", "conclusion": "success" });
    let runs = json!([
        failed_run(1, "github-actions", &both),
        passed,
        failed_run(2, "github-actions", &both),
        failed_run(3, "another-app", &json!({ "summary": "broken", "text": null })),
        failed_run(4, "another-app", &none),
        with(failed_run(5, "", &none), &json!({ "app": null, "output": { "summary": " ", "text": null } })),
    ]);
    let host = host_with_runs(runs).await;
    let found = host.client(ForgeKind::GitHub).feedback(&pull_request(Some(sha('b')))).await.expect("an answer");
    let expect = [
        check(1, Some("the log of job 1")),
        check(2, Some("2 errors\nE1\nE2")),
        check(3, Some("broken")),
        check(4, None),
        check(5, None),
    ];
    assert_eq!(found.checks, expect);
    let logs = host.lines().into_iter().filter(|line| line.ends_with("/logs")).count();
    assert_eq!(logs, 2, "only jobs of GitHub Actions have logs");
}

#[tokio::test]
async fn only_the_first_five_failed_checks_get_logs() {
    let output = json!({ "summary": "broken", "text": null });
    let runs: Vec<_> = (1..=6).map(|id| failed_run(id, "another-app", &output)).collect();
    let host = host_with_runs(runs.into()).await;
    let found = host.client(ForgeKind::GitHub).feedback(&pull_request(Some(sha('b')))).await.expect("an answer");
    let with_log: Vec<_> = found.checks.iter().map(|check| check.log.is_some()).collect();
    assert_eq!(with_log, [true, true, true, true, true, false]);
}
