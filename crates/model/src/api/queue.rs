//! The words of the queue: what waits, where, and what for.
//! Who runs next is decided in [`crate::queue`].

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::{EnvironmentId, RunNumber, TaskId};
use crate::names::Title;
use crate::queue::{Hold, Priority, QueuePlace};

/// `GET /api/v1/queue`: what waits, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Queue)]
pub struct QueueView {
    /// The most runs at once.
    pub max_parallel_runs: usize,
    /// How many are under way.
    pub running: usize,
    /// Why nothing may begin at all.
    pub hold: Option<Hold>,
    /// What waits, the next one first.
    pub items: Vec<QueueItem>,
}

/// A run that waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct QueueItem {
    /// Its task.
    pub task_id: TaskId,
    /// The task's title.
    pub title: Title,
    /// Its environment.
    pub env_id: EnvironmentId,
    /// The environment's name, while there is one.
    pub env_name: Option<Title>,
    /// Its number.
    pub run: RunNumber,
    /// Who goes first.
    pub priority: Priority,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub queued_at: Timestamp,
    /// Where it is.
    #[serde(flatten)]
    pub place: QueuePlace,
}
