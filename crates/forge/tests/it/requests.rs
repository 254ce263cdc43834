//! How requests are sent: the token, redirects, remembered responses, and pauses.
//!
//! Every kind of Git host uses the same code, so these tests use one kind each.

use std::sync::Arc;

use forge::{Call, EditPullRequest, Forge, ForgeError, Forges, NewPullRequest};
use jiff::{SignedDuration, Timestamp};
use model::forge::ForgeKind;
use model::secret::Secret;
use serde_json::{Value, json};

use crate::support::{Host, Reply, TOKEN, branch, client, place, pull_request, sha};

fn pull() -> Value {
    json!({
        "number": 7, "html_url": "https://github.com/me/app/pull/7", "title": "Fix it", "state": "open",
        "created_at": "2026-01-02T03:04:05Z", "base": { "ref": "main", "sha": "" }, "head": { "ref": "codex/a", "sha": "" },
    })
}

fn new_pull_request() -> NewPullRequest {
    NewPullRequest {
        head: branch("codex/a"),
        base: branch("main"),
        title: "Fix it".to_owned(),
        body: String::new(),
        draft: false,
    }
}

fn open(host: &Host) -> Arc<dyn Forge> {
    host.client(ForgeKind::GitHub)
}

#[tokio::test]
async fn an_unchanged_response_is_not_read_again() {
    let host = Host::start(|request| match request.header("if-none-match").as_str() {
        "\"one\"" => Reply::text("").status(304),
        _ => Reply::json(&pull()).header("etag", "\"one\""),
    })
    .await;
    let client = open(&host);
    assert!(client.details(7).await.expect("an answer").is_some());
    assert!(client.details(7).await.expect("an answer").is_none(), "nothing changed");
    assert!(client.details(8).await.expect("an answer").is_some(), "each URL has its own tag");
    let tags: Vec<_> = host.requests().iter().map(|request| request.header("if-none-match")).collect();
    assert_eq!(tags, ["", "\"one\"", ""]);
}

#[tokio::test]
async fn a_changed_response_replaces_the_remembered_tag() {
    let replies = ["\"one\"", "\"two\"", "\"three\""].map(|tag| Reply::json(&pull()).header("etag", tag));
    let host = Host::in_order(replies.to_vec()).await;
    let client = open(&host);
    for _ in 0..3 {
        assert!(client.details(7).await.expect("an answer").is_some());
    }
    let tags: Vec<_> = host.requests().iter().map(|request| request.header("if-none-match")).collect();
    assert_eq!(tags, ["", "\"one\"", "\"two\""]);
}

#[tokio::test]
async fn a_response_that_could_not_be_read_is_requested_in_full_again() {
    let unreadable = Reply::text("<html>").header("etag", "\"one\"");
    let host = Host::in_order(vec![unreadable, Reply::json(&pull()).header("etag", "\"one\"")]).await;
    let client = open(&host);
    client.details(7).await.expect_err("not JSON");
    assert!(client.details(7).await.expect("an answer").is_some());
    assert_eq!(host.requests()[1].header("if-none-match"), "", "the unreadable response was not remembered");
}

#[tokio::test]
async fn a_search_does_not_depend_on_remembered_responses() {
    let host = Host::in_order(vec![Reply::json(&json!([])).header("etag", "\"one\"")]).await;
    let client = open(&host);
    for _ in 0..2 {
        assert!(client.find(&branch("codex/a")).await.expect("an answer").is_none());
    }
    assert!(host.requests().iter().all(|request| request.header("if-none-match").is_empty()));
}

#[tokio::test]
async fn a_renamed_repository_is_followed_with_the_method_body_and_token() {
    for status in [301, 302, 307, 308] {
        let host = Host::start(move |request| match request.line.as_str() {
            "POST /api/v3/repos/me/app/pulls" => Reply::to(status, "/api/v3/repositories/1/pulls"),
            "POST /api/v3/repositories/1/pulls" => Reply::json(&pull()).status(201),
            line => Reply::text(line).status(500),
        })
        .await;
        let made = open(&host).open(&new_pull_request()).await.expect("opened");
        assert_eq!(made.number, 7, "{status}");
        let requests = host.requests();
        assert_eq!(requests[1].body, requests[0].body);
        assert_eq!(requests[1].header("authorization"), format!("Bearer {TOKEN}"));
    }
}

