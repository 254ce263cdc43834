//! Decides which mirrors are repacked and when, and which objects must stay. `git` performs the repack.
//!
//! A mirror is repacked after a permanent deletion, and when it is worthwhile and no task runs or waits. While tasks run, it is
//! only repacked if it has very many packs. Only one repack runs at a time. Invariant: every object that a task's folder mentions
//! is kept, even if the task is in the trash.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use environments::EnvironmentSlot;
use git::{ADMINISTRATION, BORROWED, Mirror, Needs, Pruning, RepackRequest, Repacked};
use jiff::Timestamp;
use model::ids::EnvironmentId;
use protocol::{GarbageCollected, MirrorRepack, RepackState};
use store::Home;
use tokio::time::{Instant, timeout_at};

use crate::trash::Trash;

/// The name of an agent repository in a task's folder. An agent repository that was put aside has a suffix.
const TWIN: &str = "agent.git";

impl Trash {
    /// Repacks mirrors after a deletion, and returns the progress after `patience`. The rest continues in the background.
    pub(crate) async fn shrink(
        self: &Arc<Self>,
        done: &mut GarbageCollected,
        only: Option<&[EnvironmentId]>,
        patience: Duration,
    ) {
        let deadline = Instant::now() + patience;
        let mut under_way = vec![];
        for slot in self.environments.all() {
            if only.is_some_and(|only| !only.contains(&slot.id)) {
                continue;
            }
            let Some(mirror) = slot.mirror() else { continue };
            let Some(view) = self.repack_view(&slot, &mirror, RepackState::Running).await else { continue };
            let (inner, of) = (Arc::clone(self), Arc::clone(&slot));
            under_way.push((view, mirror, self.tracker.spawn(async move { inner.repack(&of).await })));
        }
        for (mut view, mirror, repack) in under_way {
            match timeout_at(deadline, repack).await {
                Ok(Ok(Some(repacked))) => {
                    view.state = RepackState::Done;
                    view.after = Some(repacked.after);
                    view.unreachable = mirror.recent_unreachable(self.prune_cutoff()).await.ok().map(|counted| counted.bytes);
                }
                Ok(Ok(None) | Err(_)) => view.state = RepackState::Failed,
                Err(_) => {}
            }
            done.mirrors.push(view);
        }
    }

    /// Returns the mirrors that would be repacked.
    pub(crate) async fn would_shrink(&self, done: &mut GarbageCollected) {
        for slot in self.environments.all() {
            let Some(mirror) = slot.mirror() else { continue };
            done.mirrors.extend(self.repack_view(&slot, &mirror, RepackState::Planned).await);
        }
    }

    /// Returns what a repack would do, or `None` if there is nothing to do.
    async fn repack_view(&self, slot: &EnvironmentSlot, mirror: &Mirror, state: RepackState) -> Option<MirrorRepack> {
        let unreachable = match mirror.unreachable(self.prune_cutoff()).await {
            Ok(counted) => Some(counted.bytes),
            Err(error) => {
                tracing::warn!(environment = %slot.id, %error, "could not count a mirror's unreachable objects");
                None
            }
        };
        let (before, is_packed) = match (mirror.object_bytes().await, mirror.is_packed().await) {
            (Ok(before), Ok(is_packed)) => (before, is_packed),
            (Err(error), _) | (_, Err(error)) => {
                tracing::warn!(environment = %slot.id, %error, "could not read a mirror's object statistics");
                return None;
            }
        };
        let name = slot.record().name.clone();
        let view = MirrorRepack { env_id: slot.id, name, state, before, after: None, unreachable };
        (unreachable != Some(0) || !is_packed).then_some(view)
    }

    /// Repacks mirrors if it is worthwhile. While tasks run or wait, repacks only mirrors that slow git down.
    pub(crate) async fn shrink_when_worth_it(self: &Arc<Self>) {
        for slot in self.environments.all() {
            let Some(mirror) = slot.mirror() else { continue };
            let wanted = if self.is_busy() {
                mirror.has_very_many_packs().await
            } else {
                mirror.wants_repack(SystemTime::from(Timestamp::now()), self.config.prune_time).await
            };
            match wanted {
                Ok(true) => drop(self.repack(&slot).await),
                Ok(false) => {}
                Err(error) => tracing::warn!(environment = %slot.id, %error, "could not read a mirror's object statistics"),
            }
        }
    }

    fn is_busy(&self) -> bool {
        self.tasks.table.all().iter().any(|slot| slot.record().last_run().is_active() || self.queue.place(slot.id).is_some())
    }

    /// Returns the cutoff for deletion: objects that became unreachable before this time can be deleted now.
    pub(crate) fn prune_cutoff(&self) -> SystemTime {
        SystemTime::from(Timestamp::now()).checked_sub(self.config.prune_time).unwrap_or(SystemTime::UNIX_EPOCH)
    }

