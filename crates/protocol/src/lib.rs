//! The requests and responses of the HTTP API, shared by the server, the command line and the pages.
//!
//! Requests contain text as the client sent it. The engine parses the text into the types of [`model::names`], so an invalid
//! value results in a [`Problem`] with a hint instead of a parser's error.

mod answer;
mod artifacts;
mod doctor;
mod installed;
mod publish;
mod query;
mod queue;
mod refs;
pub mod settings;
mod setup;
mod task;
mod task_filter;
mod trash;
mod update;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use model::commit::{CommitSettings, EditCommits};
use model::container::{ContainerSettings, ContainerStatus, EditContainer};
use model::environment::{EnvironmentRecord, EnvironmentStatus};
use model::error_code::AnyCode;
use model::forge::{EditForge, ForgeSettings};
use model::ids::{EnvironmentId, RunNumber, TaskId};
use model::image::{GivenFile, GivenImage};
use model::names::{BranchName, NewRepositoryUrl, Prompt, RefName, RepositoryUrl, Setting, Title, VariableName};
use model::policy::{DriverChoice, EditRunPolicy, RunPolicy};
use model::problem::{Problem, ProblemKind};
use model::queue::{Blocker, Priority};
use model::report::Report;
use model::run::{RunError, RunStatus};
use model::secret::{PasswordText, Secret, SecretChange, VariableValue};
use model::sources::{EditSources, SourceSettings};
use model::task::TaskStatus;

pub use answer::{AnswerTask, CommitFiles};
pub use artifacts::ArtifactsView;
pub use doctor::{Finding, Level};
pub use installed::{InstalledCommandView, InstalledView};
pub use model::codex::app_server::RunDelta;
pub use model::damaged::Damaged;
pub use publish::{ForgeView, PublicationView, PublishTask};
pub use query::{
    Archived, ConflictsQuery, DiffFormat, DiffQuery, FeedQuery, FollowQuery, InstalledQuery, LogQuery, RefsQuery, RunSetupQuery,
    TaskQuery,
};
pub use queue::{QueueItem, QueueView};
pub use refs::{FetchView, RefItem, RefKind, RefsView};
pub use setup::{
    AcceptDescription, DescriptionOrigin, DescriptionView, EditSetup, OpenShell, ProposalView, SetupAttemptView, SetupDiffQuery,
    SetupDiffView, SetupView, ShellView, SnapshotView,
};
pub use task::{RunView, TaskView};
pub use task_filter::TaskFilter;
pub use trash::{
    BuiltImage, CollectGarbage, DeletedSnapshot, DiskView, EnvironmentDisk, GarbageCollected, ImageUse, MirrorRepack, NotDeleted,
    RepackState, TaskDisk, TrashItem, TrashKind,
};
pub use update::{Base, ConflictsView, TaskConflicts, UpdateConflicts, UpdateOutcome, UpdateTask, UpdateView};

/// Body of `POST /api/v1/envs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateEnvironment {
    /// URL to clone from: https, ssh, scp-like (`git@host:owner/name`), file, or an absolute path.
    #[schema(value_type = NewRepositoryUrl)]
    pub repo_url: String,
    /// Branch that tasks start from. Default: the remote's HEAD.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BranchName>)]
    pub default_branch: Option<String>,
    /// Display name. Default: the last part of the URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Title>)]
    pub name: Option<String>,
    /// Environment variables for Codex. Do not use them for secrets. Together with secrets, at most 200.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<VariableName, VariableValue>)]
    pub variables: BTreeMap<String, String>,
    /// Secret environment variables for Codex. The API never returns their values, and transcripts mask them. The raw log is not
    /// masked.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<VariableName, Secret>)]
    pub secrets: BTreeMap<String, Secret>,
    /// Container settings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<EditContainer>,
    /// Run settings, e.g. limits and retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<EditRunPolicy>,
    /// The Git host and the token for it. The URL of the repository usually determines the Git host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge: Option<EditForge>,
    /// Settings for the commits of runs, e.g. limits, the author and the key that signs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commits: Option<EditCommits>,
    /// Branches whose submodules are fetched without asking. The default branch is always included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<EditSources>,
}

