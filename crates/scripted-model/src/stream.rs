//! Response streams: the server-sent events of a response, and streams with faults.
//!
//! The events have the order of the real API: created, then added, deltas and done for each item, and finally one event that ends
//! the response.

use std::time::Duration;

use async_stream::stream;
use axum::response::sse::Event;
use futures_util::Stream;
use serde_json::{Value, json};

use crate::tools::{Tools, words_of};
use crate::{Item, Usage, wire};

/// The number of characters in a delta. The real API sends only a few words in each delta, which would be slow.
const DELTA_CHARS: usize = 4096;

/// The error that breaks a connection on purpose.
#[derive(Debug, thiserror::Error)]
#[error("the script cuts the stream here")]
pub(crate) struct ScriptedCut;

/// Returns a stream with these items.
pub(crate) fn answer(body: &Value, items: Vec<Item>, pace: Duration, usage: Option<Usage>) -> impl Stream<Item = Event> + use<> {
    let tools = Tools::offered(body);
    let output: Vec<Value> = items.iter().map(|item| tools.express(item)).collect();
    let usage = usage.unwrap_or_else(|| Usage::estimate(body, &output));
    let id = wire::fresh_id("resp");
    stream! {
        yield created(&id);
        for (index, (item, wire)) in items.iter().zip(&output).enumerate() {
            tokio::time::sleep(pace).await;
            yield event("response.output_item.added", json!({"output_index": index, "item": begun(wire)}));
            if let Item::LongMessage { words, every } = item {
                for word in words_of(*words) {
                    yield text_delta(wire, index, &word);
                    tokio::time::sleep(*every).await;
                }
            } else {
                for delta in deltas(wire, index) {
                    yield delta;
                }
            }
            yield event("response.output_item.done", json!({"output_index": index, "item": wire}));
        }
        let response = json!({
            "id": id, "object": "response", "status": "completed", "output": output, "usage": usage.to_wire(),
        });
        yield event("response.completed", json!({"response": response}));
    }
}

/// Returns a stream that ends with `response.failed`.
pub(crate) fn failed(code: String, message: String) -> impl Stream<Item = Event> + use<> {
    let id = wire::fresh_id("resp");
    stream! {
        yield created(&id);
        let error = json!({"code": code, "message": message});
        yield event("response.failed", json!({"response": {"id": id, "status": "failed", "error": error}}));
    }
}

/// Returns a stream that ends with `response.incomplete`.
pub(crate) fn incomplete(body: &Value) -> impl Stream<Item = Event> + use<> {
    let id = wire::fresh_id("resp");
    let usage = Usage::estimate(body, &[]).to_wire();
    stream! {
        yield created(&id);
        let response = json!({
            "id": id, "status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "usage": usage,
        });
        yield event("response.incomplete", json!({"response": response}));
    }
}

/// Returns a stream that breaks in the middle of a message.
pub(crate) fn cut() -> impl Stream<Item = Result<Event, ScriptedCut>> + use<> {
    stream! {
        for event in unfinished_message() {
            yield Ok(event);
        }
        // The server flushes only while it waits for more events. Without this pause, the cut would discard the events above.
        tokio::task::yield_now().await;
        yield Err(ScriptedCut);
    }
}

/// Returns a stream that stops in the middle of a message and stays open.
pub(crate) fn hang() -> impl Stream<Item = Event> + use<> {
    stream! {
        for event in unfinished_message() {
            yield event;
        }
        std::future::pending::<()>().await;
    }
}

fn unfinished_message() -> Vec<Event> {
    let message = wire::message("", None);
    let mut events = vec![
        created(&wire::fresh_id("resp")),
        event("response.output_item.added", json!({"output_index": 0, "item": begun(&message)})),
    ];
    events.extend((0..5).map(|part| text_delta(&message, 0, &format!("part{part} "))));
    events
}

fn created(id: &str) -> Event {
    event("response.created", json!({"response": {"id": id, "object": "response", "status": "in_progress"}}))
}

/// Returns an item as it is announced: in progress and, for a message, without content.
fn begun(item: &Value) -> Value {
    let mut begun = item.clone();
    begun["status"] = json!("in_progress");
    if item["type"] == "message" {
        begun["content"] = json!([]);
    }
    begun
}

/// Returns the deltas of a message or a reasoning summary. Other items have no deltas.
fn deltas(item: &Value, index: usize) -> Vec<Event> {
    if item["type"] == "message" {
        let text: Vec<char> = item["content"][0]["text"].as_str().unwrap_or_default().chars().collect();
        return text.chunks(DELTA_CHARS).map(|chunk| text_delta(item, index, &chunk.iter().collect::<String>())).collect();
    }
    let parts = item["summary"].as_array().into_iter().flatten().enumerate();
    parts
        .flat_map(|(part, summary)| {
            let place = json!({"item_id": item["id"], "output_index": index, "summary_index": part});
            let mut delta = place.clone();
            delta["delta"] = summary["text"].clone();
            [event("response.reasoning_summary_part.added", place), event("response.reasoning_summary_text.delta", delta)]
        })
        .collect()
}

fn text_delta(item: &Value, index: usize, delta: &str) -> Event {
    let place = json!({"item_id": item["id"], "output_index": index, "content_index": 0, "delta": delta});
    event("response.output_text.delta", place)
}

fn event(kind: &str, mut data: Value) -> Event {
    data["type"] = json!(kind);
    Event::default().event(kind).data(data.to_string())
}
