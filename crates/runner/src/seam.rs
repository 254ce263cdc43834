//! The seam between the server and the place where runs execute.
//!
//! A [`Runner`] executes runs, on this machine or elsewhere. The server decides, and a runner acts: it starts an attempt at most
//! once, delivers its log from any offset, stops it on request, and exports its work. All requests can be repeated. Invariant: if a
//! runner cannot be reached, its answer is [`Unreachable`], and the server concludes nothing from it.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use git::{Makers, Mirror, Worktree};
use jiff::Timestamp;
use model::ErrorCode;
use model::codex::app_server::LiveNews;
use model::commit::{Choices, Selection};
use model::container::ImageUsage;
use model::environment::EnvironmentRecord;
use model::ids::{EnvironmentId, ShellId, TaskId, ThreadId};
use model::problem::Problem;
use model::run::RunError;
use model::secret::Secret;
use model::setup::{Snapshot, SnapshotKey};
use model::task::LayerGeneration;
use process::{Redactor, RunProgramError};
use protocol::WorkerStatus;
use secret_forms::SecretSearch;
use store::ShellOrder;
use tokio_util::sync::CancellationToken;

use crate::keeper::ExitRecord;
use crate::memory::RunMemory;
use crate::setup::{EnvironmentImages, FoundImages, HostSetup, ImagesRequest, OnStep, SetupRequest};
use crate::spec::{ContainerSandbox, FileRef, RunKey, RunSpec, Sandbox, SecretRef};
use crate::worker::SessionFolder;

/// No answer from a runner: the request may or may not have arrived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Unreachable {
    /// What prevented an answer.
    pub reason: String,
}

impl Unreachable {
    /// Describes what prevented an answer.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into() }
    }
}

impl From<io::Error> for Unreachable {
    fn from(error: io::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<RunProgramError> for Unreachable {
    fn from(error: RunProgramError) -> Self {
        Self::new(error.to_string())
    }
}

/// The state of an attempt, as far as its runner knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunState {
    /// The attempt never started. An earlier request to start it has no effect anymore.
    Nobody,
    /// The attempt is running.
    Held {
        /// When it started.
        started_at: Timestamp,
    },
    /// The attempt started and has ended.
    Ended {
        /// How it ended, if the runner knows.
        exit: Option<ExitRecord>,
    },
    /// The runner did not answer, so nothing is known.
    Unreachable(Unreachable),
}

/// The image of a run, for the question whether the run could start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NeededImage {
    /// That of the repository's or the server's settings, which must exist.
    OfSettings,
    /// Another one: that of a snapshot, or one that the setup of the repository downloads or builds first.
    Other,
}

/// How many runs a runner can execute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunnerCapacity {
    /// The maximum number of parallel runs, or `None` if only the server's own limit applies.
    pub most: Option<usize>,
    /// The memory of its runs, if it is known and limited.
    pub memory: Option<RunMemory>,
}

/// What a follower of an attempt's log learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JournalNews {
    /// The attempt writes directly to the server's copy of the log, which has this length now.
    InPlace {
        /// The length in bytes.
        length: u64,
    },
    /// The next bytes of the log, which the server appends to its copy.
    Bytes(Vec<u8>),
    /// The attempt has ended, and all of its log was delivered.
    Ended,
}

/// A request to a running attempt. Requests that steer a turn or answer a question of the agent will be further variants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunRequest {
    /// End the attempt. What it did until then is kept.
    Stop,
}

/// Why an attempt did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The attempt cannot start.
    #[error("{}", .0.message)]
    Failed(RunError),
    /// The runner did not answer, so the attempt may have started.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// What remains of an attempt that has ended, except for its work.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RunRemains {
    /// How the attempt ended, if the runner knows.
    pub exit: Option<ExitRecord>,
    /// The end of what the attempt wrote to stderr.
    pub stderr: String,
    /// Notes about the attempt for people.
    pub notes: Vec<String>,
    /// The number of artifacts that the agent left.
    pub artifacts: u32,
    /// Where the work is.
    pub work: WorkLocation,
    /// Whether the end of the log and of the work may be lost, because the machine stopped unexpectedly.
    pub integrity: Integrity,
}

/// Where the work of an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WorkLocation {
    /// In the task's worktree on the server's machine.
    #[default]
    InPlace,
    /// In the task's agent repository on the server's machine, from which the runner exports it. Work that is not exported stays
    /// there for the next run.
    AgentRepository,
    /// Only at the runner, which must export it before the server can record the end of the run.
    Elsewhere,
}

