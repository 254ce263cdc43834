//! Codex's app server: one turn of a thread over its protocol, and its messages as the events of `codex exec --json`.
//!
//! Messages are JSON-RPC 2.0 without the key `jsonrpc`, one per line. [`Conversation`] decides what to send, and [`Translator`] writes
//! the log of the run. Both are pure and total: an unknown message is ignored, and an unknown request of the server is rejected.

mod conversation;
mod live;
mod translate;

use serde_json::{Value, json};

pub use conversation::{Conversation, ConversationState, Opening, SandboxMode};
pub use live::{LiveItems, LiveKind, LiveNews, RunDelta, is_partial};
pub use translate::Translator;

/// The first version whose app server is known to work: a running turn can be steered and interrupted.
pub const OLDEST_APP_SERVER: &str = "0.169.0";

/// The IDs of our requests.
mod id {
    pub(super) const INITIALIZE: &str = "orchestrator-initialize";
    pub(super) const THREAD: &str = "orchestrator-thread";
    pub(super) const TURN: &str = "orchestrator-turn";
    pub(super) const INTERRUPT: &str = "orchestrator-interrupt";
}

/// The key of our own lines in the log of messages.
const OWN: &str = "orchestrator";

/// Returns our own line for the log of messages: the run cannot continue, for this reason.
pub fn failure(reason: &str) -> Value {
    json!({ OWN: { "failed": reason } })
}

/// Returns the reason in a line that [`failure`] returned.
fn failed(message: &Value) -> Option<&str> {
    message.get(OWN)?.get("failed")?.as_str()
}

/// Returns the response to one of our requests: the result, or the message of the error.
fn response<'a>(message: &'a Value, id: &str) -> Option<Result<&'a Value, String>> {
    if message.get("id")?.as_str()? != id || message.get("method").is_some() {
        return None;
    }
    match (message.get("result"), message.get("error")) {
        (Some(result), _) => Some(Ok(result)),
        (None, Some(error)) => Some(Err(text(error, "message").unwrap_or("unknown error").to_owned())),
        (None, None) => None,
    }
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key)?.as_str()
}
