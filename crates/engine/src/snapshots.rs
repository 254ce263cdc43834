//! Deletes the snapshots that nobody needs. What stays is decided in `model::setup`.
//!
//! Invariant: a snapshot that a task uses, or is about to use, is never deleted. A task looks for its snapshot and marks it as used while
//! it holds the repository's turn, and a snapshot loses its name only in that turn.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use durable::blocking;
use environments::EnvironmentSlot;
use model::ids::EnvironmentId;
use model::setup::{Snapshot, SnapshotKey, needed_snapshots};
use protocol::DeletedSnapshot;
use spine::Deletion;
use store::{Home, StoreError, TrashedThing};

use crate::trash::Trash;

impl Trash {
    /// Deletes the snapshots that are not needed, or only lists them. The caller prevents tasks from being restored.
    pub(crate) async fn collect_snapshots(&self, deletion: Deletion) -> Result<Vec<DeletedSnapshot>, StoreError> {
        let slots: BTreeMap<_, _> = self.environments.all().into_iter().map(|slot| (slot.id, slot)).collect();
        let found = self.snapshots_of(slots.keys().copied().collect()).await?;
        let needed = needed_snapshots(&found, &self.used_snapshots().await?, self.config.snapshot_limit);
        let mut deleted = vec![];
        for (id, snapshots) in found {
            let Some(slot) = slots.get(&id) else { continue };
            let mut needed = needed.get(&id).cloned().unwrap_or_default();
            if deletion == Deletion::Perform && !self.delete_snapshots(slot, &mut needed).await? {
                continue;
            }
            let name = slot.record().name.clone();
            let gone = snapshots.into_iter().filter(|snapshot| !needed.contains(&snapshot.key));
            deleted.extend(gone.map(|snapshot| DeletedSnapshot {
                env_id: id,
                name: name.clone(),
                bytes: snapshot.bytes(),
                created_at: snapshot.created_at,
                key: snapshot.key,
            }));
        }
        Ok(deleted)
    }

    /// Deletes the snapshots of a repository that are not needed, and adds to `needed` what turns out to be used. Returns whether this was
    /// possible.
    async fn delete_snapshots(&self, slot: &EnvironmentSlot, needed: &mut BTreeSet<SnapshotKey>) -> Result<bool, StoreError> {
        // A setup that ends now would add a snapshot that no task uses yet, and an update needs the one that it started from.
        let (Ok(_setup), Ok(turn)) = (slot.setting_up.try_lock(), slot.taking_snapshot.try_lock()) else { return Ok(false) };
        needed.extend(self.used_snapshots().await?);
        let discarded = self.runner.discard_snapshots(slot.id, needed).await;
        drop(turn);
        let deleted = match discarded {
            Ok(()) => self.runner.delete_discarded_snapshots(slot.id).await,
            Err(error) => Err(error),
        };
        if let Err(error) = &deleted {
            tracing::warn!(environment = %slot.id, %error, "could not delete old snapshots");
        }
        Ok(deleted.is_ok())
    }

    /// Returns the snapshots of repositories, newest first.
    async fn snapshots_of(&self, ids: BTreeSet<EnvironmentId>) -> Result<BTreeMap<EnvironmentId, Vec<Snapshot>>, StoreError> {
        let home = Arc::clone(&self.home);
        blocking(move || ids.into_iter().map(|id| Ok((id, home.read_snapshots(id)?))).collect()).await
    }

    /// Returns the snapshots of all tasks, even of those in the trash, and of all shells.
    async fn used_snapshots(&self) -> Result<BTreeSet<SnapshotKey>, StoreError> {
        // In this order, because a task may move to the trash in the meantime.
        let of_tasks = self.tasks.used_snapshots();
        let home: Arc<Home> = Arc::clone(&self.home);
        let trashed = blocking(move || home.trashed()).await?;
        let in_trash = trashed.into_iter().filter_map(|found| match found.what {
            TrashedThing::Task(task, _) => task.environment.snapshot,
            TrashedThing::Environment(_) | TrashedThing::Other => None,
        });
        let of_shells = self.shells.used_snapshots().await?;
        Ok(of_tasks.into_iter().chain(in_trash).chain(of_shells).collect())
    }
}
