//! The size of objects that no ref needs, and the last count of a mirror.
//!
//! Counting is expensive, so pages reuse the last count. Nothing is counted here. Invariant: a count is reused for at most a
//! minute, and never after objects or refs have changed.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long a count is reused.
const SHOWN: Duration = Duration::from_mins(1);

/// The size of objects that no ref needs, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Unreachable {
    /// The size of all unreachable objects. A repack frees these bytes, immediately or when the grace period is over.
    pub bytes: u64,
    /// The size of the objects whose grace period is over.
    pub expired: u64,
}

/// The last count of a mirror, and when it was made.
#[derive(Debug, Default)]
pub(super) struct LastCount {
    counted: Mutex<Option<(Instant, Unreachable)>>,
}

impl LastCount {
    /// Returns the last count, unless it is too old.
    pub(super) fn recent(&self) -> Option<Unreachable> {
        let counted = *self.locked();
        counted.filter(|(at, _)| at.elapsed() < SHOWN).map(|(_, counted)| counted)
    }

    /// Stores a count that was just made.
    pub(super) fn store(&self, counted: Unreachable) {
        *self.locked() = Some((Instant::now(), counted));
    }

    /// Forgets the count.
    pub(super) fn forget(&self) {
        *self.locked() = None;
    }

    fn locked(&self) -> MutexGuard<'_, Option<(Instant, Unreachable)>> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
