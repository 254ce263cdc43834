//! Copies the output of a setup to stdout, up to a limit. The rest is read and dropped, so that the script never waits for it.

use bollard::container::{AttachContainerResults, LogOutput};
use futures_util::StreamExt as _;
use tokio::io::{AsyncWrite, AsyncWriteExt as _};

/// The maximum number of bytes that are copied.
pub(super) const LIMIT: u64 = 64 << 20;

/// The last line of an output that is longer.
const NOTE: &[u8] = b"\n[the output after 64 MiB was dropped]\n";

/// Copies the output until the container ends or the connection breaks. `room` is the number of bytes that may still be copied.
/// Returns the remaining number.
pub(super) async fn copy(mut attached: AttachContainerResults, mut room: u64, to: &mut (impl AsyncWrite + Unpin)) -> u64 {
    let mut is_open = true;
    while let Some(Ok(output)) = attached.output.next().await {
        let (LogOutput::StdOut { message } | LogOutput::StdErr { message } | LogOutput::Console { message }) = output else {
            continue;
        };
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(message.len());
        let is_last = room > 0 && fits < message.len();
        room -= fits as u64;
        if !is_open || fits == 0 && !is_last {
            continue;
        }
        let written = async {
            to.write_all(&message[..fits]).await?;
            if is_last {
                to.write_all(NOTE).await?;
            }
            to.flush().await
        };
        if let Err(error) = written.await {
            // The setup continues without a reader.
            tracing::debug!(%error, "could not pass on the output of a setup");
            is_open = false;
        }
        if is_last {
            room = 0;
        }
    }
    room
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::stream;

    use super::*;

    fn attached(pieces: Vec<&'static [u8]>) -> AttachContainerResults {
        let output = stream::iter(pieces).map(|piece| Ok(LogOutput::StdOut { message: Bytes::from_static(piece) }));
        AttachContainerResults { output: output.boxed(), input: Box::pin(tokio::io::sink()) }
    }

    #[tokio::test]
    async fn an_output_within_the_limit_is_copied_as_it_is() {
        let mut copied = Vec::new();
        assert_eq!(copy(attached(vec![b"one\n", b"two\n"]), 8, &mut copied).await, 0);
        assert_eq!(copied, b"one\ntwo\n");
    }

    #[tokio::test]
    async fn the_rest_of_a_longer_output_is_dropped_with_one_note() {
        let mut copied = Vec::new();
        assert_eq!(copy(attached(vec![b"one\n", b"two\n", b"three\n"]), 6, &mut copied).await, 0);
        assert_eq!(copied, [b"one\ntw", NOTE].concat());
        // After a broken connection, the copy continues with what is left of the limit.
        let mut more = Vec::new();
        assert_eq!(copy(attached(vec![b"four\n"]), 0, &mut more).await, 0);
        assert!(more.is_empty());
    }

    #[tokio::test]
    async fn an_output_that_ends_exactly_at_the_limit_gets_its_note_with_the_next_piece() {
        let mut copied = Vec::new();
        assert_eq!(copy(attached(vec![b"one\n", b"two\n"]), 4, &mut copied).await, 0);
        assert_eq!(copied, b"one\n");
    }

    #[tokio::test]
    async fn without_a_reader_the_output_is_still_read_to_its_end() {
        let (mut to, from) = tokio::io::duplex(2);
        drop(from);
        assert_eq!(copy(attached(vec![b"one\n", b"two\n"]), 100, &mut to).await, 92);
    }
}
