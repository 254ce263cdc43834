//! The headers that every answer carries, whoever wrote it.
//!
//! Answers are data: they are never framed, sniffed, stored by caches, or allowed to load or run anything. Pages of other origins
//! can neither embed them nor hold on to their windows. There is no CORS header anywhere in this crate, so no other origin can read
//! an answer.

use axum::http::{HeaderName, HeaderValue, header};
use axum::response::Response;

const ALWAYS: [(HeaderName, &str); 7] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (header::CONTENT_SECURITY_POLICY, "default-src 'none'; frame-ancestors 'none'"),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Puts them on an answer.
pub(crate) async fn harden(mut response: Response) -> Response {
    for (name, value) in ALWAYS {
        // Pages have policies of their own, and files that never change may be kept.
        let is_set = response.headers().contains_key(&name);
        let may_differ = [header::CONTENT_SECURITY_POLICY, header::CACHE_CONTROL, header::REFERRER_POLICY].contains(&name);
        if !(is_set && may_differ) {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    response
}
