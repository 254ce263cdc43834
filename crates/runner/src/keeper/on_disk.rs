//! Syncs what a run writes to disk: its log and session every few seconds, and everything before its end is recorded.
//!
//! A slow disk never blocks the keeper, because blocking calls run on separate threads. A failed sync is logged and repeated;
//! only the exit record tells whether the last sync succeeded.

use std::io;
use std::time::Duration;

use durable::{self, SyncedLength};
use model::ids::ThreadId;
use tokio::task::JoinHandle;
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::files::RunFiles;
use super::record::KeeperOrder;
use crate::worker::SessionFolder;

/// How often the log and the session of a run are synced. A power cut loses at most the last 5 s, which include the time of the
/// sync.
const PERIOD: Duration = Duration::from_secs(3);

/// The time limit of the last sync. A slower disk does not delay the run; the exit record then says that the work may not be on
/// the disk.
const PATIENCE: Duration = Duration::from_secs(10);

/// Syncs what a run has written so far.
pub(super) struct Syncing {
    due: Interval,
    /// `None` while a sync is running.
    written: Option<SyncedFiles>,
    under_way: Option<JoinHandle<SyncedFiles>>,
}

/// How much of each file of a run is on the disk.
struct SyncedFiles {
    files: RunFiles,
    sessions: Option<SessionFolder>,
    journal: SyncedLength,
    messages: SyncedLength,
    stderr: SyncedLength,
}

impl Syncing {
    pub(super) fn new(order: &KeeperOrder, files: &RunFiles) -> Self {
        let mut due = interval(PERIOD);
        due.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let written = SyncedFiles {
            files: files.clone(),
            sessions: order.sessions.clone(),
            journal: SyncedLength::default(),
            messages: SyncedLength::default(),
            stderr: SyncedLength::default(),
        };
        Self { due, written: Some(written), under_way: None }
    }

    /// Waits until the next sync is due. Cancel-safe.
    pub(super) async fn due(&mut self) {
        self.due.tick().await;
        if let Some(under_way) = &mut self.under_way {
            match under_way.await {
                Ok(written) => self.written = Some(written),
                Err(error) => tracing::error!(%error, "the sync of the run's files ended unexpectedly"),
            }
            self.under_way = None;
        }
    }

    /// Starts to sync what was written since the last sync.
    pub(super) fn start(&mut self, thread: Option<ThreadId>) {
        let Some(mut written) = self.written.take() else { return };
        self.under_way = Some(tokio::task::spawn_blocking(move || {
            if let Err(error) = written.sync(thread) {
                tracing::warn!(%error, "could not sync the run's log and session to disk; retrying");
            }
            written
        }));
    }
}

impl SyncedFiles {
    fn sync(&mut self, thread: Option<ThreadId>) -> io::Result<()> {
        let has_news = self.journal.sync(&self.files.journal())?;
        self.messages.sync(&self.files.messages())?;
        self.stderr.sync(&self.files.stderr())?;
        // Codex writes to its session when it writes to the log.
        match &self.sessions {
            Some(sessions) if has_news => sessions.sync(thread),
            Some(_) | None => Ok(()),
        }
    }
}

/// Syncs everything that a run has written: its log, its session and its work. The files of the work are not listed, and this
/// process may not open some of them. Returns whether the sync finished in time.
pub(super) async fn sync_all(files: &RunFiles) -> bool {
    // The task's folder contains all of these files.
    let folder = files.folder().to_owned();
    let synced = tokio::task::spawn_blocking(move || durable::sync_file_system(&folder));
    match tokio::time::timeout(PATIENCE, synced).await {
        Ok(Ok(Ok(()))) => true,
        Ok(Ok(Err(error))) => {
            tracing::error!(%error, "could not sync the run's changes to disk");
            false
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "the sync of the run's changes ended unexpectedly");
            false
        }
        Err(_) => {
            tracing::warn!("the disk is slow; the run's changes may not be synced yet");
            false
        }
    }
}
