//! Which removals of tasks are finished, and which are in progress.

use std::collections::HashSet;
use std::ffi::OsString;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::ids::TaskId;

/// Which items in the trash need no further work.
#[derive(Default)]
pub(crate) struct Removals {
    /// The names of items that nothing outside of the trash refers to.
    pub(super) finished: Mutex<HashSet<OsString>>,
    /// The tasks that an effect is removing now.
    pub(super) under_way: Mutex<HashSet<TaskId>>,
}

pub(super) fn locked<T>(set: &Mutex<HashSet<T>>) -> MutexGuard<'_, HashSet<T>> {
    // The set is consistent after every statement, even if a holder panicked.
    set.lock().unwrap_or_else(PoisonError::into_inner)
}
