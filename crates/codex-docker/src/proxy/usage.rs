//! Reads the tokens of a turn from the model's response while it is passed on.
//! The response is not changed, even if it cannot be parsed, and memory use is bounded.

use serde_json::Value;

/// The longest line or response that is parsed. The last event of a turn repeats all of its output.
const LIMIT: usize = 32 << 20;

/// The tokens of one response.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tokens {
    /// Input tokens.
    pub(super) input: u64,
    /// Output tokens.
    pub(super) output: u64,
}

/// What is known about the cost of a response at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cost {
    /// The model reported the tokens.
    Known(Tokens),
    /// The response continues in the background, and its cost will not be reported here.
    Background,
    /// The response was interrupted or failed, or the API does not report the cost.
    Unknown,
}

/// Reads one response.
#[derive(Debug)]
pub(super) struct Reader {
    is_stream: bool,
    line: Vec<u8>,
    too_long: bool,
    found: Cost,
}

impl Reader {
    /// Creates a reader for this content type: a stream of events, or a single object.
    pub(super) fn new(content_type: &str) -> Self {
        let is_stream = content_type.to_ascii_lowercase().starts_with("text/event-stream");
        Self { is_stream, line: vec![], too_long: false, found: Cost::Unknown }
    }

    /// Reads the next piece.
    pub(super) fn read(&mut self, piece: &[u8]) {
        if !self.is_stream {
            self.keep(piece);
            return;
        }
        let mut pieces = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = pieces.next() {
            self.keep(part);
            if pieces.peek().is_some() {
                self.end_of_line();
            }
        }
    }

    /// Returns what is known about the cost so far.
    pub(super) fn found(&self) -> Cost {
        self.found
    }

    /// Returns the cost at the end of the response.
    pub(super) fn finish(mut self) -> Cost {
        self.end_of_line();
        self.found
    }

    fn keep(&mut self, part: &[u8]) {
        self.too_long |= self.line.len() + part.len() > LIMIT;
        if self.too_long {
            self.line.clear();
        } else {
            self.line.extend_from_slice(part);
        }
    }

    fn end_of_line(&mut self) {
        let data = if self.is_stream { self.line.strip_prefix(b"data:") } else { Some(self.line.as_slice()) };
        // Most events do not mention the usage and are not parsed.
        if let Some(data) = data.filter(|data| !self.too_long && has_word(data))
            && let Ok(value) = serde_json::from_slice::<Value>(data)
        {
            self.found = match tokens(&value) {
                Some(tokens) => Cost::Known(tokens),
                None if !self.is_stream && is_in_background(&value) => Cost::Background,
                None => self.found,
            };
        }
        self.line.clear();
        self.too_long = false;
    }
}

fn has_word(data: &[u8]) -> bool {
    const WORD: &[u8] = b"\"usage\"";
    data.windows(WORD.len()).any(|window| window == WORD)
}

fn tokens(value: &Value) -> Option<Tokens> {
    let usage = [value.pointer("/response/usage"), value.get("usage")].into_iter().flatten().find(|usage| usage.is_object())?;
    let of = |name: &str| usage.get(name).and_then(Value::as_u64).unwrap_or_default();
    Some(Tokens { input: of("input_tokens"), output: of("output_tokens") })
}

fn is_in_background(answer: &Value) -> bool {
    answer.get("status").and_then(Value::as_str).is_some_and(|status| matches!(status, "queued" | "in_progress"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPLETED: &str =
        "data: {\"type\":\"response.completed\",\"response\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":3}}}\n\n";

    fn read(content_type: &str, pieces: &[&[u8]]) -> Cost {
        let mut reader = Reader::new(content_type);
        for piece in pieces {
            reader.read(piece);
        }
        reader.finish()
    }

    #[test]
    fn the_cost_is_found_however_the_stream_is_cut() {
        let stream = format!("event: x\ndata: {{\"usage\":null}}\n\n{COMPLETED}").into_bytes();
        let expected = Cost::Known(Tokens { input: 7, output: 3 });
        assert_eq!(read("text/event-stream; charset=utf-8", &[&stream]), expected);
        for cut in 0..stream.len() {
            assert_eq!(read("text/event-stream", &[&stream[..cut], &stream[cut..]]), expected, "cut at {cut}");
        }
    }

    #[test]
    fn an_answer_in_one_piece_is_read_too() {
        let answer = b"{\"usage\":{\"input_tokens\":1,\"output_tokens\":2}}";
        assert_eq!(read("application/json", &[&answer[..9], &answer[9..]]), Cost::Known(Tokens { input: 1, output: 2 }));
    }

    #[test]
    fn an_answer_that_goes_on_unseen_is_told_from_one_that_says_nothing() {
        for (answer, expected) in [
            (r#"{"status":"queued","usage":null}"#, Cost::Background),
            (r#"{"status":"in_progress","usage":null}"#, Cost::Background),
            (r#"{"status":"failed","usage":null}"#, Cost::Unknown),
            (r#"{"object":"list","data":[]}"#, Cost::Unknown),
        ] {
            assert_eq!(read("application/json", &[answer.as_bytes()]), expected, "{answer}");
        }
        let begun = b"data: {\"status\":\"in_progress\",\"usage\":null}\n\n";
        assert_eq!(read("text/event-stream", &[begun]), Cost::Unknown, "a stream reports the usage at its end");
    }

    #[test]
    fn nonsense_costs_nothing_and_stops_nothing() {
        let long = vec![b'x'; LIMIT + 1];
        assert_eq!(read("text/event-stream", &[b"data: {\"usage\"", b"\n\ndata:\n", &[0xff, 0xfe]]), Cost::Unknown);
        assert_eq!(
            read("text/event-stream", &[b"data: ", &long, b"\n", COMPLETED.as_bytes()]),
            Cost::Known(Tokens { input: 7, output: 3 })
        );
    }
}
