//! The state of a task that exists only in memory: its progress, and the locks and cancellation of this process's work on it.

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use git::FetchTicket;
use model::ids::{Attempt, EnvironmentId};
use model::setup::SnapshotKey;
use protocol::Progress;
use run_logs::LiveTexts;
use tokio_util::sync::CancellationToken;

/// The state of a task that exists only in memory.
pub(crate) struct TaskLive {
    pub(crate) env_id: EnvironmentId,
    progress: Mutex<Option<Progress>>,
    activity: Mutex<Option<String>>,
    /// What its run is writing.
    pub(super) texts: LiveTexts,
    /// When the task was requested: only a fetch of the mirror that started later is new enough. Unknown after a restart.
    asked: OnceLock<FetchTicket>,
    /// Allows one check of its worktree at a time.
    pub(super) checking: tokio::sync::Mutex<()>,
    /// Allows one step of its publication at a time.
    pub(super) publishing: tokio::sync::Mutex<()>,
    /// Allows one move of its branch at a time.
    pub(super) moving: tokio::sync::Mutex<()>,
    /// Allows one delivery of its notifications at a time.
    pub(super) notifying: tokio::sync::Mutex<()>,
    /// The snapshot that its record is about to name.
    taken: Mutex<Option<SnapshotKey>>,
    /// Cancels this process's work on an attempt that no keeper supervises: its preparation or its commit.
    work: Mutex<Option<(Attempt, CancellationToken)>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The guarded data is consistent after every statement, even if a holder panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TaskLive {
    pub(crate) fn new(env_id: EnvironmentId) -> Self {
        Self {
            env_id,
            progress: Mutex::default(),
            activity: Mutex::default(),
            texts: LiveTexts::default(),
            asked: OnceLock::new(),
            checking: tokio::sync::Mutex::default(),
            publishing: tokio::sync::Mutex::default(),
            moving: tokio::sync::Mutex::default(),
            notifying: tokio::sync::Mutex::default(),
            taken: Mutex::default(),
            work: Mutex::default(),
        }
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        locked(&self.progress).clone()
    }

    pub(super) fn set_progress(&self, progress: Option<Progress>) {
        *locked(&self.progress) = progress;
    }

    /// Marks a snapshot as used until the record names it.
    pub(super) fn take_snapshot(&self, key: Option<SnapshotKey>) {
        *locked(&self.taken) = key;
    }

    /// Returns the snapshot that the record is about to name.
    pub(super) fn taken_snapshot(&self) -> Option<SnapshotKey> {
        locked(&self.taken).clone()
    }

    /// Returns what the task's agent is doing, if that is known.
    pub(crate) fn activity(&self) -> Option<String> {
        locked(&self.activity).clone()
    }

    pub(super) fn set_activity(&self, activity: Option<String>) {
        *locked(&self.activity) = activity;
    }

    /// Records when the task was requested. Only the first call counts.
    pub(super) fn asked_at(&self, ticket: FetchTicket) {
        self.asked.get_or_init(|| ticket);
    }

    pub(super) fn asked(&self) -> Option<FetchTicket> {
        self.asked.get().copied()
    }

    /// Returns a token that cancels this process's work on the attempt from now on.
    pub(super) fn begin_work(&self, attempt: Attempt, parent: &CancellationToken) -> CancellationToken {
        let token = parent.child_token();
        *locked(&self.work) = Some((attempt, token.clone()));
        token
    }

    pub(super) fn cancel_work(&self, attempt: Attempt) {
        if let Some((current, token)) = locked(&self.work).as_ref()
            && *current == attempt
        {
            token.cancel();
        }
    }
}
