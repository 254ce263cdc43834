//! Creates output items of the Responses API as JSON.
//!
//! Every item gets a new ID, as in the real API.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::Phase;

/// Creates an ID such as `msg_0199…`.
pub(crate) fn fresh_id(prefix: &str) -> String {
    format!("{prefix}_{}", Uuid::now_v7().simple())
}

pub(crate) fn message(text: &str, phase: Option<Phase>) -> Value {
    let content = json!([{"type": "output_text", "text": text, "annotations": []}]);
    let mut item = json!({
        "type": "message", "id": fresh_id("msg"), "role": "assistant", "status": "completed", "content": content,
    });
    if let Some(phase) = phase {
        item["phase"] = json!(phase.as_str());
    }
    item
}

pub(crate) fn reasoning(parts: &[String]) -> Value {
    let summary: Vec<Value> = parts.iter().map(|text| json!({"type": "summary_text", "text": text})).collect();
    json!({"type": "reasoning", "id": fresh_id("rs"), "summary": summary, "encrypted_content": "c2NyaXB0ZWQ="})
}

pub(crate) fn function_call(name: &str, arguments: &str) -> Value {
    json!({
        "type": "function_call", "id": fresh_id("fc"), "call_id": fresh_id("call"), "name": name,
        "arguments": arguments, "status": "completed",
    })
}

pub(crate) fn custom_call(name: &str, input: &str) -> Value {
    json!({
        "type": "custom_tool_call", "id": fresh_id("ctc"), "call_id": fresh_id("call"), "name": name,
        "input": input, "status": "completed",
    })
}

pub(crate) fn local_shell_call(command: &str) -> Value {
    json!({
        "type": "local_shell_call", "id": fresh_id("lsh"), "call_id": fresh_id("call"), "status": "completed",
        "action": {"type": "exec", "command": ["bash", "-lc", command], "env": {}, "timeout_ms": 10_000},
    })
}

pub(crate) fn web_search(query: &str) -> Value {
    json!({
        "type": "web_search_call", "id": fresh_id("ws"), "status": "completed",
        "action": {"type": "search", "query": query},
    })
}
