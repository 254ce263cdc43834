//! Filters the headers between a container and the model's API.
//!
//! Pure. Only listed request headers pass, because a header such as `OpenAI-Organization` decides who pays and whose data is
//! used. Response headers about the account are removed.

use hyper::HeaderMap;
use hyper::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, SET_COOKIE, USER_AGENT};

use super::serve::strip_hop_by_hop;

/// The request headers that pass, besides those that start with [`OF_CODEX`].
const PASSED: &[&str] = &[
    "conversation_id",
    "originator",
    "session-id",
    "session_id",
    "thread-id",
    "version",
    "x-client-request-id",
    "x-openai-internal-codex-responses-lite",
    "x-openai-memgen-request",
    "x-openai-subagent",
];

/// The prefix of Codex's own headers.
const OF_CODEX: &str = "x-codex-";

/// Response headers that describe the account.
const OF_ACCOUNT: &[&str] = &["openai-organization", "openai-project", "set-cookie2"];

/// Returns the request headers that pass. Headers about the encoding of the body are added later.
pub(super) fn of_request(mut headers: HeaderMap) -> HeaderMap {
    // Do this first, because a `Connection` header can name any other header.
    strip_hop_by_hop(&mut headers);
    let passes = |name: &HeaderName| {
        let name = name.as_str();
        [ACCEPT.as_str(), CONTENT_TYPE.as_str(), USER_AGENT.as_str()].contains(&name)
            || PASSED.contains(&name)
            || name.starts_with(OF_CODEX)
    };
    let mut kept = HeaderMap::new();
    for name in headers.keys().filter(|name| passes(name)) {
        for value in headers.get_all(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}

/// Returns the response headers that pass. Headers that contain the key are removed later.
pub(super) fn of_answer(mut headers: HeaderMap) -> HeaderMap {
    strip_hop_by_hop(&mut headers);
    for name in [SET_COOKIE, CONTENT_LENGTH] {
        headers.remove(name);
    }
    for name in OF_ACCOUNT {
        headers.remove(*name);
    }
    headers
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn a_request_has_codexs_own_headers_and_no_others() {
        let passed = ["accept", "content-type", "user-agent", "originator", "session_id", "x-codex-turn-metadata", "thread-id"];
        let stays = [
            "openai-organization",
            "openai-project",
            "openai-beta",
            "cookie",
            "authorization",
            "x-api-key",
            "x-forwarded-for",
            "host",
            "expect",
            "idempotency-key",
            "x-openai-account-routing-override",
            "x-codex",
            "traceparent",
        ];
        let mut headers = HeaderMap::new();
        for name in passed.iter().chain(&stays) {
            headers.append(*name, HeaderValue::from_static("1"));
        }
        headers.append("connection", HeaderValue::from_static("x-codex-hop"));
        headers.append("x-codex-hop", HeaderValue::from_static("1"));
        let mut left: Vec<_> = of_request(headers).keys().map(|name| name.as_str().to_owned()).collect();
        left.sort();
        let mut expected = passed.to_vec();
        expected.sort_unstable();
        assert_eq!(left, expected);
    }

    #[test]
    fn an_answer_says_nothing_of_the_account() {
        let mut headers = HeaderMap::new();
        for name in ["x-request-id", "openai-organization", "set-cookie", "retry-after", "content-length"] {
            headers.append(name, HeaderValue::from_static("1"));
        }
        let left: Vec<_> = of_answer(headers).keys().map(|name| name.as_str().to_owned()).collect();
        assert_eq!(left, ["x-request-id", "retry-after"]);
    }
}
