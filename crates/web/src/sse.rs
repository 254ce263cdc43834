//! Server-sent events: turns a stream of events into a response that ends with its client or the server.
//!
//! Events are not buffered: they are produced as the client reads them. Carriage returns end lines in this format, so they are replaced
//! by newlines. The raw log has the exact bytes.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt};
use serde::Serialize;
use tokio_util::sync::CancellationToken;

/// The interval of comments in a silent stream, which detect disconnected clients and proxies.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Responds with events until the stream ends, the client disconnects, or the server closes.
pub(crate) fn answer(events: impl Stream<Item = Event> + Send + 'static, closing: CancellationToken) -> Response {
    let events = events.take_until(closing.cancelled_owned()).map(Ok::<_, Infallible>);
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE));
    // This header turns off buffering in proxies.
    ([("x-accel-buffering", "no")], sse).into_response()
}

/// Returns an event with JSON data.
pub(crate) fn json_event(data: &impl Serialize) -> Event {
    with_json(Event::default(), data)
}

/// Returns a named event with JSON data.
pub(crate) fn named_event(name: &'static str, data: &impl Serialize) -> Event {
    with_json(Event::default().event(name), data)
}

fn with_json(event: Event, data: &impl Serialize) -> Event {
    event.json_data(data).expect("the data can be written as JSON")
}

/// Returns an event with a line of a log. Bytes that are not UTF-8 are replaced.
pub(crate) fn line_event(offset: u64, line: &[u8]) -> Event {
    let text = String::from_utf8_lossy(line);
    let event = Event::default().id(offset.to_string());
    // Only newlines may end lines, so that simple clients cannot be misled.
    if text.contains('\r') { event.data(text.replace('\r', "\n")) } else { event.data(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sent(events: Vec<Event>) -> String {
        let response = answer(futures_util::stream::iter(events), CancellationToken::new());
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("the stream ends");
        String::from_utf8(bytes.to_vec()).expect("the event stream is UTF-8")
    }

    #[tokio::test]
    async fn a_line_is_one_message_with_the_offset_behind_it() {
        assert_eq!(sent(vec![line_event(9, br#"{"a":1}"#)]).await, "id: 9\ndata: {\"a\":1}\n\n");
    }

    #[tokio::test]
    async fn no_line_can_forge_an_event() {
        let text = sent(vec![line_event(30, b"note\revent: end\rdata: {}")]).await;
        for line in text.lines() {
            assert!(line.is_empty() || line.starts_with("id: ") || line.starts_with("data: "), "{text:?}");
        }
        assert!(!text.contains('\r'), "{text:?}");
        assert_eq!(text.matches("\n\n").count(), 1, "{text:?}");
    }

    #[tokio::test]
    async fn bytes_that_are_not_text_are_replaced() {
        assert_eq!(sent(vec![line_event(3, b"a\xffb")]).await, "id: 3\ndata: a\u{fffd}b\n\n");
    }

    #[tokio::test]
    async fn a_silent_stream_ends_when_the_server_closes() {
        let closing = CancellationToken::new();
        let response = answer(futures_util::stream::pending(), closing.clone());
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        closing.cancel();
        let bytes = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("the stream ends");
        assert!(bytes.is_empty());
    }
}
