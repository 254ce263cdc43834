//! Compares each task's worktree with its commit once after an unclean stop of the machine.
//!
//! This happens in the background, or before a task is used next, whichever comes first. The server's start does not wait for it.
//! The result becomes a note of the task's last run.

use std::path::Path;
use std::sync::Arc;

use durable::blocking;
use git::{Mirror, Work, Worktree, WorktreeSpec};
use model::ErrorCode;
use model::names::BranchName;
use model::run::RunError;
use model::sparse::Cone;
use model::task::{TaskEvent, TaskRecord};
use spine::Mailbox as _;

use super::tasks::{TaskSlot, Tasks};

impl Tasks {
    /// Checks the worktrees of all tasks that were not used since the last unclean stop, one after the other.
    pub(crate) fn check_worktrees(self: &Arc<Self>) {
        if self.boot.unclean_stop.is_none() {
            return;
        }
        let inner = Arc::clone(self);
        self.tracker.spawn(async move {
            let check_all = async {
                for slot in inner.table.all() {
                    if !slot.record().last_run().is_active() {
                        inner.check_ended(&slot).await;
                    }
                }
            };
            inner.cancel.run_until_cancelled(check_all).await;
        });
    }

    /// Checks the worktree of a task whose work is committed, unless it was already checked. If the check fails, it is repeated
    /// later.
    pub(super) async fn check_ended(self: &Arc<Self>, slot: &Arc<TaskSlot>) {
        let _checking = slot.checking.lock().await;
        let task = slot.record();
        let Some(ended) = task.runs.iter().rev().find(|run| !run.is_active()) else { return };
        match self.check_worktree(&task, Work::Committed).await {
            Ok(notes) if notes.is_empty() => {}
            Ok(notes) => self.post(slot, TaskEvent::WorktreeChecked { attempt: ended.attempt, notes }).await,
            Err(error) => {
                tracing::warn!(task = %slot.id, error = error.message, "could not check a worktree after an unclean stop");
            }
        }
    }

    /// Checks the worktree of an interrupted run before its work is committed. Returns notes for the run.
    pub(super) async fn check_cut_off(&self, task: &TaskRecord) -> Vec<String> {
        self.check_worktree(task, Work::Uncommitted).await.unwrap_or_else(|error| {
            // The run's work is committed as it is.
            vec![format!("could not check the worktree after the machine stopped unexpectedly: {}", error.message)]
        })
    }

    /// Compares a task's worktree with its branch, if the task is older than the last unclean stop and was not compared since.
    /// Returns notes for the run.
    async fn check_worktree(&self, task: &TaskRecord, work: Work) -> Result<Vec<String>, RunError> {
        let Some(stop) = self.boot.unclean_stop.as_ref().filter(|stop| task.created_at < stop.noticed_at) else {
            return Ok(vec![]);
        };
        let failed = |error: &dyn std::fmt::Display| RunError::new(ErrorCode::WorktreeFailed, error.to_string());
        let mirror = self.environments.mirror_of(task.env_id)?;
        let Some(worktree) = self.worktree_of(&mirror, task).await? else { return Ok(vec![]) };
        if worktree.is_checked_after(&stop.boot_id).map_err(|error| failed(&error))? {
            return Ok(vec![]);
        }
        let aside = self.home.layout.task(task.task_id).join(format!("replaced-{}", stop.boot_id));
        let compared = worktree.restore_torn_files(work, aside).await.map_err(|error| failed(&error))?;
        let notes = compared.notes();
        for note in &notes {
            tracing::warn!(task = %task.task_id, note, "checked a worktree after an unclean stop");
        }
        let marked = blocking({
            let stop = stop.boot_id.clone();
            move || worktree.mark_checked_after(&stop)
        });
        marked.await.map_err(|error| failed(&error))?;
        Ok(notes)
    }

    /// Returns the worktree of a task after repairing git's files about it, or `None` if there is no worktree.
    pub(super) async fn worktree_of(&self, mirror: &Mirror, task: &TaskRecord) -> Result<Option<Worktree>, RunError> {
        let path = self.home.layout.worktree(task.task_id);
        let branch = BranchName::of_task(task.task_id);
        let found = match &task.base_sha {
            Some(base) => {
                if self.boot.unclean_stop.is_some() {
                    let tip = task.head().unwrap_or(base);
                    mirror.ensure_branch(branch.as_str(), tip).await.map_err(|error| unreadable(&error))?;
                }
                find_or_rebuild(mirror, &path, &branch, base).await
            }
            None => mirror.find_worktree(&path, branch.as_str()).map_err(|error| error.to_string()),
        };
        found.map_err(|error| unreadable(&error))
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> RunError {
    RunError::new(ErrorCode::WorktreeFailed, format!("could not read the worktree: {error}"))
}

async fn find_or_rebuild(
    mirror: &Mirror,
    path: &Path,
    branch: &BranchName,
    base: &model::ids::ObjectId,
) -> Result<Option<Worktree>, String> {
    let cone = Cone::default();
    let spec = WorktreeSpec { path, branch: branch.as_str(), base, cone: &cone };
    mirror.find_or_rebuild_worktree(spec).await.map_err(|error| error.to_string())
}
