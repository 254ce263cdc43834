//! The form of a task's record on disk, `meta.json`.
//!
//! Reading what was written gives the same record, including fields that a different version wrote. Invariants of a file that can be
//! used: it has at least one run, and only its last run may be active.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::commit::PathText;
use model::ids::{EnvironmentId, ObjectId, RunNumber, TaskId, ThreadId};
use model::names::{BranchName, RefName, RepositoryUrl, Title, VariableName};
use model::policy::DriverChoice;
use model::publication::Publication;
use model::run::RunRecord;
use model::setup::{CachePath, FilePath, Service, ServiceName, SnapshotKey, TakenEnvironment, TakenFiles};
use model::task::{FollowUp, HeldChanges, PendingNotice, Question, Refreshes, TaskRecord, TaskStatus, Update};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::run_file::{RunFile, RunFileError};

/// A task, as it is in `meta.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TaskFile {
    /// The schema version of this file.
    pub(crate) schema: u32,
    /// The ID of the task.
    pub(crate) task_id: TaskId,
    /// The ID of the repository.
    pub(crate) env_id: EnvironmentId,
    /// The URL of the repository.
    pub(crate) repo_url: RepositoryUrl,
    /// The title.
    pub(crate) title: Title,
    /// The branch, tag or commit that was requested as the start.
    #[serde(rename = "ref")]
    pub(crate) git_ref: RefName,
    /// How Codex is run. If it is not set, the repository's setting applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) driver: Option<DriverChoice>,
    /// The commit that the task starts from. After an update, the commit that the branch is based on.
    pub(crate) base_sha: Option<ObjectId>,
    /// The task's branch, `codex/<task_id>`.
    pub(crate) branch: BranchName,
    /// The snapshot of the repository's environment that the task started from, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) snapshot: Option<SnapshotKey>,
    /// The services that run next to the agent of the task.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) services: BTreeMap<ServiceName, Service>,
    /// The files that are placed in the containers of the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) files: Option<TakenFiles>,
    /// Folders that the task keeps between its runs, if its worker runs no setups.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) caches: BTreeSet<CachePath>,
    /// All files that were ever placed in containers of the task, with the names of their secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) placed_files: BTreeMap<FilePath, VariableName>,
    /// The refreshes of the environment.
    #[serde(default, skip_serializing_if = "Refreshes::is_default")]
    pub(crate) refreshes: Refreshes,
    /// The thread that a resume continues.
    pub(crate) thread_id: Option<ThreadId>,
    /// The status of the last run, or `removing`.
    pub(crate) status: TaskStatus,
    /// When the task was created.
    pub(crate) created_at: Timestamp,
    /// When the task's record last changed.
    pub(crate) updated_at: Timestamp,
    /// The task's runs, oldest first.
    pub(crate) runs: Vec<RunFile>,
    /// Prompts that wait for the active run to end, next one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) follow_ups: Vec<FollowUp>,
    /// The number of follow-ups that were ever created.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) follow_ups_made: u32,
    /// The publication, if somebody requested it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) publication: Option<Box<Publication>>,
    /// The number of the last run that somebody viewed after it ended, or 0.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) seen_run: u32,
    /// When the task was archived. Archived tasks are hidden from lists but keep all their data.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) archived_at: Option<Timestamp>,
    /// The updates of the branch from its base branch, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) updates: Vec<Update>,
    /// The update that is moving the branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) updating: Option<Box<Update>>,
    /// Notifications that are not sent yet, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) notices: Vec<PendingNotice>,
    /// The number of notifications that were ever recorded.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) notices_made: u32,
    /// The question that must be answered before the run can start. Answer it with `POST /api/v1/tasks/{task_id}/answer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) question: Option<Question>,
    /// Submodule URLs that somebody decided not to fetch for this task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) skipped_urls: Vec<RepositoryUrl>,
    /// Files beyond the limits of a commit, which wait for a decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) held: Option<Box<HeldChanges>>,
    /// Files and folders that somebody decided not to commit.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) ignored_paths: Vec<PathText>,
    /// The idempotency key of the request that created the task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) idempotency_key: Option<String>,
    /// Fields that a different version wrote.
    #[serde(flatten)]
    pub(crate) extra: Map<String, Value>,
}

