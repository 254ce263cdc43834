//! Reads a child's output, and keeps no more of it than allowed.
//!
//! Invariant: memory stays bounded whatever the child writes, and bytes that are not UTF-8 never cause an error.

use std::collections::VecDeque;
use std::io;

use tokio::io::{AsyncRead, AsyncReadExt};

/// How much of the end of stderr is kept for an error message, in bytes. The reason is usually at the end.
const TAIL_LIMIT_BYTES: usize = 8 * 1024;

/// The maximum size of a progress line in bytes. Progress lines usually have about a hundred bytes; longer lines are cut.
const PIECE_LIMIT_BYTES: usize = 4 * 1024;

/// The size of a read in bytes.
const CHUNK_BYTES: usize = 16 * 1024;

/// Keeps the end of a text.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: VecDeque<u8>,
}

impl Tail {
    fn push(&mut self, chunk: &[u8]) {
        let chunk = &chunk[chunk.len().saturating_sub(TAIL_LIMIT_BYTES)..];
        let excess = (self.bytes.len() + chunk.len()).saturating_sub(TAIL_LIMIT_BYTES);
        self.bytes.drain(..excess);
        self.bytes.extend(chunk);
    }

    /// Returns the kept bytes as text.
    pub(super) fn text(&self) -> String {
        let (front, back) = self.bytes.as_slices();
        String::from_utf8_lossy(&[front, back].concat()).into_owned()
    }
}

/// How much of an output was captured.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Captured {
    /// The complete output.
    Complete,
    /// Only the beginning, because the child wrote more than allowed.
    TooLarge,
}

/// Reads to the end into `into`, up to `max` bytes in total.
pub(super) async fn capture(mut from: impl AsyncRead + Unpin, into: &mut Vec<u8>, max: usize) -> io::Result<Captured> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            return Ok(Captured::Complete);
        }
        if into.len() + read > max {
            return Ok(Captured::TooLarge);
        }
        into.extend_from_slice(&chunk[..read]);
    }
}

/// Reads to the end, and passes on every piece that ends with `separator`, and the last piece even if it does not end with one.
pub(super) async fn pieces(
    mut from: impl AsyncRead + Unpin,
    separator: u8,
    on_piece: &mut (dyn FnMut(&[u8]) + Send),
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut piece = Vec::new();
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            break;
        }
        for part in chunk[..read].split_inclusive(|&byte| byte == separator) {
            match part.strip_suffix(&[separator]) {
                Some(end) => {
                    piece.extend_from_slice(end);
                    on_piece(&piece);
                    piece.clear();
                }
                None => piece.extend_from_slice(part),
            }
        }
    }
    if !piece.is_empty() {
        on_piece(&piece);
    }
    Ok(())
}

/// Reads stderr to its end. Keeps its tail, and passes on every piece up to a `\n` or `\r`.
pub(super) async fn tail(
    mut from: impl AsyncRead + Unpin,
    tail: &mut Tail,
    mut on_piece: Option<&mut (dyn FnMut(&str) + Send)>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut piece = Vec::new();
    loop {
        let read = from.read(&mut chunk).await?;
        if read == 0 {
            break;
        }
        tail.push(&chunk[..read]);
        let Some(on_piece) = on_piece.as_mut() else { continue };
        for &byte in &chunk[..read] {
            if byte != b'\n' && byte != b'\r' {
                if piece.len() < PIECE_LIMIT_BYTES {
                    piece.push(byte);
                }
            } else if !piece.is_empty() {
                on_piece(&String::from_utf8_lossy(&piece));
                piece.clear();
            }
        }
    }
    if let (Some(on_piece), false) = (on_piece, piece.is_empty()) {
        on_piece(&String::from_utf8_lossy(&piece));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_the_end_and_stays_small() {
        let mut tail = Tail::default();
        tail.push(&vec![b'a'; 3 * TAIL_LIMIT_BYTES]);
        tail.push(b"the end");
        let text = tail.text();
        assert_eq!(text.len(), TAIL_LIMIT_BYTES);
        assert!(text.starts_with("aaa") && text.ends_with("the end"));
    }

    #[tokio::test]
    async fn output_up_to_the_limit_is_taken_and_not_a_byte_more() {
        let mut taken = Vec::new();
        assert_eq!(capture(&b"12345"[..], &mut taken, 5).await.expect("memory reads"), Captured::Complete);
        assert_eq!(taken, b"12345");
        assert_eq!(capture(&b"123456"[..], &mut Vec::new(), 5).await.expect("memory reads"), Captured::TooLarge);
    }

    #[tokio::test]
    async fn lines_come_whole_however_they_were_written() {
        let mut seen = Vec::new();
        let chunks = tokio_util::io::StreamReader::new(futures_util::stream::iter(
            ["one\ntw", "o\n\nthr", "ee"].map(|piece| Ok::<_, io::Error>(piece.as_bytes())),
        ));
        pieces(chunks, b'\n', &mut |line| seen.push(String::from_utf8_lossy(line).into_owned())).await.expect("memory reads");
        assert_eq!(seen, ["one", "two", "", "three"]);
    }

    #[tokio::test]
    async fn progress_is_told_at_every_carriage_return() {
        let mut seen = Vec::new();
        let mut kept = Tail::default();
        let mut note = |piece: &str| seen.push(piece.to_owned());
        tail(&b"10%\r20%\rdone\n\xff"[..], &mut kept, Some(&mut note)).await.expect("memory reads");
        assert_eq!(seen, ["10%", "20%", "done", "\u{fffd}"]);
        assert_eq!(kept.text(), "10%\r20%\rdone\n\u{fffd}");
    }
}
