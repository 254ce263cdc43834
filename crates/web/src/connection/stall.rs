//! A stream that fails when a stranger reads nothing of its response for too long.
//!
//! Unread data fills the buffers of the system and then of the server. Trusted connections have no limit, since a phone can sleep and a
//! download can be paused.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::Caller;

/// The longest time that a stranger may read nothing.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Stalling<S> {
    stream: S,
    caller: Caller,
    /// The timer that runs while a write is blocked.
    limit: Option<Pin<Box<Sleep>>>,
}

impl<S: Unpin> Stalling<S> {
    pub(crate) fn new(stream: S, caller: Caller) -> Self {
        Self { stream, caller, limit: None }
    }

    fn watch(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.limit = None;
            return written;
        }
        let limit = self.limit.get_or_insert_with(|| Box::pin(sleep(LIMIT)));
        loop {
            ready!(limit.as_mut().poll(context));
            if !self.caller.is_trusted() {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client does not read the response")));
            }
            limit.as_mut().reset(Instant::now() + LIMIT);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Stalling<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Stalling<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, pieces);
        self.watch(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::super::Trust;
    use super::super::{Connections, Limits};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_stranger_that_does_not_read_is_cut_off_and_one_who_is_trusted_is_not() {
        let all = Connections::new(Limits::of(8));
        let connection = all.admit().await.expect("the limit allows another connection");
        let (mut client, server) = duplex(4);
        let mut server = Stalling::new(server, connection.caller());
        server.write_all(b"full").await.expect("the data fits into the buffer");
        let begun = Instant::now();
        let error = server.write_all(b"more").await.expect_err("a stranger that does not read is cut off");
        assert_eq!((error.kind(), begun.elapsed()), (io::ErrorKind::TimedOut, LIMIT));
        connection.caller().trust(Trust::Trusted);
        let written = tokio::spawn(async move { server.write_all(b"more").await });
        tokio::time::sleep(10 * LIMIT).await;
        let mut all = [0; 8];
        client.read_exact(&mut all).await.expect("a slow trusted client gets all data");
        written.await.expect("the task does not panic").expect("written");
        assert_eq!(&all, b"fullmore");
    }
}
