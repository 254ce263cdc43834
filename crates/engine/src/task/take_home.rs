//! Exports a task's own commits without a Git host: as a bundle, or as email patches for `git am`. Both are read from the
//! mirror, so they work even while the task is running.

use std::io;

use bytes::Bytes;
use futures_util::Stream;
use git::{Mirror, OwnCommits};
use model::ErrorCode;
use model::ids::ObjectId;
use model::problem::Problem;

use super::tasks::{TaskSlot, Tasks};

impl Tasks {
    /// Returns the branch with its own commits, as a bundle.
    pub(crate) async fn bundle(&self, slot: &TaskSlot) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, Problem> {
        let (mirror, base, _) = self.own_commits(slot).await?;
        mirror.bundle_stream(slot.record().branch().as_str(), &base).await.map_err(|error| unreadable(&error))
    }

    /// Returns the branch's own commits as email patches.
    pub(crate) async fn mails(&self, slot: &TaskSlot) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, Problem> {
        let (mirror, base, own) = self.own_commits(slot).await?;
        if own.plain == 0 {
            return Err(Problem::new(
                ErrorCode::OnlyMerges,
                "the task's branch has only merge commits, which cannot be exported as patches",
            )
            .hint(format!("export a bundle instead: codex-orchestrator task bundle {}", slot.id)));
        }
        mirror.mail_stream(slot.record().branch().as_str(), &base).await.map_err(|error| unreadable(&error))
    }

    async fn own_commits(&self, slot: &TaskSlot) -> Result<(Mirror, ObjectId, OwnCommits), Problem> {
        let task = slot.record();
        let nothing = || {
            Problem::new(ErrorCode::NoCommits, "this task has no commits")
                .hint("wait for a run that changes something; see `codex-orchestrator task show`")
        };
        let base = task.base_sha.clone().ok_or_else(nothing)?;
        let mirror = self.mirror_for(&task)?;
        let branch = task.branch();
        if mirror.resolve_branch(branch.as_str()).await.map_err(|error| unreadable(&error))?.is_none() {
            return Err(nothing());
        }
        let own = mirror.own_commits(branch.as_str(), &base).await.map_err(|error| unreadable(&error))?;
        if own.all == 0 {
            return Err(nothing());
        }
        Ok((mirror, base, own))
    }

    /// Returns the mirror of a task's repository, to read or update the task's branch.
    pub(super) fn mirror_for(&self, task: &model::task::TaskRecord) -> Result<Mirror, Problem> {
        self.environments
            .mirror_of(task.env_id)
            .map_err(|error| Problem::new(ErrorCode::MirrorMissing, error.message).hint("add the repository again"))
    }
}

pub(super) fn unreadable(error: &dyn std::fmt::Display) -> Problem {
    Problem::internal(format!("could not read the mirror: {error}"))
}
