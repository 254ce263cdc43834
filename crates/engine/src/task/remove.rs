//! Removing: the rename into the trash is the moment from which the task is gone; the rest can be repeated at any time.
//!
//! The task's branch is kept in the mirror as `refs/orchestrator/removed/<task_id>`, so that its commits can be brought back.

use std::sync::Arc;

use model::api::FeedEvent;
use model::ids::{EnvironmentId, TaskId};
use model::names::BranchName;

use super::TaskSlot;
use crate::engine::{Inner, blocking};
use crate::worker::WorkerKind;

impl Inner {
    pub(super) async fn remove(self: &Arc<Self>, slot: &Arc<TaskSlot>) {
        let id = slot.id;
        // Held to the end, so that nobody writes a record into a folder that is being moved.
        let _turn = slot.turn.lock().await;
        if slot.is_gone() {
            return;
        }
        let home = Arc::clone(&self.home);
        if let Err(error) = blocking(move || home.discard_task(id)).await {
            tracing::error!(task = %id, %error, "could not remove a task; recovery will try again");
            return;
        }
        self.tasks.remove(slot);
        self.finish_removal(id, slot.env_id).await;
        self.feed.publish(FeedEvent::TaskRemoved { task_id: id });
        slot.mark_gone();
    }

    /// Goes on with the removals that an earlier server began, and clears away what never became a task.
    pub(crate) async fn finish_removals(&self) {
        let home = Arc::clone(&self.home);
        match blocking(move || home.discarded_tasks()).await {
            Ok(tasks) => {
                for task in tasks {
                    self.finish_removal(task.task_id, task.env_id).await;
                }
            }
            Err(error) => tracing::error!(%error, "could not look into the trash"),
        }
        let home = Arc::clone(&self.home);
        if let Err(error) = blocking(move || home.empty_trash()).await {
            tracing::error!(%error, "could not empty the trash; the next start tries again");
        }
    }

    async fn finish_removal(&self, id: TaskId, env_id: EnvironmentId) {
        if self.worker.as_ref().is_ok_and(|worker| worker.kind() == WorkerKind::Container) {
            self.reap_containers(id, env_id).await;
        }
        let worktree = self.home.layout.worktree(id);
        if let Some(mirror) = self.environments.get(env_id).and_then(|environment| environment.mirror())
            && let Err(error) = mirror.remove_worktree(&worktree, BranchName::of_task(id).as_str(), &id.to_string()).await
        {
            tracing::error!(task = %id, %error, "could not clear a removed task's worktree out of its mirror");
            return;
        }
        let home = Arc::clone(&self.home);
        if let Err(error) = blocking(move || home.delete_discarded_task(id)).await {
            tracing::error!(task = %id, %error, "could not delete a removed task's files; the next start tries again");
        }
    }
}
