//! The words of the HTTP API, shared by the server, the command line and the pages.
//!
//! Requests hold plain text as it came; they are parsed into [`crate::names`] by the engine, so that a bad value becomes a
//! [`Problem`] with a hint and not a parser's complaint.

mod answer;
mod doctor;
mod publish;
mod query;
mod queue;
mod refs;
mod trash;
mod update;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::container::{ContainerSettings, ContainerStatus, EditContainer};
use crate::environment::{EnvironmentRecord, EnvironmentStatus};
use crate::error_code::AnyCode;
use crate::forge::{EditForge, ForgeSettings};
use crate::ids::{EnvironmentId, RunNumber, TaskId};
use crate::image::GivenImage;
use crate::names::{BranchName, RepositoryUrl, Title, VariableName};
use crate::policy::{EditRunPolicy, RunPolicy};
use crate::problem::{Problem, ProblemKind};
use crate::queue::{Hold, QueuePlace};
use crate::report::Report;
use crate::run::{RunError, RunStatus};
use crate::secret::Secret;
use crate::sources::{EditSources, SourceSettings};
use crate::task::{TaskFile, TaskGroup, TaskRecord, TaskStatus};

pub use answer::AnswerTask;
pub use doctor::{Finding, Level};
pub use publish::{ForgeView, PublicationView, PublishTask};
pub use query::{Archived, ConflictsQuery, DiffFormat, DiffQuery, FeedQuery, FollowQuery, LogQuery, RefsQuery, TaskQuery};
pub use queue::{QueueItem, QueueView};
pub use refs::{FetchView, RefItem, RefKind, RefsView};
pub use trash::{
    BuiltImage, CollectGarbage, DiskView, EnvironmentDisk, GarbageCollected, ImageUse, MirrorRepack, NotDeleted, RepackState,
    TaskDisk, TrashItem, TrashKind,
};
pub use update::{Base, ConflictsView, TaskConflicts, UpdateConflicts, UpdateOutcome, UpdateTask, UpdateView};

/// `POST /api/v1/envs`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateEnvironment {
    /// Where to clone from: https, ssh, scp-like, file or an absolute path.
    pub repo_url: String,
    /// What tasks start from; the remote's HEAD where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<String>,
    /// A name for people; the repository's where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Variables for the agent's process. Not for secrets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, String>,
    /// Variables that are never answered again, and masked in what the agent says. The raw log keeps what the agent printed.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>, write_only)]
    pub secrets: BTreeMap<String, Secret>,
    /// How the container of its runs is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<EditContainer>,
    /// How its runs go: how many at once, and what follows one that did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<EditRunPolicy>,
    /// Its forge, where the URL does not say it, and the token for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge: Option<EditForge>,
    /// Which submodules the host fetches without asking, besides those of the default branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<EditSources>,
}

/// `PATCH /api/v1/envs/{env_id}`: what is left out stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditEnvironment {
    /// A new name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Another branch of the mirror.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_branch: Option<String>,
    /// All variables anew.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variables: Option<BTreeMap<String, String>>,
    /// Secrets to set, or to forget where the value is null. The others stay.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, Option<String>>, write_only)]
    pub secrets: BTreeMap<String, Option<Secret>>,
    /// What to change of how the container of its runs is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<EditContainer>,
    /// How its runs go: how many at once, and what follows one that did not end well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runs: Option<EditRunPolicy>,
    /// Its forge, where the URL does not say it, and the token for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forge: Option<EditForge>,
    /// Which submodules the host fetches without asking, besides those of the default branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sources: Option<EditSources>,
}

/// How far a clone or a checkout has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Progress {
    /// Git's own word for what it is doing, such as `Receiving objects`.
    pub phase: String,
    /// 0 to 100, where git says so.
    pub percent: Option<u8>,
}

