//! The requests to GitLab, and what the client reads from its responses.

use forge::{EditPullRequest, ForgeError, NewPullRequest};
use model::forge::ForgeKind;
use model::publication::feedback::{Comment, FailedCheck};
use model::publication::{PullRequestState, Reviews};
use serde_json::{Value, json};

use crate::support::{Host, Reply, branch, client, place, pull_request, sha, with};

fn merge_request(fields: &Value) -> Value {
    let base = json!({
        "id": 900, "iid": 7, "web_url": "https://gitlab.com/me/app/-/merge_requests/7", "title": "Fix it",
        "description": "Why", "state": "opened", "draft": false, "created_at": "2026-01-02T03:04:05.678Z",
        "target_branch": "main", "sha": "b".repeat(40), "has_conflicts": false, "merge_status": "can_be_merged",
    });
    with(base, fields)
}

async fn host(reply: Value) -> Host {
    Host::in_order(vec![Reply::json(&reply)]).await
}

#[tokio::test]
async fn a_merge_request_is_found_by_its_source_branch() {
    let host = host(json!([merge_request(&json!({}))])).await;
    let found = host.client(ForgeKind::GitLab).find(&branch("codex/a+b")).await.expect("an answer").expect("found");
    assert_eq!((found.pull_request.number, found.body.as_str()), (7, "Why"), "the number is the one within the project");
    let request = host.only_request();
    assert_eq!(request.line, "GET /api/v4/projects/me%2Fapp/merge_requests?state=opened&source_branch=codex/a%2Bb&per_page=100");
    assert_eq!(request.header("private-token"), "token-0123456789abcdef");
    assert_eq!(request.header("authorization"), "", "the token is sent in one header");
}

#[tokio::test]
async fn a_branch_without_an_open_merge_request_has_none() {
    let host = host(json!([])).await;
    assert!(host.client(ForgeKind::GitLab).find(&branch("codex/a")).await.expect("an answer").is_none());
}

#[tokio::test]
async fn a_merge_request_from_a_fork_is_not_the_one_of_the_branch() {
    let from = |iid: u64, source: u64| merge_request(&json!({ "iid": iid, "source_project_id": source, "target_project_id": 1 }));
    let both = host(json!([from(8, 2), from(7, 1)])).await;
    let found = both.client(ForgeKind::GitLab).find(&branch("codex/a")).await.expect("an answer");
    assert_eq!(found.map(|found| found.pull_request.number), Some(7));
    let fork = host(json!([from(8, 2)])).await;
    assert!(fork.client(ForgeKind::GitLab).find(&branch("codex/a")).await.expect("an answer").is_none());
}

#[tokio::test]
async fn a_project_in_subgroups_is_one_escaped_part_of_the_path() {
    let host = host(json!([])).await;
    let place = place(ForgeKind::GitLab, &format!("{}/api/v4", host.url()), "group/sub/my_app");
    client(&place).newest().await.expect("an answer");
    assert!(host.only_request().line.starts_with("GET /api/v4/projects/group%2Fsub%2Fmy_app/merge_requests?"));
}

#[tokio::test]
async fn each_state_of_a_merge_request_is_read() {
    let host = Host::silent().await;
    let client = host.client(ForgeKind::GitLab);
    let check = async |state: &str, expect: PullRequestState| {
        host.answer(&merge_request(&json!({ "state": state })));
        let found = client.details(7).await.expect("an answer").expect("new");
        assert_eq!(found.state, expect, "{state}");
        assert_eq!(host.only_request().line, "GET /api/v4/projects/me%2Fapp/merge_requests/7");
    };
    check("opened", PullRequestState::Open).await;
    check("locked", PullRequestState::Open).await;
    check("closed", PullRequestState::Closed).await;
    check("merged", PullRequestState::Merged).await;
}

#[tokio::test]
async fn conflicts_are_only_known_after_gitlab_checked_for_them() {
    let host = Host::silent().await;
    let client = host.client(ForgeKind::GitLab);
    let check = async |has_conflicts: Value, merge_status: Value, expect: Option<bool>| {
        host.answer(&merge_request(&json!({ "has_conflicts": has_conflicts, "merge_status": merge_status })));
        let found = client.details(7).await.expect("an answer").expect("new");
        assert_eq!(found.mergeable, expect, "{has_conflicts} {merge_status}");
    };
    check(json!(false), json!("can_be_merged"), Some(true)).await;
    check(json!(true), json!("cannot_be_merged"), Some(false)).await;
    check(json!(true), json!("cannot_be_merged_recheck"), Some(false)).await;
    check(json!(false), json!("unchecked"), None).await;
    check(json!(true), json!("checking"), None).await;
    check(json!(false), Value::Null, None).await;
    check(Value::Null, json!("can_be_merged"), None).await;
}

