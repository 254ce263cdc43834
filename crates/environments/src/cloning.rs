//! Clones a mirror in the background, with progress. A removal cancels the clone, and it is repeated after a crash.
//!
//! Invariant: a mirror at its final path is complete, and a failed clone leaves nothing on disk.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use durable::crash::{self, CrashPoint};
use git::{self, CloneRequest, Cloned, Mirror};
use model::ErrorCode;
use model::environment::{EnvironmentEvent, EnvironmentRecord, EnvironmentStatus};
use model::names::BranchName;
use model::run::RunError;
use protocol::{FeedEvent, Progress};
use spine::Mailbox as _;

use crate::environments::{EnvironmentSlot, Environments, contents_of, history_of, try_to_follow_settings};

impl Environments {
    /// Clones a repository, unless it is being removed.
    pub(crate) async fn clone_mirror(self: &Arc<Self>, slot: &Arc<EnvironmentSlot>) {
        let _one_at_a_time = slot.cloning.lock().await;
        if slot.record().status != EnvironmentStatus::Cloning {
            return;
        }
        let outcome = self.cloned(slot).await.and_then(|cloned| {
            let default_branch = BranchName::parse(&cloned.default_branch).map_err(RunError::from)?;
            Ok((cloned.mirror, default_branch))
        });
        crash::point(CrashPoint::Cloned);
        if self.cancel.is_cancelled() {
            return;
        }
        slot.set_progress(None);
        let event = match outcome {
            Ok((mirror, default_branch)) => {
                slot.set_mirror(mirror);
                // The settings may have changed during the clone.
                try_to_follow_settings(slot).await;
                EnvironmentEvent::Cloned { default_branch }
            }
            Err(error) => {
                tracing::warn!(environment = %slot.id, code = error.code.as_str(), error = error.message, "clone failed");
                EnvironmentEvent::CloneFailed(error)
            }
        };
        self.post(slot, event).await;
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
            history: history_of(&record),
            contents: contents_of(&record),
            progress: &progress,
            cancel: slot.cancel_work.clone(),
            deadline: self.config.clone_time_limit,
        };
        self.git.clone_mirror(request).await.map_err(|error| error.to_run_error())
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
