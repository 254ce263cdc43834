//! The repositories in memory. Only a repository's own mailbox replaces its record; readers get the current one.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use git::Mirror;
use model::environment::EnvironmentRecord;
use model::ids::EnvironmentId;
use process::RunProgramError;
use protocol::{FetchView, Progress};
use tokio_util::sync::CancellationToken;

use super::cloning::fetch_failed;

/// A repository in memory.
pub(crate) struct EnvironmentSlot {
    pub(crate) id: EnvironmentId,
    record: RwLock<Arc<EnvironmentRecord>>,
    mirror: RwLock<Option<Mirror>>,
    progress: Mutex<Option<Progress>>,
    /// Allows one change at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
    /// Cancels the clone.
    pub(super) cancel_clone: CancellationToken,
    /// Locked while the clone runs.
    pub(super) cloning: Arc<tokio::sync::Mutex<()>>,
}

impl EnvironmentSlot {
    pub(crate) fn new(record: EnvironmentRecord, parent: &CancellationToken) -> Arc<Self> {
        Arc::new(Self {
            id: record.env_id,
            record: RwLock::new(Arc::new(record)),
            mirror: RwLock::default(),
            progress: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            cancel_clone: parent.child_token(),
            cloning: Arc::default(),
        })
    }

    /// Returns the current record.
    pub(crate) fn record(&self) -> Arc<EnvironmentRecord> {
        Arc::clone(&self.record.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn replace(&self, record: EnvironmentRecord) {
        *self.record.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(record);
    }

    /// Returns the mirror, once it is complete.
    pub(crate) fn mirror(&self) -> Option<Mirror> {
        self.mirror.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_mirror(&self, mirror: Mirror) {
        *self.mirror.write().unwrap_or_else(PoisonError::into_inner) = Some(mirror);
    }

    /// Sets the mirror's default branch to the recorded one, if there is a mirror.
    pub(crate) async fn follow_default_branch(&self) -> Result<(), RunProgramError> {
        match (self.mirror(), self.record().default_branch.clone()) {
            (Some(mirror), Some(branch)) => mirror.follow_default_branch(branch.as_str()).await,
            (_, _) => Ok(()),
        }
    }

    /// Returns when the mirror was last fetched.
    pub(crate) fn fetch(&self) -> FetchView {
        let Some((running, last)) = self.mirror().map(|mirror| mirror.fetch_state()) else { return FetchView::default() };
        let error = last.as_ref().and_then(|last| last.error.as_deref()).map(fetch_failed);
        FetchView { running, ended_at: last.map(|last| last.at), error }
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_progress(&self, progress: Option<Progress>) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }
}

/// All repositories.
#[derive(Default)]
pub(crate) struct EnvironmentTable {
    slots: RwLock<HashMap<EnvironmentId, Arc<EnvironmentSlot>>>,
    /// Repositories that were removed since this server started. Removing them again is harmless.
    removed: RwLock<HashSet<EnvironmentId>>,
}

impl EnvironmentTable {
    pub(crate) fn insert(&self, slot: &Arc<EnvironmentSlot>) {
        self.removed.write().unwrap_or_else(PoisonError::into_inner).remove(&slot.id);
        self.slots.write().unwrap_or_else(PoisonError::into_inner).insert(slot.id, Arc::clone(slot));
    }

    pub(super) fn remove(&self, id: EnvironmentId) {
        self.removed.write().unwrap_or_else(PoisonError::into_inner).insert(id);
        self.slots.write().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    pub(crate) fn get(&self, id: EnvironmentId) -> Option<Arc<EnvironmentSlot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// Whether this server removed the repository.
    pub(crate) fn was_removed(&self, id: EnvironmentId) -> bool {
        self.removed.read().unwrap_or_else(PoisonError::into_inner).contains(&id)
    }

    /// Returns all repositories, newest first.
    pub(crate) fn all(&self) -> Vec<Arc<EnvironmentSlot>> {
        let mut all: Vec<_> = self.slots.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        all.sort_by_key(|slot| std::cmp::Reverse((slot.record().created_at, slot.id)));
        all
    }
}
