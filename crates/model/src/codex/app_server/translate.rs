//! Translates the messages of an app server into the events of `codex exec --json`, so that all readers know one schema.
//!
//! Invariant: the events depend only on the messages, in their order. The log of a run can therefore be completed from the log of its
//! messages at any time.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::{failed, id, response, text};

/// The figures of a turn's token usage: the name in messages, and the name in events.
const USAGE: [(&str, &str); 5] = [
    ("inputTokens", "input_tokens"),
    ("cachedInputTokens", "cached_input_tokens"),
    ("cacheWriteInputTokens", "cache_write_input_tokens"),
    ("outputTokens", "output_tokens"),
    ("reasoningOutputTokens", "reasoning_output_tokens"),
];

/// Translates the messages of one process.
#[derive(Debug, Default)]
pub struct Translator {
    thread: Option<String>,
    /// The number of items so far.
    items: usize,
    /// The IDs in events of the items that have started and have not ended.
    open: HashMap<String, String>,
    /// The ID and the content of the plan.
    plan: Option<(String, Value)>,
    usage: Option<Value>,
    /// Whether the turn was accepted.
    has_started: bool,
    /// Whether the start of the turn is in the log.
    has_begun: bool,
    has_ended: bool,
}

impl Translator {
    /// Takes the next message, and returns the events that it causes.
    pub fn translate(&mut self, message: &Value) -> Vec<Value> {
        if self.has_ended {
            return vec![];
        }
        if let Some(reason) = failed(message) {
            return self.turn_failed(reason);
        }
        if let Some(method) = text(message, "method") {
            return self.notification(method, message.get("params").unwrap_or(&Value::Null));
        }
        // Only the first response to each request counts. An agent that writes to the server can cause others.
        match (response(message, id::THREAD), response(message, id::TURN)) {
            (Some(Err(reason)), _) if self.thread.is_none() => self.turn_failed(&reason),
            (Some(Ok(result)), _) => self.thread_started(result),
            (_, Some(Err(reason))) if !self.has_started => self.turn_failed(&reason),
            (_, Some(Ok(_))) => {
                self.has_started = true;
                vec![]
            }
            _ => vec![],
        }
    }

    /// Whether a notification with these parameters is about the thread of the run. Each sub-agent has its own thread.
    pub(super) fn is_about_own_thread(&self, params: &Value) -> bool {
        self.thread.is_some() && text(params, "threadId") == self.thread.as_deref()
    }

    /// Returns the ID in events of an item that has started and has not ended.
    pub(super) fn open_id(&self, given: &str) -> Option<&str> {
        self.open.get(given).map(String::as_str)
    }

    fn thread_started(&mut self, result: &Value) -> Vec<Value> {
        let thread = result.get("thread").and_then(|thread| text(thread, "id"));
        let Some(thread) = thread.filter(|_| self.thread.is_none()) else { return vec![] };
        self.thread = Some(thread.to_owned());
        vec![json!({ "type": "thread.started", "thread_id": thread })]
    }

    fn turn_failed(&mut self, reason: &str) -> Vec<Value> {
        self.has_ended = true;
        vec![json!({ "type": "turn.failed", "error": { "message": reason } })]
    }

    fn notification(&mut self, method: &str, params: &Value) -> Vec<Value> {
        if !self.is_about_own_thread(params) {
            return vec![];
        }
        match method {
            "turn/started" if self.has_begun => vec![],
            "turn/started" => {
                (self.has_started, self.has_begun) = (true, true);
                vec![json!({ "type": "turn.started" })]
            }
            "item/started" => self.item_started(params),
            "item/completed" => self.item_completed(params),
            "turn/plan/updated" => self.plan_updated(params),
            "thread/tokenUsage/updated" => {
                self.usage = params.get("tokenUsage").and_then(|usage| usage.get("total")).map(usage);
                vec![]
            }
            "error" => vec![json!({ "type": "error", "message": params.get("error").map(error_message).unwrap_or_default() })],
            "warning" => {
                let (id, message) = (self.next_id(), text(params, "message").unwrap_or_default());
                vec![json!({ "type": "item.completed", "item": { "id": id, "type": "error", "message": message } })]
            }
            "turn/completed" => self.turn_completed(params.get("turn").unwrap_or(&Value::Null)),
            _ => vec![],
        }
    }

