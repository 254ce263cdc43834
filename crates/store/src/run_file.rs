//! The form of a run in the record of its task on disk.
//!
//! In memory, a run is in exactly one phase. On disk it is flat, so a file can contradict itself. Such a file is rejected.

use jiff::Timestamp;
use model::codex::Usage;
use model::commit::OmittedFiles;
use model::diff::DiffStats;
use model::ids::{Attempt, ObjectId, RunNumber, ThreadId};
use model::image::ImageFile;
use model::names::{Prompt, Setting};
use model::queue::Priority;
use model::run::{RunCause, RunEnd, RunError, RunOutcome, RunPhase, RunRecord, RunStatus};
use model::run_times::RunTimes;
use model::setup::ServiceName;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A run, as it is in `meta.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    /// The run's number within its task, counted from 1.
    pub(crate) number: RunNumber,
    /// The path of the log below the task's folder.
    pub(crate) log: String,
    /// The prompt.
    pub(crate) prompt: Prompt,
    /// The images of the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) images: Vec<ImageFile>,
    /// The requested model.
    pub(crate) model: Option<Setting>,
    /// The requested reasoning effort.
    pub(crate) effort: Option<Setting>,
    /// The status.
    pub(crate) status: RunStatus,
    /// When the run was requested.
    pub(crate) queued_at: Timestamp,
    /// When the worker started.
    pub(crate) started_at: Option<Timestamp>,
    /// When the run ended.
    pub(crate) finished_at: Option<Timestamp>,
    /// The worker's exit code.
    pub(crate) exit_code: Option<i32>,
    /// The thread that Codex reported.
    pub(crate) thread_id: Option<ThreadId>,
    /// The tip of the task's branch after the run, if the run changed it.
    pub(crate) commit: Option<ObjectId>,
    /// The tokens that this run used.
    pub(crate) usage: Option<Usage>,
    /// The agent's last message.
    pub(crate) last_message: Option<String>,
    /// Why the run failed or was interrupted.
    pub(crate) error: Option<RunError>,
    /// The current attempt. Events of older attempts are dropped.
    #[serde(default = "first_attempt")]
    pub(crate) attempt: Attempt,
    /// The thread that the run continues.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resumes: Option<ThreadId>,
    /// The thread that the run should have continued. Its session was missing, so the run started a new thread with a summary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) lost_thread: Option<ThreadId>,
    /// Whether Codex reported the start of a turn.
    #[serde(default)]
    pub(crate) turn_started: bool,
    /// The tokens of the whole thread so far.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) usage_total: Option<Usage>,
    /// Notes for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notes: Vec<String>,
    /// The priority in the queue.
    #[serde(default, skip_serializing_if = "Priority::is_normal")]
    pub(crate) priority: Priority,
    /// The idempotency key of the request. The first run has the key of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) idempotency_key: Option<String>,
    /// Why the run exists.
    #[serde(default, skip_serializing_if = "RunCause::is_asked")]
    pub(crate) cause: RunCause,
    /// The earliest time at which the run may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) not_before: Option<Timestamp>,
    /// The size of the diff between the task's branch and its base after the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) changes: Option<DiffStats>,
    /// Files that the commit omitted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) omitted: Vec<OmittedFiles>,
    /// The number of artifacts that the agent left.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) artifacts: u32,
    /// Whether the agent installed something that a setup could install.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) installed: bool,
    /// The services that run next to the agent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) services: Vec<ServiceName>,
    /// How long its phases took.
    #[serde(default, skip_serializing_if = "RunTimes::is_empty")]
    pub(crate) times: RunTimes,
    /// Fields that a different version wrote.
    #[serde(flatten)]
    pub(crate) extra: Map<String, Value>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

fn first_attempt() -> Attempt {
    Attempt::FIRST
}

impl From<&RunRecord> for RunFile {
    fn from(run: &RunRecord) -> Self {
        let end = run.end();
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
            error: end.and_then(RunEnd::error).cloned(),
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
            omitted: end.map(|end| end.omitted.clone()).unwrap_or_default(),
            artifacts: end.map_or(0, |end| end.artifacts),
            installed: end.is_some_and(|end| end.installed),
            services: run.services.clone(),
            times: run.times.clone(),
            extra: run.extra.clone(),
        }
    }
}

/// The error for a run whose fields contradict each other.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("run {number} has status {status:?} but no `{missing}`")]
pub(crate) struct RunFileError {
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
                omitted: file.omitted,
                artifacts: file.artifacts,
                installed: file.installed,
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
            services: file.services,
            times: file.times,
            extra: file.extra,
        })
    }
}
