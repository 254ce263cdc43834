//! The trash and disk usage: removed items can be restored completely until they are permanently deleted.
//!
//! A restore ends with a rename, so an item stays in the trash if the server is killed before that. Items are permanently deleted
//! after a time, or on request.

use std::sync::Arc;
use std::time::Duration;

use config::Config;
use durable::blocking;
use durable::crash::{self, CrashPoint};
use environments::{BuiltImages, Environments, PreparedWorktrees};
use git::Retired;
use jiff::Timestamp;
use model::ErrorCode;
use model::ids::{EnvironmentId, TaskId};
use model::names::BranchName;
use model::prepared::UNUSED;
use model::problem::Problem;
use model::task::TaskEvent;
use protocol::{CollectGarbage, DiskView, EnvironmentDisk, GarbageCollected, NotDeleted, TaskDisk, TrashItem, TrashKind};
use runner::Runner;
use spine::{Common, Deletion, Mailbox as _, Queue};
use store::{Home, StoreError, Trashed, TrashedThing, disk_usage, free_bytes};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::shells::Shells;
use crate::task::{TaskSlot, Tasks};

/// The trash of a home, and the disk space that everything uses.
pub(crate) struct Trash {
    pub(super) config: Arc<Config>,
    pub(super) home: Arc<Home>,
    pub(super) runner: Arc<dyn Runner>,
    pub(super) environments: Arc<Environments>,
    pub(super) tasks: Arc<Tasks>,
    pub(super) images: Arc<BuiltImages>,
    prepared: Arc<PreparedWorktrees>,
    pub(super) shells: Arc<Shells>,
    pub(super) queue: Arc<Queue>,
    pub(super) tracker: TaskTracker,
    pub(super) cancel: CancellationToken,
    /// Allows one restore or deletion at a time.
    turn: tokio::sync::Mutex<()>,
    /// Allows one repack at a time.
    pub(super) repack_turn: tokio::sync::Mutex<()>,
}

impl Trash {
    /// Creates the trash of a server.
    pub(crate) fn new(
        common: Common,
        runner: Arc<dyn Runner>,
        environments: Arc<Environments>,
        tasks: Arc<Tasks>,
        images: Arc<BuiltImages>,
        prepared: Arc<PreparedWorktrees>,
        shells: Arc<Shells>,
    ) -> Self {
        let Common { config, home, queue, tracker, cancel, .. } = common;
        let (turn, repack_turn) = (tokio::sync::Mutex::default(), tokio::sync::Mutex::default());
        Self { config, home, runner, environments, tasks, images, prepared, shells, queue, tracker, cancel, turn, repack_turn }
    }

    /// Returns the items in the trash, newest first.
    pub(crate) async fn items(&self) -> Result<Vec<TrashItem>, Problem> {
        let (home, keep) = (Arc::clone(&self.home), self.config.trash_time);
        let found = blocking(move || home.trashed().map(|found| found.iter().map(|found| item(found, keep)).collect::<Vec<_>>()));
        let mut items = found.await?;
        items.sort_by_key(|item| std::cmp::Reverse(item.removed_at));
        Ok(items)
    }

