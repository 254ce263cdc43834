//! Clones a mirror in the background, with progress. A removal cancels the clone, and it is repeated after a crash.
//!
//! Invariant: a mirror at its final path is complete, and a failed clone leaves nothing on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use durable::crash::{self, CrashPoint};
use git::{self, CloneError, CloneRequest, Cloned, Mirror};
use jiff::Timestamp;
use model::ErrorCode;
use model::environment::{EnvironmentRecord, EnvironmentStatus};
use model::names::BranchName;
use model::run::RunError;
use protocol::{FeedEvent, Progress};

use super::EnvironmentSlot;
use crate::inner::Inner;

impl Inner {
    /// Clones in the background. The slot's `cloning` lock is held until the result is recorded.
    pub(super) fn begin_clone(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>) {
        let (inner, slot) = (Arc::clone(self), Arc::clone(slot));
        // Take the lock before the clone starts, so that an immediate removal waits for the clone. Nothing else takes it earlier.
        let Ok(guard) = Arc::clone(&slot.cloning).try_lock_owned() else { return };
        self.tracker.spawn(async move {
            let outcome = inner.cloned(&slot).await;
            crash::point(CrashPoint::Cloned);
            if !inner.cancel.is_cancelled() {
                inner.record_clone(&slot, outcome).await;
            }
            drop(guard);
        });
    }

    async fn cloned(&self, slot: &EnvironmentSlot) -> Result<Cloned, RunError> {
        let record = slot.record();
        let into = self.home.layout.mirror(slot.id);
        if let Ok(mirror) = Mirror::open(&self.git, &into) {
            // The mirror is already complete: the server was killed after the clone and before it was recorded.
            return known(mirror, &record).await;
        }
        let last = AtomicU8::new(u8::MAX);
        let progress = |step: git::Progress| {
            if last.swap(step.percent, Ordering::Relaxed) != step.percent {
                self.clone_progressed(slot, &step);
            }
        };
        let request = CloneRequest {
            url: record.repo_url.as_str(),
            into: &into,
            default_branch: record.default_branch.as_ref().map(BranchName::as_str),
            progress: &progress,
            cancel: slot.cancel_clone.clone(),
            deadline: self.config.clone_time_limit,
        };
        self.git.clone_mirror(request).await.map_err(|error| clone_failed(&error))
    }

    fn clone_progressed(&self, slot: &EnvironmentSlot, step: &git::Progress) {
        let progress = Progress { phase: step.phase.as_str().to_owned(), percent: Some(step.percent) };
        slot.set_progress(Some(progress.clone()));
        self.feed.publish(FeedEvent::Environment {
            env_id: slot.id,
            status: EnvironmentStatus::Cloning,
            progress: Some(progress),
        });
    }

    async fn record_clone(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>, outcome: Result<Cloned, RunError>) {
        let _turn = slot.turn.lock().await;
        slot.set_progress(None);
        let mut record = EnvironmentRecord::clone(&slot.record());
        if record.status != EnvironmentStatus::Cloning {
            return;
        }
        record.updated_at = Timestamp::now();
        let outcome = outcome.and_then(|cloned| {
            let branch = BranchName::parse(&cloned.default_branch).map_err(RunError::from)?;
            Ok((cloned.mirror, branch))
        });
        match outcome {
            Ok((mirror, branch)) => {
                record.default_branch = Some(branch);
                record.status = EnvironmentStatus::Ready;
                slot.set_mirror(mirror);
                if let Err(error) = self.write_environment(&record).await {
                    tracing::error!(environment = %slot.id, %error, "could not record a completed clone");
                    record.status = EnvironmentStatus::Failed;
                    record.error = Some(RunError::from(model::problem::Problem::from(error)));
                }
            }
            Err(error) => {
                tracing::warn!(environment = %slot.id, code = error.code.as_str(), error = error.message, "clone failed");
                record.status = EnvironmentStatus::Failed;
                record.error = Some(error);
                self.discard_environment(slot.id).await;
            }
        }
        slot.replace(record);
        self.publish_environment(slot);
    }
}

async fn known(mirror: Mirror, record: &EnvironmentRecord) -> Result<Cloned, RunError> {
    let failed =
        |error: &dyn std::fmt::Display| RunError::new(ErrorCode::CloneFailed, format!("cannot read the mirror: {error}"));
    let default_branch = match &record.default_branch {
        Some(branch) => branch.to_string(),
        None => mirror.default_branch().await.map_err(|error| failed(&error))?,
    };
    mirror.verify_branch(&default_branch).await.map_err(|error| failed(&error))?;
    Ok(Cloned { mirror, default_branch })
}

fn clone_failed(error: &CloneError) -> RunError {
    let (code, hint) = match error {
        CloneError::Remote(error) => return fetch_failed(error),
        CloneError::BranchMissing(_) => {
            (ErrorCode::BranchNotFound, "choose an existing branch, or omit it to use the remote's default")
        }
        CloneError::Empty => (ErrorCode::RepositoryEmpty, "push a first commit to the repository, then add it again"),
        CloneError::NoDefaultBranch(_) => (ErrorCode::NoDefaultBranch, "choose an existing branch"),
        CloneError::AlreadyThere { .. }
        | CloneError::Program(_)
        | CloneError::Files(_)
        | CloneError::Remove(_)
        | CloneError::Open(_) => (
            ErrorCode::CloneFailed,
            "make sure that the home directory is writable and has free space, then add the repository again",
        ),
    };
    RunError::new(code, error.to_string()).hint(hint)
}

/// Converts a failed fetch into an error with hints.
pub(crate) fn fetch_failed(error: &git::FetchError) -> RunError {
    use git::FetchError;
    let (code, hint) = match error {
        FetchError::AuthenticationNeeded { .. } => (
            ErrorCode::AuthenticationNeeded,
            "set up a login for git that needs no prompt: an ssh key in the ssh agent, or a credential helper (`git credential approve`)",
        ),
        FetchError::NotFound { .. } => {
            (ErrorCode::RepositoryNotFound, "check the URL, and check that your login can read the repository")
        }
        FetchError::HostUnreachable { .. } => (ErrorCode::HostUnreachable, "check the network and the host name, then try again"),
        FetchError::TimedOut { .. } => (ErrorCode::RemoteTimedOut, "try again, or raise the limit in config.toml"),
        FetchError::HostKeyUnknown { .. } => {
            (ErrorCode::HostKeyUnknown, "connect once by hand (`ssh -T` to that host) and confirm its key, then try again")
        }
        FetchError::Cancelled => (ErrorCode::Cancelled, "try again"),
        FetchError::Other { .. } | FetchError::Unusable { .. } => {
            (ErrorCode::FetchFailed, "fix the problem that git reports, then try again")
        }
    };
    RunError::new(code, error.to_string()).hint(hint)
}