/// Body of `PATCH /api/v1/envs/{env_id}`. Omitted fields keep their values.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditEnvironment {
    /// New name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Title>)]
    pub name: Option<String>,
    /// New branch that tasks start from. It must exist in the mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BranchName>)]
    pub default_branch: Option<String>,
    /// New environment variables. They replace all existing ones. Together with secrets, at most 200.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BTreeMap<VariableName, VariableValue>>)]
    pub variables: Option<BTreeMap<String, String>>,
    /// Secrets to set, or to delete if the value is null. Other secrets keep their values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<VariableName, SecretChange>)]
    pub secrets: BTreeMap<String, Option<Secret>>,
    /// Container settings to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<EditContainer>,
    /// Run settings, e.g. limits and retries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<EditRunPolicy>,
    /// The Git host and the token for it. The URL of the repository usually determines the Git host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge: Option<EditForge>,
    /// Settings for the commits of runs, e.g. limits, the author and the key that signs them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commits: Option<EditCommits>,
    /// Branches whose submodules are fetched without asking. The default branch is always included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<EditSources>,
}

/// Progress of a clone or a checkout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Progress {
    /// The current step in git's own words, e.g. `Receiving objects`.
    pub phase: String,
    /// Percentage of the step, from 0 to 100. Null if git does not report one.
    pub percent: Option<u8>,
}