    /// Restores a task.
    pub(crate) async fn restore_task(self: &Arc<Self>, id: TaskId) -> Result<Arc<TaskSlot>, Problem> {
        let _turn = self.turn.lock().await;
        if let Some(slot) = self.tasks.table.get(id) {
            // Restoring a task twice is harmless.
            return Ok(slot);
        }
        let home = Arc::clone(&self.home);
        let Some(Trashed { what: TrashedThing::Task(task, finished), path, .. }) =
            blocking(move || home.find_trashed_task(id)).await?
        else {
            return Err(Problem::no_task(id).hint("list the items that can be restored with `codex-orchestrator trash`"));
        };
        let mirror = self.environments.mirror_of(task.env_id).map_err(|_| {
            Problem::new(ErrorCode::EnvironmentGone, format!("the repository of task {id} does not exist"))
                .hint(format!("restore the repository first: `codex-orchestrator env restore {}`", task.env_id))
        })?;
        if !finished {
            self.tasks.finish_removal(id, task.env_id).await;
        }
        let home = Arc::clone(&self.home);
        blocking(move || home.unmark_removed(id)).await?;
        // A task that was removed before its first run started has no branch.
        if task.base_sha.is_some() {
            let (branch, keep_as) = (BranchName::of_task(id), id.to_string());
            let retired = Retired { branch: branch.as_str(), keep_as: &keep_as, folder: &path };
            mirror.restore_worktree(&self.home.layout.worktree(id), retired).await.map_err(|error| {
                Problem::new(ErrorCode::RestoreFailed, format!("could not restore the task's branch: {error}"))
                    .hint("nothing was lost: the task is still in the trash")
            })?;
            mirror.sync().await.map_err(Problem::internal)?;
        }
        crash::point(CrashPoint::BranchRestored);
        let slot = self.tasks.create(TaskEvent::Restored(task)).await?;
        crash::point(CrashPoint::TaskBack);
        Ok(slot)
    }

    /// Restores a repository, with the tasks that were removed together with it.
    pub(crate) async fn restore_environment(self: &Arc<Self>, id: EnvironmentId) -> Result<(), Problem> {
        if self.environments.get(id).is_some() {
            return Ok(());
        }
        let home = Arc::clone(&self.home);
        let Some(Trashed { what: TrashedThing::Environment(record), removed_at, .. }) =
            blocking(move || home.find_trashed_environment(id)).await?
        else {
            return Err(Problem::no_environment(id).hint("list the items that can be restored with `codex-orchestrator trash`"));
        };
        self.environments.restore(record).await?;
        let home = Arc::clone(&self.home);
        for found in blocking(move || home.trashed()).await? {
            let TrashedThing::Task(task, _) = &found.what else { continue };
            // Tasks that were removed earlier stay in the trash.
            if task.env_id == id && found.removed_at >= removed_at {
                self.restore_task(task.task_id).await?;
            }
        }
        Ok(())
    }

    /// Permanently deletes items that have been in the trash for longer than `older_than`, or only lists them. An ID limits this
    /// to one item.
    pub(crate) async fn collect_garbage(
        &self,
        older_than: Duration,
        id: Option<&str>,
        deletion: Deletion,
    ) -> Result<GarbageCollected, Problem> {
        let _turn = self.turn.lock().await;
        let home = Arc::clone(&self.home);
        let now = Timestamp::now();
        let mut done = GarbageCollected::default();
        for found in blocking(move || home.trashed()).await? {
            // If the clock was set back, an item's age counts as 0.
            let age = Duration::try_from(now.duration_since(found.removed_at)).unwrap_or_default();
            if age < older_than {
                continue;
            }
            if id.is_some_and(|id| found.id() != id) {
                continue;
            }
            let keep = self.config.trash_time;
            let (found, item) = blocking(move || {
                let item = item(&found, keep);
                (found, item)
            })
            .await;
            if deletion == Deletion::Perform
                && let Err(error) = self.delete_for_good(found).await
            {
                if id.is_some() {
                    return Err(error.into());
                }
                tracing::warn!(id = item.id, %error, "could not delete an item in the trash; continuing with the rest");
                done.failed.push(NotDeleted { id: item.id, name: item.name, detail: error.to_string() });
                continue;
            }
            done.bytes += item.bytes;
            done.items.push(item);
        }
        done.free = self.free_bytes().await;
        self.queue.look();
        Ok(done)
    }

