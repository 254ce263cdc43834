//! What to do after a decision about a task.

use jiff::Timestamp;

use super::record::TaskRecord;
use crate::decision::Decision;
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
    /// Ensure that nothing works on the task any more. Results in `Vacated`.
    Vacate,
    /// Ensure that nothing outside of the trash refers to the removed task.
    CleanUp,
    /// Ensure that the next step of the publication is done. Results in a [`super::PublicationEvent`].
    Publish {
        /// The request that the effect belongs to.
        attempt: u32,
    },
    /// Ensure that the branch is moved as recorded in `updating`. Results in `Updated` or `UpdateAbandoned`.
    MoveBranch,
    /// Ensure that no layers of earlier generations exist. Results in `LayersDiscarded`.
    DiscardLayers,
    /// Ensure that the pending notifications are sent. Results in `Notified`.
    Notify,
}

/// A new record of a task and the effects that follow from it.
pub type TaskDecision = Decision<TaskRecord, TaskEffect>;

/// Returns the decision to write a record that changed now.
pub(super) fn changed(mut record: TaskRecord, now: Timestamp, effects: Vec<TaskEffect>) -> TaskDecision {
    record.updated_at = now;
    Decision::keep(record, effects)
}
