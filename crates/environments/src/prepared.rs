//! Keeps worktrees prepared for the next tasks of each repository.
//!
//! This only follows the feed, so no task and no request waits for it. It works while no run is being prepared, and stops as soon as
//! one is. Invariant: a prepared worktree is created only from the newest commit of the default branch.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use config::Config;
use durable::blocking;
use futures_util::StreamExt as _;
use git::{CommitSize, Pool, WorktreeError};
use jiff::Timestamp;
use model::environment::EnvironmentStatus;
use model::ids::EnvironmentId;
use model::prepared::{PreparedLimits, PreparedStep, Space, next_step};
use model::task::TaskStatus;
use process::RunProgramError;
use protocol::FeedEvent;
use spine::{Common, Deletion, Feed, Queue};
use store::{Home, StoreError, disk_usage, free_bytes};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::environments::{EnvironmentSlot, Environments};

/// How long nothing must happen before worktrees are prepared.
const QUIET: Duration = Duration::from_secs(2);

/// Why the worktrees of a repository could not be prepared.
#[derive(Debug, thiserror::Error)]
enum PrepareError {
    #[error("could not read the mirror: {0}")]
    Mirror(RunProgramError),
    #[error(transparent)]
    Worktree(#[from] WorktreeError),
    #[error("could not measure free disk space: {0}")]
    Space(std::io::Error),
}

/// The repositories whose prepared worktrees may need changes.
#[derive(Default)]
struct Wanted {
    ids: BTreeSet<EnvironmentId>,
    /// When enough time has passed since the last change, if there are any repositories.
    quiet_from: Option<Instant>,
}

impl Wanted {
    fn add(&mut self, id: EnvironmentId) {
        self.ids.insert(id);
        self.quiet_from = Some(Instant::now() + QUIET);
    }

    /// Waits for another quiet moment.
    fn wait(&mut self) {
        self.quiet_from = self.quiet_from.map(|_| Instant::now() + QUIET);
    }

    fn pop(&mut self) -> Option<EnvironmentId> {
        let id = self.ids.pop_first();
        self.quiet_from = self.quiet_from.filter(|_| !self.ids.is_empty());
        id
    }
}

/// The prepared worktrees of all repositories.
pub struct PreparedWorktrees {
    config: Arc<Config>,
    home: Arc<Home>,
    environments: Arc<Environments>,
    queue: Arc<Queue>,
    feed: Feed,
    tracker: TaskTracker,
    cancel: CancellationToken,
    /// Held while prepared worktrees are created, changed or deleted.
    turn: tokio::sync::Mutex<()>,
}

impl PreparedWorktrees {
    /// Creates the prepared worktrees of a server.
    pub fn new(common: Common, environments: Arc<Environments>) -> Self {
        let Common { config, home, queue, feed, tracker, cancel, .. } = common;
        Self { config, home, environments, queue, feed, tracker, cancel, turn: tokio::sync::Mutex::default() }
    }

    /// Prepares worktrees until the server stops.
    pub fn keep_preparing(self: &Arc<Self>) {
        let (inner, since) = (Arc::clone(self), self.feed.last());
        self.tracker.spawn(async move {
            inner.delete_unknown().await;
            inner.clear_unfinished().await;
            inner.cancel.run_until_cancelled(inner.follow(since)).await;
        });
    }

    /// Waits for quiet moments, and prepares worktrees for the repositories that changed before them.
    async fn follow(&self, since: u64) {
        let mut changes = pin!(self.feed.follow(Some(since)));
        let (mut wanted, mut sizes) = (Wanted::default(), BTreeMap::new());
        loop {
            let change = match wanted.quiet_from {
                Some(quiet_from) => timeout_at(quiet_from, changes.next()).await,
                None => Ok(changes.next().await),
            };
            if let Ok(change) = change {
                let Some((_, change)) = change else { return };
                self.note(&change, &mut wanted);
            } else if !self.is_idle() {
                // The end of the preparation is a change.
                if let Some((_, change)) = changes.next().await {
                    self.note(&change, &mut wanted);
                }
            } else if let Some(id) = wanted.pop() {
                let cancel = self.cancel.child_token();
                let mut fill = pin!(self.fill(id, &mut sizes, &cancel));
                let is_done = loop {
                    tokio::select! {
                        is_done = &mut fill => break is_done,
                        Some((_, change)) = changes.next() => {
                            self.note(&change, &mut wanted);
                            if !self.is_idle() {
                                cancel.cancel();
                            }
                        }
                    }
                };
                if !is_done {
                    wanted.add(id);
                }
            }
        }
    }

