//! The state of a repository that exists only in memory: its open mirror, and the progress of its clone.

use std::sync::{Mutex, PoisonError, RwLock};

use git::Mirror;
use model::run::RunError;
use protocol::{FetchView, Progress};
use tokio_util::sync::CancellationToken;

/// The state of a repository that exists only in memory.
pub struct EnvironmentLive {
    mirror: RwLock<Option<Mirror>>,
    progress: Mutex<Option<Progress>>,
    /// Why the mirror could not be opened the last time.
    unusable: Mutex<Option<String>>,
    /// Cancels the clone and the setup.
    pub cancel_work: CancellationToken,
    /// Locked while the clone runs.
    pub(crate) cloning: tokio::sync::Mutex<()>,
    /// Locked while the setup runs.
    pub setting_up: tokio::sync::Mutex<()>,
    /// Locked while notifications are sent.
    pub(crate) notifying: tokio::sync::Mutex<()>,
    /// Locked while a task looks for its snapshot, and while snapshots lose their names.
    pub taking_snapshot: tokio::sync::Mutex<()>,
    /// The last build of the repository's own image.
    pub image: ImageBuild,
}

/// The last build of a repository's own image.
#[derive(Default)]
pub struct ImageBuild {
    last: Mutex<(CancellationToken, Option<RunError>)>,
}

impl ImageBuild {
    /// Stops the last build, forgets its failure, and returns what stops the new one.
    pub fn start(&self, parent: &CancellationToken) -> CancellationToken {
        let cancel = parent.child_token();
        let (before, _) = std::mem::replace(&mut *self.last(), (cancel.clone(), None));
        before.cancel();
        cancel
    }

    /// Remembers why the last build failed.
    pub fn end(&self, error: Option<RunError>) {
        self.last().1 = error;
    }

    /// Returns why the last build failed.
    pub fn error(&self) -> Option<RunError> {
        self.last().1.clone()
    }

    fn last(&self) -> std::sync::MutexGuard<'_, (CancellationToken, Option<RunError>)> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EnvironmentLive {
    pub(crate) fn new(parent: &CancellationToken) -> Self {
        Self {
            mirror: RwLock::default(),
            progress: Mutex::default(),
            unusable: Mutex::default(),
            cancel_work: parent.child_token(),
            cloning: tokio::sync::Mutex::default(),
            setting_up: tokio::sync::Mutex::default(),
            notifying: tokio::sync::Mutex::default(),
            taking_snapshot: tokio::sync::Mutex::default(),
            image: ImageBuild::default(),
        }
    }

    /// Returns the mirror, once it is complete.
    pub fn mirror(&self) -> Option<Mirror> {
        self.mirror.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_mirror(&self, mirror: Mirror) {
        *self.mirror.write().unwrap_or_else(PoisonError::into_inner) = Some(mirror);
    }

    /// Returns when the mirror was last fetched.
    pub fn fetch(&self) -> FetchView {
        let Some((running, last)) = self.mirror().map(|mirror| mirror.fetch_state()) else { return FetchView::default() };
        let error = last.as_ref().and_then(|last| last.error.as_deref()).map(git::FetchError::to_run_error);
        FetchView { running, ended_at: last.map(|last| last.at), error }
    }

    /// Returns the progress of the clone or the setup.
    pub fn progress(&self) -> Option<Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Sets the progress of the clone or the setup.
    pub fn set_progress(&self, progress: Option<Progress>) {
        *self.progress.lock().unwrap_or_else(PoisonError::into_inner) = progress;
    }

    /// Remembers why the mirror cannot be opened. Returns whether the reason is new.
    pub(crate) fn is_newly_unusable(&self, reason: String) -> bool {
        let mut before = self.unusable.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = before.as_ref() != Some(&reason);
        *before = Some(reason);
        is_new
    }
}
