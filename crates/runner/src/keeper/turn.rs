//! Watches a log for the end of its turn, to distinguish a lingering worker from a working one.
//!
//! This module changes nothing. If the log cannot be read, the end of a turn is not noticed, but the keeper continues and the
//! time limit still applies.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use model::codex::CodexEvent;
use model::ids::ThreadId;

use crate::journal::{FolderWatch, Interest, Tail};

/// Follows a log.
pub(super) struct TurnWatch {
    /// `None` after the log could not be read.
    tail: Option<Tail>,
    interest: Interest,
    /// The state in the last line about a turn, until it is reported.
    news: Option<TurnState>,
    thread: Option<ThreadId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TurnState {
    Working,
    Ended,
}

impl TurnWatch {
    pub(super) fn new(journal: PathBuf, folder: &Path) -> Self {
        let watch: Arc<FolderWatch> = FolderWatch::new();
        Self { interest: watch.watch(folder), tail: Some(Tail::from(journal, 0)), news: None, thread: None }
    }

    /// Returns the thread that Codex has reported.
    pub(super) fn thread(&self) -> Option<ThreadId> {
        self.thread
    }

    /// Waits until a turn starts or ends, and returns whether it ended. Cancel-safe: the state is kept until it is reported.
    pub(super) async fn change(&mut self) -> bool {
        loop {
            if let Err(error) = self.read_on().await {
                tracing::warn!(%error, "could not read the run's log; a lingering worker stops at the time limit");
                self.tail = None;
            }
            if let Some(state) = self.news.take() {
                return state == TurnState::Ended;
            }
            if self.tail.is_none() {
                std::future::pending::<()>().await;
            }
            self.interest.changed().await;
        }
    }

    async fn read_on(&mut self) -> io::Result<()> {
        let Some(tail) = &mut self.tail else { return Ok(()) };
        let (news, thread) = (&mut self.news, &mut self.thread);
        while tail
            .read(|line| match line.event() {
                CodexEvent::TurnCompleted { .. } | CodexEvent::TurnFailed { .. } => *news = Some(TurnState::Ended),
                CodexEvent::TurnStarted => *news = Some(TurnState::Working),
                CodexEvent::ThreadStarted { thread_id } => *thread = thread_id.parse().ok(),
                CodexEvent::Error { .. }
                | CodexEvent::ItemStarted(_)
                | CodexEvent::ItemUpdated(_)
                | CodexEvent::ItemCompleted(_)
                | CodexEvent::Unknown(_)
                | CodexEvent::Note(_) => {}
            })
            .await?
        {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::time::Duration;

    use super::*;

    const STARTED: &[u8] = b"{\"type\":\"turn.started\"}\n";
    const COMPLETED: &[u8] = b"{\"type\":\"turn.completed\"}\n";

    /// Far longer than a file event takes.
    const LIMIT: Duration = Duration::from_secs(20);

    async fn change(watch: &mut TurnWatch) -> bool {
        tokio::time::timeout(LIMIT, watch.change()).await.expect("a change is reported in time")
    }

    #[tokio::test]
    async fn the_end_of_a_turn_and_the_start_of_the_next_are_told() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run-001.jsonl");
        let mut watch = TurnWatch::new(path.clone(), folder.path());
        let mut journal = fs_err::File::create(path).expect("made");
        for (line, ended) in [(COMPLETED, true), (STARTED, false), (&b"{\"type\":\"turn.failed\"}\n"[..], true)] {
            journal.write_all(b"a note\n").and_then(|()| journal.write_all(line)).expect("written");
            assert_eq!(change(&mut watch).await, ended);
        }
    }

    #[tokio::test]
    async fn a_wait_that_is_dropped_at_any_moment_loses_no_news() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("run-001.jsonl");
        fs_err::write(&path, [STARTED, COMPLETED].concat()).expect("written");
        let mut watch = TurnWatch::new(path, folder.path());
        let mut told = None;
        while told.is_none() {
            // Poll once and drop, repeatedly, like a `select!` whose other branches are busy.
            told = futures_util::FutureExt::now_or_never(watch.change());
            tokio::task::yield_now().await;
        }
        assert_eq!(told, Some(true));
    }

    #[tokio::test]
    async fn a_journal_that_cannot_be_read_is_no_news() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut watch = TurnWatch::new(folder.path().to_owned(), folder.path());
        assert!(tokio::time::timeout(Duration::from_millis(200), watch.change()).await.is_err());
        assert!(watch.tail.is_none(), "the log is not read again");
    }
}