    /// Remembers the repositories whose prepared worktrees a change concerns.
    fn note(&self, change: &FeedEvent, wanted: &mut Wanted) {
        match change {
            // The task may have taken a prepared worktree, or its fetch may have brought new commits.
            FeedEvent::Task { env_id, status: TaskStatus::Running, .. }
            | FeedEvent::Environment { env_id, status: EnvironmentStatus::Ready, .. }
            | FeedEvent::EnvironmentRemoved { env_id } => wanted.add(*env_id),
            FeedEvent::Queue { .. } if self.queue.hold().is_some() => {
                // The disk may be almost full.
                self.environments.all().iter().for_each(|slot| wanted.add(slot.id));
            }
            FeedEvent::Task { .. } | FeedEvent::Environment { .. } => wanted.wait(),
            FeedEvent::Queue { .. }
            | FeedEvent::TaskRemoved { .. }
            | FeedEvent::TaskProgress { .. }
            | FeedEvent::TaskActivity { .. }
            | FeedEvent::Reset => {}
        }
    }

    /// Whether no run is being prepared.
    fn is_idle(&self) -> bool {
        !self.environments.tenants().is_some_and(|tenants| tenants.is_preparing())
    }

    /// Brings the prepared worktrees of a repository up to date. Returns whether this is done. `sizes` are the sizes of earlier
    /// ones, which can be larger than those of their commits.
    async fn fill(&self, id: EnvironmentId, sizes: &mut BTreeMap<EnvironmentId, u64>, cancel: &CancellationToken) -> bool {
        let Some(slot) = self.environments.get(id) else {
            self.delete_unknown().await;
            return true;
        };
        let _turn = self.turn.lock().await;
        match self.filled(&slot, sizes.entry(id).or_default(), cancel).await {
            Ok(()) => !cancel.is_cancelled(),
            Err(_) if cancel.is_cancelled() => false,
            Err(error) => {
                tracing::warn!(environment = %id, %error, "could not prepare worktrees for later tasks; tasks create their own");
                true
            }
        }
    }

    async fn filled(&self, slot: &EnvironmentSlot, measured: &mut u64, cancel: &CancellationToken) -> Result<(), PrepareError> {
        let Some(mirror) = slot.mirror() else { return Ok(()) };
        let Some(tip) = setups::default_commit(&mirror, &slot.record()).await.map_err(PrepareError::Mirror)? else {
            return Ok(());
        };
        let pool = Pool::new(&mirror, self.home.layout.prepared(slot.id), slot.record().cone());
        pool.clear_unfinished().await?;
        pool.delete_outdated().await?;
        let mut size = None;
        while !cancel.is_cancelled() {
            let mut ready = pool.list().map_err(WorktreeError::from)?;
            let made: Vec<_> = ready.iter().map(|prepared| prepared.made.clone()).collect();
            let space = self.space(slot.id).await?;
            let bytes = size.map_or(0, |size: CommitSize| size.bytes).max(*measured);
            let step = next_step(&made, &tip, bytes, space, self.limits());
            let CommitSize { files, .. } = match (step, size) {
                (PreparedStep::Nothing, _) => return Ok(()),
                (PreparedStep::Delete(index), _) => {
                    pool.delete(ready.swap_remove(index)).await?;
                    self.queue.look();
                    continue;
                }
                (PreparedStep::Renew(_) | PreparedStep::Create, Some(size)) => size,
                (PreparedStep::Renew(_) | PreparedStep::Create, None) => {
                    size = Some(pool.size_of(&tip).await.map_err(WorktreeError::from)?);
                    continue;
                }
            };
            let made = match step {
                PreparedStep::Renew(index) => pool.renew(ready.swap_remove(index), &tip, files, disk_usage, cancel).await?,
                PreparedStep::Create => match pool.create(&tip, files, disk_usage, cancel).await? {
                    Some(made) => Some(made),
                    None => return Ok(()),
                },
                PreparedStep::Nothing | PreparedStep::Delete(_) => None,
            };
            *measured = made.map_or(*measured, |prepared| prepared.made.bytes);
        }
        Ok(())
    }

