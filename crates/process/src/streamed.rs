//! Streams a program's stdout as it is written, without keeping it in memory.
//!
//! The program waits while nobody reads. Invariant: dropping the stream ends the program.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use bytes::{Bytes, BytesMut};
use futures_util::Stream;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio_util::task::AbortOnDropHandle;

use super::command::{CommandSpec, Stdout};
use super::finished::{Finished, RunProgramError};

/// The size of a read in bytes.
const CHUNK_BYTES: usize = 64 * 1024;

impl CommandSpec<'static> {
    /// Starts the program, and returns once it has written something or has ended. A later failure is the last item of the
    /// stream.
    pub async fn streamed(mut self) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, RunProgramError> {
        let program = self.program.display().to_string();
        let lost = |source| RunProgramError::Io { program, source };
        let piped = || {
            let (read, write) = io::pipe()?;
            Ok((Receiver::from_owned_fd(OwnedFd::from(read))?, File::from(OwnedFd::from(write))))
        };
        let (mut read, write) = match piped() {
            Ok(ends) => ends,
            Err(error) => return Err(lost(error)),
        };
        self.stdout = Stdout::File(write);
        let ending = AbortOnDropHandle::new(tokio::spawn(self.run_ok()));
        let mut buffer = BytesMut::with_capacity(CHUNK_BYTES);
        let ending = match read.read_buf(&mut buffer).await {
            Ok(0) => {
                ended(ending).await?;
                None
            }
            Ok(_) => Some(ending),
            Err(error) => return Err(lost(error)),
        };
        Ok(async_stream::try_stream! {
            let Some(ending) = ending else { return };
            yield buffer.split().freeze();
            loop {
                buffer.reserve(CHUNK_BYTES);
                if read.read_buf(&mut buffer).await? == 0 {
                    break;
                }
                yield buffer.split().freeze();
            }
            ended(ending).await.map_err(io::Error::other)?;
        })
    }
}

async fn ended(ending: AbortOnDropHandle<Result<Finished, RunProgramError>>) -> Result<(), RunProgramError> {
    let joined = ending.await;
    joined
        .unwrap_or_else(|error| Err(RunProgramError::Io { program: "a program".to_owned(), source: io::Error::other(error) }))
        .map(drop)
}
