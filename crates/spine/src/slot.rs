//! A thing in memory. Readers get its current record; only its mailbox replaces the record.

use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use jiff::Timestamp;
use tokio::sync::watch;

use crate::recorded::Recorded;

/// Whether a thing still exists. Other code may hold the slot of a thing that was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Existence {
    /// It exists.
    Exists,
    /// Its files are in the trash.
    Discarded,
    /// Nothing outside of the trash refers to it any more.
    Gone,
}

/// A thing in memory. Its state that exists only in memory is accessible directly.
pub struct Slot<A: Recorded> {
    /// The ID of the thing.
    pub id: A::Id,
    pub(crate) created_at: Timestamp,
    record: RwLock<Arc<A::Record>>,
    /// Allows one event at a time, in the order of arrival.
    pub(crate) turn: tokio::sync::Mutex<()>,
    working: AtomicUsize,
    /// Changes with every new record.
    existence: watch::Sender<Existence>,
    live: A::Live,
}

/// Marks a thing as busy in this process, as long as the value exists.
pub(crate) struct Working<A: Recorded>(Arc<Slot<A>>);

impl<A: Recorded> Drop for Working<A> {
    fn drop(&mut self) {
        self.0.working.fetch_sub(1, Ordering::SeqCst);
    }
}

impl<A: Recorded> Deref for Slot<A> {
    type Target = A::Live;

    fn deref(&self) -> &A::Live {
        &self.live
    }
}

impl<A: Recorded> Slot<A> {
    /// Creates the slot of a thing.
    pub fn new(record: A::Record, live: A::Live) -> Arc<Self> {
        Arc::new(Self {
            id: A::id_of(&record),
            created_at: A::created_at(&record),
            record: RwLock::new(Arc::new(record)),
            turn: tokio::sync::Mutex::default(),
            working: AtomicUsize::new(0),
            existence: watch::Sender::new(Existence::Exists),
            live,
        })
    }

    /// Returns the current record.
    pub fn record(&self) -> Arc<A::Record> {
        Arc::clone(&self.record.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn replace(&self, record: Arc<A::Record>) {
        *self.record.write().unwrap_or_else(PoisonError::into_inner) = record;
        self.existence.send_replace(Existence::Exists);
    }

    pub(crate) fn mark_discarded(&self) {
        self.existence.send_replace(Existence::Discarded);
    }

    /// Tells everybody who waits that nothing refers to the thing any more.
    pub fn mark_gone(&self) {
        self.existence.send_replace(Existence::Gone);
    }

    /// Whether the thing was removed.
    pub fn is_removed(&self) -> bool {
        *self.existence.borrow() != Existence::Exists
    }

    /// Wakes with every new record.
    pub fn changes(&self) -> watch::Receiver<Existence> {
        self.existence.subscribe()
    }

    /// Waits until nothing outside of the trash refers to the thing.
    pub async fn until_gone(&self) {
        // An error would mean that the sender is gone, but it is part of `self`.
        let mut changes = self.changes();
        let _ended = changes.wait_for(|existence| *existence == Existence::Gone).await;
    }

    /// Waits until no event of the thing is being processed, and holds back further events as long as the returned value exists.
    pub async fn hold(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Marks the thing as busy: while the returned value exists, nothing is concluded about it.
    pub(crate) fn start_work(self: &Arc<Self>) -> Working<A> {
        self.working.fetch_add(1, Ordering::SeqCst);
        Working(Arc::clone(self))
    }

    /// Whether this process is working on the thing.
    pub fn is_busy(&self) -> bool {
        self.working.load(Ordering::SeqCst) > 0
    }
}
