//! Commits files that runs omitted or that are held, once somebody has decided so. Invariant: like an update of the branch, the new
//! tip is recorded before anything is moved.

use std::sync::Arc;

use git::CommitFilesRequest;
use jiff::Timestamp;
use model::ErrorCode;
use model::commit::PathText;
use model::problem::Problem;
use model::task::{Refusal, Update, UpdateStrategy};
use protocol::Base;

use super::tasks::{TaskSlot, Tasks};
use super::update::{Moved, Plan, head_of};

impl Tasks {
    /// Commits these files and folders of a task's worktree to its branch.
    pub(crate) async fn commit_files(self: &Arc<Self>, slot: &Arc<TaskSlot>, paths: Vec<PathText>) -> Result<(), Problem> {
        self.finish_update(slot).await?;
        let task = slot.record();
        let base = task.can_update()?.clone();
        self.check_ended(slot).await;
        let mirror = self.mirror_for(&task)?;
        let from_head = head_of(&mirror, &task).await?;
        let worktree = self.readable_worktree(&mirror, &task).await?.ok_or(Problem::from(Refusal::NoBranch))?;
        let settings = self.environments.commit_settings(task.env_id);
        let after_run = task.last_run().number;
        let message = settings.message_for_files(paths.len(), task.task_id, after_run);
        let placed = task.choices(settings.limits()).placed;
        let makers = (&settings).into();
        let request = CommitFilesRequest { head: &from_head, paths: &paths, placed: &placed, message: &message, makers: &makers };
        let commit = worktree.commit_files(request).await.map_err(|error| {
            Problem::new(ErrorCode::CommitFailed, format!("could not commit the files: {error}"))
                .hint("nothing has changed; try again")
        })?;
        let to_head = commit.ok_or_else(|| {
            Problem::new(ErrorCode::FilesUnchanged, "the worktree has no such new or changed files")
                .hint("list the files with `codex-orchestrator task show`")
        })?;
        let (from_base, to_base, at) = (base.clone(), base.clone(), Timestamp::now());
        let strategy = UpdateStrategy::Merge;
        let update = Update { after_run, strategy, from_base, to_base, from_head, to_head, committed: paths, at };
        let plan = Plan { update, dropped: 0, base: Base { name: task.branch().to_string(), commit: base } };
        match self.carry_out(&mirror, slot, &plan).await? {
            Moved::Yes => Ok(()),
            Moved::No => Err(Refusal::BranchMoved.into()),
        }
    }
}
