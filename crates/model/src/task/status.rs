//! The status of a task, as the API names it. It is computed from the record, and no decision depends on it.

use serde::{Deserialize, Serialize};

use crate::run::RunStatus;

/// The status of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the contract defines these names")]
pub enum TaskStatus {
    Queued,
    Preparing,
    Running,
    Stopping,
    Completed,
    Failed,
    Stopped,
    Interrupted,
    Removing,
}

impl TaskStatus {
    /// All statuses, in the order of a task's life.
    pub const ALL: [Self; 9] = [
        Self::Queued,
        Self::Preparing,
        Self::Running,
        Self::Stopping,
        Self::Completed,
        Self::Failed,
        Self::Stopped,
        Self::Interrupted,
        Self::Removing,
    ];

    /// Whether a run of the task is active or waiting to start.
    pub fn is_active(self) -> bool {
        match self {
            Self::Queued | Self::Preparing | Self::Running | Self::Stopping => true,
            Self::Completed | Self::Failed | Self::Stopped | Self::Interrupted | Self::Removing => false,
        }
    }

    /// Returns the status as it appears in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Stopping => "stopping",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Interrupted => "interrupted",
            Self::Removing => "removing",
        }
    }
}

impl From<RunStatus> for TaskStatus {
    fn from(status: RunStatus) -> Self {
        match status {
            RunStatus::Queued => Self::Queued,
            RunStatus::Preparing => Self::Preparing,
            RunStatus::Running => Self::Running,
            RunStatus::Stopping => Self::Stopping,
            RunStatus::Completed => Self::Completed,
            RunStatus::Failed => Self::Failed,
            RunStatus::Stopped => Self::Stopped,
            RunStatus::Interrupted => Self::Interrupted,
        }
    }
}
