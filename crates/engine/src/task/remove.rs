//! Removes tasks. The rename into the trash removes the task; the other steps can be repeated at any time.
//!
//! Everything stays in the trash for a while, and the branch stays in the mirror as `refs/orchestrator/removed/<task_id>`.

use std::collections::HashSet;
use std::ffi::OsString;
use std::sync::Arc;

use durable::blocking;
use durable::crash::{self, CrashPoint};
use environments::{EnvironmentSlot, Tenants};
use futures_util::future::BoxFuture;
use git::{Landing, Retired};
use model::environment::EnvironmentStatus;
use model::ids::{EnvironmentId, TaskId};
use model::names::BranchName;
use model::problem::Problem;
use model::run::RunPhase;
use model::task::{TaskEvent, TaskRequest, UpdateEvent};
use protocol::FeedEvent;
use spine::Mailbox as _;
use store::{Trashed, TrashedThing};

use super::removals::locked;
use super::tasks::{TaskSlot, Tasks};

impl Tasks {
    /// Waits until nothing moves or publishes the branch of a task that is being removed.
    pub(super) async fn vacate(self: &Arc<Self>, slot: &Arc<TaskSlot>) {
        drop(slot.moving.lock().await);
        locked(&self.removals.under_way).insert(slot.id);
        self.post(slot, TaskEvent::Vacated).await;
        if !slot.is_removed() {
            locked(&self.removals.under_way).remove(&slot.id);
        }
    }

    /// Cleans up after a task whose files are in the trash. If that fails, recovery retries.
    pub(super) async fn clean_up(self: &Arc<Self>, slot: &Arc<TaskSlot>) {
        self.finish_removal(slot.id, slot.env_id).await;
        locked(&self.removals.under_way).remove(&slot.id);
        self.feed.publish(FeedEvent::TaskRemoved { task_id: slot.id });
        slot.mark_gone();
    }

    /// Continues removals that were interrupted, and deletes clones that were never completed.
    pub(crate) async fn finish_removals(&self) {
        let home = Arc::clone(&self.home);
        let names = match blocking(move || home.names_in_trash()).await {
            Ok(names) => names,
            Err(error) => {
                tracing::error!(%error, "could not read the trash");
                return;
            }
        };
        let unknown: Vec<_> = {
            let mut finished = locked(&self.removals.finished);
            finished.retain(|name| names.contains(name));
            names.into_iter().filter(|name| !finished.contains(name)).collect()
        };
        for name in unknown {
            let (home, item) = (Arc::clone(&self.home), name.clone());
            match blocking(move || home.in_trash(&item)).await {
                Ok(Some(Trashed { what: TrashedThing::Task(task, false), .. })) => {
                    if !locked(&self.removals.under_way).contains(&task.task_id) {
                        self.finish_removal(task.task_id, task.env_id).await;
                    }
                }
                Ok(Some(Trashed { what: TrashedThing::Environment(record), path, .. }))
                    if record.status == EnvironmentStatus::Cloning =>
                {
                    let home = Arc::clone(&self.home);
                    if let Err(error) = blocking(move || home.delete_trashed(&path)).await {
                        tracing::warn!(%error, "could not delete an incomplete clone from the trash");
                    }
                }
                Ok(Some(_)) => drop(locked(&self.removals.finished).insert(name)),
                Ok(None) => {}
                Err(error) => tracing::error!(%error, "could not read an item in the trash"),
            }
        }
    }

    /// Moves folders that never became a task or a repository into the trash.
    pub(crate) async fn discard_leftovers(&self) {
        // Nothing is being created while this lock is held.
        let _nothing_is_created = self.creating.write().await;
        let tasks: HashSet<_> = self.table.all().iter().map(|slot| OsString::from(slot.id.to_string())).collect();
        let environments: HashSet<_> = self.environments.all().iter().map(|slot| OsString::from(slot.id.to_string())).collect();
        let home = Arc::clone(&self.home);
        let discarded =
            blocking(move || home.discard_folders_without_record(|name| tasks.contains(name) || environments.contains(name)));
        if let Err(error) = discarded.await {
            tracing::error!(%error, "could not move leftover folders to the trash");
        }
    }

    /// Ensures that nothing outside of the trash refers to a removed task.
    pub(crate) async fn finish_removal(&self, id: TaskId, env_id: EnvironmentId) {
        self.clear_task(id, env_id).await;
        let (branch, folder) = (BranchName::of_task(id), self.home.trashed_task(id));
        let retired = Retired { branch: branch.as_str(), keep_as: &id.to_string(), folder: &folder };
        if let Some(mirror) = self.environments.get(env_id).and_then(|environment| environment.mirror()) {
            if let Err(error) = mirror.retire_worktree(&self.home.layout.worktree(id), retired).await {
                tracing::error!(task = %id, %error, "could not remove a deleted task's worktree from its mirror");
                return;
            }
            if let Err(error) = mirror.sync().await {
                tracing::error!(task = %id, %error, "could not sync a mirror to disk; recovery retries");
                return;
            }
        }
        crash::point(CrashPoint::WorktreeRetired);
        let home = Arc::clone(&self.home);
        if let Err(error) = blocking(move || home.mark_removed(id)).await {
            tracing::error!(task = %id, %error, "could not record a task's removal; recovery retries");
        }
    }
}

impl Tenants for Tasks {
    fn remove_all(self: Arc<Self>, id: EnvironmentId) -> BoxFuture<'static, Result<(), Problem>> {
        Box::pin(async move {
            let tasks = self.of_environment(id);
            for task in &tasks {
                self.ask(task, TaskRequest::Remove).await?;
            }
            for task in &tasks {
                task.until_gone().await;
            }
            Ok(())
        })
    }

    fn set_up(self: Arc<Self>, environment: Arc<EnvironmentSlot>) -> BoxFuture<'static, ()> {
        Box::pin(async move { self.run_setup(&environment).await })
    }

    fn is_preparing(&self) -> bool {
        self.table.all().iter().any(|slot| slot.record().last_run().phase == RunPhase::Preparing)
    }

    fn continue_updates(self: Arc<Self>, landings: Vec<Landing>) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            for landing in landings {
                let Some(slot) = landing.task.parse().ok().and_then(|id| self.table.get(id)) else { continue };
                match serde_json::from_value(landing.note) {
                    Ok(update) => self.post(&slot, TaskEvent::Update(UpdateEvent::Left(update))).await,
                    Err(error) => tracing::error!(task = %slot.id, %error, "could not read an interrupted branch update"),
                }
            }
        })
    }
}