/// A repository. The API calls it an environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Environment)]
pub struct EnvironmentView {
    /// ID of the repository.
    pub env_id: EnvironmentId,
    /// Display name.
    pub name: Title,
    /// URL that the repository is cloned from.
    pub repo_url: RepositoryUrl,
    /// Branch that tasks start from. Null until the clone determines it.
    pub default_branch: Option<BranchName>,
    /// Status of the repository.
    pub status: EnvironmentStatus,
    /// Why the clone failed.
    pub error: Option<RunError>,
    /// Progress of the clone, or of the build of the repository's own image, while it is running.
    pub progress: Option<Progress>,
    /// Why the last build of the repository's own image failed. Null if it succeeded or none was started.
    #[serde(default)]
    pub image_error: Option<RunError>,
    /// Environment variables for Codex.
    #[schema(value_type = BTreeMap<VariableName, String>)]
    pub variables: BTreeMap<VariableName, String>,
    /// Names of the secret environment variables. The API never returns their values.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub secrets: Vec<VariableName>,
    /// Container settings.
    #[serde(default)]
    pub container: ContainerSettings,
    /// Run settings, e.g. limits and retries.
    #[serde(default)]
    pub runs: RunPolicy,
    /// Git host settings, if the URL does not determine the Git host.
    #[serde(default)]
    pub forge: ForgeSettings,
    /// Settings for the commits of runs, e.g. limits, the author and the key that signs them.
    #[serde(default)]
    pub commits: CommitSettings,
    /// Branches whose submodules are fetched without asking. The default branch is always included.
    #[serde(default)]
    pub sources: SourceSettings,
    /// Whether a token for the Git host is stored. The API never returns the token.
    #[serde(default)]
    pub has_forge_token: bool,
    /// The last fetch from the remote.
    #[serde(default)]
    pub fetch: FetchView,
    /// Number of tasks.
    pub tasks: usize,
    /// Time of creation.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Time of the last change.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl EnvironmentView {
    /// Creates the view of a record.
    pub fn new(record: &EnvironmentRecord, progress: Option<Progress>, fetch: FetchView, tasks: usize) -> Self {
        Self {
            env_id: record.env_id,
            name: record.name.clone(),
            repo_url: record.repo_url.clone(),
            default_branch: record.default_branch.clone(),
            status: record.status,
            error: record.error.clone(),
            progress,
            image_error: None,
            variables: record.variables.clone(),
            secrets: record.secrets.keys().cloned().collect(),
            container: record.container.clone(),
            runs: record.runs.clone(),
            forge: record.forge.clone(),
            commits: record.commits.clone(),
            sources: record.sources.clone(),
            has_forge_token: record.forge_token.is_some(),
            fetch,
            tasks,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// Body of `POST /api/v1/tasks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTask {
    /// ID of the repository.
    #[schema(value_type = EnvironmentId)]
    pub env_id: String,
    /// What Codex should do: 1 byte to 1 MiB of UTF-8.
    #[schema(value_type = Prompt)]
    pub prompt: String,
    /// Images for the prompt: up to 8 PNG, JPEG, GIF or WebP files, 10 MiB each and 20 MiB in total.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 8)]
    pub images: Vec<GivenImage>,
    /// Other files for the prompt, which the agent reads: up to 8, 10 MiB each, and 20 MiB in total with the images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 8)]
    pub attachments: Vec<GivenFile>,
    /// Branch, tag or commit ID to start from. Default: the default branch of the repository.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RefName>)]
    pub git_ref: Option<String>,
    /// One-line title. Default: the first line of the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Title>)]
    pub title: Option<String>,
    /// Model. Default: the repository's model, or Codex's own default if none is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Setting>)]
    pub model: Option<String>,
    /// Reasoning effort. Default: the repository's effort if its model is used, otherwise Codex's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Setting>)]
    pub effort: Option<String>,
    /// Priority in the queue. Default: `normal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Priority>)]
    pub priority: Option<String>,
    /// How Codex is run. Default: the repository's setting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DriverChoice>)]
    pub driver: Option<String>,
}

/// Body of `POST /api/v1/tasks/{task_id}/resume` and of the requests for follow-ups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeTask {
    /// What Codex should do next.
    #[schema(value_type = Prompt)]
    pub prompt: String,
    /// Images for the prompt, with the same limits as for a new task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 8)]
    pub images: Vec<GivenImage>,
    /// Other files for the prompt, which the agent reads: up to 8, 10 MiB each, and 20 MiB in total with the images.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(max_items = 8)]
    pub attachments: Vec<GivenFile>,
    /// Model for this run. Default: the model of the previous run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Setting>)]
    pub model: Option<String>,
    /// Reasoning effort for this run. Default: the effort of the previous run if the model is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Setting>)]
    pub effort: Option<String>,
    /// Priority in the queue. Default: `normal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Priority>)]
    pub priority: Option<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// Items, newest first unless the operation says otherwise.
    pub items: Vec<T>,
    /// Value of `cursor` for the next page. Null on the last page.
    pub next_cursor: Option<String>,
    /// Items whose files cannot be read. Included only on the first page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<Damaged>,
}

/// A change of state, sent by `GET /api/v1/events`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FeedEvent {
    /// A task changed.
    Task {
        /// ID of the task.
        task_id: TaskId,
        /// ID of the task's repository.
        env_id: EnvironmentId,
        /// New status.
        status: TaskStatus,
        /// Number of the task's last run.
        run: RunNumber,
    },
    /// A task was removed.
    TaskRemoved {
        /// ID of the task.
        task_id: TaskId,
    },
    /// A repository changed, or its clone made progress.
    Environment {
        /// ID of the repository.
        env_id: EnvironmentId,
        /// New status.
        status: EnvironmentStatus,
        /// Progress of the repository's clone.
        progress: Option<Progress>,
    },
    /// A repository was removed.
    EnvironmentRemoved {
        /// ID of the repository.
        env_id: EnvironmentId,
    },
    /// The preparation of a task's worktree made progress.
    TaskProgress {
        /// ID of the task.
        task_id: TaskId,
        /// Progress of the worktree.
        progress: Progress,
    },
    /// A task's agent started another activity or sent a message.
    TaskActivity {
        /// ID of the task.
        task_id: TaskId,
        /// What the agent is doing, in one line.
        activity: String,
    },
    /// The queue changed.
    Queue {
        /// Number of waiting runs.
        waiting: usize,
    },
    /// Some events are no longer available. Read the lists again.
    Reset,
}

/// How a run ended. This is the data of the `end` event in a run's event stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunEnded {
    /// Final status of the run.
    pub status: RunStatus,
    /// Exit code of the worker.
    pub exit_code: Option<i32>,
    /// Why the run failed or was interrupted.
    pub error: Option<RunError>,
}