    /// Deletes items, repacks mirrors and removes images that no repository uses. Waits at most `patience` for the mirrors.
    pub(crate) async fn free_space(
        self: &Arc<Self>,
        asked: &CollectGarbage,
        patience: Duration,
    ) -> Result<GarbageCollected, Problem> {
        let older_than = asked.older_than_days.map_or(self.config.trash_time, |days| Duration::from_hours(24) * days);
        let deletion = if asked.dry_run { Deletion::DryRun } else { Deletion::Perform };
        let mut done = self.collect_garbage(older_than, asked.id.as_deref(), deletion).await?;
        if asked.id.is_none() {
            let _turn = self.turn.lock().await;
            done.snapshots = self.collect_snapshots(deletion).await?;
        }
        if asked.id.is_none() {
            done.prepared = self.prepared.collect(older_than.min(UNUSED), deletion).await;
        }
        let only = asked.id.as_ref().map(|_| affected(&done.items));
        let with_images = only.is_none() || done.items.iter().any(|item| item.kind == TrashKind::Environment);
        if asked.dry_run {
            if only.is_none() {
                self.would_shrink(&mut done).await;
            }
        } else {
            self.shrink(&mut done, only.as_deref(), patience).await;
        }
        if with_images {
            done.images =
                if asked.dry_run { self.images.unused_without(&done.items).await? } else { self.images.remove_unused().await? };
        }
        done.free = self.free_bytes().await;
        Ok(done)
    }

    async fn free_bytes(&self) -> u64 {
        let folder = self.home.layout.home().to_owned();
        blocking(move || free_bytes(&folder)).await.unwrap_or_default()
    }

    async fn delete_for_good(&self, found: Trashed) -> Result<(), StoreError> {
        if let TrashedThing::Task(task, finished) = &found.what {
            if !finished {
                self.tasks.finish_removal(task.task_id, task.env_id).await;
            }
            let mirror = self.environments.get(task.env_id).and_then(|environment| environment.mirror());
            if let Some(mirror) = mirror {
                if let Err(error) = mirror.forget(&task.task_id.to_string()).await {
                    tracing::warn!(task = %task.task_id, %error, "could not delete a removed branch from its mirror");
                }
                // Sync the refs now, because nothing deletes them again once the folder is gone.
                if let Err(error) = mirror.sync().await {
                    tracing::warn!(task = %task.task_id, %error, "could not sync a mirror; a removed branch may reappear after a power cut");
                }
                mirror.forget_count();
            }
        }
        let forgotten = match &found.what {
            TrashedThing::Task(task, _) => self.runner.forget_task(task.task_id).await,
            TrashedThing::Environment(record) => self.runner.forget_repository(record.env_id).await,
            TrashedThing::Other => Ok(()),
        };
        if let Err(error) = forgotten {
            tracing::warn!(id = found.id(), %error, "could not remove the images of a deleted item");
        }
        match self.delete_folder(&found).await {
            Err(error) if error.is_permission_denied() => {
                if let Err(error) = self.runner.reclaim(&found.path).await {
                    tracing::warn!(id = found.id(), %error, "could not change the owner of a container's files");
                }
                self.delete_folder(&found).await
            }
            deleted => deleted,
        }
    }

    async fn delete_folder(&self, found: &Trashed) -> Result<(), StoreError> {
        let (home, path) = (Arc::clone(&self.home), found.path.clone());
        blocking(move || home.delete_trashed(&path)).await
    }

    /// Deletes items that have been in the trash for the configured time.
    pub(crate) async fn delete_expired(self: &Arc<Self>) {
        let turn = self.turn.lock().await;
        if let Err(error) = self.collect_snapshots(Deletion::Perform).await {
            tracing::warn!(%error, "could not delete old snapshots");
        }
        drop(turn);
        self.prepared.collect(UNUSED, Deletion::Perform).await;
        match self.collect_garbage(self.config.trash_time, None, Deletion::Perform).await {
            // Failures are already logged.
            Ok(done) if done.items.is_empty() => {}
            Ok(done) => {
                tracing::info!(items = done.items.len(), bytes = done.bytes, "emptied the trash");
                self.shrink_later(affected(&done.items));
            }
            Err(problem) => tracing::error!(%problem, "could not empty the trash; retrying later"),
        }
    }