#[tokio::test]
async fn three_redirects_are_followed_and_a_fourth_is_not() {
    let check = async |redirects: usize, is_followed: bool| {
        let mut replies = vec![Reply::to(302, "/again"); redirects];
        replies.push(Reply::json(&pull()));
        let host = Host::in_order(replies).await;
        let found = open(&host).details(7).await;
        assert_eq!(found.is_ok(), is_followed, "{redirects} redirects: {found:?}");
        assert_eq!(host.lines().len(), 4);
        if let Err(error) = found {
            assert_eq!(error, ForgeError::Unreadable("too many redirects".to_owned()));
        }
    };
    check(3, true).await;
    check(4, false).await;
}

#[tokio::test]
async fn the_token_is_not_sent_to_another_host() {
    let elsewhere = Host::in_order(vec![Reply::json(&pull())]).await;
    let target = format!("{}/stolen", elsewhere.url());
    let host = Host::start(move |_| Reply::to(302, &target)).await;
    for kind in [ForgeKind::GitHub, ForgeKind::Forgejo] {
        host.client(kind).details(7).await.expect("the redirect is followed");
    }
    // GitLab responds in another form.
    let _unreadable = host.client(ForgeKind::GitLab).details(7).await;
    let requests = elsewhere.requests();
    assert_eq!(requests.len(), 3);
    for request in requests {
        for name in ["authorization", "private-token", "x-github-api-version"] {
            assert_eq!(request.header(name), "", "{name}");
        }
        assert!(!format!("{request:?}").contains(TOKEN), "{request:?}");
    }
}

#[tokio::test]
async fn a_change_is_not_repeated_at_another_host() {
    let elsewhere = Host::in_order(vec![Reply::json(&pull())]).await;
    let target = format!("{}/repos/me/app/pulls", elsewhere.url());
    let host = Host::start(move |_| Reply::to(307, &target)).await;
    let client = open(&host);
    let opened = client.open(&new_pull_request()).await.expect_err("the text belongs to this host");
    assert!(matches!(opened, ForgeError::NotFound(_)), "{opened:?}");
    client.edit(7, &EditPullRequest::default()).await.expect_err("the text belongs to this host");
    assert_eq!(elsewhere.lines(), Vec::<String>::new());
}

#[tokio::test]
async fn a_redirect_without_a_target_means_that_the_repository_is_gone() {
    for status in [301, 302, 307, 308] {
        let host = Host::in_order(vec![Reply::json(&json!({ "message": "Moved" })).status(status)]).await;
        let error = open(&host).details(7).await.expect_err("the redirect names no target");
        assert_eq!(error, ForgeError::NotFound("Moved".to_owned()), "{status}");
    }
}

#[tokio::test]
async fn after_a_used_up_quota_no_request_is_sent_until_it_is_reset() {
    let now = Timestamp::now().as_second();
    let last = Reply::json(&pull()).header("x-ratelimit-remaining", "0").header("x-ratelimit-reset", &(now + 600).to_string());
    let host = Host::in_order(vec![last]).await;
    let client = open(&host);
    client.details(7).await.expect("the last request of the quota succeeds");
    let error = client.details(7).await.expect_err("the quota is used up");
    assert_eq!(error, ForgeError::RateLimited(Timestamp::from_second(now + 600).expect("a time")));
    assert_eq!(host.lines().len(), 1);
}

#[tokio::test]
async fn requests_continue_when_the_reset_is_past_or_something_is_left() {
    let now = Timestamp::now().as_second();
    let check = async |remaining: &str, reset: i64| {
        let reply =
            Reply::json(&pull()).header("x-ratelimit-remaining", remaining).header("x-ratelimit-reset", &reset.to_string());
        let host = Host::in_order(vec![reply]).await;
        let client = open(&host);
        for _ in 0..2 {
            client.details(7).await.expect("requests are allowed");
        }
        assert_eq!(host.lines().len(), 2, "{remaining} {reset}");
    };
    check("0", now - 1).await;
    check("0", 0).await;
    check("1", now + 600).await;
    check("-1", now + 600).await;
    check("nonsense", now + 600).await;
}

