//! A task and its runs, as clients see them.
//!
//! The fields are those that clients have always received. The format of the files on disk may change without them.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use model::codex::Usage;
use model::commit::{OmittedFiles, PathText};
use model::diff::DiffStats;
use model::ids::{Attempt, EnvironmentId, ObjectId, RunNumber, TaskId, ThreadId};
use model::image::ImageFile;
use model::names::{BranchName, Prompt, RefName, RepositoryUrl, Setting, Title};
use model::policy::DriverChoice;
use model::publication::Publication;
use model::queue::{Priority, QueuePlace};
use model::run::{RunCause, RunEnd, RunError, RunRecord, RunStatus};
use model::run_times::PhaseTimes;
use model::setup::{ServiceName, SnapshotKey};
use model::task::{FollowUp, HeldChanges, Question, TaskGroup, TaskRecord, TaskStatus, Update};

use crate::Progress;

/// A task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Task)]
pub struct TaskView {
    /// The schema version of the task's files.
    pub schema: u32,
    /// The ID of the task.
    pub task_id: TaskId,
    /// The ID of the repository.
    pub env_id: EnvironmentId,
    /// The URL of the repository.
    pub repo_url: RepositoryUrl,
    /// The title.
    pub title: Title,
    /// The branch, tag or commit that was requested as the start.
    #[serde(rename = "ref")]
    pub git_ref: RefName,
    /// How Codex is run. If it is not set, the repository's setting applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<DriverChoice>,
    /// The commit that the task starts from. After an update, the commit that the branch is based on.
    #[schema(value_type = Option<String>)]
    pub base_sha: Option<ObjectId>,
    /// The task's branch, `codex/<task_id>`.
    pub branch: BranchName,
    /// The thread that a resume continues.
    pub thread_id: Option<ThreadId>,
    /// The status of the last run, or `removing`.
    pub status: TaskStatus,
    /// When the task was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When the task's record last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// The task's runs, oldest first.
    pub runs: Vec<RunView>,
    /// Prompts that wait for the active run to end, next one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub follow_ups: Vec<FollowUp>,
    /// The number of follow-ups that were ever created.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub follow_ups_made: u32,
    /// The publication, if somebody requested it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Publication>)]
    pub publication: Option<Box<Publication>>,
    /// The number of the last run that somebody viewed after it ended, or 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub seen_run: u32,
    /// When the task was archived. Archived tasks are hidden from lists but keep all their data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub archived_at: Option<Timestamp>,
    /// The updates of the branch from its base branch, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub updates: Vec<Update>,
    /// The question that must be answered before the run can start. Answer it with `POST /api/v1/tasks/{task_id}/answer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<Question>,
    /// Submodule URLs that somebody decided not to fetch for this task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub skipped_urls: Vec<RepositoryUrl>,
    /// Files beyond the limits of a run's commit. Decide about them with `POST /api/v1/tasks/{task_id}/answer`. The status stays the
    /// same, and later runs commit other files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<HeldChanges>)]
    pub held: Option<Box<HeldChanges>>,
    /// Files and folders that somebody decided not to commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<String>)]
    pub ignored_paths: Vec<PathText>,
    /// The snapshot of the repository's environment that the task uses. Null if it uses none, or if its next run takes the newest one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotKey>,
    /// Whether the next run takes the newest snapshot, because the environment was refreshed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub environment_refreshed: bool,
    /// The idempotency key of the request that created the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// Name of the repository. Null if the repository was removed.
    pub env_name: Option<Title>,
    /// Group of the task in lists.
    pub group: TaskGroup,
    /// Whether a run is queued or in progress.
    pub active: bool,
    /// Progress of preparing the worktree.
    pub progress: Option<Progress>,
    /// What the agent is doing, in one line, while a run is in progress.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
    /// Place of the task's run in the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueuePlace>,
}

impl TaskView {
    /// Creates the view of a record.
    pub fn new(record: &TaskRecord, env_name: Option<Title>, progress: Option<Progress>, queue: Option<QueuePlace>) -> Self {
        Self {
            schema: model::SCHEMA,
            task_id: record.task_id,
            env_id: record.env_id,
            repo_url: record.repo_url.clone(),
            title: record.title.clone(),
            git_ref: record.git_ref.clone(),
            driver: record.driver,
            base_sha: record.base_sha.clone(),
            branch: record.branch(),
            thread_id: record.thread_id,
            status: record.status(),
            created_at: record.created_at,
            updated_at: record.updated_at,
            runs: record.runs.iter().map(RunView::from).collect(),
            follow_ups: record.follow_ups.clone(),
            follow_ups_made: record.follow_ups_made,
            publication: record.publication.clone(),
            seen_run: record.seen_run,
            archived_at: record.archived_at,
            updates: record.updates.clone(),
            question: record.question.clone(),
            skipped_urls: record.skipped_urls.clone(),
            held: record.held.clone(),
            ignored_paths: record.ignored_paths.clone(),
            snapshot: record.environment.snapshot.clone(),
            environment_refreshed: record.refreshes.is_due,
            idempotency_key: record.idempotency_key.clone(),
            env_name,
            group: TaskGroup::of(record),
            active: record.last_run().is_active(),
            progress,
            activity: None,
            queue,
        }
    }
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Run)]
pub struct RunView {
    /// The run's number within its task, counted from 1.
    pub number: RunNumber,
    /// The path of the log below the task's folder.
    pub log: String,
    /// The prompt.
    pub prompt: Prompt,
    /// The images of the prompt, and the other files that are attached to it.
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
    /// Files that the commit omitted, because their folders were generated or somebody ignores them. Commit them with `POST
    /// /api/v1/tasks/{task_id}/commit`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<OmittedFiles>,
    /// The number of artifacts that the agent left. List them with `GET /api/v1/tasks/{task_id}/runs/{n}/artifacts`.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub artifacts: u32,
    /// Whether the agent installed something that a setup could install. List the commands with `GET
    /// /api/v1/tasks/{task_id}/installed`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub installed: bool,
    /// The names of the services that run next to the agent. Get their output with `GET
    /// /api/v1/tasks/{task_id}/runs/{n}/services/{service}/log`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub services: Vec<ServiceName>,
    /// How long the phases of the run took.
    #[serde(default, skip_serializing_if = "PhaseTimes::is_empty")]
    pub times: PhaseTimes,
}

fn first_attempt() -> Attempt {
    Attempt::FIRST
}

impl From<&RunRecord> for RunView {
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
            times: run.times.phases.clone(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
