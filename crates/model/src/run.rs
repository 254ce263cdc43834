//! A run, which is one turn of the agent in a task.
//!
//! A run is in exactly one [`RunPhase`]. On disk and in the API it is flat; the crates `store` and `protocol` convert it.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::codex::Usage;
use crate::commit::OmittedFiles;
use crate::diff::DiffStats;
use crate::ids::{Attempt, ObjectId, RunNumber, ThreadId};
use crate::image::ImageFile;
use crate::names::{Prompt, Setting};
use crate::queue::Priority;
pub use crate::report::RunError;
use crate::run_times::RunTimes;
use crate::setup::ServiceName;

/// The phase of a run.
#[derive(Debug, Clone, PartialEq)]
pub enum RunPhase {
    /// The run is recorded, but has not started.
    Queued,
    /// The worktree is being prepared.
    Preparing,
    /// A keeper supervises the run.
    Running,
    /// A stop was requested, but the run has not ended yet.
    Stopping,
    /// The run has ended and no longer changes.
    Ended(Box<RunEnd>),
}

/// The result of a run that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEnd {
    /// The outcome.
    pub outcome: RunOutcome,
    /// When the worker started, if it did.
    pub started_at: Option<Timestamp>,
    /// When the run ended.
    pub finished_at: Timestamp,
    /// The worker's exit code, unless a signal killed the worker.
    pub exit_code: Option<i32>,
    /// The tip of the task's branch after the run, if the run changed it.
    pub commit: Option<ObjectId>,
    /// The tokens that this run used.
    pub usage: Option<Usage>,
    /// The tokens of the whole thread. The usage of the next run is counted from this total.
    pub usage_total: Option<Usage>,
    /// The agent's last message.
    pub last_message: Option<String>,
    /// Notes for people, for example about omitted nested repositories or unreadable files.
    pub notes: Vec<String>,
    /// The size of the diff between the task's branch and its base after the run, if git could determine it.
    pub changes: Option<DiffStats>,
    /// Files that the commit omitted, because their folders were generated or somebody ignores them.
    pub omitted: Vec<OmittedFiles>,
    /// The number of artifacts that the agent left.
    pub artifacts: u32,
    /// Whether the agent installed something that a setup could install.
    pub installed: bool,
}

/// The outcome of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// The turn completed, and the worker did not fail.
    Completed,
    /// Codex, the worker or the preparation failed.
    Failed(RunError),
    /// Somebody stopped the run.
    Stopped,
    /// The run was interrupted before its turn finished.
    Interrupted(RunError),
}

/// Why a run exists.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunCause {
    /// Somebody requested the run.
    #[default]
    Asked,
    /// Somebody requested the run while the previous run was active.
    FollowUp,
    /// The previous run failed and is retried, either automatically after a temporary failure or because somebody requested a
    /// retry.
    Retry,
    /// The previous run was interrupted.
    Interruption,
}

impl RunCause {
    /// Whether somebody requested the run explicitly.
    pub fn is_asked(&self) -> bool {
        *self == Self::Asked
    }
}

/// A run of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// The run's number within its task.
    pub number: RunNumber,
    /// The current attempt.
    pub attempt: Attempt,
    /// The prompt.
    pub prompt: Prompt,
    /// The images of the prompt.
    pub images: Vec<ImageFile>,
    /// The requested model. If it is not set, Codex chooses.
    pub model: Option<Setting>,
    /// The requested reasoning effort. If it is not set, Codex chooses.
    pub effort: Option<Setting>,
    /// The priority in the queue.
    pub priority: Priority,
    /// The idempotency key of the request. The first run has the key of the task.
    pub idempotency_key: Option<String>,
    /// Why the run exists.
    pub cause: RunCause,
    /// When the run was requested.
    pub queued_at: Timestamp,
    /// The earliest time at which the run may start.
    pub not_before: Option<Timestamp>,
    /// When the worker started.
    pub started_at: Option<Timestamp>,
    /// The thread that the run continues. Not set if the run starts a new thread.
    pub resumes: Option<ThreadId>,
    /// The thread that the run should have continued. Its session was missing, so the run started a new thread with a summary.
    pub lost_thread: Option<ThreadId>,
    /// The thread that Codex reported.
    pub thread_id: Option<ThreadId>,
    /// Whether Codex reported the start of a turn. If so, the thread can be resumed.
    pub turn_started: bool,
    /// The services that run next to the agent. Each has a log.
    pub services: Vec<ServiceName>,
    /// The phase.
    pub phase: RunPhase,
    /// How long its phases took.
    pub times: RunTimes,
    /// Fields that a different version wrote.
    pub extra: Map<String, Value>,
}

impl RunEnd {
    /// Returns why the run failed or was interrupted.
    pub fn error(&self) -> Option<&RunError> {
        match &self.outcome {
            RunOutcome::Failed(error) | RunOutcome::Interrupted(error) => Some(error),
            RunOutcome::Completed | RunOutcome::Stopped => None,
        }
    }
}

impl RunRecord {
    /// Returns the status, as the API names it.
    pub fn status(&self) -> RunStatus {
        match &self.phase {
            RunPhase::Queued => RunStatus::Queued,
            RunPhase::Preparing => RunStatus::Preparing,
            RunPhase::Running => RunStatus::Running,
            RunPhase::Stopping => RunStatus::Stopping,
            RunPhase::Ended(end) => match end.outcome {
                RunOutcome::Completed => RunStatus::Completed,
                RunOutcome::Failed(_) => RunStatus::Failed,
                RunOutcome::Stopped => RunStatus::Stopped,
                RunOutcome::Interrupted(_) => RunStatus::Interrupted,
            },
        }
    }

    /// Returns the result, if the run has ended.
    pub fn end(&self) -> Option<&RunEnd> {
        match &self.phase {
            RunPhase::Ended(end) => Some(end),
            RunPhase::Queued | RunPhase::Preparing | RunPhase::Running | RunPhase::Stopping => None,
        }
    }

    /// Whether the run has not ended yet.
    pub fn is_active(&self) -> bool {
        self.end().is_none()
    }
}

/// The status of a run. The status of a task is that of its last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the contract defines these names")]
pub enum RunStatus {
    Queued,
    Preparing,
    Running,
    Stopping,
    Completed,
    Failed,
    Stopped,
    Interrupted,
}

impl RunStatus {
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
        }
    }
}
