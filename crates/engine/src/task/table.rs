//! The tasks in memory. Listing them needs no git, no network and no files.
//!
//! Readers get an [`Arc`] of the current record; only a task's own mailbox replaces it.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};

use git::FetchTicket;
use jiff::Timestamp;
use model::ids::{Attempt, EnvironmentId, TaskId};
use model::task::TaskRecord;
use protocol::Progress;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A task in memory.
pub(crate) struct TaskSlot {
    pub(crate) id: TaskId,
    pub(crate) env_id: EnvironmentId,
    created_at: Timestamp,
    record: RwLock<Arc<TaskRecord>>,
    progress: Mutex<Option<Progress>>,
    activity: Mutex<Option<String>>,
    /// Allows one event at a time, in the order of arrival.
    pub(super) turn: tokio::sync::Mutex<()>,
    working: AtomicUsize,
    /// When the task was requested: only a fetch of the mirror that started later is new enough. Unknown after a restart.
    asked: OnceLock<FetchTicket>,
    /// Allows one check of its worktree at a time.
    pub(super) checking: tokio::sync::Mutex<()>,
    /// Allows one step of its publication at a time.
    pub(super) publishing: tokio::sync::Mutex<()>,
    /// Cancels this process's work on an attempt that no keeper supervises: its preparation or its commit.
    work: Mutex<Option<(Attempt, CancellationToken)>>,
    /// Changes with every new record; `true` once the task is gone.
    gone: watch::Sender<bool>,
}

/// Marks a task as busy in this process, as long as the value exists.
pub(crate) struct Working(Arc<TaskSlot>);

