//! Watching a journal for the end of its turn, so that a worker that lingers can be told from one that works.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use model::codex::CodexEvent;

use crate::journal::{FolderWatch, Interest, Tail};

/// Follows one journal.
pub(super) struct TurnWatch {
    tail: Tail,
    interest: Interest,
    ended: bool,
}

impl TurnWatch {
    pub(super) fn new(journal: PathBuf, folder: &std::path::Path) -> Self {
        let watch: Arc<FolderWatch> = FolderWatch::new();
        Self { interest: watch.watch(folder), tail: Tail::from(journal, 0), ended: false }
    }

    /// Waits until a turn ended, or another one began after it; says which. Cancel-safe: what was read is kept.
    pub(super) async fn change(&mut self) -> io::Result<bool> {
        let before = self.ended;
        loop {
            let ended = &mut self.ended;
            while self
                .tail
                .read(|line| match line.event() {
                    CodexEvent::TurnCompleted { .. } | CodexEvent::TurnFailed { .. } => *ended = true,
                    CodexEvent::TurnStarted => *ended = false,
                    CodexEvent::ThreadStarted { .. }
                    | CodexEvent::Error { .. }
                    | CodexEvent::ItemStarted(_)
                    | CodexEvent::ItemUpdated(_)
                    | CodexEvent::ItemCompleted(_)
                    | CodexEvent::Unknown(_)
                    | CodexEvent::Note(_) => {}
                })
                .await?
            {}
            if self.ended != before {
                return Ok(self.ended);
            }
            self.interest.changed().await;
        }
    }
}
