//! A recorded request, for tests to inspect.
//!
//! Invalid requests are recorded too: a body that is not JSON is kept as text.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, Method, Uri};
use serde_json::Value;

use crate::conversation::Conversation;

/// A request to the server, even if it was not answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// The method, such as `POST`.
    pub method: String,
    /// The path, such as `/v1/responses`.
    pub path: String,
    /// The headers by lower-case name. Bytes that are not UTF-8 are replaced.
    pub headers: BTreeMap<String, String>,
    /// The JSON body. It is a string if the body is not JSON, and null if the body is empty.
    pub body: Value,
}

impl Request {
    pub(crate) fn new(method: &Method, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Self {
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let body = match serde_json::from_slice(body) {
            Ok(json) => json,
            Err(_) if body.is_empty() => Value::Null,
            Err(_) => Value::String(text(body)),
        };
        let headers = headers.iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect();
        Self { method: method.to_string(), path: uri.path().to_owned(), headers, body }
    }

    /// Returns the user's messages, oldest first, without those that Codex added as the user.
    pub fn user_messages(&self) -> Vec<String> {
        Conversation::read(&self.body).user_messages
    }

    /// Returns the ID of the thread, which Codex sends as the cache key.
    pub fn thread_id(&self) -> Option<&str> {
        self.body["prompt_cache_key"].as_str()
    }
}