/// State of the server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServerStatus {
    /// Version of the program.
    pub version: String,
    /// Process ID of the server.
    pub pid: u32,
    /// Path of the home directory.
    pub home: String,
    /// Worker that runs Codex, or why there is none.
    pub worker: WorkerStatus,
    /// Version of git.
    pub git: String,
    /// Time at which the server started.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// TCP address that the server listens on. Null if it does not listen on TCP.
    pub listen: Option<String>,
    /// URL of the pages for browsers on the server's machine. Only the owner of the home directory knows the host name.
    #[serde(default)]
    pub pages: Option<String>,
    /// Number of repositories.
    pub environments: usize,
    /// Number of tasks.
    pub tasks: usize,
    /// Number of runs in progress: preparing, running or stopping.
    pub active_runs: usize,
    /// Number of runs waiting in the queue, which `active_runs` does not include.
    #[serde(default)]
    pub queued_runs: usize,
    /// Why no run can start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Blocker>,
    /// Problems that you must fix, e.g. a full disk or files that cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Blocker>,
}

/// A one-time sign-in link for a browser.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SignInLink {
    /// Path of the link, with a code that works once.
    pub path: String,
    /// TCP address that serves the pages.
    pub listen: Option<String>,
    /// URL of the pages for browsers on the server's machine. Append the path to this URL.
    #[serde(default)]
    pub pages: Option<String>,
    /// Seconds until the link expires.
    pub expires_in_seconds: u32,
}

/// Body of `PUT /api/v1/password`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// New password, at least 10 characters.
    #[schema(value_type = PasswordText, write_only)]
    pub password: Secret,
}

/// The worker that runs Codex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WorkerStatus {
    /// `codex-docker`, `host`, or the path of a program.
    pub name: String,
    /// Path of the program that the server starts.
    pub program: Option<String>,
    /// Why the worker cannot run tasks. Null if it can.
    pub problem: Option<String>,
    /// How to fix the problem.
    pub hints: Vec<String>,
    /// The container engine and the image. Null if the worker uses no containers or has not been checked yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerStatus>,
}

/// An error, sent as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemView {
    /// Always `about:blank`. See `code` for the kind of error.
    #[serde(rename = "type")]
    pub kind: String,
    /// Name of the HTTP status.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// Stable error code for programs.
    #[schema(value_type = String)]
    pub code: AnyCode,
    /// Description of the error for people.
    pub detail: String,
    /// Suggestions for people on what to do next.
    pub hints: Vec<String>,
}

impl From<&Problem> for ProblemView {
    fn from(problem: &Problem) -> Self {
        let Problem { kind, report } = problem;
        Self {
            kind: "about:blank".to_owned(),
            title: kind.title().to_owned(),
            status: kind.status(),
            code: report.code.clone(),
            detail: report.message.clone(),
            hints: report.hints.clone(),
        }
    }
}

impl From<ProblemView> for Problem {
    fn from(view: ProblemView) -> Self {
        let kind = match view.status {
            400 => ProblemKind::Malformed,
            401 => ProblemKind::Unauthenticated,
            403 => ProblemKind::Forbidden,
            404 => ProblemKind::NotFound,
            409 => ProblemKind::WrongState,
            413 => ProblemKind::TooLarge,
            422 => ProblemKind::Unusable,
            429 => ProblemKind::TooMany,
            503 => ProblemKind::Unavailable,
            _ => ProblemKind::Internal,
        };
        Self { kind, report: Report { code: view.code, message: view.detail, hints: view.hints } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::error_code::ErrorCode;

    #[test]
    fn a_problem_is_the_same_after_it_was_sent_over_http() {
        for kind in [
            ProblemKind::Malformed,
            ProblemKind::Unauthenticated,
            ProblemKind::Forbidden,
            ProblemKind::NotFound,
            ProblemKind::WrongState,
            ProblemKind::TooLarge,
            ProblemKind::Unusable,
            ProblemKind::TooMany,
            ProblemKind::Unavailable,
            ProblemKind::Internal,
        ] {
            let problem = Problem::new(ErrorCode::RunActive, "a sentence").with_kind(kind).hint("do this");
            assert_eq!(Problem::from(ProblemView::from(&problem)), problem);
        }
    }

    #[test]
    fn a_request_with_an_unknown_field_is_refused() {
        let misspelt = serde_json::from_str::<CreateTask>(r#"{"env_id":"x","prompt":"y","modle":"z"}"#);
        assert!(misspelt.is_err());
    }
}