/// An environment as the API answers it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Environment)]
pub struct EnvironmentView {
    /// Its id.
    pub env_id: EnvironmentId,
    /// Its name for people.
    pub name: Title,
    /// Where it is cloned from.
    pub repo_url: RepositoryUrl,
    /// What tasks start from; null until the remote told it.
    pub default_branch: Option<BranchName>,
    /// Where it is in its life.
    pub status: EnvironmentStatus,
    /// Why it failed.
    pub error: Option<RunError>,
    /// How far the clone is, while it is cloning.
    pub progress: Option<Progress>,
    /// Variables for the agent's process.
    #[schema(value_type = BTreeMap<String, String>)]
    pub variables: BTreeMap<VariableName, String>,
    /// The names of the variables that are secret. Their values are never answered.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub secrets: Vec<VariableName>,
    /// How the container of its runs is made.
    #[serde(default)]
    pub container: ContainerSettings,
    /// How its runs go: how many at once, and what follows one that did not end well.
    #[serde(default)]
    pub runs: RunPolicy,
    /// How its forge is reached, where the URL does not say it.
    #[serde(default)]
    pub forge: ForgeSettings,
    /// Which submodules the host fetches without asking, besides those of the default branch.
    #[serde(default)]
    pub sources: SourceSettings,
    /// Whether it has a token for its forge. The token itself is never answered.
    #[serde(default)]
    pub has_forge_token: bool,
    /// When its remote was last asked for what is new, and how that went.
    #[serde(default)]
    pub fetch: FetchView,
    /// How many tasks are cut from it.
    pub tasks: usize,
    /// When it was created.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

impl EnvironmentView {
    /// The view of a record.
    pub fn new(record: &EnvironmentRecord, progress: Option<Progress>, fetch: FetchView, tasks: usize) -> Self {
        Self {
            env_id: record.env_id,
            name: record.name.clone(),
            repo_url: record.repo_url.clone(),
            default_branch: record.default_branch.clone(),
            status: record.status,
            error: record.error.clone(),
            progress,
            variables: record.variables.clone(),
            secrets: record.secrets.keys().cloned().collect(),
            container: record.container.clone(),
            runs: record.runs.clone(),
            forge: record.forge.clone(),
            sources: record.sources.clone(),
            has_forge_token: record.forge_token.is_some(),
            fetch,
            tasks,
            created_at: record.created_at,
            updated_at: record.updated_at,
        }
    }
}

/// `POST /api/v1/tasks`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateTask {
    /// The environment to cut it from.
    pub env_id: String,
    /// What the agent should do: 1 byte to 1 MiB of UTF-8.
    pub prompt: String,
    /// Images that go along: up to 8 PNG, JPEG, GIF or WebP files, 10 MiB each and 20 MiB together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<GivenImage>,
    /// A branch, a tag or a commit id; the environment's default branch where it is left out.
    #[serde(rename = "ref", default, skip_serializing_if = "Option::is_none")]
    pub git_ref: Option<String>,
    /// One line for people; the prompt's first line where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The model, else the environment's, else Codex's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The reasoning effort, else the environment's where the model is, else Codex's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// Who goes first in the queue: `low`, `normal` or `high`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
}

/// `POST /api/v1/tasks/{task_id}/resume`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeTask {
    /// What the agent should do next.
    pub prompt: String,
    /// Images that go along, as for a new task.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<GivenImage>,
    /// The model for this run, else that of the run before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The reasoning effort for this run, else that of the run before it where the model is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<String>,
    /// Who goes first in the queue: `low`, `normal` or `high`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub priority: Option<String>,
}

/// A task as the API answers it: its `meta.json` and what is computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Task)]
pub struct TaskView {
    /// The record.
    #[serde(flatten)]
    pub meta: TaskFile,
    /// The environment's name, while there is one.
    pub env_name: Option<Title>,
    /// What it is to people: whether it needs them, runs, waits or is done.
    pub group: TaskGroup,
    /// Whether a run is under way or about to be.
    pub active: bool,
    /// How far the worktree is, while it is being made.
    pub progress: Option<Progress>,
    /// What its agent does now or did last, in a line, while a run is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
    /// Where its run is in the queue, while it waits there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueuePlace>,
}

impl TaskView {
    /// The view of a record.
    pub fn new(record: &TaskRecord, env_name: Option<Title>, progress: Option<Progress>, queue: Option<QueuePlace>) -> Self {
        let group = TaskGroup::of(record);
        Self {
            meta: TaskFile::from(record),
            env_name,
            group,
            active: record.last_run().is_active(),
            progress,
            activity: None,
            queue,
        }
    }
}

/// A task or environment on disk that cannot be read. It is left as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Damaged {
    /// The name of its folder.
    pub id: String,
    /// The file that cannot be read.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
    /// What to do about it.
    pub hints: Vec<String>,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// The things, newest first.
    pub items: Vec<T>,
    /// What to send as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
    /// What is on disk and cannot be read, on the first page.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damaged: Vec<Damaged>,
}