impl From<&TaskRecord> for TaskFile {
    fn from(task: &TaskRecord) -> Self {
        Self {
            schema: model::SCHEMA,
            task_id: task.task_id,
            env_id: task.env_id,
            repo_url: task.repo_url.clone(),
            title: task.title.clone(),
            git_ref: task.git_ref.clone(),
            driver: task.driver,
            base_sha: task.base_sha.clone(),
            branch: task.branch(),
            snapshot: task.environment.snapshot.clone(),
            services: task.environment.services.clone(),
            files: task.environment.files.clone(),
            caches: task.environment.caches.clone(),
            placed_files: task.placed_files.clone(),
            refreshes: task.refreshes,
            thread_id: task.thread_id,
            status: task.status(),
            created_at: task.created_at,
            updated_at: task.updated_at,
            runs: task.runs.iter().map(RunFile::from).collect(),
            follow_ups: task.follow_ups.clone(),
            follow_ups_made: task.follow_ups_made,
            publication: task.publication.clone(),
            seen_run: task.seen_run,
            archived_at: task.archived_at,
            updates: task.updates.clone(),
            updating: task.updating.clone(),
            notices: task.notices.clone(),
            notices_made: task.notices_made,
            question: task.question.clone(),
            skipped_urls: task.skipped_urls.clone(),
            held: task.held.clone(),
            ignored_paths: task.ignored_paths.clone(),
            idempotency_key: task.idempotency_key.clone(),
            extra: task.extra.clone(),
        }
    }
}

/// The error for a `meta.json` that is valid JSON but cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TaskFileError {
    /// The file was written by a newer version.
    #[error("the file has schema {found}, but this version supports only schema {known}")]
    Newer {
        /// The schema in the file.
        found: u32,
        /// The newest schema that this version knows.
        known: u32,
    },
    /// The task has no runs.
    #[error("the task has no runs")]
    NoRuns,
    /// Runs are out of order, or a run before the last one is active.
    #[error("run {0} is out of order")]
    OutOfOrder(RunNumber),
    /// The fields of a run contradict each other.
    #[error(transparent)]
    Run(#[from] RunFileError),
}

impl TryFrom<TaskFile> for TaskRecord {
    type Error = TaskFileError;

    fn try_from(file: TaskFile) -> Result<Self, TaskFileError> {
        if file.schema > model::SCHEMA {
            return Err(TaskFileError::Newer { found: file.schema, known: model::SCHEMA });
        }
        let runs = file.runs.into_iter().map(RunRecord::try_from).collect::<Result<Vec<_>, _>>()?;
        let (_, earlier) = runs.split_last().ok_or(TaskFileError::NoRuns)?;
        if let Some(run) = earlier.iter().find(|run| run.is_active()) {
            return Err(TaskFileError::OutOfOrder(run.number));
        }
        if let Some(pair) = runs.windows(2).find(|pair| pair[0].number >= pair[1].number) {
            return Err(TaskFileError::OutOfOrder(pair[1].number));
        }
        Ok(Self {
            task_id: file.task_id,
            env_id: file.env_id,
            repo_url: file.repo_url,
            title: file.title,
            git_ref: file.git_ref,
            driver: file.driver,
            base_sha: file.base_sha,
            environment: TakenEnvironment {
                snapshot: file.snapshot,
                services: file.services,
                files: file.files,
                caches: file.caches,
            },
            placed_files: file.placed_files,
            refreshes: file.refreshes,
            thread_id: file.thread_id,
            removing: file.status == TaskStatus::Removing,
            created_at: file.created_at,
            updated_at: file.updated_at,
            runs,
            follow_ups: file.follow_ups,
            follow_ups_made: file.follow_ups_made,
            publication: file.publication,
            seen_run: file.seen_run,
            archived_at: file.archived_at,
            updates: file.updates,
            updating: file.updating,
            notices: file.notices,
            notices_made: file.notices_made,
            question: file.question,
            skipped_urls: file.skipped_urls,
            held: file.held,
            ignored_paths: file.ignored_paths,
            idempotency_key: file.idempotency_key,
            extra: file.extra,
        })
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

#[cfg(test)]
mod tests;
