//! Support for these tests: sends requests like Codex and reads the events of a response.
//!
//! This module uses the JSON format directly, not the types of the library.

use scripted_model::{Script, ScriptedModel};
use serde_json::{Value, json};

/// Starts a model that plays `script` until it is dropped.
pub(crate) fn start(script: Script) -> ScriptedModel {
    ScriptedModel::start(script).expect("a free port")
}

/// A request with the history of a thread and a shell tool, as Codex sends it.
pub(crate) struct Ask(Value);

/// The events of a stream.
pub(crate) struct Answer {
    /// The `data` of each event.
    pub(crate) events: Vec<Value>,
    /// Whether the stream ended normally. False if the connection broke.
    pub(crate) whole: bool,
}

impl Ask {
    /// Creates a thread that starts with this message.
    pub(crate) fn new(text: &str) -> Self {
        let shell = json!({"type": "function", "name": "exec_command"});
        Self(json!({"prompt_cache_key": "thread", "tools": [shell], "input": []})).then(text)
    }

    /// Adds another message from the user.
    pub(crate) fn then(mut self, text: &str) -> Self {
        let content = json!([{"type": "input_text", "text": text}]);
        self.push(json!({"type": "message", "role": "user", "content": content}));
        self
    }

    /// Adds the output of a tool.
    pub(crate) fn with_output(mut self) -> Self {
        self.push(json!({"type": "function_call", "call_id": "c", "name": "exec_command", "arguments": "{}"}));
        self.push(json!({"type": "function_call_output", "call_id": "c", "output": "ok"}));
        self
    }

    /// Sends the request.
    pub(crate) async fn post(&self, url: &str) -> reqwest::Response {
        let request = client().post(format!("{url}/responses")).json(&self.0);
        request.send().await.expect("the model answers")
    }

    /// Sends the request and reads the whole response.
    pub(crate) async fn answer(&self, url: &str) -> Answer {
        Answer::read(self.post(url).await).await
    }

    fn push(&mut self, item: Value) {
        self.0["input"].as_array_mut().expect("the input is a list").push(item);
    }
}

impl Answer {
    /// Reads events until the stream ends or breaks.
    pub(crate) async fn read(mut response: reqwest::Response) -> Self {
        assert_eq!(response.status(), 200);
        let mut text = Vec::new();
        let whole = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => text.extend_from_slice(&chunk),
                Ok(None) => break true,
                Err(_) => break false,
            }
        };
        let text = String::from_utf8(text).expect("events are UTF-8");
        Self { events: text.split_terminator("\n\n").map(parse_event).collect(), whole }
    }

    /// Returns the types of the events, in order.
    pub(crate) fn kinds(&self) -> Vec<&str> {
        self.events.iter().filter_map(|event| event["type"].as_str()).collect()
    }

    /// Returns the completed output items.
    pub(crate) fn items(&self) -> Vec<&Value> {
        let done = |event: &&Value| event["type"] == "response.output_item.done";
        self.events.iter().filter(done).map(|event| &event["item"]).collect()
    }

    /// Returns the text of the only message.
    pub(crate) fn text(&self) -> &str {
        let [item] = self.items()[..] else { panic!("the response has exactly one item: {:?}", self.items()) };
        item["content"][0]["text"].as_str().expect("a message has text")
    }
}

fn parse_event(block: &str) -> Value {
    let (kind, data) = block.split_once('\n').expect("an event has a type and data");
    let data: Value =
        serde_json::from_str(data.strip_prefix("data: ").expect("the second line contains data")).expect("data is JSON");
    assert_eq!(kind.strip_prefix("event: "), data["type"].as_str(), "the event and its data have the same type");
    data
}

/// Creates an HTTP client like those of the product.
pub(crate) fn client() -> reqwest::Client {
    testkit::http_client().build().expect("a plain client can be created")
}