/// Returns the end of a client's pause after this response, and the times before and after the response.
async fn paused_by(reply: Reply) -> (Timestamp, [Timestamp; 2]) {
    let host = Host::in_order(vec![reply]).await;
    let client = open(&host);
    let before = Timestamp::now();
    let first = client.details(7).await.expect_err("the request is limited");
    let after = Timestamp::now();
    let ForgeError::RateLimited(until) = first else { panic!("{first:?}") };
    assert_eq!(client.details(7).await.expect_err("the client pauses"), first, "the error names the same time");
    assert_eq!(host.lines().len(), 1, "the second request is not sent");
    (until, [before, after])
}

#[tokio::test]
async fn a_limited_request_pauses_for_the_requested_time() {
    let check = async |status: u16, headers: &[(&'static str, &str)], body: &str, expect: i64| {
        let reply = Reply::text(body).status(status);
        let reply = headers.iter().fold(reply, |reply, (name, value)| reply.header(name, value));
        let (until, [before, after]) = paused_by(reply).await;
        let expect = SignedDuration::from_secs(expect);
        assert!((before + expect..=after + expect).contains(&until), "{status} {headers:?} {body}: {until}, not {expect}");
    };
    let reset = (Timestamp::now() + SignedDuration::from_secs(300)).as_second().to_string();
    check(429, &[("retry-after", "120")], "", 120).await;
    check(403, &[("retry-after", " 120 ")], "", 120).await;
    check(429, &[("retry-after", "120"), ("x-ratelimit-remaining", "0"), ("x-ratelimit-reset", &reset)], "", 120).await;
    check(429, &[("x-ratelimit-remaining", "5"), ("x-ratelimit-reset", &reset)], "", 60).await;
    check(403, &[("x-ratelimit-remaining", "0")], "", 60).await;
    check(403, &[], r#"{"message":"You have exceeded a secondary Rate Limit"}"#, 60).await;
    check(429, &[], "<html>", 60).await;
    check(429, &[("retry-after", "Wed, 21 Oct 2026 07:28:00 GMT")], "", 60).await;
    check(429, &[("retry-after", "86400")], "", 86_400).await;
    check(429, &[("retry-after", "86401")], "", 86_400).await;
    check(429, &[("retry-after", "9223372036854775807")], "", 86_400).await;
}

#[tokio::test]
async fn a_pause_is_at_least_one_second() {
    for seconds in ["0", "-5"] {
        let host = Host::in_order(vec![Reply::text("").status(429).header("retry-after", seconds)]).await;
        let before = Timestamp::now();
        let error = open(&host).details(7).await.expect_err("the request is limited");
        let earliest = before + SignedDuration::from_secs(1);
        assert!(matches!(error, ForgeError::RateLimited(until) if until >= earliest), "{seconds}: {error:?}");
    }
}

#[tokio::test]
async fn a_used_up_quota_pauses_until_its_reset_but_at_most_for_a_day() {
    let limited = async |reset: i64| {
        let reply = Reply::text("").status(403).header("x-ratelimit-remaining", "0");
        paused_by(reply.header("x-ratelimit-reset", &reset.to_string())).await
    };
    let now = Timestamp::now().as_second();
    for reset in [now + 300, now + 86_400] {
        assert_eq!(limited(reset).await.0.as_second(), reset);
    }
    for reset in [now + 100_000, now * 1000, i64::MAX] {
        let (until, [before, after]) = limited(reset).await;
        let allowed = before.as_second() + 86_400..=after.as_second() + 86_400;
        assert!(allowed.contains(&until.as_second()), "{reset}: {until}");
    }
}

#[tokio::test]
async fn a_client_pauses_for_itself_only() {
    let limited = Reply::text("").status(429).header("retry-after", "600");
    let first = Host::in_order(vec![limited]).await;
    let second = Host::in_order(vec![Reply::json(&pull())]).await;
    open(&first).details(7).await.expect_err("the request is limited");
    open(&second).details(7).await.expect("another host has no limit");
}

#[tokio::test]
async fn a_token_is_trimmed_and_must_fit_into_a_header() {
    let host = Host::in_order(vec![Reply::json(&pull())]).await;
    let place = host.place(ForgeKind::GitLab);
    let forges = Forges::default();
    let _unreadable = forges.client(&place, &Secret::new(" abc\n")).expect("a valid token").details(7).await;
    assert_eq!(host.only_request().header("private-token"), "abc");
    for token in ["a\nb", "a\0b", "a\u{7f}"] {
        let error = forges.client(&place, &Secret::new(token)).err().expect("an invalid token");
        assert_eq!(error, ForgeError::TokenRefused("it contains invalid characters".to_owned()));
    }
}

#[tokio::test]
async fn one_client_serves_a_repository_until_its_token_changes() {
    let forges = Forges::default();
    let first = place(ForgeKind::GitHub, "https://api.github.com", "me/app");
    let second = place(ForgeKind::GitHub, "https://api.github.com", "me/other");
    let get = |place, token: &str| forges.client(place, &Secret::new(token)).expect("a valid token");
    let old = get(&first, "old");
    let other = get(&second, "old");
    assert!(Arc::ptr_eq(&old, &get(&first, "old")), "the client is shared");
    assert!(!Arc::ptr_eq(&old, &other), "each repository has its own client");
    let new = get(&first, "new");
    assert!(!Arc::ptr_eq(&old, &new));
    assert!(!Arc::ptr_eq(&old, &get(&first, "old")), "the client with the old token was dropped");
    assert!(Arc::ptr_eq(&other, &get(&second, "old")), "other repositories keep their clients");
}

#[tokio::test]
async fn two_threads_get_the_same_client() {
    let forges = Forges::default();
    let place = place(ForgeKind::GitHub, "https://api.github.com", "me/app");
    let get = || forges.client(&place, &Secret::new(TOKEN)).expect("a valid token");
    let clients = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(get)).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
    });
    assert!(clients.iter().all(|client| Arc::ptr_eq(client, &clients[0])));
}

