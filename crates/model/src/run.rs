//! A run, which is one turn of the agent in a task, and its form in `meta.json`.
//!
//! In memory, a run is in exactly one [`RunPhase`]. On disk and in the API it is the flat [`RunFile`]. The conversion loses
//! nothing, not even fields that a different version wrote.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::codex::Usage;
use crate::diff::DiffStats;
use crate::ids::{Attempt, ObjectId, RunNumber, ThreadId};
use crate::image::ImageFile;
use crate::names::{Prompt, Setting};
use crate::queue::Priority;
pub use crate::report::RunError;

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
    /// The phase.
    pub phase: RunPhase,
    /// Fields that a different version wrote.
    pub extra: Map<String, Value>,
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

/// A run, in the form of `meta.json` and the API.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Run)]
pub struct RunFile {
    /// The run's number within its task, counted from 1.
    pub number: RunNumber,
    /// The path of the log below the task's folder.
    pub log: String,
    /// The prompt.
    pub prompt: Prompt,
    /// The images of the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageFile>,
    /// The requested model.
    pub model: Option<Setting>,
    /// The requested reasoning effort.
    pub effort: Option<Setting>,
    /// The status.
    pub status: RunStatus,
    /// When the run was requested.
    #[schema(value_type = String, format = DateTime)]
    pub queued_at: Timestamp,
    /// When the worker started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When the run ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// The worker's exit code.
    pub exit_code: Option<i32>,
    /// The thread that Codex reported.
    pub thread_id: Option<ThreadId>,
    /// The tip of the task's branch after the run, if the run changed it.
    #[schema(value_type = Option<String>)]
    pub commit: Option<ObjectId>,
    /// The tokens that this run used.
    pub usage: Option<Usage>,
    /// The agent's last message.
    pub last_message: Option<String>,
    /// Why the run failed or was interrupted.
    pub error: Option<RunError>,
    /// The current attempt. Events of older attempts are dropped.
    #[serde(default = "first_attempt")]
    pub attempt: Attempt,
    /// The thread that the run continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<ThreadId>,
    /// The thread that the run should have continued. Its session was missing, so the run started a new thread with a summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_thread: Option<ThreadId>,
    /// Whether Codex reported the start of a turn.
    #[serde(default)]
    pub turn_started: bool,
    /// The tokens of the whole thread so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_total: Option<Usage>,
    /// Notes for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The priority in the queue.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// The idempotency key of the request. The first run has the key of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Why the run exists.
    #[serde(default, skip_serializing_if = "RunCause::is_asked")]
    pub cause: RunCause,
    /// The earliest time at which the run may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    /// The size of the diff between the task's branch and its base after the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<DiffStats>,
    /// Fields that a different version wrote.
    #[serde(flatten)]
    #[schema(ignore)]
    pub extra: Map<String, Value>,
}

fn first_attempt() -> Attempt {
    Attempt::FIRST
}

impl From<&RunRecord> for RunFile {
    fn from(run: &RunRecord) -> Self {
        let end = run.end();
        let error = end.and_then(|end| match &end.outcome {
            RunOutcome::Failed(error) | RunOutcome::Interrupted(error) => Some(error.clone()),
            RunOutcome::Completed | RunOutcome::Stopped => None,
        });
        Self {
            number: run.number,
            log: format!("logs/run-{}.jsonl", run.number),
            prompt: run.prompt.clone(),
            images: run.images.clone(),
            model: run.model.clone(),
            effort: run.effort.clone(),
            status: run.status(),
            queued_at: run.queued_at,
            started_at: run.started_at,
            finished_at: end.map(|end| end.finished_at),
            exit_code: end.and_then(|end| end.exit_code),
            thread_id: run.thread_id,
            commit: end.and_then(|end| end.commit.clone()),
            usage: end.and_then(|end| end.usage),
            last_message: end.and_then(|end| end.last_message.clone()),
            error,
            attempt: run.attempt,
            resumes: run.resumes,
            lost_thread: run.lost_thread,
            turn_started: run.turn_started,
            usage_total: end.and_then(|end| end.usage_total),
            notes: end.map(|end| end.notes.clone()).unwrap_or_default(),
            priority: run.priority,
            idempotency_key: run.idempotency_key.clone(),
            cause: run.cause,
            not_before: run.not_before,
            changes: end.and_then(|end| end.changes),
            extra: run.extra.clone(),
        }
    }
}

/// The error for a run whose fields contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("run {number} has status {status:?} but no `{missing}`")]
pub struct RunFileError {
    number: RunNumber,
    status: RunStatus,
    missing: &'static str,
}

impl TryFrom<RunFile> for RunRecord {
    type Error = RunFileError;

    fn try_from(file: RunFile) -> Result<Self, RunFileError> {
        let missing = |missing| RunFileError { number: file.number, status: file.status, missing };
        let outcome = match file.status {
            RunStatus::Queued | RunStatus::Preparing | RunStatus::Running | RunStatus::Stopping => None,
            RunStatus::Completed => Some(RunOutcome::Completed),
            RunStatus::Stopped => Some(RunOutcome::Stopped),
            RunStatus::Failed => Some(RunOutcome::Failed(file.error.clone().ok_or_else(|| missing("error"))?)),
            RunStatus::Interrupted => Some(RunOutcome::Interrupted(file.error.clone().ok_or_else(|| missing("error"))?)),
        };
        let phase = match (outcome, file.status) {
            (Some(outcome), _) => RunPhase::Ended(Box::new(RunEnd {
                outcome,
                started_at: file.started_at,
                finished_at: file.finished_at.ok_or_else(|| missing("finished_at"))?,
                exit_code: file.exit_code,
                commit: file.commit,
                usage: file.usage,
                usage_total: file.usage_total,
                last_message: file.last_message,
                notes: file.notes,
                changes: file.changes,
            })),
            (None, RunStatus::Queued) => RunPhase::Queued,
            (None, RunStatus::Preparing) => RunPhase::Preparing,
            (None, RunStatus::Stopping) => RunPhase::Stopping,
            (None, _) => RunPhase::Running,
        };
        Ok(Self {
            number: file.number,
            attempt: file.attempt,
            prompt: file.prompt,
            images: file.images,
            model: file.model,
            effort: file.effort,
            priority: file.priority,
            idempotency_key: file.idempotency_key,
            cause: file.cause,
            queued_at: file.queued_at,
            not_before: file.not_before,
            started_at: file.started_at,
            resumes: file.resumes,
            lost_thread: file.lost_thread,
            thread_id: file.thread_id,
            turn_started: file.turn_started,
            phase,
            extra: file.extra,
        })
    }
}