    fn item_started(&mut self, params: &Value) -> Vec<Value> {
        let Some((given, kind, item)) = params.get("item").and_then(item) else { return vec![] };
        // `codex exec` reports these only once they are complete.
        if matches!(kind, "agentMessage" | "reasoning") {
            return vec![];
        }
        let id = self.id_of(given, kind);
        vec![json!({ "type": "item.started", "item": with_id(id, item) })]
    }

    fn item_completed(&mut self, params: &Value) -> Vec<Value> {
        let Some((given, kind, item)) = params.get("item").and_then(item) else { return vec![] };
        let id = self.id_of(given, kind);
        self.open.remove(given);
        vec![json!({ "type": "item.completed", "item": with_id(id, item) })]
    }

    fn plan_updated(&mut self, params: &Value) -> Vec<Value> {
        let steps = params.get("plan").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        let step = |step: &Value| json!({ "text": step.get("step"), "completed": text(step, "status") == Some("completed") });
        let items: Vec<_> = steps.iter().map(step).collect();
        let kind = if self.plan.is_some() { "item.updated" } else { "item.started" };
        let id = match self.plan.take() {
            Some((id, _)) => id,
            None => self.next_id(),
        };
        let item = json!({ "id": id, "type": "todo_list", "items": items });
        self.plan = Some((id, item.clone()));
        vec![json!({ "type": kind, "item": item })]
    }

    fn turn_completed(&mut self, turn: &Value) -> Vec<Value> {
        self.has_ended = true;
        let plan = self.plan.take().map(|(_, item)| json!({ "type": "item.completed", "item": item }));
        let end = match text(turn, "status") {
            Some("completed") => {
                let usage = self.usage.take().unwrap_or_else(|| usage(&Value::Null));
                Some(json!({ "type": "turn.completed", "usage": usage }))
            }
            Some("failed") => {
                let reason = turn.get("error").and_then(|error| text(error, "message")).unwrap_or_default();
                Some(json!({ "type": "turn.failed", "error": { "message": reason } }))
            }
            // `codex exec` reports nothing about an interrupted turn.
            _ => None,
        };
        plan.into_iter().chain(end).collect()
    }

    fn id_of(&mut self, given: &str, kind: &str) -> String {
        if let Some(id) = self.open.get(given) {
            return id.clone();
        }
        let counted = self.next_id();
        // `codex exec` writes both IDs of a web search, and the last one counts.
        let id = if kind == "webSearch" { given.to_owned() } else { counted };
        self.open.insert(given.to_owned(), id.clone());
        id
    }

    fn next_id(&mut self) -> String {
        let id = format!("item_{}", self.items);
        self.items += 1;
        id
    }
}

fn with_id(id: String, mut item: Map<String, Value>) -> Value {
    item.insert("id".to_owned(), id.into());
    Value::Object(item)
}

fn usage(total: &Value) -> Value {
    let figure = |(from, to): (&str, &str)| (to.to_owned(), total.get(from).and_then(Value::as_u64).unwrap_or(0).into());
    Value::Object(USAGE.into_iter().map(figure).collect())
}

fn error_message(error: &Value) -> String {
    let message = text(error, "message").unwrap_or_default();
    text(error, "additionalDetails").map_or_else(|| message.to_owned(), |details| format!("{message} ({details})"))
}

