//! Checks requests to the model's API for a run without an open network.
//!
//! The API can fetch URLs, search the web, call MCP servers, run containers and store files. Each of these would be
//! a substitute for the network that the run must not have. Invariant: a request that passes was parsed and serialized again,
//! offers only tools that run in the container, and contains no references to URLs or stored data. The rules list what passes,
//! not what is removed.

mod json;
mod policy;
mod removed;

use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use hyper::{HeaderMap, StatusCode};
use model::ErrorCode;

use self::json::Json;
use self::policy::Policy;
pub(super) use self::removed::{Notes, Removed};

/// Why a request is refused.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unchecked {
    #[error("requests with a Content-Encoding are not accepted: send the body uncompressed")]
    Encoded,
    #[error("requests must have the Content-Type application/json")]
    NotJson,
    #[error("the request is not a JSON object that can be checked: {0}")]
    Unreadable(String),
    #[error("this repository's settings do not allow models that search the web")]
    SearchModel,
}

impl Unchecked {
    /// Returns the HTTP status of the response.
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Encoded | Self::NotJson => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unreadable(_) => StatusCode::BAD_REQUEST,
            Self::SearchModel => StatusCode::FORBIDDEN,
        }
    }

    /// Returns the stable error code, for programs.
    pub(super) fn code(&self) -> ErrorCode {
        match self {
            Self::Encoded | Self::NotJson | Self::Unreadable(_) => ErrorCode::RequestNotChecked,
            Self::SearchModel => ErrorCode::HostedToolsDenied,
        }
    }
}

/// A request that was checked.
#[derive(Debug)]
pub(super) struct CheckedRequest {
    /// The request to send instead.
    pub(super) body: Vec<u8>,
    /// What was removed.
    pub(super) removed: Vec<Removed>,
}

/// Fails if the headers announce a body that cannot be checked.
pub(super) fn check_headers(headers: &HeaderMap) -> Result<(), Unchecked> {
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    if encodings.into_iter().any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(Unchecked::Encoded);
    }
    let mut types = headers.get_all(CONTENT_TYPE).iter().map(|kind| kind.to_str().unwrap_or_default().to_ascii_lowercase());
    let kind = types.next().unwrap_or_default();
    let (kind, parameter) = kind.split_once(';').unwrap_or((&kind, ""));
    let is_json = kind.trim() == "application/json" && matches!(parameter.trim(), "" | "charset=utf-8" | "charset=\"utf-8\"");
    if is_json && types.next().is_none() { Ok(()) } else { Err(Unchecked::NotJson) }
}

/// Removes hosted tools and remote references from a request. `path` is the path of the request.
pub(super) fn check(path: &str, body: &[u8]) -> Result<CheckedRequest, Unchecked> {
    let json = Json::parse(body).map_err(|error| Unchecked::Unreadable(error.to_string()))?;
    let Json::Object(request) = json else { return Err(Unchecked::Unreadable("it is not an object".to_owned())) };
    let model = request.get("model").and_then(Json::as_text).unwrap_or_default();
    if model.to_ascii_lowercase().contains("search") {
        return Err(Unchecked::SearchModel);
    }
    let mut policy = Policy::default();
    let request = policy.request(request, path);
    let body = serde_json::to_vec(&Json::Object(request)).map_err(|error| Unchecked::Unreadable(error.to_string()))?;
    Ok(CheckedRequest { body, removed: policy.removed() })
}

#[cfg(test)]
mod tests;
