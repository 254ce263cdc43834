//! One run: a turn of the agent in a task, and how it is written in `meta.json`.
//!
//! In memory a run is in exactly one [`RunPhase`]; on disk and in the API it is the flat [`RunFile`]. The two convert without
//! loss, fields of other versions included.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::codex::Usage;
use crate::diff::DiffStats;
use crate::ids::{Attempt, ObjectId, RunNumber, ThreadId};
use crate::image::ImageFile;
use crate::names::{Prompt, Setting};
use crate::problem::harmless;
use crate::queue::Priority;

/// Where a run is in its life.
#[derive(Debug, Clone, PartialEq)]
pub enum RunPhase {
    /// Recorded, and not begun.
    Queued,
    /// Its worktree is being made ready.
    Preparing,
    /// A keeper holds it.
    Running,
    /// Somebody asked it to stop, and it has not ended yet.
    Stopping,
    /// It has ended, and will not change again.
    Ended(Box<RunEnd>),
}

/// What is known of a run that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct RunEnd {
    /// How it ended.
    pub outcome: RunOutcome,
    /// When the worker started, if it did.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
    /// The worker's exit code, if it exited by itself.
    pub exit_code: Option<i32>,
    /// The head of the task's branch after the run, if the run changed it.
    pub commit: Option<ObjectId>,
    /// The tokens of this run alone.
    pub usage: Option<Usage>,
    /// The figures of the whole thread, the baseline of the next run.
    pub usage_total: Option<Usage>,
    /// The agent's last message.
    pub last_message: Option<String>,
    /// What a reader should know besides: nested repositories left out, unreadable files, ….
    pub notes: Vec<String>,
    /// How much the task's branch differed from its base afterwards, as far as git could tell.
    pub changes: Option<DiffStats>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunOutcome {
    /// The turn completed, and the worker exited with 0.
    Completed,
    /// Codex, the worker or the preparation failed.
    Failed(RunError),
    /// Somebody stopped it.
    Stopped,
    /// Its process is gone and left no end.
    Interrupted(RunError),
}

/// Why a run failed or was interrupted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunError {
    /// Stable, for scripts: `unauthorized`, `time_limit`, `thread_changed`, ….
    pub code: String,
    /// One sentence.
    pub message: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl RunError {
    /// An error without hints.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: harmless(message.into()), hints: Vec::new() }
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(harmless(hint.into()));
        self
    }
}

impl RunError {
    /// The same, as the refusal of a request.
    pub fn into_problem(self, kind: crate::problem::ProblemKind) -> crate::problem::Problem {
        crate::problem::Problem { code: self.code.into(), kind, detail: self.message, hints: self.hints }
    }
}

impl From<crate::problem::Problem> for RunError {
    fn from(problem: crate::problem::Problem) -> Self {
        Self { code: problem.code.into_owned(), message: problem.detail, hints: problem.hints }
    }
}

/// Why there is a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunCause {
    /// Somebody asked for it.
    #[default]
    Asked,
    /// It was asked for while the run before was under way.
    FollowUp,
    /// The run before it failed, and is retried: automatically for a temporary reason, or because somebody asked for that.
    Retry,
    /// The run before was cut off.
    Interruption,
}

impl RunCause {
    /// Whether somebody asked for it in so many words.
    pub fn is_asked(&self) -> bool {
        *self == Self::Asked
    }
}

/// One run of a task.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRecord {
    /// Its number within the task.
    pub number: RunNumber,
    /// The current try.
    pub attempt: Attempt,
    /// What was asked.
    pub prompt: Prompt,
    /// The images that went along.
    pub images: Vec<ImageFile>,
    /// The model asked for, else Codex's own choice.
    pub model: Option<Setting>,
    /// The reasoning effort asked for, else Codex's own choice.
    pub effort: Option<Setting>,
    /// Who goes first in the queue.
    pub priority: Priority,
    /// The key that it was asked for under; that of a task's first run is the task's.
    pub idempotency_key: Option<String>,
    /// Why there is this run.
    pub cause: RunCause,
    /// When it was asked for.
    pub queued_at: Timestamp,
    /// When it may begin at the earliest.
    pub not_before: Option<Timestamp>,
    /// When its worker started.
    pub started_at: Option<Timestamp>,
    /// The thread that it continues; a first run and a fresh start continue none.
    pub resumes: Option<ThreadId>,
    /// The thread that it should have continued, but whose session was missing: it started a new one with a summary.
    pub lost_thread: Option<ThreadId>,
    /// The thread that Codex reported.
    pub thread_id: Option<ThreadId>,
    /// Whether Codex reported a started turn: from then on the thread can be resumed.
    pub turn_started: bool,
    /// Where it is in its life.
    pub phase: RunPhase,
    /// Fields that another version wrote.
    pub extra: Map<String, Value>,
}

impl RunRecord {
    /// The status as the contract names it.
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

    /// How it ended, once it has.
    pub fn end(&self) -> Option<&RunEnd> {
        match &self.phase {
            RunPhase::Ended(end) => Some(end),
            RunPhase::Queued | RunPhase::Preparing | RunPhase::Running | RunPhase::Stopping => None,
        }
    }

    /// Whether it has not ended.
    pub fn is_active(&self) -> bool {
        self.end().is_none()
    }
}

/// The status of a run, and of a task by its last run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the contract's own and defined there")]
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
    /// The word of the contract.
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

/// A run as `meta.json` and the API spell it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Run)]
pub struct RunFile {
    /// The run's number within its task, from 1.
    pub number: RunNumber,
    /// The journal's path below the task's folder.
    pub log: String,
    /// What was asked.
    pub prompt: Prompt,
    /// The images that went along.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageFile>,
    /// The model asked for.
    pub model: Option<Setting>,
    /// The reasoning effort asked for.
    pub effort: Option<Setting>,
    /// Where the run is.
    pub status: RunStatus,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub queued_at: Timestamp,
    /// When its worker started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// The worker's exit code.
    pub exit_code: Option<i32>,
    /// The thread that Codex reported.
    pub thread_id: Option<ThreadId>,
    /// The head of the branch after the run, if the run changed it.
    #[schema(value_type = Option<String>)]
    pub commit: Option<ObjectId>,
    /// The tokens of this run alone.
    pub usage: Option<Usage>,
    /// The agent's last message.
    pub last_message: Option<String>,
    /// Why it failed or was interrupted.
    pub error: Option<RunError>,
    /// The current try; an event of an older one is dropped.
    #[serde(default = "first_attempt")]
    pub attempt: Attempt,
    /// The thread that it continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<ThreadId>,
    /// The thread that it should have continued, but whose session was missing: it started a new one with a summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_thread: Option<ThreadId>,
    /// Whether Codex reported a started turn.
    #[serde(default)]
    pub turn_started: bool,
    /// The figures of the whole thread so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage_total: Option<Usage>,
    /// What a reader should know besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Who goes first in the queue.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub priority: Priority,
    /// The key that it was asked for under; that of a task's first run is the task's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Why there is this run.
    #[serde(default, skip_serializing_if = "RunCause::is_asked")]
    pub cause: RunCause,
    /// When it may begin at the earliest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    /// How much the task's branch differed from its base when this run had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changes: Option<DiffStats>,
    /// Fields that another version wrote.
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

/// A run whose fields contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("run {number} has the status {status:?} but no `{missing}`")]
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
