//! What unusual responses mean: error statuses, other formats, sizes, and lost connections.
//!
//! Invariant: no response makes a client panic or read without a limit.

use std::sync::Arc;

use forge::{Forge, ForgeError};
use jiff::Timestamp;
use model::ErrorCode;
use model::forge::ForgeKind;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::{Host, Reply, branch, client, place, pull_request, sha};

const MIB: usize = 1 << 20;

async fn error_of(reply: Reply) -> ForgeError {
    let host = Host::in_order(vec![reply]).await;
    host.client(ForgeKind::GitHub).newest().await.expect_err("the response is an error")
}

#[tokio::test]
async fn each_status_has_its_own_meaning() {
    let check = async |status: u16, expect: ForgeError| {
        let found = error_of(Reply::json(&json!({ "message": "why" })).status(status)).await;
        assert_eq!(found, expect, "{status}");
    };
    let why = || "why".to_owned();
    check(400, ForgeError::Refused(why())).await;
    check(401, ForgeError::TokenRefused(why())).await;
    check(402, ForgeError::Refused(why())).await;
    check(403, ForgeError::Forbidden(why())).await;
    check(404, ForgeError::NotFound(why())).await;
    check(405, ForgeError::Refused(why())).await;
    check(409, ForgeError::Refused(why())).await;
    check(410, ForgeError::NotFound(why())).await;
    check(422, ForgeError::Refused(why())).await;
    check(499, ForgeError::Refused(why())).await;
    for status in [300, 305, 500, 502, 503, 504, 599] {
        let expect = if status == 305 { ForgeError::NotFound(why()) } else { ForgeError::Broken { status, message: why() } };
        check(status, expect).await;
    }
}