impl Drop for Working {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::SeqCst);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // The guarded data is consistent after every statement, even if a holder panicked.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TaskSlot {
    pub(crate) fn new(record: TaskRecord) -> Arc<Self> {
        Arc::new(Self {
            id: record.task_id,
            env_id: record.env_id,
            created_at: record.created_at,
            record: RwLock::new(Arc::new(record)),
            progress: Mutex::default(),
            activity: Mutex::default(),
            turn: tokio::sync::Mutex::default(),
            working: AtomicUsize::new(0),
            asked: OnceLock::new(),
            checking: tokio::sync::Mutex::default(),
            publishing: tokio::sync::Mutex::default(),
            work: Mutex::default(),
            gone: watch::Sender::new(false),
        })
    }

    /// Returns the current record.
    pub(crate) fn record(&self) -> Arc<TaskRecord> {
        Arc::clone(&self.record.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn replace(&self, record: Arc<TaskRecord>) {
        *self.record.write().unwrap_or_else(PoisonError::into_inner) = record;
        self.gone.send_replace(false);
    }

    pub(super) fn mark_gone(&self) {
        self.gone.send_replace(true);
    }

    /// Wakes with every new record. The value says whether the task is gone.
    pub(crate) fn changes(&self) -> watch::Receiver<bool> {
        self.gone.subscribe()
    }

    /// Whether the task was removed. Other code may still hold its slot.
    pub(super) fn is_gone(&self) -> bool {
        *self.gone.borrow()
    }

    /// Waits until the task is gone.
    pub(crate) async fn until_gone(&self) {
        // An error would mean that the sender is gone, but it is part of `self`.
        let mut changes = self.changes();
        let _ended = changes.wait_for(|gone| *gone).await;
    }

    pub(crate) fn progress(&self) -> Option<Progress> {
        locked(&self.progress).clone()
    }

    pub(super) fn set_progress(&self, progress: Option<Progress>) {
        *locked(&self.progress) = progress;
    }

    /// Returns what the task's agent is doing, if that is known.
    pub(crate) fn activity(&self) -> Option<String> {
        locked(&self.activity).clone()
    }

    pub(super) fn set_activity(&self, activity: Option<String>) {
        *locked(&self.activity) = activity;
    }

    pub(crate) fn start_work(self: &Arc<Self>) -> Working {
        self.working.fetch_add(1, Ordering::SeqCst);
        Working(Arc::clone(self))
    }

    /// Whether this process is working on the task.
    pub(crate) fn is_busy(&self) -> bool {
        self.working.load(Ordering::SeqCst) > 0
    }

    /// Records when the task was requested. Only the first call counts.
    pub(super) fn asked_at(&self, ticket: FetchTicket) {
        self.asked.get_or_init(|| ticket);
    }

    pub(super) fn asked(&self) -> Option<FetchTicket> {
        self.asked.get().copied()
    }

    /// Returns a token that cancels this process's work on the attempt from now on.
    pub(super) fn begin_work(&self, attempt: Attempt, parent: &CancellationToken) -> CancellationToken {
        let token = parent.child_token();
        *locked(&self.work) = Some((attempt, token.clone()));
        token
    }

    pub(super) fn cancel_work(&self, attempt: Attempt) {
        if let Some((current, token)) = locked(&self.work).as_ref()
            && *current == attempt
        {
            token.cancel();
        }
    }
}

/// All tasks, by ID and by age.
#[derive(Default)]
pub(crate) struct TaskTable {
    inner: RwLock<Tables>,
}

#[derive(Default)]
struct Tables {
    ids: HashMap<TaskId, Arc<TaskSlot>>,
    ages: BTreeMap<(Timestamp, TaskId), Arc<TaskSlot>>,
    keys: HashMap<String, TaskId>,
    /// Tasks that were removed since this server started. Removing them again is harmless.
    removed: HashSet<TaskId>,
}

/// The position of a task in the list of all tasks.
pub(super) type Age = (Timestamp, TaskId);

impl TaskTable {
    fn read(&self) -> std::sync::RwLockReadGuard<'_, Tables> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Tables> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn insert(&self, slot: &Arc<TaskSlot>) {
        let mut tables = self.write();
        if let Some(key) = &slot.record().idempotency_key {
            tables.keys.insert(key.clone(), slot.id);
        }
        tables.ages.insert((slot.created_at, slot.id), Arc::clone(slot));
        tables.ids.insert(slot.id, Arc::clone(slot));
        tables.removed.remove(&slot.id);
    }

    pub(super) fn remove(&self, slot: &TaskSlot) {
        let mut tables = self.write();
        tables.ids.remove(&slot.id);
        tables.removed.insert(slot.id);
        tables.ages.remove(&(slot.created_at, slot.id));
        if let Some(key) = &slot.record().idempotency_key {
            tables.keys.remove(key);
        }
    }

    pub(crate) fn get(&self, id: TaskId) -> Option<Arc<TaskSlot>> {
        self.read().ids.get(&id).cloned()
    }

    /// Whether this server removed the task.
    pub(crate) fn was_removed(&self, id: TaskId) -> bool {
        self.read().removed.contains(&id)
    }

    pub(crate) fn by_key(&self, key: &str) -> Option<Arc<TaskSlot>> {
        let tables = self.read();
        tables.ids.get(tables.keys.get(key)?).cloned()
    }

    /// Returns the tasks older than `before`, newest first.
    pub(super) fn newest(&self, before: Option<Age>) -> Vec<Arc<TaskSlot>> {
        let tables = self.read();
        match before {
            Some(age) => tables.ages.range(..age).rev().map(|(_, slot)| Arc::clone(slot)).collect(),
            None => tables.ages.values().rev().cloned().collect(),
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<TaskSlot>> {
        self.newest(None)
    }

    pub(crate) fn of_environment(&self, env_id: EnvironmentId) -> Vec<Arc<TaskSlot>> {
        self.read().ages.values().filter(|slot| slot.env_id == env_id).cloned().collect()
    }

    pub(crate) fn count_of_environment(&self, env_id: EnvironmentId) -> usize {
        self.read().ages.values().filter(|slot| slot.env_id == env_id).count()
    }
}

impl TaskSlot {
    pub(super) fn age(&self) -> Age {
        (self.created_at, self.id)
    }
}