/// Whether files of an attempt may be incomplete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Integrity {
    /// The files are complete.
    #[default]
    Intact,
    /// The machine stopped before the end of the files was saved.
    Torn,
}

/// What to export of an attempt's work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportMode {
    /// The agent's own commits, and a commit of all other changes.
    Commits,
    /// Only the files, because the commits were rejected.
    Files,
}

/// A request to export an attempt's work.
pub struct ExportRequest<'a> {
    /// The run.
    pub spec: &'a RunSpec,
    /// What to export.
    pub mode: ExportMode,
    /// The container settings of the repository.
    pub container: ContainerSandbox,
    /// The message of the commit.
    pub message: String,
    /// The author and the committer of the commit.
    pub makers: &'a Makers,
    /// The limits of the commit, and what people decided about files of the task.
    pub choices: &'a Choices,
    /// The secrets that no file of the commit may contain, unless people decided so.
    pub secrets: Option<&'a SecretSearch>,
    /// The task's worktree on the server's machine.
    pub worktree: &'a Worktree,
    /// Ends the export early.
    pub cancel: CancellationToken,
}

/// The exported work of an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exported {
    /// The work is in the worktree, and the server commits it.
    InPlace {
        /// Why the work cannot be exported with the agent's own commits, if it has any.
        reason: Option<String>,
    },
    /// A folder with a report and a bundle. Neither is trusted: the server checks and imports them.
    Bundle(ExportFolder),
}

/// A folder with exported work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportFolder {
    /// The folder with `result`, and `bundle` if there is something new.
    pub path: PathBuf,
    /// The folder with the large files of the agent.
    pub large_files: PathBuf,
    /// Where the agent's repository is kept, if it was replaced.
    pub aside: Option<PathBuf>,
    /// What the commit omits by decision.
    pub selection: Selection,
}

/// Why an attempt's work was not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The agent's commits cannot be exported, but its files can.
    #[error("{0}")]
    Unusable(String),
    /// The work cannot be exported.
    #[error("{}", .0.message)]
    Failed(RunError),
    /// The runner did not answer.
    #[error(transparent)]
    Unreachable(#[from] Unreachable),
}

/// A request to prepare a run.
pub struct Preparation<'a> {
    /// The run.
    pub spec: &'a RunSpec,
    /// The task's worktree on the server's machine.
    pub worktree: &'a Worktree,
    /// Ends the preparation early.
    pub cancel: &'a CancellationToken,
}

/// What a server provides to runners: it resolves the references in a description of a run.
pub trait Supply: Send + Sync {
    /// Returns a secret, or `None` if it was deleted.
    fn secret(&self, reference: &SecretRef) -> Option<Secret>;

    /// Returns the content of a file.
    fn file<'a>(&'a self, key: RunKey, reference: &'a FileRef) -> BoxFuture<'a, io::Result<Vec<u8>>>;

    /// Returns the mirror of a repository.
    fn mirror(&self, repository: EnvironmentId) -> Result<Mirror, RunError>;

    /// Returns the Dockerfile of a repository.
    fn dockerfile(&self, repository: EnvironmentId) -> Option<PathBuf>;

    /// Returns the redactor for texts that people can read.
    fn redactor(&self, repository: EnvironmentId) -> Redactor;

    /// Records an image that was built for a repository.
    fn image_built<'a>(&'a self, repository: EnvironmentId, name: &'a str, id: String) -> BoxFuture<'a, ()>;
}

/// Executes runs. Every request can be repeated safely, also by a server that was restarted.
///
/// A runner rejects requests that an earlier server sent and that arrive only after the current server was answered. Requests have
/// short time limits, after which the answer is [`Unreachable`]; only preparations, exports and the end of an attempt may take
/// long. A server that shuts down drops the requests that it waits for, which must not harm the run.
pub trait Runner: Upkeep {
    /// Returns how many runs can be executed at the same time.
    fn capacity(&self) -> RunnerCapacity;

    /// Returns what Codex runs in, for a repository with these settings.
    fn sandbox(&self, container: ContainerSandbox) -> Sandbox;