/// A change of state, as `GET /api/v1/events` sends it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FeedEvent {
    /// A task's record changed.
    Task {
        /// The task.
        task_id: TaskId,
        /// Its environment.
        env_id: EnvironmentId,
        /// Its status now.
        status: TaskStatus,
        /// Its last run.
        run: RunNumber,
    },
    /// A task is gone.
    TaskRemoved {
        /// The task.
        task_id: TaskId,
    },
    /// An environment's record changed, or its clone went on.
    Environment {
        /// The environment.
        env_id: EnvironmentId,
        /// Its status now.
        status: EnvironmentStatus,
        /// How far its clone is.
        progress: Option<Progress>,
    },
    /// An environment is gone.
    EnvironmentRemoved {
        /// The environment.
        env_id: EnvironmentId,
    },
    /// A worktree went on being made.
    TaskProgress {
        /// The task.
        task_id: TaskId,
        /// How far it is.
        progress: Progress,
    },
    /// An agent does something else, or said something.
    TaskActivity {
        /// The task.
        task_id: TaskId,
        /// What it does, in a line.
        activity: String,
    },
    /// The queue changed: who waits in it, where, or what for.
    Queue {
        /// How many runs wait.
        waiting: usize,
    },
    /// Events between the last one seen and the next one are gone: read the lists anew.
    Reset,
}

/// The end of a run, as the last event of `…/runs/{n}/events` says it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RunEnded {
    /// How the run ended.
    pub status: RunStatus,
    /// The worker's exit code.
    pub exit_code: Option<i32>,
    /// Why it failed or was interrupted.
    pub error: Option<RunError>,
}

/// `GET /api/v1/status`: what this server is and how it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ServerStatus {
    /// The program's version.
    pub version: String,
    /// The server's process id.
    pub pid: u32,
    /// The home whose only server this is.
    pub home: String,
    /// Which worker runs tasks, or why none can.
    pub worker: WorkerStatus,
    /// The git program.
    pub git: String,
    /// When the server started.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// The TCP address it listens on.
    pub listen: Option<String>,
    /// The address of the pages, for browsers on the server's machine. The host name in it is known to the owner only.
    #[serde(default)]
    pub pages: Option<String>,
    /// How many environments there are.
    pub environments: usize,
    /// How many tasks there are.
    pub tasks: usize,
    /// Number of runs in progress: preparing, running or stopping.
    pub active_runs: usize,
    /// Number of runs that wait in the queue. They are not counted as active.
    #[serde(default)]
    pub queued_runs: usize,
    /// Why no run may begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// What a person must see to: a home that cannot be written, a disk that is full, records that cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub troubles: Vec<Hold>,
}

/// `POST /api/v1/sign-in-links`: what signs one browser in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct SignInLink {
    /// The path, with the code that is good once.
    pub path: String,
    /// The TCP address that serves the pages.
    pub listen: Option<String>,
    /// The address of the pages, for browsers on the server's machine. The path is to be appended to it.
    #[serde(default)]
    pub pages: Option<String>,
    /// How long it is good for.
    pub expires_in_seconds: u32,
}

/// `PUT /api/v1/password`: what signs browsers in beside links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SetPassword {
    /// 10 characters or more.
    #[schema(value_type = String, write_only)]
    pub password: Secret,
}

/// Which worker runs tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct WorkerStatus {
    /// `codex-docker`, `host`, or the path of another program.
    pub name: String,
    /// The program that is started.
    pub program: Option<String>,
    /// Why it cannot be used.
    pub problem: Option<String>,
    /// What to do about it.
    pub hints: Vec<String>,
    /// The container engine and the image, where the worker has them and was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container: Option<ContainerStatus>,
}

/// An error as `application/problem+json` (RFC 9457).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemView {
    /// Always `about:blank`: `code` says it all.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// Stable, for scripts.
    #[schema(value_type = String)]
    pub code: AnyCode,
    /// What went wrong.
    pub detail: String,
    /// What to do next.
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
    use crate::error_code::ErrorCode;

    #[test]
    fn a_problem_survives_the_way_over_http() {
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
    fn a_request_with_a_misspelt_field_is_refused() {
        let misspelt = serde_json::from_str::<CreateTask>(r#"{"env_id":"x","prompt":"y","modle":"z"}"#);
        assert!(misspelt.is_err());
    }
}
