//! All tasks, and what the effects of decisions about them need.

use std::sync::Arc;

use config::Config;
use environments::{BuiltImages, Environments, Publishing, Redaction};
use model::queue::WaitsFor;
use model::run::RunPhase;
use model::setup::SnapshotKey;
use notifications::Notifications;
use protocol::{Damaged, TaskView};
use runner::Runner;
use runner::journal::FolderWatch;
use spine::{Common, Feed, Queue, Slot, Table};
use store::{Boot, CodexHome, Home};
use tokio::sync::RwLock;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::removals::Removals;
use super::revisits::Revisits;
use crate::readiness::Readiness;

/// A task in memory.
pub(crate) type TaskSlot = Slot<Tasks>;

/// All tasks in memory.
pub(crate) type TaskTable = Table<Tasks>;

/// The other parts of the server that tasks need.
pub(crate) struct TaskParts {
    pub(crate) codex_home: CodexHome,
    pub(crate) runner: Arc<dyn Runner>,
    pub(crate) environments: Arc<Environments>,
    pub(crate) publishing: Arc<Publishing>,
    pub(crate) images: Arc<BuiltImages>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) redaction: Arc<Redaction>,
    pub(crate) notifications: Arc<Notifications>,
    pub(crate) watch: Arc<FolderWatch>,
}

/// All tasks.
pub(crate) struct Tasks {
    pub(crate) table: TaskTable,
    pub(crate) damaged: Vec<Damaged>,
    pub(super) config: Arc<Config>,
    pub(super) home: Arc<Home>,
    pub(super) boot: Arc<Boot>,
    pub(super) codex_home: CodexHome,
    pub(super) runner: Arc<dyn Runner>,
    pub(super) environments: Arc<Environments>,
    pub(super) publishing: Arc<Publishing>,
    pub(super) images: Arc<BuiltImages>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) redaction: Arc<Redaction>,
    pub(super) notifications: Arc<Notifications>,
    pub(super) feed: Feed,
    pub(super) queue: Arc<Queue>,
    pub(super) watch: Arc<FolderWatch>,
    pub(super) tracker: TaskTracker,
    pub(super) cancel: CancellationToken,
    /// Which items in the trash need no further work.
    pub(super) removals: Removals,
    /// The tasks whose state is asked for again, because their runner did not answer.
    pub(super) revisits: Revisits,
    /// Held for reading while something is being created.
    pub(super) creating: Arc<RwLock<()>>,
    /// Makes requests with the same key wait for each other.
    pub(super) keys: tokio::sync::Mutex<()>,
}

impl Tasks {
    /// Creates the tasks. Their records are added later.
    pub(crate) fn new(common: Common, parts: TaskParts, damaged: Vec<Damaged>) -> Arc<Self> {
        Arc::new(Self {
            table: TaskTable::default(),
            damaged,
            config: common.config,
            home: common.home,
            boot: common.boot,
            codex_home: parts.codex_home,
            runner: parts.runner,
            environments: parts.environments,
            publishing: parts.publishing,
            images: parts.images,
            readiness: parts.readiness,
            redaction: parts.redaction,
            notifications: parts.notifications,
            feed: common.feed,
            queue: common.queue,
            watch: parts.watch,
            tracker: common.tracker,
            cancel: common.cancel,
            removals: Removals::default(),
            revisits: Revisits::default(),
            creating: common.creating,
            keys: tokio::sync::Mutex::default(),
        })
    }

    /// Returns the snapshots that tasks use or are about to use.
    pub(crate) fn used_snapshots(&self) -> Vec<SnapshotKey> {
        let of_task = |slot: Arc<TaskSlot>| {
            // In this order, because the record names a snapshot before its mark is removed.
            let taken = slot.taken_snapshot();
            taken.into_iter().chain(slot.record().environment.snapshot.clone())
        };
        self.table.all().into_iter().flat_map(of_task).collect()
    }

    /// Returns a task as clients see it.
    pub(crate) fn view(&self, slot: &TaskSlot) -> TaskView {
        let name = self.environments.record(slot.env_id).map(|environment| environment.name.clone());
        let record = slot.record();
        let is_queued = record.last_run().phase == RunPhase::Queued;
        let place = is_queued.then(|| self.queue.place(slot.id)).flatten();
        let activity = slot.activity().filter(|_| record.last_run().is_active());
        // A task that waits for a setup shows its progress.
        let waits_for_setup = place.as_ref().is_some_and(|place| place.waits_for == WaitsFor::Setup);
        let setup = self.environments.get(slot.env_id).filter(|_| waits_for_setup).and_then(|environment| environment.progress());
        TaskView { activity, ..TaskView::new(&record, name, slot.progress().or(setup), place) }
    }
}
