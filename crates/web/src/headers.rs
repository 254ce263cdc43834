//! The security headers of every response.
//!
//! Responses cannot be framed, sniffed or cached, and cannot load or run anything. Pages of other origins cannot embed them or access their
//! windows. This crate sends no CORS headers, so other origins cannot read responses.

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

/// Adds the headers to a response.
pub(crate) async fn harden(mut response: Response) -> Response {
    for (name, value) in ALWAYS {
        // Pages have their own policies, and files that never change can be cached.
        let is_set = response.headers().contains_key(&name);
        let may_differ = [header::CONTENT_SECURITY_POLICY, header::CACHE_CONTROL, header::REFERRER_POLICY].contains(&name);
        if !(is_set && may_differ) {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
        }
    }
    response
}
