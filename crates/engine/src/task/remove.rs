//! Removes tasks. The rename into the trash removes the task; the other steps can be repeated at any time.
//!
//! Everything stays in the trash for a while, and the branch stays in the mirror as `refs/orchestrator/removed/<task_id>`.

use std::sync::Arc;

use durable::blocking;
use durable::crash::{self, CrashPoint};
use git::Retired;
use model::ids::{EnvironmentId, TaskId};
use model::names::BranchName;
use protocol::FeedEvent;
use runner::worker::Worker;
use store::TrashedThing;

use super::TaskSlot;
use crate::inner::Inner;

impl Inner {
    pub(super) async fn remove(self: &Arc<Self>, slot: &Arc<TaskSlot>) {
        let id = slot.id;
        // Hold the lock to the end, so that nothing writes a record into a folder that is being moved.
        let _turn = slot.turn.lock().await;
        if slot.is_gone() {
            return;
        }
        let home = Arc::clone(&self.home);
        if let Err(error) = blocking(move || home.discard_task(id)).await {
            tracing::error!(task = %id, %error, "could not remove a task; recovery retries");
            return;
        }
        crash::point(CrashPoint::TaskInTrash);
        self.tasks.remove(slot);
        self.finish_removal(id, slot.env_id).await;
        self.feed.publish(FeedEvent::TaskRemoved { task_id: id });
        slot.mark_gone();
    }

    /// Continues removals that an earlier server started, and moves folders that never became a task into the trash.
    pub(crate) async fn finish_removals(&self) {
        let home = Arc::clone(&self.home);
        let found = blocking(move || {
            home.tidy()?;
            home.trashed()
        });
        match found.await {
            Ok(found) => {
                for found in found {
                    if let TrashedThing::Task(task, false) = found.what {
                        self.finish_removal(task.task_id, task.env_id).await;
                    }
                }
            }
            Err(error) => tracing::error!(%error, "could not read the trash"),
        }
    }

    /// Ensures that nothing outside of the trash refers to a removed task.
    pub(crate) async fn finish_removal(&self, id: TaskId, env_id: EnvironmentId) {
        if self.worker.as_ref().is_ok_and(Worker::uses_containers) {
            self.reap_containers(id, env_id).await;
        }
        let (branch, folder) = (BranchName::of_task(id), self.home.trashed_task(id));
        let retired = Retired { branch: branch.as_str(), keep_as: &id.to_string(), folder: &folder };
        if let Some(mirror) = self.environments.get(env_id).and_then(|environment| environment.mirror()) {
            if let Err(error) = mirror.retire_worktree(&self.home.layout.worktree(id), retired).await {
                tracing::error!(task = %id, %error, "could not remove a deleted task's worktree from its mirror");
                return;
            }
            if let Err(error) = mirror.sync().await {
                tracing::error!(task = %id, %error, "could not sync a mirror to disk; retrying at the next start");
                return;
            }
        }
        crash::point(CrashPoint::WorktreeRetired);
        let home = Arc::clone(&self.home);
        if let Err(error) = blocking(move || home.mark_removed(id)).await {
            tracing::error!(task = %id, %error, "could not record a task's removal; retrying at the next start");
        }
    }
}
