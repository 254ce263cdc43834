//! The result of a request or an event: the task's new record, and what to do next.
//!
//! The caller writes the record first. Then it performs the effects, each of which is idempotent.

use jiff::Timestamp;

use super::record::TaskRecord;
use crate::ids::Attempt;

/// An action to perform. Every action is idempotent: performing it twice is harmless.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskEffect {
    /// Ensure that the worktree is at its base. Results in `Prepared` or `PreparationFailed`.
    Prepare {
        /// The attempt that the effect belongs to.
        attempt: Attempt,
    },
    /// Ensure that a keeper supervises the run. Results in `Launched` or `PreparationFailed`.
    Launch {
        /// The attempt that the effect belongs to.
        attempt: Attempt,
    },
    /// Follow the log and the keeper. Results in `ThreadStarted`, `TurnStarted` and `KeeperGone`.
    Follow {
        /// The attempt that the effect belongs to.
        attempt: Attempt,
    },
    /// Ask the preparation or the keeper to stop the run.
    StopRun {
        /// The attempt that the effect belongs to.
        attempt: Attempt,
    },
    /// Determine the outcome of the run and commit its changes. Results in `RunFinished`.
    Finish {
        /// The attempt that the effect belongs to.
        attempt: Attempt,
    },
    /// Ensure that the task is completely removed.
    Remove,
    /// Ensure that the next step of the publication is done. Results in a [`super::PublicationEvent`].
    Publish {
        /// The request that the effect belongs to.
        attempt: u32,
    },
}

/// A new record and the effects that follow from it.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The record to write before any effect.
    pub record: TaskRecord,
    /// The effects, in order.
    pub effects: Vec<TaskEffect>,
}

impl Decision {
    pub(super) fn changed(mut record: TaskRecord, now: Timestamp, effects: Vec<TaskEffect>) -> Self {
        record.updated_at = now;
        Self { record, effects }
    }
}