/// Returns the ID, the kind and the event's form of an item, or `None` if `codex exec` does not report items of this kind.
fn item(item: &Value) -> Option<(&str, &str, Map<String, Value>)> {
    let (id, kind) = (text(item, "id")?, text(item, "type")?);
    let get = |key: &str| item.get(key).cloned().unwrap_or_default();
    let status = || item.get("status").and_then(Value::as_str).map(snake_case);
    let event = match kind {
        "agentMessage" => json!({ "type": "agent_message", "text": get("text") }),
        "reasoning" => {
            let summary = item.get("summary").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            let parts: Vec<_> = summary.iter().filter_map(Value::as_str).collect();
            if parts.is_empty() {
                return None;
            }
            json!({ "type": "reasoning", "text": parts.join("\n") })
        }
        "commandExecution" => json!({
            "type": "command_execution",
            "command": get("command"),
            "aggregated_output": text(item, "aggregatedOutput").unwrap_or_default(),
            "exit_code": get("exitCode"),
            "status": status(),
        }),
        "fileChange" => json!({ "type": "file_change", "changes": changes(item), "status": status() }),
        "mcpToolCall" => {
            let result = item.get("result").filter(|result| !result.is_null());
            let result = result.map(|result| {
                let structured = result.get("structuredContent").cloned().unwrap_or_default();
                json!({ "content": result.get("content"), "structured_content": structured })
            });
            let error = item.get("error").filter(|error| !error.is_null());
            json!({
                "type": "mcp_tool_call",
                "server": get("server"),
                "tool": get("tool"),
                "arguments": get("arguments"),
                "result": result,
                "error": error.map(|error| json!({ "message": error.get("message") })),
                "status": status(),
            })
        }
        "collabAgentToolCall" => json!({
            "type": "collab_tool_call",
            "tool": text(item, "tool").map(snake_case),
            "sender_thread_id": get("senderThreadId"),
            "receiver_thread_ids": get("receiverThreadIds"),
            "prompt": get("prompt"),
            "agents_states": agents(item),
            "status": status(),
        }),
        "webSearch" => json!({ "type": "web_search", "query": get("query"), "action": action(item) }),
        _ => return None,
    };
    match event {
        Value::Object(event) => Some((id, kind, event)),
        _ => None,
    }
}

fn changes(item: &Value) -> Vec<Value> {
    let changes = item.get("changes").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let change = |change: &Value| {
        let kind = change.get("kind");
        json!({ "path": change.get("path"), "kind": kind.and_then(|kind| kind.get("type")).or(kind) })
    };
    changes.iter().map(change).collect()
}

fn agents(item: &Value) -> Value {
    let states = item.get("agentsStates").and_then(Value::as_object).into_iter().flatten();
    let state = |(thread, state): (&String, &Value)| {
        (thread.clone(), json!({ "status": text(state, "status").map(snake_case), "message": state.get("message") }))
    };
    Value::Object(states.map(state).collect())
}

/// Returns the action of a web search without the fields that are not set.
fn action(item: &Value) -> Option<Value> {
    let action = item.get("action")?.as_object()?;
    Some(Value::Object(
        action.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), value.clone())).collect(),
    ))
}

