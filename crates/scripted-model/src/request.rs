//! One request as it was received, for a test to look at.
//!
//! Nothing is interpreted before it is kept: a body that is no JSON stays as text.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, Method, Uri};
use serde_json::Value;

use crate::conversation::Conversation;

/// A request to the server, answered or not.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Such as `POST`.
    pub method: String,
    /// The path, such as `/v1/responses`.
    pub path: String,
    /// The headers, by their lower-case names; a value that is not text is shown with replacement characters.
    pub headers: BTreeMap<String, String>,
    /// The JSON body; a string where it is no JSON, null where it is empty.
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

    /// What the user had said by then, oldest first, without what Codex adds in the user's name.
    pub fn user_messages(&self) -> Vec<String> {
        Conversation::read(&self.body).user_messages
    }

    /// The thread that asks, as Codex names it to the model's cache.
    pub fn thread_id(&self) -> Option<&str> {
        self.body["prompt_cache_key"].as_str()
    }
}
