//! Finds a part of a run's log, reading backwards.
//!
//! A log contains the output of a program: lines of any length, no lines, or zeros. Invariant: nothing here keeps more in memory
//! than the requested bytes, or one longer line of up to `LINE_CAP_BYTES`. A longer line is measured but not read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use memchr::{memchr, memrchr};
use model::codex::{LINE_CAP_BYTES, Line, LineContent, LineSplitter};

/// The size of a read in bytes.
const PIECE_BYTES: usize = 64 * 1024;

/// How far back to search for the start of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// As far as necessary, so that the result has a line if the log has one.
    Line,
    /// Not beyond the requested bytes.
    Window,
}

/// The position of a part of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// The offset of its first line.
    pub start: u64,
    /// The offset after its last line.
    pub end: u64,
    /// Whether the window is a single line that is longer than requested.
    is_long_line: bool,
}

impl Window {
    /// Finds the last complete lines before an offset: as many as fit in `limit` bytes, or one longer line.
    pub fn before(log: &File, offset: u64, limit: u64, reach: Reach) -> io::Result<Self> {
        let floor = match reach {
            Reach::Line => 0,
            Reach::Window => offset.saturating_sub(limit.saturating_add(1)),
        };
        let window = |start, end| Self { start, end, is_long_line: false };
        let Some(end) = behind_last_newline(log, floor, offset)? else {
            let behind = if floor == 0 { 0 } else { offset };
            return Ok(window(behind, behind));
        };
        let from = end.saturating_sub(limit);
        if from == 0 {
            return Ok(window(0, end));
        }
        // Read one more byte to see whether a line starts at the limit. The last newline ends a line and does not start one.
        match behind_first_newline(log, from - 1, end - 1)? {
            Some(start) => Ok(window(start, end)),
            None if reach == Reach::Window => Ok(window(end, end)),
            None => Ok(Self { is_long_line: true, ..window(behind_last_newline(log, 0, from - 1)?.unwrap_or(0), end) }),
        }
    }

    /// Passes the lines of the window to `on_line`.
    pub fn lines(self, log: &File, mut on_line: impl FnMut(Line<'_>)) -> io::Result<()> {
        let mut splitter = LineSplitter::resuming_at(self.start);
        let mut piece = vec![0; PIECE_BYTES];
        let mut at = self.start;
        let len = (self.end - self.start).saturating_sub(1);
        if self.is_long_line && len > LINE_CAP_BYTES as u64 {
            on_line(Line { content: LineContent::Oversized { len }, end: self.end });
            return Ok(());
        }
        while at < self.end {
            let read = length(&piece, self.end - at);
            log.read_exact_at(&mut piece[..read], at)?;
            splitter.feed(&piece[..read], &mut on_line);
            at += read as u64;
        }
        Ok(())
    }
}

/// Returns the offset after the last newline in a range of a log.
fn behind_last_newline(log: &File, floor: u64, end: u64) -> io::Result<Option<u64>> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = end;
    while at > floor {
        let read = length(&piece, at - floor);
        at -= read as u64;
        log.read_exact_at(&mut piece[..read], at)?;
        if let Some(newline) = memrchr(b'\n', &piece[..read]) {
            return Ok(Some(at + newline as u64 + 1));
        }
    }
    Ok(None)
}

/// Returns the offset after the first newline in a range of a log.
fn behind_first_newline(log: &File, from: u64, to: u64) -> io::Result<Option<u64>> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut at = from;
    while at < to {
        let read = length(&piece, to - at);
        log.read_exact_at(&mut piece[..read], at)?;
        if let Some(newline) = memchr(b'\n', &piece[..read]) {
            return Ok(Some(at + newline as u64 + 1));
        }
        at += read as u64;
    }
    Ok(None)
}

/// Returns how much of a range fits into a piece.
fn length(piece: &[u8], range: u64) -> usize {
    usize::try_from(range).map_or(piece.len(), |range| range.min(piece.len()))
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn log(text: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(text).expect("written");
        file
    }

    fn found(log: &File, offset: u64, limit: u64, reach: Reach) -> (Window, Vec<String>) {
        let window = Window::before(log, offset, limit, reach).expect("readable");
        let mut lines = vec![];
        let on_line = |line: Line<'_>| {
            lines.push(match line.content {
                LineContent::Whole(text) => format!("{} @{}", String::from_utf8_lossy(text), line.end),
                LineContent::Oversized { len } => format!("<{len}> @{}", line.end),
            });
        };
        window.lines(log, on_line).expect("readable");
        (window, lines)
    }

    fn check(text: &str, offset: u64, limit: u64, expect: &[&str]) {
        assert_eq!(found(&log(text.as_bytes()), offset, limit, Reach::Line).1, expect, "{text:?} {offset} {limit}");
    }

    #[test]
    fn a_window_has_whole_lines_and_at_least_one() {
        check("one\ntwo\nthree\n", 14, 100, &["one @4", "two @8", "three @14"]);
        check("one\ntwo\nthree\n", 14, 10, &["two @8", "three @14"]);
        check("one\ntwo\nthree\n", 14, 9, &["three @14"]);
        check("one\ntwo\nthree\n", 14, 1, &["three @14"]);
        check("one\ntwo\nthree\n", 8, 1, &["two @8"]);
        check("one\ntwo\nthree\n", 4, 1, &["one @4"]);
        check("one\ntwo\nthr", 11, 1, &["two @8"]);
        check("one\ntwo\nthree\n", 10, 1, &["two @8"]);
        check("\n\n\n", 3, 2, &[" @2", " @3"]);
        check("torn", 4, 100, &[]);
        check("", 0, 100, &[]);
    }

    #[test]
    fn a_glance_reads_no_more_than_it_asked_for() {
        let log = log(&[b"one\n".as_slice(), &vec![b'x'; 300_000]].concat());
        assert_eq!(found(&log, 300_004, 1000, Reach::Window).1, Vec::<String>::new());
        assert_eq!(found(&log, 300_004, 1000, Reach::Line).1, ["one @4"]);
    }

    #[test]
    fn a_line_above_the_cap_is_measured_and_what_is_around_it_is_there() {
        let mut log = log(b"one\n");
        let line = 9_u64 << 20;
        log.set_len(4 + line).expect("sparse");
        std::io::Seek::seek(&mut log, io::SeekFrom::End(0)).expect("the log has an end");
        log.write_all(b"\ntwo\n").expect("written");
        let end = 4 + line + 1 + 4;
        let (window, lines) = found(&log, end, 100, Reach::Line);
        assert_eq!((window.start, window.end, lines), (end - 4, end, vec![format!("two @{end}")]));
        let (window, lines) = found(&log, end - 4, 100, Reach::Line);
        assert_eq!((window.start, window.end, lines), (4, end - 4, vec![format!("<{line}> @{}", end - 4)]));
        assert_eq!(found(&log, 4, 100, Reach::Line).1, ["one @4"]);
    }

    #[test]
    fn a_line_just_within_the_cap_is_whole() {
        for (length, is_whole) in [(LINE_CAP_BYTES, true), (LINE_CAP_BYTES + 1, false)] {
            let log = log(&[vec![b'x'; length].as_slice(), b"\n"].concat());
            let (_, lines) = found(&log, length as u64 + 1, 1000, Reach::Line);
            assert_eq!(lines[0].starts_with('x'), is_whole, "{length}");
        }
    }
}