#[tokio::test]
async fn a_merge_request_without_a_commit_or_description_is_read() {
    let host = host(json!([merge_request(&json!({ "sha": null, "description": null }))])).await;
    let found = host.client(ForgeKind::GitLab).find(&branch("codex/a")).await.expect("an answer").expect("found");
    assert_eq!((found.pull_request.head_sha, found.body.as_str()), (None, ""));
}

#[tokio::test]
async fn a_merge_request_into_an_invalid_branch_is_unreadable() {
    let host = host(merge_request(&json!({ "target_branch": "-x" }))).await;
    let error = host.client(ForgeKind::GitLab).details(7).await.expect_err("the name is not a branch");
    assert!(matches!(error, ForgeError::Unreadable(_)), "{error:?}");
}

#[tokio::test]
async fn a_draft_is_marked_in_the_title() {
    let check = async |draft: bool, title: &str| {
        let host = Host::in_order(vec![Reply::json(&merge_request(&json!({ "draft": draft }))).status(201)]).await;
        let new = NewPullRequest {
            head: branch("codex/a"),
            base: branch("main"),
            title: "Fix it".to_owned(),
            body: "Why".to_owned(),
            draft,
        };
        let made = host.client(ForgeKind::GitLab).open(&new).await.expect("opened");
        assert_eq!(made.draft, draft);
        let request = host.only_request();
        assert_eq!(request.line, "POST /api/v4/projects/me%2Fapp/merge_requests");
        let expect = json!({ "source_branch": "codex/a", "target_branch": "main", "title": title, "description": "Why" });
        assert_eq!(request.body, Some(expect));
    };
    check(false, "Fix it").await;
    check(true, "Draft: Fix it").await;
}

#[tokio::test]
async fn an_edit_keeps_a_draft_a_draft() {
    let host = Host::silent().await;
    let client = host.client(ForgeKind::GitLab);
    let check = async |title: Option<&str>, body: Option<&str>, is_draft: bool, expect: Value| {
        host.answer(&merge_request(&json!({})));
        let edit = EditPullRequest { title: title.map(str::to_owned), body: body.map(str::to_owned), is_draft };
        client.edit(7, &edit).await.expect("edited");
        let request = host.only_request();
        assert_eq!((request.line.as_str(), request.body), ("PUT /api/v4/projects/me%2Fapp/merge_requests/7", Some(expect)));
    };
    check(Some("New"), None, true, json!({ "title": "Draft: New" })).await;
    check(Some("New"), Some("Text"), false, json!({ "title": "New", "description": "Text" })).await;
    check(None, Some("Text"), true, json!({ "description": "Text" })).await;
}

#[tokio::test]
async fn the_newest_merge_requests_are_in_any_state() {
    let merged = merge_request(&json!({ "iid": 6, "state": "merged" }));
    let host = host(json!([merge_request(&json!({ "draft": true })), merged])).await;
    let found = host.client(ForgeKind::GitLab).newest().await.expect("an answer").expect("new");
    let seen: Vec<_> = found.iter().map(|one| (one.number, one.state, one.draft)).collect();
    assert_eq!(seen, [(7, PullRequestState::Open, true), (6, PullRequestState::Merged, false)]);
    let expect = "GET /api/v4/projects/me%2Fapp/merge_requests?state=all&order_by=updated_at&sort=desc&per_page=100";
    assert_eq!(host.only_request().line, expect);
}

fn status(id: u64, status: &str, allow_failure: bool) -> Value {
    let url = format!("https://gitlab.com/me/app/-/jobs/{id}");
    json!({ "id": id, "name": format!("job {id}"), "status": status, "target_url": url, "allow_failure": allow_failure })
}

#[tokio::test]
async fn each_job_is_pending_failed_or_passed() {
    let host = Host::silent().await;
    let client = host.client(ForgeKind::GitLab);
    let check = async |state: &str, allow_failure: bool, expect: &str| {
        host.answer(&json!([status(1, state, allow_failure)]));
        let found = client.checks(7, &sha('b')).await.expect("an answer").expect("new");
        assert_eq!(found.words(), expect, "{state} {allow_failure}");
        let expect = format!("GET /api/v4/projects/me%2Fapp/repository/commits/{}/statuses?per_page=100", "b".repeat(40));
        assert_eq!(host.only_request().line, expect);
    };
    for state in ["created", "waiting_for_resource", "preparing", "pending", "running", "scheduled"] {
        check(state, false, "1 pending").await;
    }
    for state in ["failed", "canceled"] {
        check(state, false, "1 failed").await;
        check(state, true, "1 passed").await;
    }
    for state in ["success", "skipped", "manual"] {
        check(state, false, "1 passed").await;
    }
}

