//! The server's copy of a run's log.
//!
//! A run on this machine writes to the copy itself. For all others, the server appends what their runner delivers. Invariant: the
//! copy is always a prefix of the log, so its length is the offset at which to continue.

use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use durable::blocking;
use fs_err::os::unix::fs::OpenOptionsExt as _;
use futures_util::StreamExt as _;
use runner::{Backoff, Integrity, JournalNews, RunKey};
use tokio_util::sync::CancellationToken;

use super::tasks::{TaskSlot, Tasks};

/// A copy of a log to which the server appends.
pub(super) struct JournalCopy {
    path: PathBuf,
    integrity: Integrity,
}

impl JournalCopy {
    /// Uses the copy at `path`, which may not exist yet.
    pub(super) fn new(path: PathBuf, integrity: Integrity) -> Self {
        Self { path, integrity }
    }

    /// Returns the current length, or 0 if the copy does not exist yet.
    pub(super) fn length(&self) -> u64 {
        fs_err::metadata(&self.path).map_or(0, |found| found.len())
    }

    /// Appends the bytes that follow in the log. After an error, continue at the length of the copy.
    pub(super) async fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let (path, bytes, integrity) = (self.path.clone(), bytes.to_owned(), self.integrity);
        blocking(move || {
            if integrity == Integrity::Torn && cut_zeros(&path)? > 0 {
                return Err(io::Error::other("removed zeros that a power cut left in the copy of the log"));
            }
            let mut copy = fs_err::File::options().create(true).append(true).mode(0o600).open(&path)?;
            io::Write::write_all(&mut copy, &bytes)
        })
        .await?;
        self.integrity = Integrity::Intact;
        Ok(())
    }
}

impl Tasks {
    /// Whether copies of logs may end with zeros, because the machine stopped unexpectedly.
    pub(super) fn integrity_of_copies(&self) -> Integrity {
        if self.boot.unclean_stop.is_some() { Integrity::Torn } else { Integrity::Intact }
    }

    /// Ensures that the copy of an ended run's log is complete. Returns `None` if this is cancelled.
    pub(super) async fn complete_journal(&self, slot: &TaskSlot, key: RunKey, cancel: &CancellationToken) -> Option<()> {
        let mut copy = JournalCopy::new(self.journal_path(slot), self.integrity_of_copies());
        let mut backoff = Backoff::default();
        loop {
            let before = copy.length();
            let reason = match self.rest_of_journal(key, &mut copy).await {
                Ok(()) => return Some(()),
                Err(reason) => reason,
            };
            if copy.length() > before {
                backoff.reset();
            }
            tracing::warn!(task = %slot.id, reason, "could not follow a run; connecting again");
            cancel.run_until_cancelled(tokio::time::sleep(backoff.longer())).await?;
        }
    }

    async fn rest_of_journal(&self, key: RunKey, copy: &mut JournalCopy) -> Result<(), String> {
        let mut news = self.runner.journal(key, copy.length());
        while let Some(received) = news.next().await {
            match received.map_err(|unreachable| unreachable.reason)? {
                JournalNews::InPlace { .. } => return Ok(()),
                // The run may have written nothing. Readers still expect a copy.
                JournalNews::Ended => return copy.append(&[]).await.map_err(|error| error.to_string()),
                JournalNews::Bytes(bytes) => copy.append(&bytes).await.map_err(|error| error.to_string())?,
            }
        }
        Err("the connection was closed".to_owned())
    }
}

/// Removes zeros at the end of a log. A file system may extend a file before it writes the content, so a power cut can leave
/// zeros. Readers ignore an incomplete line. Returns the number of removed bytes.
pub(super) fn cut_zeros(journal: &Path) -> std::io::Result<u64> {
    let log = match fs_err::OpenOptions::new().read(true).write(true).open(journal) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        log => log?.into_parts().0,
    };
    let length = log.metadata()?.len();
    let mut kept = length;
    let mut piece = vec![0; 64 << 10];
    // Read in pieces, starting at the end, because a log can be larger than the memory.
    while kept > 0 {
        let start = kept.saturating_sub(piece.len() as u64);
        let read = &mut piece[..usize::try_from(kept - start).map_err(std::io::Error::other)?];
        log.read_exact_at(read, start)?;
        if let Some(last) = read.iter().rposition(|&byte| byte != 0) {
            kept = start + last as u64 + 1;
            break;
        }
        kept = start;
    }
    if kept < length {
        log.set_len(kept)?;
    }
    Ok(length - kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_torn_copy_is_cut_before_anything_is_appended() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        fs_err::write(&path, b"one\n\0\0").expect("written");
        let mut copy = JournalCopy::new(path.clone(), Integrity::Torn);
        copy.append(b"late").await.expect_err("the bytes belong to another offset");
        assert_eq!(copy.length(), 4);
        copy.append(b"two\n").await.expect("appended");
        assert_eq!(fs_err::read(&path).expect("there"), b"one\ntwo\n");
    }

    #[test]
    fn only_the_zeros_at_the_end_of_a_log_are_cut_off() {
        let folder = tempfile::tempdir().expect("a folder");
        let journal = folder.path().join("log");
        assert_eq!(cut_zeros(&journal).expect("a missing log is not an error"), 0);
        let long = vec![b'x'; 100_000];
        for (before, after) in [
            (&b"one\n"[..], &b"one\n"[..]),
            (b"one\n{\"t", b"one\n{\"t"),
            (b"one\n\0\0\0", b"one\n"),
            (b"one\n\0\0two\n\0", b"one\n\0\0two\n"),
            (b"\0\0", b""),
            (b"", b""),
            (&[long.clone(), vec![0; 200_000]].concat(), &long),
        ] {
            fs_err::write(&journal, before).expect("written");
            assert_eq!(cut_zeros(&journal).expect("cut"), (before.len() - after.len()) as u64);
            assert_eq!(fs_err::read(&journal).expect("there"), after);
        }
    }
}
