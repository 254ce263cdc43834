//! A completed update of a task's branch from its base branch, as the record keeps it.
//!
//! It names the commits before and after it, so that changes of the base are not taken for changes of a run.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::commit::PathText;
use crate::ids::{ObjectId, RunNumber};

/// How a branch is updated from its base branch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum UpdateStrategy {
    /// Rebase the task's commits onto the newest commit of the base.
    Rebase,
    /// Merge the base into the branch.
    Merge,
}

/// A completed update of a branch from its base branch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = TaskUpdate)]
pub struct Update {
    /// The run after which the branch was updated.
    pub after_run: RunNumber,
    /// The strategy.
    pub strategy: UpdateStrategy,
    /// The base of the task before the update.
    #[schema(value_type = String)]
    pub from_base: ObjectId,
    /// The base of the task after the update.
    #[schema(value_type = String)]
    pub to_base: ObjectId,
    /// The tip of the branch before the update. This commit stays in the mirror.
    #[schema(value_type = String)]
    pub from_head: ObjectId,
    /// The tip of the branch after the update.
    #[schema(value_type = String)]
    pub to_head: ObjectId,
    /// Files and folders that were committed after the run, because it had left them out or they were held. The base stays the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub committed: Vec<PathText>,
    /// When the branch was updated.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl Update {
    /// Whether commits of the branch were rewritten, so that a copy of the old branch cannot be fast-forwarded.
    pub fn rewrote(&self) -> bool {
        self.strategy == UpdateStrategy::Rebase && self.from_head != self.to_head && self.from_head != self.from_base
    }
}
