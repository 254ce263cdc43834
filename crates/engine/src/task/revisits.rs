//! Which tasks are visited again, because their runner did not answer.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use model::ids::TaskId;

/// The tasks whose state is asked for again, because their runner did not answer.
#[derive(Debug, Default)]
pub(crate) struct Revisits {
    tasks: Mutex<HashSet<TaskId>>,
}

impl Revisits {
    fn locked(&self) -> MutexGuard<'_, HashSet<TaskId>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a task. Returns false if its state is asked for already.
    pub(crate) fn begin(&self, task: TaskId) -> bool {
        self.locked().insert(task)
    }

    /// Whether the state of a task is asked for already.
    pub(crate) fn includes(&self, task: TaskId) -> bool {
        self.locked().contains(&task)
    }

    /// Removes a task whose runner has answered.
    pub(crate) fn end(&self, task: TaskId) {
        self.locked().remove(&task);
    }
}