    /// Creates what an attempt needs before it starts.
    fn prepare<'a>(&'a self, preparation: Preparation<'a>, supply: &'a dyn Supply) -> BoxFuture<'a, Result<(), StartError>>;

    /// Ensures that an attempt has started, and returns when. An attempt that has started is never started again, and an earlier
    /// attempt of the same run is ended first.
    fn ensure_started<'a>(&'a self, spec: &'a RunSpec, supply: &'a dyn Supply) -> BoxFuture<'a, Result<Timestamp, StartError>>;

    /// Returns the state of an attempt.
    fn observe(&self, key: RunKey) -> BoxFuture<'_, RunState>;

    /// Follows the log of an attempt from an offset to its end. After an error, follow it again from the length of the copy.
    fn journal(&self, key: RunKey, from: u64) -> BoxStream<'_, Result<JournalNews, Unreachable>>;

    /// Follows the text of items that an attempt is still writing, from the start of the attempt. It is only for people who watch: the
    /// log contains the complete items.
    fn live(&self, _key: RunKey) -> BoxStream<'_, LiveNews> {
        Box::pin(futures_util::stream::pending())
    }

    /// Passes a request to an attempt. Does nothing if the attempt has ended or never started.
    fn request(&self, key: RunKey, request: RunRequest) -> BoxFuture<'_, Result<(), Unreachable>>;

    /// Ensures that nothing of an attempt is still running, and returns what remains of it.
    fn ensure_ended<'a>(&'a self, spec: &'a RunSpec, supply: &'a dyn Supply) -> BoxFuture<'a, Result<RunRemains, Unreachable>>;

    /// Ensures that the work of an ended attempt is exported.
    fn ensure_exported<'a>(
        &'a self,
        request: ExportRequest<'a>,
        supply: &'a dyn Supply,
    ) -> BoxFuture<'a, Result<Exported, ExportError>>;

    /// Deletes what the runner still has of an attempt. The server has recorded its end.
    fn forget(&self, key: RunKey) -> BoxFuture<'_, Result<(), Unreachable>>;

    /// Returns which images of an environment exist, or `None` if this runner does not apply descriptions.
    fn images<'a>(
        &'a self,
        _wanted: &'a EnvironmentImages,
        _supply: &'a dyn Supply,
    ) -> BoxFuture<'a, Result<Option<FoundImages>, StartError>> {
        Box::pin(async { Ok(None) })
    }

    /// Ensures that the images of an environment exist: builds them, or pulls them from their registries.
    fn ensure_images<'a>(
        &'a self,
        _request: ImagesRequest<'a>,
        _supply: &'a dyn Supply,
    ) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async { Ok(()) })
    }

    /// Returns a complete snapshot of a repository, if the runner has it.
    fn snapshot<'a>(
        &'a self,
        _repository: EnvironmentId,
        _key: &'a SnapshotKey,
    ) -> BoxFuture<'a, Result<Option<Snapshot>, Unreachable>> {
        Box::pin(async { Ok(None) })
    }

    /// Returns the newest snapshot of a family, if the runner has any.
    fn newest_snapshot<'a>(
        &'a self,
        _repository: EnvironmentId,
        _family: &'a SnapshotKey,
    ) -> BoxFuture<'a, Result<Option<Snapshot>, Unreachable>> {
        Box::pin(async { Ok(None) })
    }

    /// Ensures that a snapshot exists. Its setup runs if there is none. A setup of an earlier server is ended first.
    fn ensure_set_up<'a>(
        &'a self,
        _request: SetupRequest<'a>,
        _supply: &'a dyn Supply,
    ) -> BoxFuture<'a, Result<Snapshot, StartError>> {
        Box::pin(async { Err(cannot_set_up()) })
    }

    /// Runs a setup on this machine itself, in the worktree of a task. A script that an earlier server started is ended first.
    fn set_up_on_host<'a>(
        &'a self,
        _setup: &'a HostSetup,
        _supply: &'a dyn Supply,
        _cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), StartError>> {
        Box::pin(async { Err(cannot_set_up()) })
    }
}

fn cannot_set_up() -> StartError {
    StartError::Failed(RunError::new(ErrorCode::SetupFailed, "this worker cannot run a setup"))
}

/// The parts of a runner that do not concern a single attempt. The defaults are those of a runner that leaves nothing on the
/// server's machine.
pub trait Upkeep: Send + Sync {
    /// Returns why no run of a repository with this image could start now, or of any repository if none is given.
    fn ready<'a>(&'a self, repository: Option<&'a EnvironmentRecord>, image: NeededImage) -> BoxFuture<'a, Result<(), Problem>>;

