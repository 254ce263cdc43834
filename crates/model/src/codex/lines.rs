//! Splits chunks of bytes into lines, and returns the offset after each line.
//!
//! The splitter never buffers more than its cap: a longer line is counted and reported as `Oversized`, and only the raw log
//! contains it. Each line is emitted exactly once, when its newline has been read. An incomplete line is kept until the rest
//! arrives.

use super::event::CodexEvent;
use crate::size::bytes as shown;

/// The maximum length of a parsed line. Codex writes up to 1 MiB of output in one line, which is 7 MiB if every byte is escaped.
pub const LINE_CAP_BYTES: usize = 8 * 1024 * 1024;

/// A tail buffer above this size is freed after its line has been emitted.
const KEPT_BUFFER_BYTES: usize = 256 * 1024;

/// A complete line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// The content.
    pub content: LineContent<'a>,
    /// The offset in the log after the newline, where a reader that has seen this line continues.
    pub end: u64,
}

/// The content of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineContent<'a> {
    /// The complete line, without the newline.
    Whole(&'a [u8]),
    /// A line longer than the cap.
    Oversized {
        /// The length of the line without the newline.
        len: u64,
    },
}

impl Line<'_> {
    /// Parses the line. A line that was too long becomes a note.
    pub fn event(&self) -> CodexEvent {
        match self.content {
            LineContent::Whole(bytes) => CodexEvent::parse(bytes),
            LineContent::Oversized { len } => {
                CodexEvent::Note(format!("a line of {} is not shown here; see the raw log", shown(len)))
            }
        }
    }
}

/// Splits a stream into lines. Its chunks can have any size.
#[derive(Debug)]
pub struct LineSplitter {
    cap: usize,
    /// The start of a line whose newline has not arrived yet, at most `cap` bytes.
    tail: Vec<u8>,
    /// The length so far of a line that is longer than the cap, so its bytes were dropped.
    oversized: Option<u64>,
    /// The offset right after the last newline.
    complete: u64,
}

impl LineSplitter {
    /// Creates a splitter for a stream that is read from its start.
    pub fn new() -> Self {
        Self::resuming_at(0)
    }

    /// Creates a splitter for a stream that is read from `offset`, which must be zero or right after a newline.
    pub fn resuming_at(offset: u64) -> Self {
        Self { cap: LINE_CAP_BYTES, tail: Vec::new(), oversized: None, complete: offset }
    }

    /// Replaces [`LINE_CAP_BYTES`] with a different cap.
    #[must_use]
    pub fn with_cap(mut self, bytes: usize) -> Self {
        self.cap = bytes;
        self
    }

    /// Adds bytes, and passes every completed line to `sink`, in order. Lines within one chunk are not copied.
    pub fn feed(&mut self, chunk: &[u8], mut sink: impl FnMut(Line<'_>)) {
        let mut rest = chunk;
        while let Some(newline) = memchr::memchr(b'\n', rest) {
            let (head, after) = (&rest[..newline], &rest[newline + 1..]);
            self.finish_line(head, &mut sink);
            rest = after;
        }
        self.keep(rest);
    }

    /// Returns the offset after the last complete line.
    pub fn complete(&self) -> u64 {
        self.complete
    }

    /// Returns the number of bytes after the last newline.
    pub fn torn(&self) -> u64 {
        self.oversized.unwrap_or(self.tail.len() as u64)
    }

    /// Returns the bytes after the last newline, or nothing if there are more than the cap. Call this when the stream has ended.
    pub fn tail(&self) -> &[u8] {
        &self.tail
    }

    /// Returns the content after the last newline. Call this when the stream has ended.
    pub fn tail_content(&self) -> LineContent<'_> {
        match self.oversized {
            Some(len) => LineContent::Oversized { len },
            None => LineContent::Whole(&self.tail),
        }
    }

    fn finish_line(&mut self, head: &[u8], sink: &mut impl FnMut(Line<'_>)) {
        let len = self.torn() + head.len() as u64;
        self.complete += len + 1;
        let end = self.complete;
        if self.oversized.is_some() || len > self.cap as u64 {
            self.oversized = None;
            sink(Line { content: LineContent::Oversized { len }, end });
        } else if self.tail.is_empty() {
            sink(Line { content: LineContent::Whole(head), end });
        } else {
            self.tail.extend_from_slice(head);
            sink(Line { content: LineContent::Whole(&self.tail), end });
        }
        self.tail.clear();
        self.tail.shrink_to(KEPT_BUFFER_BYTES);
    }

    fn keep(&mut self, rest: &[u8]) {
        let len = self.torn() + rest.len() as u64;
        if self.oversized.is_some() || len > self.cap as u64 {
            self.oversized = Some(len);
            self.tail = Vec::new();
        } else {
            self.tail.extend_from_slice(rest);
        }
    }
}

impl Default for LineSplitter {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(splitter: &mut LineSplitter, chunks: &[&str]) -> Vec<String> {
        let mut lines = Vec::new();
        for chunk in chunks {
            splitter.feed(chunk.as_bytes(), |line| {
                lines.push(match line.content {
                    LineContent::Whole(bytes) => format!("{} @{}", String::from_utf8_lossy(bytes), line.end),
                    LineContent::Oversized { len } => format!("<{len}> @{}", line.end),
                });
            });
        }
        lines
    }

    #[test]
    fn chunks_do_not_matter_and_a_torn_tail_waits() {
        let mut splitter = LineSplitter::new();
        assert_eq!(split(&mut splitter, &["a", "b\n\nc", "", "d\ne\nto"]), ["ab @3", " @4", "cd @7", "e @9"]);
        assert_eq!((splitter.complete(), splitter.torn(), splitter.tail()), (9, 2, &b"to"[..]));
        assert_eq!(split(&mut splitter, &["rn\n"]), ["torn @14"]);
        assert_eq!(splitter.torn(), 0);
    }

    #[test]
    fn a_reader_goes_on_at_the_offset_it_was_given() {
        assert_eq!(split(&mut LineSplitter::resuming_at(7), &["e\n"]), ["e @9"]);
    }

    #[test]
    fn a_line_above_the_cap_is_counted_and_not_held() {
        let mut splitter = LineSplitter::new().with_cap(3);
        assert_eq!(split(&mut splitter, &["abc\nabcd\n"]), ["abc @4", "<4> @9"]);
        assert_eq!(split(&mut splitter, &["ab", "cd", "ef"]), Vec::<String>::new());
        assert_eq!((splitter.torn(), splitter.tail().len(), splitter.tail.capacity()), (6, 0, 0));
        assert_eq!(split(&mut splitter, &["g\nok\n"]), ["<7> @17", "ok @20"]);
    }

    #[test]
    fn a_long_line_does_not_keep_its_memory() {
        let mut splitter = LineSplitter::new();
        let long = "x".repeat(LINE_CAP_BYTES);
        assert_eq!(split(&mut splitter, &[&long[1..], "y\n"])[0].len(), LINE_CAP_BYTES + " @8388609".len());
        assert!(splitter.tail.capacity() <= KEPT_BUFFER_BYTES);
    }

    #[test]
    fn an_oversized_line_is_a_note() {
        let line = Line { content: LineContent::Oversized { len: 9_000_000 }, end: 9_000_001 };
        let CodexEvent::Note(note) = line.event() else { panic!("{line:?}") };
        assert!(note.contains("a line of 8.5 MiB is not shown"), "{note}");
    }
}