#[tokio::test]
async fn every_response_is_counted_by_host_method_and_status() {
    let replies = [Reply::to(302, "/again"), Reply::json(&pull()), Reply::json(&pull()), Reply::text("").status(500)];
    let host = Host::in_order(replies.to_vec()).await;
    let forges = Forges::default();
    let client = forges.client(&host.place(ForgeKind::GitHub), &Secret::new(TOKEN)).expect("a valid token");
    for _ in 0..2 {
        client.details(7).await.expect("an answer");
    }
    client.open(&new_pull_request()).await.expect_err("the host is broken");
    let call = |method: &str, status| Call { host: "127.0.0.1".to_owned(), method: method.to_owned(), status };
    let expect = [(call("GET", 200), 2), (call("GET", 302), 1), (call("POST", 500), 1)];
    assert_eq!(forges.calls(), expect.into_iter().collect());
}

#[tokio::test]
async fn requests_that_a_pause_prevents_are_not_counted() {
    let host = Host::in_order(vec![Reply::text("").status(429)]).await;
    let forges = Forges::default();
    let client = forges.client(&host.place(ForgeKind::GitHub), &Secret::new(TOKEN)).expect("a valid token");
    for _ in 0..3 {
        client.checks(7, &sha('b')).await.expect_err("the request is limited");
    }
    assert_eq!(forges.calls().into_values().collect::<Vec<_>>(), [1]);
}

#[tokio::test]
async fn no_error_contains_the_token() {
    let echo = Host::start(|request| Reply::text(&format!("{request:?}")).status(400)).await;
    let gone = place(ForgeKind::GitHub, "http://127.0.0.1:1", "me/app");
    for client in [client(&gone), open(&echo)] {
        let error = client.feedback(&pull_request(None)).await.expect_err("the request fails");
        let all = format!("{error:?} {error} {:?}", error.to_run_error(ForgeKind::GitHub));
        assert!(!all.contains(TOKEN), "{all}");
    }
}