    async fn repack(self: &Arc<Self>, slot: &EnvironmentSlot) -> Option<Repacked> {
        let _turn = self.repack_turn.lock().await;
        let mirror = slot.mirror()?;
        let (home, id) = (Arc::clone(&self.home), slot.id);
        let request = RepackRequest {
            now: Timestamp::now().into(),
            grace: self.config.prune_time,
            needs: Arc::new(move || needs(&home, id)),
            unpacked: None,
            cancel: self.cancel.clone(),
        };
        match mirror.repack(&request).await {
            Ok(repacked) => {
                let Repacked { before, after, pruning } = &repacked;
                if let Pruning::Withheld(twin) = pruning {
                    tracing::info!(environment = %slot.id, agent_repository = %twin.display(), "kept unreachable objects, because an agent repository may borrow them");
                }
                tracing::info!(environment = %slot.id, before, after, ?pruning, "repacked a mirror");
                Some(repacked)
            }
            Err(error) => {
                tracing::warn!(environment = %slot.id, %error, "could not repack a mirror; no data was lost");
                None
            }
        }
    }

    /// Returns the size of each mirror's unreachable objects in bytes.
    pub(crate) async fn unreachable(&self) -> Vec<(EnvironmentId, Option<u64>)> {
        let cutoff = self.prune_cutoff();
        let counts = self.environments.all().into_iter().map(|slot| async move {
            let Some(mirror) = slot.mirror() else { return (slot.id, None) };
            match mirror.recent_unreachable(cutoff).await {
                Ok(counted) => (slot.id, Some(counted.bytes)),
                Err(error) => {
                    tracing::warn!(environment = %slot.id, %error, "could not count a mirror's unreachable objects");
                    (slot.id, None)
                }
            }
        });
        futures_util::future::join_all(counts).await
    }

    /// Repacks the mirrors of these repositories and removes unused images, in the background.
    pub(crate) fn shrink_later(self: &Arc<Self>, environments: Vec<EnvironmentId>) {
        let inner = Arc::clone(self);
        self.tracker.spawn(async move {
            for slot in environments.into_iter().filter_map(|id| inner.environments.get(id)).collect::<Vec<_>>() {
                drop(inner.repack(&slot).await);
            }
            if let Err(problem) = inner.images.remove_unused().await {
                tracing::warn!(%problem, "could not remove images that no repository uses");
            }
        });
    }
}

/// Returns what the folders of tasks need from a repository's mirror.
fn needs(home: &Home, environment: EnvironmentId) -> io::Result<Needs> {
    let mut needs = Needs::default();
    for (folder, of) in home.task_folders().map_err(io::Error::other)? {
        if of.is_none_or(|of| of == environment) {
            add_folder(&mut needs, &folder)?;
        }
    }
    Ok(needs)
}

fn add_folder(needs: &mut Needs, folder: &Path) -> io::Result<()> {
    let list = format!("{TWIN}{BORROWED}");
    for file in ["meta.json", "reviewed.json", &list] {
        needs.read(&folder.join(file))?;
    }
    let administration = folder.join(ADMINISTRATION);
    if administration.is_dir() {
        let keep_as = folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        needs.retired.push((administration, keep_as));
    }
    let is_listed = folder.join(&list).is_file();
    for entry in fs_err::read_dir(folder)?.filter(|_| !is_listed) {
        let entry = entry?;
        if entry.file_name().as_encoded_bytes().starts_with(TWIN.as_bytes()) && entry.file_type()?.is_dir() {
            needs.unlisted = Some(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tasks_folder_needs_what_its_record_and_its_agents_repository_name() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = ("1".repeat(40), "2".repeat(40));
        fs_err::write(folder.path().join("meta.json"), format!("{{\"commit\":\"{first}\"}}")).expect("written");
        fs_err::create_dir(folder.path().join("agent.git.aside")).expect("made");
        let mut needs = Needs::default();
        add_folder(&mut needs, folder.path()).expect("read");
        assert_eq!(needs.unlisted, Some(folder.path().join("agent.git.aside")), "agent.git.aside has no list");
        fs_err::write(folder.path().join("agent.git.borrowed"), format!("{second}\n")).expect("written");
        fs_err::create_dir(folder.path().join(ADMINISTRATION)).expect("made");
        let mut needs = Needs::default();
        add_folder(&mut needs, folder.path()).expect("read");
        assert_eq!((needs.unlisted, needs.retired.len()), (None, 1));
        assert_eq!(needs.ids.into_iter().collect::<Vec<_>>(), [first, second]);
    }
}