/// Returns a word such as `inProgress` as `in_progress`.
fn snake_case(word: &str) -> String {
    let mut snake = String::with_capacity(word.len() + 4);
    for letter in word.chars() {
        if letter.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREAD: &str = "01a222d7-e29f-7f03-b726-25fb17df6d4b";

    /// Translates notifications about the thread of the run.
    fn events(notifications: &[(&str, Value)]) -> Vec<Value> {
        let mut translator = Translator::default();
        let opened = json!({ "id": id::THREAD, "result": { "thread": { "id": THREAD } } });
        let mut events = translator.translate(&opened);
        for (method, params) in notifications {
            let mut params = params.clone();
            params["threadId"] = THREAD.into();
            events.extend(translator.translate(&json!({ "method": method, "params": params })));
        }
        assert_eq!(events.remove(0), json!({ "type": "thread.started", "thread_id": THREAD }));
        events
    }

    fn ended(status: &str) -> (&'static str, Value) {
        ("turn/completed", json!({ "turn": { "id": "t", "status": status, "error": { "message": "why" } } }))
    }

    #[test]
    fn a_command_has_one_id_from_its_start_to_its_end() {
        let item = |status: &str, code: Value| {
            json!({ "item": { "type": "commandExecution", "id": "call_1", "command": "ls", "status": status, "exitCode": code,
                "aggregatedOutput": if code.is_null() { Value::Null } else { "a\n".into() } } })
        };
        let message = json!({ "item": { "type": "agentMessage", "id": "m", "text": "Done" } });
        let events = events(&[
            ("turn/started", json!({})),
            ("item/started", item("inProgress", Value::Null)),
            ("item/completed", item("completed", json!(0))),
            ("item/started", message.clone()),
            ("item/completed", message),
            ("thread/tokenUsage/updated", json!({ "tokenUsage": { "total": { "inputTokens": 5, "outputTokens": 2 } } })),
            ended("completed"),
        ]);
        let command = |status: &str, output: &str, code: Value| {
            json!({ "id": "item_0", "type": "command_execution", "command": "ls", "aggregated_output": output, "exit_code": code,
                "status": status })
        };
        let usage = json!({ "input_tokens": 5, "cached_input_tokens": 0, "cache_write_input_tokens": 0, "output_tokens": 2,
            "reasoning_output_tokens": 0 });
        assert_eq!(
            events,
            [
                json!({ "type": "turn.started" }),
                json!({ "type": "item.started", "item": command("in_progress", "", Value::Null) }),
                json!({ "type": "item.completed", "item": command("completed", "a\n", json!(0)) }),
                json!({ "type": "item.completed", "item": { "id": "item_1", "type": "agent_message", "text": "Done" } }),
                json!({ "type": "turn.completed", "usage": usage }),
            ]
        );
    }

    #[test]
    fn a_plan_is_one_item_that_ends_with_the_turn() {
        let plan = |status: &str| ("turn/plan/updated", json!({ "plan": [{ "step": "Look", "status": status }] }));
        let events = events(&[plan("inProgress"), plan("completed"), ended("completed")]);
        let kinds: Vec<_> = events.iter().map(|event| (&event["type"], &event["item"]["id"])).collect();
        let expected = [("item.started", "item_0"), ("item.updated", "item_0"), ("item.completed", "item_0")];
        assert_eq!(kinds[..3], expected.map(|(kind, id)| (json!(kind), json!(id))).each_ref().map(|(kind, id)| (kind, id)));
        assert_eq!(events[2]["item"]["items"], json!([{ "text": "Look", "completed": true }]));
    }

    #[test]
    fn each_kind_of_item_has_the_form_of_exec() {
        let completed = |item: Value| events(&[("item/completed", json!({ "item": item }))]).remove(0)["item"].clone();
        let change = json!({ "type": "fileChange", "id": "i", "status": "completed",
            "changes": [{ "path": "/w/a", "kind": { "type": "update", "move_path": null }, "diff": "" }] });
        assert_eq!(
            completed(change),
            json!({ "id": "item_0", "type": "file_change", "changes": [{ "path": "/w/a", "kind": "update" }], "status": "completed" })
        );
        let tool = json!({ "type": "mcpToolCall", "id": "i", "server": "s", "tool": "t", "arguments": {}, "status": "failed",
            "result": { "content": [], "structuredContent": null }, "error": { "message": "no" } });
        assert_eq!(
            completed(tool),
            json!({ "id": "item_0", "type": "mcp_tool_call", "server": "s", "tool": "t", "arguments": {}, "status": "failed",
                "result": { "content": [], "structured_content": null }, "error": { "message": "no" } })
        );
        let agent = json!({ "type": "collabAgentToolCall", "id": "i", "tool": "spawnAgent", "status": "inProgress",
            "senderThreadId": "a", "receiverThreadIds": ["b"], "prompt": "p",
            "agentsStates": { "b": { "status": "pendingInit", "message": null } } });
        assert_eq!(
            completed(agent),
            json!({ "id": "item_0", "type": "collab_tool_call", "tool": "spawn_agent", "status": "in_progress",
                "sender_thread_id": "a", "receiver_thread_ids": ["b"], "prompt": "p",
                "agents_states": { "b": { "status": "pending_init", "message": null } } })
        );
        let search = json!({ "type": "webSearch", "id": "ws_1", "query": "q", "action": { "type": "search", "queries": null } });
        let expected = json!({ "id": "ws_1", "type": "web_search", "query": "q", "action": { "type": "search" } });
        assert_eq!(completed(search), expected);
        let reasoning = json!({ "type": "reasoning", "id": "i", "summary": ["a", "b"] });
        assert_eq!(completed(reasoning), json!({ "id": "item_0", "type": "reasoning", "text": "a\nb" }));
    }

    #[test]
    fn items_that_exec_does_not_report_and_other_threads_cause_no_event() {
        let user = json!({ "item": { "type": "userMessage", "id": "u", "content": [] } });
        assert_eq!(
            events(&[("item/started", user.clone()), ("item/completed", user), ("thread/new", json!({}))]),
            [Value::Null; 0]
        );
        let mut translator = Translator::default();
        translator.translate(&json!({ "id": id::THREAD, "result": { "thread": { "id": THREAD } } }));
        let of_sub_agent =
            json!({ "method": "turn/completed", "params": { "threadId": "b", "turn": { "status": "completed" } } });
        assert_eq!(translator.translate(&of_sub_agent), [Value::Null; 0]);
    }

    #[test]
    fn later_responses_to_the_same_requests_do_not_count() {
        let mut translator = Translator::default();
        let response = |id: &str, key: &str, value: Value| json!({ "id": id, key: value });
        let refused = json!({ "code": -32600, "message": "forged" });
        let mut kinds = vec![];
        for message in [
            response(id::THREAD, "result", json!({ "thread": { "id": THREAD } })),
            response(id::THREAD, "error", refused.clone()),
            response(id::THREAD, "result", json!({ "thread": { "id": "b" } })),
            response(id::TURN, "result", json!({ "turn": { "id": "t" } })),
            response(id::TURN, "error", refused),
            json!({ "method": "turn/started", "params": { "threadId": THREAD } }),
            json!({ "method": "turn/started", "params": { "threadId": THREAD } }),
            json!({ "method": "turn/completed", "params": { "threadId": THREAD, "turn": { "status": "completed" } } }),
        ] {
            kinds
                .extend(translator.translate(&message).iter().map(|event| event["type"].as_str().unwrap_or_default().to_owned()));
        }
        assert_eq!(kinds, ["thread.started", "turn.started", "turn.completed"]);
    }

    #[test]
    fn a_turn_that_fails_or_cannot_start_says_why() {
        let failed = json!({ "type": "turn.failed", "error": { "message": "why" } });
        assert_eq!(events(&[ended("failed")]), [failed]);
        assert_eq!(events(&[ended("interrupted")]), [Value::Null; 0]);
        let mut translator = Translator::default();
        let refused = json!({ "id": id::THREAD, "error": { "code": -32600, "message": "no rollout found" } });
        assert_eq!(translator.translate(&refused)[0]["error"]["message"], "no rollout found");
        let mut translator = Translator::default();
        assert_eq!(translator.translate(&super::super::failure("too late"))[0]["error"]["message"], "too late");
        let retry = json!({ "error": { "message": "Reconnecting", "additionalDetails": "timeout" }, "willRetry": true });
        assert_eq!(events(&[("error", retry)]), [json!({ "type": "error", "message": "Reconnecting (timeout)" })]);
    }
}