    /// Returns the disk usage. Reads the whole home, so it takes a while.
    pub(crate) async fn disk(&self) -> DiskView {
        let home = Arc::clone(&self.home);
        let environments: Vec<_> = self.environments.all().iter().map(|slot| slot.record()).collect();
        let tasks: Vec<_> = self.tasks.table.all().iter().map(|slot| slot.record()).collect();
        let floor = self.config.free_space_floor;
        let unreachable = self.unreachable().await;
        let images = match self.images.all().await {
            Ok(images) => images,
            Err(problem) => {
                tracing::warn!(%problem, "could not list the built images");
                vec![]
            }
        };
        blocking(move || {
            let mut tasks: Vec<_> = tasks.iter().map(|task| task_disk(&home, task.task_id, task.env_id, &task.title)).collect();
            tasks.sort_by_key(|task| std::cmp::Reverse(task.bytes));
            let of = |id| tasks.iter().filter(|task| task.env_id == id).map(|task| task.bytes).sum();
            let mut environments: Vec<_> = environments
                .iter()
                .map(|environment| EnvironmentDisk {
                    env_id: environment.env_id,
                    name: environment.name.clone(),
                    mirror: disk_usage(&home.layout.mirror(environment.env_id)),
                    snapshots: home.snapshot_usage(environment.env_id),
                    unreachable: unreachable.iter().find(|(id, _)| *id == environment.env_id).and_then(|(_, bytes)| *bytes),
                    prepared: disk_usage(&home.layout.prepared(environment.env_id)),
                    tasks: of(environment.env_id),
                })
                .collect();
            environments
                .sort_by_key(|environment| std::cmp::Reverse(environment.mirror + environment.snapshots + environment.tasks));
            DiskView {
                free: free_bytes(home.layout.home()).unwrap_or_default(),
                floor,
                mirrors: environments.iter().map(|environment| environment.mirror).sum(),
                snapshots: environments.iter().map(|environment| environment.snapshots).sum(),
                unreachable: environments.iter().filter_map(|environment| environment.unreachable).sum(),
                images,
                prepared: disk_usage(&home.layout.all_prepared()),
                worktrees: tasks.iter().map(|task| task.worktree).sum(),
                logs: tasks.iter().map(|task| task.logs).sum(),
                other: tasks.iter().map(|task| task.bytes - task.worktree - task.logs).sum(),
                trash: disk_usage(&home.layout.trash()),
                environments,
                tasks,
            }
        })
        .await
    }
}

/// Returns the repositories whose mirrors contain objects of these items.
fn affected(items: &[TrashItem]) -> Vec<EnvironmentId> {
    let mut environments: Vec<_> = items.iter().filter_map(|item| item.env_id).collect();
    environments.sort_unstable();
    environments.dedup();
    environments
}

fn task_disk(home: &Home, id: TaskId, env_id: EnvironmentId, title: &model::names::Title) -> TaskDisk {
    let (bytes, worktree, logs) =
        (disk_usage(&home.layout.task(id)), disk_usage(&home.layout.worktree(id)), disk_usage(&home.layout.logs(id)));
    // The sizes may be inconsistent, because an agent may be working.
    TaskDisk { task_id: id, env_id, title: title.clone(), bytes: bytes.max(worktree + logs), worktree, logs }
}

/// Returns an item with its size, which is read from disk.
fn item(found: &Trashed, keep: Duration) -> TrashItem {
    let id = found.id();
    let (kind, name, env_id) = match &found.what {
        TrashedThing::Task(task, _) => (TrashKind::Task, task.title.to_string(), Some(task.env_id)),
        TrashedThing::Environment(environment) => (TrashKind::Environment, environment.name.to_string(), None),
        TrashedThing::Other => (TrashKind::Other, id.clone(), None),
    };
    let bytes = disk_usage(&found.path);
    let expires_at = found.removed_at.checked_add(keep).unwrap_or(Timestamp::MAX);
    TrashItem { kind, id, name, env_id, bytes, removed_at: found.removed_at, expires_at }
}
