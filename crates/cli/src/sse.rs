//! Parses server-sent events from the API.
//! The data of an event is not interpreted.

use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use model::problem::Problem;

/// A server-sent event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// The event's name, or `message` if it has none.
    pub(crate) name: String,
    /// The last ID that was received, to resume after this event.
    pub(crate) id: Option<String>,
    /// The event's data, with all lines joined.
    pub(crate) data: String,
}

/// A parser that receives bytes and returns events.
#[derive(Default)]
pub(crate) struct Parser {
    rest: Vec<u8>,
    /// How many bytes at the start of `rest` contain no line end, so that a long line is searched only once.
    searched: usize,
    id: Option<String>,
    name: String,
    data: Option<String>,
}

impl Parser {
    pub(crate) fn feed(&mut self, chunk: &[u8]) -> Vec<Event> {
        self.rest.extend_from_slice(chunk);
        let mut events = vec![];
        let mut start = 0;
        while let Some(length) = self.rest[self.searched..].iter().position(|byte| *byte == b'\n') {
            let end = self.searched + length;
            let line = String::from_utf8_lossy(&self.rest[start..end]).trim_end_matches('\r').to_owned();
            start = end + 1;
            self.searched = start;
            events.extend(self.line(&line));
        }
        self.rest.drain(..start);
        self.searched = self.rest.len();
        events
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            let name = std::mem::take(&mut self.name);
            let name = if name.is_empty() { "message".to_owned() } else { name };
            let id = self.id.clone();
            return self.data.take().map(|data| Event { name, id, data });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.name),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" => self.id = Some(value.to_owned()),
            // Ignore comments and the fields of later versions.
            _ => {}
        }
        None
    }
}

/// Returns the events of a response body until it ends.
pub(crate) fn events<E: std::fmt::Display>(
    body: impl Stream<Item = Result<Bytes, E>> + Unpin,
) -> impl Stream<Item = Result<Event, Problem>> {
    body.scan(Parser::default(), |parser, chunk| {
        let events = match chunk {
            Ok(chunk) => parser.feed(&chunk).into_iter().map(Ok).collect(),
            Err(error) => vec![Err(super::client::lost(&error))],
        };
        std::future::ready(Some(futures_util::stream::iter(events)))
    })
    .flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_complete_however_the_bytes_are_split() {
        let text = "id: 7\ndata: {\"a\":1}\n\n: still here\n\nevent: end\ndata: x\ndata: y\n\n".as_bytes();
        let whole = Parser::default().feed(text);
        let mut parser = Parser::default();
        let cut: Vec<_> = text.chunks(1).flat_map(|byte| parser.feed(byte)).collect();
        assert_eq!(whole, cut);
        assert_eq!(whole.len(), 2);
        assert_eq!((whole[1].name.as_str(), whole[1].data.as_str()), ("end", "x\ny"));
    }

    #[test]
    fn an_event_knows_what_to_resume_from() {
        let events = Parser::default().feed(b"data: a\n\nid: 7\ndata: b\n\ndata: c\n\n");
        let ids: Vec<_> = events.iter().map(|event| event.id.as_deref()).collect();
        assert_eq!(ids, [None, Some("7"), Some("7")]);
    }

    #[test]
    fn an_incomplete_event_is_not_returned() {
        assert_eq!(Parser::default().feed(b"id: 7\ndata: half"), []);
    }
}