#[tokio::test]
async fn the_reason_is_found_in_every_form() {
    let check = async |body: &str, expect: &str| {
        let found = error_of(Reply::text(body).status(422)).await;
        assert_eq!(found, ForgeError::Refused(expect.to_owned()), "{body}");
    };
    check("", "the response is not valid JSON").await;
    check("<html><title>502</title></html>", "the response is not valid JSON").await;
    check("{}", "no reason given").await;
    check("[]", "no reason given").await;
    check("null", "no reason given").await;
    check("7", "no reason given").await;
    check(r#"{"message":""}"#, "no reason given").await;
    check(r#"{"message":["a","b"]}"#, r#"["a","b"]"#).await;
    check(r#"{"message":"same","error":"same"}"#, "same").await;
    check(r#"{"message":"a","errors":[{"code":"invalid","field":"head"}]}"#, r#"a: {"code":"invalid","field":"head"}"#).await;
    check(r#"{"message":"a","errors":[null,"b",{"message":"c"}]}"#, "a: b: c").await;
    check(r#"{"message":"a","errors":{"base":"b"}}"#, "a").await;
    check(r#"{"message":"a\n\u001b[31mb\u0000"}"#, "a[31mb").await;
}

#[tokio::test]
async fn a_long_reason_is_cut_after_500_characters() {
    let check = async |length: usize, expect: usize| {
        let found = error_of(Reply::json(&json!({ "message": "ä".repeat(length) })).status(422)).await;
        assert_eq!(found, ForgeError::Refused("ä".repeat(expect)), "{length}");
    };
    check(500, 500).await;
    check(501, 500).await;
}

#[tokio::test]
async fn a_page_instead_of_json_is_unreadable() {
    let check = async |body: &str| {
        let found = error_of(Reply::text(body)).await;
        assert!(matches!(found, ForgeError::Unreadable(_)), "{body}: {found:?}");
        assert!(!found.is_passing(), "the URL is wrong, and a retry does not help");
        assert_eq!(found.to_run_error(ForgeKind::GitHub).code, ErrorCode::ForgeUnreadable);
    };
    check("<!DOCTYPE html><html><body>Sign in</body></html>").await;
    check("").await;
    check("{").await;
    check("{}").await;
    check(r#"{"message":"an object instead of a list"}"#).await;
    check("[{}]").await;
    check("\u{feff}[]").await;
    check(&"[".repeat(100_000)).await;
}

#[tokio::test]
async fn a_body_that_is_not_text_is_unreadable() {
    let found = error_of(Reply::bytes(vec![0xff, 0xfe, 0x00, 0x80])).await;
    assert!(matches!(found, ForgeError::Unreadable(_)), "{found:?}");
}

#[tokio::test]
async fn an_empty_list_with_an_unexpected_success_status_is_accepted() {
    for status in [200, 201, 203] {
        let host = Host::in_order(vec![Reply::text("[]").status(status)]).await;
        assert_eq!(host.client(ForgeKind::GitHub).newest().await.expect("an answer"), Some(vec![]), "{status}");
    }
}

#[tokio::test]
async fn a_response_of_16_mib_is_read_and_a_longer_one_is_refused() {
    let padded = |length: usize| {
        let mut body = vec![b' '; length];
        body[length - 2..].copy_from_slice(b"[]");
        body
    };
    let host = Host::in_order(vec![Reply::bytes(padded(16 * MIB))]).await;
    assert_eq!(host.client(ForgeKind::GitHub).newest().await.expect("an answer"), Some(vec![]));
    let found = error_of(Reply::bytes(padded(16 * MIB + 1))).await;
    assert_eq!(found, ForgeError::Unreadable(format!("it is longer than {} bytes", 16 * MIB)));
}

#[tokio::test]
async fn the_reason_of_a_huge_error_page_is_not_read() {
    let mut body = vec![b' '; 4 * MIB + 1];
    body[..15].copy_from_slice(br#"{"message":"x"}"#);
    let at_limit = error_of(Reply::bytes(body[..4 * MIB].to_vec()).status(500)).await;
    assert_eq!(at_limit, ForgeError::Broken { status: 500, message: "x".to_owned() });
    let above = error_of(Reply::bytes(body).status(500)).await;
    assert_eq!(above, ForgeError::Broken { status: 500, message: "the response is not valid JSON".to_owned() });
}

/// Returns the log of a failed job whose log has this content.
async fn log_of(log: Vec<u8>) -> String {
    let host = Host::start(move |request| {
        if request.line.contains("/discussions") {
            Reply::text("[]")
        } else if request.line.contains("/statuses") {
            Reply::json(&json!([{ "id": 1, "name": "job", "status": "failed", "target_url": null }]))
        } else {
            Reply::bytes(log.clone())
        }
    })
    .await;
    let mut found = host.client(ForgeKind::GitLab).feedback(&pull_request(Some(sha('b')))).await.expect("an answer");
    found.checks.remove(0).log.expect("the job has a log")
}

#[tokio::test]
async fn the_end_of_a_long_log_is_kept() {
    let check = async |length: usize, expect: usize| {
        let log: Vec<u8> = (0..length).map(|at| if at + 3 >= length { b'z' } else { b'a' }).collect();
        let found = log_of(log).await;
        assert_eq!(found.len(), expect, "{length}");
        assert!(found.ends_with("azzz") && found.starts_with('a'), "{length}");
    };
    check(4 * MIB, 4 * MIB).await;
    check(4 * MIB + 1, 4 * MIB).await;
    check(9 * MIB, 4 * MIB).await;
}

#[tokio::test]
async fn a_log_that_is_not_text_is_shown_with_replacement_characters() {
    assert_eq!(log_of(b"a\xffb\xc3".to_vec()).await, "a\u{fffd}b\u{fffd}");
    assert_eq!(log_of(vec![]).await, "");
}

/// Returns a client of a host that reads a request, sends these bytes and disconnects.
async fn client_of_raw_host(answer: &'static [u8]) -> Arc<dyn Forge> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _read = stream.read(&mut request).await;
            let _sent = stream.write_all(answer).await;
        }
    });
    client(&place(ForgeKind::GitHub, &url, "me/app"))
}

#[tokio::test]
async fn a_lost_connection_is_an_unreachable_host() {
    let check = async |answer: &'static [u8]| {
        let found = client_of_raw_host(answer).await.newest().await.expect_err("the connection was lost");
        assert!(matches!(&found, ForgeError::Unreachable(why) if !why.contains("http://")), "{found:?}");
        assert!(found.is_passing(), "a retry may help");
    };
    check(b"").await;
    check(b"HTTP/1.1 200").await;
    check(b"SSH-2.0-OpenSSH_9.2\r\n").await;
    check(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n[").await;
    check(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n[").await;
}

#[tokio::test]
async fn an_error_whose_reason_is_cut_off_is_still_that_error() {
    let answer = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 100\r\n\r\n{\"message\":";
    let found = client_of_raw_host(answer).await.newest().await.expect_err("the token is invalid");
    assert!(matches!(found, ForgeError::TokenRefused(_)), "{found:?}");
}

#[tokio::test]
async fn a_closed_port_is_an_unreachable_host() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("the loopback has a free port");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    drop(listener);
    let found = client(&place(ForgeKind::Forgejo, &url, "me/app")).find(&branch("codex/a")).await;
    let error = found.expect_err("nothing listens");
    assert!(matches!(&error, ForgeError::Unreachable(why) if why.contains("refused")), "{error:?}");
    assert_eq!(error.to_run_error(ForgeKind::Forgejo).code, ErrorCode::ForgeUnreachable);
}

fn every_error() -> [(ForgeError, ErrorCode, bool); 8] {
    let why = || "why".to_owned();
    [
        (ForgeError::Unreachable(why()), ErrorCode::ForgeUnreachable, true),
        (ForgeError::Broken { status: 502, message: why() }, ErrorCode::ForgeUnavailable, true),
        (ForgeError::TokenRefused(why()), ErrorCode::ForgeTokenRefused, false),
        (ForgeError::Forbidden(why()), ErrorCode::ForgeForbidden, false),
        (ForgeError::NotFound(why()), ErrorCode::ForgeNotFound, false),
        (ForgeError::Refused(why()), ErrorCode::ForgeRefused, false),
        (ForgeError::RateLimited(Timestamp::UNIX_EPOCH), ErrorCode::ForgeRateLimited, false),
        (ForgeError::Unreadable(why()), ErrorCode::ForgeUnreadable, false),
    ]
}

#[test]
fn every_error_has_a_code_a_hint_and_the_name_of_the_host() {
    for (error, code, is_passing) in every_error() {
        assert_eq!(error.is_passing(), is_passing, "{error:?}");
        for kind in [ForgeKind::GitHub, ForgeKind::GitLab, ForgeKind::Forgejo] {
            let recorded = error.to_run_error(kind);
            assert_eq!(recorded.code, code, "{error:?}");
            assert!(recorded.message.starts_with(&format!("{}: ", kind.name())), "{}", recorded.message);
            assert!(!recorded.hints.is_empty(), "{error:?}");
        }
    }
}

#[test]
fn the_hint_about_rights_fits_the_kind_of_host() {
    let hint = |kind| ForgeError::Forbidden(String::new()).to_run_error(kind).hints.join(" ");
    let hints = [ForgeKind::GitHub, ForgeKind::GitLab, ForgeKind::Forgejo].map(hint);
    let expect = ["`Contents` and `Pull requests`", "the `api` scope", "`write:repository`"];
    for (hint, expect) in hints.iter().zip(expect) {
        assert!(hint.contains(expect), "{hint}");
    }
}

#[tokio::test]
async fn unknown_fields_are_ignored_and_missing_ones_are_not() {
    let pull = |field: &str| {
        let mut pull = json!({
            "number": 7, "html_url": "u", "title": "t", "state": "open", "created_at": "2026-01-02T03:04:05Z",
            "base": { "ref": "main", "sha": "" }, "head": { "ref": "a", "sha": "" }, "unknown": { "deep": [1] },
        });
        pull.as_object_mut().expect("an object").remove(field);
        Value::Array(vec![pull])
    };
    let host = Host::in_order(vec![Reply::json(&pull("unknown"))]).await;
    host.client(ForgeKind::GitHub).newest().await.expect("the optional fields are missing");
    for field in ["number", "html_url", "title", "state", "created_at", "base", "head"] {
        let found = error_of(Reply::json(&pull(field))).await;
        assert!(matches!(&found, ForgeError::Unreadable(why) if why.contains(field)), "{field}: {found:?}");
    }
}
