//! Parses the format of server-sent events. The data of an event is not interpreted.
//!
//! Invariant: the result does not depend on how the bytes are split into chunks.

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
#[derive(Debug, Default)]
pub(crate) struct Parser {
    rest: Vec<u8>,
    /// How many bytes at the start of `rest` contain no line end, so that a long line is searched only once.
    searched: usize,
    /// Whether the last line ended with a carriage return. A newline right after it belongs to the same line end.
    after_return: bool,
    id: Option<String>,
    name: String,
    data: Option<String>,
}

impl Parser {
    /// Returns the events that are complete after this chunk.
    pub(crate) fn feed(&mut self, chunk: &[u8]) -> Vec<Event> {
        self.rest.extend_from_slice(chunk);
        let mut events = vec![];
        let mut start = 0;
        while let Some(length) = self.rest[self.searched..].iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let end = self.searched + length;
            let is_second_half = self.after_return && start == end && self.rest[end] == b'\n';
            self.after_return = self.rest[end] == b'\r';
            let line = String::from_utf8_lossy(&self.rest[start..end]).into_owned();
            start = end + 1;
            self.searched = start;
            if !is_second_half {
                events.extend(self.line(&line));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the name, ID and data of each event.
    fn parsed(text: &str) -> Vec<(String, Option<String>, String)> {
        let whole = Parser::default().feed(text.as_bytes());
        for size in 1..text.len() {
            let mut parser = Parser::default();
            let cut: Vec<_> = text.as_bytes().chunks(size).flat_map(|chunk| parser.feed(chunk)).collect();
            assert_eq!(whole, cut, "chunks of {size} bytes");
        }
        whole.into_iter().map(|event| (event.name, event.id, event.data)).collect()
    }

    fn check(text: &str, expect: &[(&str, Option<&str>, &str)]) {
        let expect: Vec<_> =
            expect.iter().map(|(name, id, data)| ((*name).to_owned(), id.map(str::to_owned), (*data).to_owned())).collect();
        assert_eq!(parsed(text), expect, "{text:?}");
    }

    #[test]
    fn events_are_complete_however_the_bytes_are_split() {
        check(
            "id: 7\ndata: {\"a\":\"日本\"}\n\n: still here\n\nevent: end\ndata: x\n\n",
            &[("message", Some("7"), "{\"a\":\"日本\"}"), ("end", Some("7"), "x")],
        );
    }

    #[test]
    fn lines_of_data_are_joined() {
        check("data: x\ndata:  y\ndata\ndata:z\n\n", &[("message", None, "x\n y\n\nz")]);
        check("data:\n\n", &[("message", None, "")]);
    }

    #[test]
    fn each_line_end_of_the_format_is_accepted() {
        for end in ["\n", "\r\n", "\r"] {
            let text = ["id: 7", "data: a", "data: b", "", "event: end", "data: c", "", ""].join(end);
            check(&text, &[("message", Some("7"), "a\nb"), ("end", Some("7"), "c")]);
        }
    }

    #[test]
    fn an_event_knows_what_to_resume_from() {
        check(
            "data: a\n\nid: 7\ndata: b\n\ndata: c\n\nid\ndata: d\n\n",
            &[("message", None, "a"), ("message", Some("7"), "b"), ("message", Some("7"), "c"), ("message", Some(""), "d")],
        );
    }

    #[test]
    fn comments_unknown_fields_and_events_without_data_are_ignored() {
        check(": ping\n\nretry: 500\ncolour: red\nevent: gone\n\ndata: a\n\n", &[("message", None, "a")]);
    }

    #[test]
    fn an_incomplete_event_is_not_returned() {
        check("id: 7\ndata: half", &[]);
        check("id: 7\ndata: whole\n", &[]);
    }

    #[test]
    fn a_long_line_in_small_chunks_is_searched_only_once() {
        let mut parser = Parser::default();
        assert_eq!(parser.feed(b"data: "), []);
        for _ in 0..1000 {
            assert_eq!(parser.feed(&[b'x'; 1000]), []);
        }
        assert_eq!(parser.searched, parser.rest.len(), "the next chunk is searched from here");
        let events = parser.feed(b"\n\n");
        assert_eq!(events.iter().map(|event| event.data.len()).collect::<Vec<_>>(), [1_000_000]);
        assert_eq!(parser.rest, b"", "a returned event uses no memory");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_the_same_events_in_any_pieces(
            pieces in proptest::collection::vec("(data: ?|event: ?|id: ?|:|\r|\n|\r\n|é|[a-z]){0,6}", 0..8),
            noise in proptest::collection::vec(proptest::num::u8::ANY, 0..8),
        ) {
            let mut whole: Vec<u8> = pieces.concat().into_bytes();
            whole.extend(noise);
            let expect = Parser::default().feed(&whole);
            let mut parser = Parser::default();
            let mut events = vec![];
            let mut rest = whole.as_slice();
            for piece in &pieces {
                let (head, tail) = rest.split_at(piece.len());
                events.extend(parser.feed(head));
                rest = tail;
            }
            events.extend(rest.iter().flat_map(|byte| parser.feed(std::slice::from_ref(byte))));
            proptest::prop_assert_eq!(events, expect);
        }
    }
}