    /// Returns the status for the API, as of the last check.
    fn status(&self) -> WorkerStatus;

    /// Whether the status is so old that it should be checked again.
    fn is_stale(&self) -> bool {
        false
    }

    /// Checks the status again, unless this was done a moment ago.
    fn refresh(&self) -> BoxFuture<'_, ()> {
        Box::pin(async {})
    }

    /// Whether tasks keep the folders in [`RunSpec::caches`], although this runner runs no setups.
    fn keeps_caches(&self) -> bool {
        false
    }

    /// Returns where Codex stores the sessions of a task, or `None` if they are not on this machine.
    fn sessions(&self, _task: TaskId) -> Option<SessionFolder> {
        None
    }

    /// Whether the last turn of a thread could not write, because its sandbox was read-only.
    fn was_read_only(&self, _task: TaskId, _thread: ThreadId) -> BoxFuture<'_, io::Result<bool>> {
        Box::pin(async { Ok(false) })
    }

    /// Ends and deletes everything that belongs to none of these attempts, except for attempts that were started after this
    /// request was sent.
    fn sweep<'a>(&'a self, active: &'a BTreeSet<RunKey>) -> BoxFuture<'a, Result<(), Unreachable>>;

    /// Ends what a task left behind outside of its attempts, such as an interrupted export.
    fn clear_task(&self, task: TaskId, redactor: Redactor) -> BoxFuture<'_, Result<(), Unreachable>>;

    /// Makes this server's user the owner of a folder, if runs may have left files of other users in it.
    fn reclaim<'a>(&'a self, _folder: &'a Path) -> BoxFuture<'a, Result<(), Unreachable>> {
        Box::pin(async { Ok(()) })
    }

    /// Deletes what runs of a task installed outside of its folders. The task is being deleted permanently.
    fn forget_task(&self, _task: TaskId) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async { Ok(()) })
    }

    /// Deletes all layers of a task, with what its runs installed, except for those of this generation. No run uses the others.
    fn discard_layers(&self, _task: TaskId, _current: LayerGeneration) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async { Ok(()) })
    }

    /// Deletes what setups of a repository installed outside of its folders. The repository is being deleted permanently.
    fn forget_repository(&self, _repository: EnvironmentId) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async { Ok(()) })
    }

    /// Takes the names of all snapshots of a repository away except for these, so that the others no longer exist.
    fn discard_snapshots<'a>(
        &'a self,
        _repository: EnvironmentId,
        _needed: &'a BTreeSet<SnapshotKey>,
    ) -> BoxFuture<'a, Result<(), Unreachable>> {
        Box::pin(async { Ok(()) })
    }

    /// Deletes the files and images of the repository's snapshots that no longer exist.
    fn delete_discarded_snapshots(&self, _repository: EnvironmentId) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async { Ok(()) })
    }

    /// Prepares a shell in the environment of a repository, like a run of a task with the same ID. Returns how to start it, and notes.
    fn open_shell<'a>(
        &'a self,
        _preparation: Preparation<'a>,
        _supply: &'a dyn Supply,
    ) -> BoxFuture<'a, Result<(ShellOrder, Vec<String>), RunError>> {
        Box::pin(async { Err(RunError::new(ErrorCode::NoShell, "this worker cannot start shells")) })
    }

    /// Ends what a shell left behind, and makes this server's user the owner of its folder.
    fn close_shell(&self, _repository: EnvironmentId, _shell: ShellId) -> BoxFuture<'_, Result<(), Unreachable>> {
        Box::pin(async { Ok(()) })
    }

    /// Builds a repository's own image, if it has one, and passes each step to `on_step`.
    fn build_image<'a>(
        &'a self,
        _repository: EnvironmentId,
        _supply: &'a dyn Supply,
        _on_step: OnStep<'a>,
        _cancel: &'a CancellationToken,
    ) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(async { Ok(()) })
    }

    /// Returns what uses these images. Images that no longer exist are omitted.
    fn image_usage<'a>(&'a self, _ids: &'a BTreeSet<String>) -> BoxFuture<'a, Result<Vec<ImageUsage>, Unreachable>> {
        Box::pin(async { Ok(vec![]) })
    }

    /// Removes an image, unless it is used or has any other name. Returns whether the image is gone.
    fn remove_image<'a>(&'a self, _id: &'a str, _names: &'a BTreeSet<String>) -> BoxFuture<'a, Result<bool, Unreachable>> {
        Box::pin(async { Ok(true) })
    }
}