    fn limits(&self) -> PreparedLimits {
        let Config { prepared_worktrees, prepared_worktrees_space, free_space_floor, .. } = *self.config;
        PreparedLimits { most: prepared_worktrees, bytes: prepared_worktrees_space, floor: free_space_floor }
    }

    async fn space(&self, id: EnvironmentId) -> Result<Space, PrepareError> {
        let home = self.home.layout.home().to_owned();
        let free = blocking(move || free_bytes(&home)).await.map_err(PrepareError::Space)?;
        let others = self.environments.all().into_iter().filter(|slot| slot.id != id).filter_map(|slot| self.pool(&slot));
        let mut space = Space { free, others: 0 };
        for pool in others {
            space.others += pool.list().map_err(WorktreeError::from)?.iter().map(|prepared| prepared.made.bytes).sum::<u64>();
        }
        Ok(space)
    }

    fn pool(&self, slot: &EnvironmentSlot) -> Option<Pool> {
        Some(Pool::new(&slot.mirror()?, self.home.layout.prepared(slot.id), slot.record().cone()))
    }

    /// Deletes what a killed server left unfinished.
    async fn clear_unfinished(&self) {
        let _turn = self.turn.lock().await;
        for slot in self.environments.all() {
            let Some(pool) = self.pool(&slot) else { continue };
            if let Err(error) = pool.clear_unfinished().await {
                tracing::warn!(environment = %slot.id, %error, "could not delete unused prepared worktrees");
            }
        }
    }

    /// Deletes the prepared worktrees of repositories that do not exist.
    async fn delete_unknown(&self) {
        let _turn = self.turn.lock().await;
        let known: BTreeSet<_> = self.environments.all().iter().map(|slot| slot.id).collect();
        let home = Arc::clone(&self.home);
        if let Err(error) = blocking(move || home.delete_prepared_except(&known)).await {
            tracing::warn!(%error, "could not delete prepared worktrees that no repository needs");
        }
    }

    /// Discards all prepared worktrees if the machine was not stopped cleanly, because their files may be incomplete. Call this
    /// before any task starts.
    pub async fn discard_after(&self, boot: &store::Boot) -> Result<(), StoreError> {
        let is_unclean = boot.unclean_stop.as_ref().is_some_and(|stop| stop.boot_id == boot.boot_id);
        if !(boot.is_first_start && is_unclean) {
            return Ok(());
        }
        let home = Arc::clone(&self.home);
        blocking(move || home.discard_prepared()).await
    }

    /// Deletes the prepared worktrees that are older than this, or only counts them. Returns their size in bytes.
    pub async fn collect(&self, age: Duration, deletion: Deletion) -> u64 {
        let _turn = self.turn.lock().await;
        let (now, mut bytes) = (Timestamp::now(), 0);
        for slot in self.environments.all() {
            let Some(pool) = self.pool(&slot) else { continue };
            let collected = async {
                for prepared in pool.list()?.into_iter().filter(|prepared| prepared.made.is_older_than(age, now)) {
                    let size = prepared.made.bytes;
                    if deletion == Deletion::Perform {
                        pool.delete(prepared).await?;
                    }
                    bytes += size;
                }
                Ok::<_, WorktreeError>(())
            };
            if let Err(error) = collected.await {
                tracing::warn!(environment = %slot.id, %error, "could not delete unused prepared worktrees");
            }
        }
        bytes
    }
}