#[tokio::test]
async fn a_merge_request_has_approvals_but_no_requested_changes() {
    let approvals =
        json!({ "approved": true, "approved_by": [{ "user": { "username": "bob" } }, { "user": { "username": "ann" } }] });
    let first = host(approvals).await;
    let found = first.client(ForgeKind::GitLab).reviews(7).await.expect("an answer");
    let approved = vec!["bob".to_owned(), "ann".to_owned()];
    assert_eq!(found, Some(Reviews { approved, changes_requested: vec![] }));
    assert_eq!(first.only_request().line, "GET /api/v4/projects/me%2Fapp/merge_requests/7/approvals");
    let second = host(json!({ "approved": false })).await;
    let found = second.client(ForgeKind::GitLab).reviews(7).await.expect("an answer");
    assert_eq!(found, Some(Reviews::default()), "editions without approvals omit the list");
}

fn note(who: &str, body: &str, fields: &Value) -> Value {
    with(json!({ "body": body, "author": { "username": who }, "system": false, "resolvable": true, "resolved": false }), fields)
}

const DISCUSSIONS: &str = "GET /api/v4/projects/me%2Fapp/merge_requests/7/discussions?per_page=100";
const STATUSES: &str =
    "GET /api/v4/projects/me%2Fapp/repository/commits/bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb/statuses?per_page=100";

#[tokio::test]
async fn feedback_contains_every_note_of_a_discussion_that_is_not_resolved() {
    let place = json!({ "position": { "new_path": "src/a.rs", "new_line": 3 } });
    let removed_line = json!({ "position": { "new_path": "src/a.rs", "new_line": null } });
    let resolved = json!({ "resolved": true });
    let discussions = json!([
        { "notes": [note("ann", "Why?", &place), note("bob", "Because", &place)] },
        { "notes": [note("ann", "Gone?", &removed_line)] },
        { "notes": [note("ann", "Done", &resolved), note("bob", "Thanks", &resolved)] },
        { "notes": [note("ann", "Hello", &json!({ "resolvable": false }))] },
        { "notes": [note("ann", "Half", &resolved), note("bob", "Not yet", &json!({}))] },
        { "notes": [note("gitlab", "changed the line", &json!({ "system": true })), note("ann", "In general", &json!({}))] },
        { "notes": [] },
    ]);
    let host = Host::with([(DISCUSSIONS, discussions)]).await;
    let found = host.client(ForgeKind::GitLab).feedback(&pull_request(None)).await.expect("an answer");
    let at = |author: &str, path: Option<&str>, line: Option<u64>, body: &str| Comment {
        author: author.to_owned(),
        path: path.map(str::to_owned),
        line,
        body: body.to_owned(),
    };
    let expect = [
        at("ann", Some("src/a.rs"), Some(3), "Why?"),
        at("bob", Some("src/a.rs"), Some(3), "Because"),
        at("ann", Some("src/a.rs"), None, "Gone?"),
        at("ann", None, None, "Half"),
        at("bob", None, None, "Not yet"),
        at("ann", None, None, "In general"),
    ];
    assert_eq!(found.comments, expect);
    assert_eq!(host.lines(), [DISCUSSIONS], "without a commit, no jobs are requested");
}

#[tokio::test]
async fn the_logs_of_five_failed_jobs_are_fetched() {
    let jobs: Vec<_> = (1..=7).map(|id| status(id, "failed", id == 2)).chain([status(8, "success", false)]).collect();
    let host = Host::start(move |request| match request.line.as_str() {
        DISCUSSIONS => Reply::json(&json!([])),
        STATUSES => Reply::json(&json!(jobs)),
        "GET /api/v4/projects/me%2Fapp/jobs/3/trace" => Reply::json(&json!({ "message": "403 Forbidden" })).status(403),
        "GET /api/v4/projects/me%2Fapp/jobs/4/trace" => Reply::json(&json!({ "message": "404 Not found" })).status(404),
        line => Reply::text(line),
    })
    .await;
    let found = host.client(ForgeKind::GitLab).feedback(&pull_request(Some(sha('b')))).await.expect("an answer");
    let check = |id: u64, has_log: bool| FailedCheck {
        name: format!("job {id}"),
        url: Some(format!("https://gitlab.com/me/app/-/jobs/{id}")),
        log: has_log.then(|| format!("GET /api/v4/projects/me%2Fapp/jobs/{id}/trace")),
    };
    let expect = [check(1, true), check(3, false), check(4, false), check(5, true), check(6, true), check(7, false)];
    assert_eq!(found.checks, expect, "job 2 may fail, and job 7 is the sixth");
}

#[tokio::test]
async fn a_log_that_cannot_be_fetched_for_now_fails_the_request() {
    let host = Host::start(|request| match request.line.as_str() {
        DISCUSSIONS => Reply::json(&json!([])),
        STATUSES => Reply::json(&json!([status(1, "failed", false)])),
        _ => Reply::json(&json!({ "message": "502 Bad Gateway" })).status(502),
    })
    .await;
    let error = host.client(ForgeKind::GitLab).feedback(&pull_request(Some(sha('b')))).await.expect_err("no log");
    assert_eq!(error, ForgeError::Broken { status: 502, message: "502 Bad Gateway".to_owned() });
}
