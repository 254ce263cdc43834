//! Responses of the HTTP API for the queue.
//!
//! [`model::queue`] decides which run starts next.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use model::ids::{EnvironmentId, RunNumber, TaskId};
use model::names::Title;
use model::queue::{Blocker, Priority, QueuePlace};

/// The queue.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Queue)]
pub struct QueueView {
    /// Maximum number of runs at the same time.
    pub max_parallel_runs: usize,
    /// Number of runs in progress.
    pub running: usize,
    /// Why no run can start. Null if runs can start.
    pub hold: Option<Blocker>,
    /// Waiting runs in the order in which they will start.
    pub items: Vec<QueueItem>,
}

/// A waiting run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct QueueItem {
    /// ID of the task.
    pub task_id: TaskId,
    /// Title of the task.
    pub title: Title,
    /// ID of the repository.
    pub env_id: EnvironmentId,
    /// Name of the repository. Null if the repository was removed.
    pub env_name: Option<Title>,
    /// Number of the run.
    pub run: RunNumber,
    /// Priority of the run.
    pub priority: Priority,
    /// Time at which the run was queued.
    #[schema(value_type = String, format = DateTime)]
    pub queued_at: Timestamp,
    /// Place in the queue.
    #[serde(flatten)]
    pub place: QueuePlace,
}
