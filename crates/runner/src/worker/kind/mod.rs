//! The kinds of workers, which differ in where Codex runs and who creates its container. Each is an implementation of
//! [`WorkerKind`]: the built-in worker, the public script, and a program (Codex itself, or a custom one).
//!
//! Invariant: no other module distinguishes the kinds.

mod container;
mod own_image;
mod program;
mod script;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Debug;
use std::io;
use std::path::{Path, PathBuf};

use config::Config;
use futures_util::future::BoxFuture;
use model::codex::app_server::SandboxMode;
use model::environment::EnvironmentRecord;
use model::ids::{EnvironmentId, TaskId};
use model::names::VariableName;
use model::problem::Problem;
use model::run::RunError;
use model::subdirectory::Subdirectory;
use process::{CommandSpec, Redactor, RunProgramError};
use protocol::Finding;
use store::{CodexHome, Home, LoginCopy};
use tokio_util::sync::CancellationToken;

use super::check::ContainerChecks;
use super::harvest::own_image;
use super::request::{Cleanup, RunCall};
use super::session::SessionFolder;
use crate::keeper::RunFiles;
use crate::seam::{NeededImage, Supply};
use crate::setup::OnStep;
use crate::spec::{ContainerSandbox, ImageRef, RunSpec, Sandbox};

pub(super) use container::BuiltIn;
pub(crate) use own_image::archive;
pub(super) use program::{Custom, Host};
pub(super) use script::PublicScript;

/// The server's settings and state that workers use.
#[derive(Clone, Copy)]
pub(crate) struct Site<'a> {
    /// The server's settings.
    pub(crate) config: &'a Config,
    /// The server's home.
    pub(crate) home: &'a Home,
    /// The checks of the container engine.
    pub(crate) checks: &'a ContainerChecks,
    /// The orchestrator's own Codex home.
    pub(crate) codex_home: &'a CodexHome,
}

/// A request to prepare a run.
#[derive(Clone, Copy)]
pub(crate) struct PrepareRequest<'a> {
    /// The run.
    pub(crate) spec: &'a RunSpec,
    /// The container of the run, with the image of its snapshot, if the run has a container.
    pub(crate) container: Option<&'a ContainerSandbox>,
    /// Resolves the references in the description.
    pub(crate) supply: &'a dyn Supply,
    /// Ends the preparation early.
    pub(crate) cancel: &'a CancellationToken,
}

/// A request to build a repository's own image.
pub(crate) struct ImageRequest<'a> {
    /// The repository.
    pub(crate) repository: EnvironmentId,
    /// Resolves the repository's Dockerfile and files.
    pub(crate) supply: &'a dyn Supply,
    /// Receives each step.
    pub(crate) on_step: OnStep<'a>,
    /// Ends the build early.
    pub(crate) cancel: &'a CancellationToken,
}

/// The environment of a run while it is put together.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// The variables.
    pub(super) environment: BTreeMap<OsString, OsString>,
    /// The names of variables that may be passed into a container.
    pub(super) passed: Vec<String>,
}

impl Draft {
    pub(super) fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.environment.insert(name.into(), value.into());
    }

    /// Sets a variable for an agent in a container.
    pub(super) fn set_in_container(&mut self, name: &VariableName, value: &str) {
        self.set(format!("CODEX_CONTAINER_ENV_{name}"), value);
    }
}

/// Where Codex's app server runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct AppServerPlace {
    /// The folder in which the worker's program starts.
    pub(super) directory: PathBuf,
    /// Codex's sandbox.
    pub(super) sandbox: SandboxMode,
}

/// Whether a variable's value must stay hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Confidentiality {
    Plain,
    Secret,
}

/// The command with which somebody logs in to Codex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoginCommand {
    /// The program.
    pub program: PathBuf,
    /// The arguments of the program.
    pub args: Vec<String>,
    /// Additional variables of the program.
    pub environment: Vec<(&'static str, &'static str)>,
}

/// A kind of worker. The defaults are those of a program that follows the contract and needs nothing else.
pub(super) trait WorkerKind: Debug + Send + Sync {
    /// Returns what Codex runs in.
    fn sandbox(&self, container: ContainerSandbox) -> Sandbox {
        Sandbox::Program(container)
    }

    /// Returns the arguments that precede those of the contract.
    fn prefix(&self) -> &[String] {
        &[]
    }

    /// Returns the arguments after `exec --json`.
    fn flags(&self) -> &'static [&'static str] {
        &[]
    }

    /// Returns the argument with which `codex exec` starts in a folder of its worktree, if it needs one.
    fn start_folder(&self, subdirectory: &Subdirectory) -> Option<String> {
        Some(format!("--cd={subdirectory}"))
    }

    /// Returns further arguments for an agent that starts in a folder of its worktree.
    fn flags_below(&self, _worktree: &Path) -> Vec<String> {
        vec![]
    }

    /// Returns where Codex's app server runs, or `None` if the worker only follows the contract.
    fn app_server(&self, _call: &RunCall<'_>) -> Option<AppServerPlace> {
        None
    }

    /// Returns the folder in which the worker finds the images of a prompt.
    fn images(&self, call: &RunCall<'_>) -> String;

    /// Returns the names of additional variables that the worker gets from the server's environment.
    fn server_variables(&self) -> &'static [&'static str] {
        &[]
    }

    /// Sets a variable of the repository.
    fn set_variable(&self, draft: &mut Draft, name: &VariableName, value: &str, _confidentiality: Confidentiality) {
        draft.set(name.to_string(), value);
        draft.set_in_container(name, value);
    }

    /// Sets further variables of a run.
    fn complete(&self, _draft: &mut Draft, _call: &RunCall<'_>) {}

    /// Returns the program that ends what the worker may leave behind and no signal reaches.
    fn cleanup(&self, _call: &RunCall<'_>, _container_name: &str) -> Option<Cleanup> {
        None
    }

    /// Returns notes about settings that the worker does not apply.
    fn notes(&self, _sandbox: &Sandbox) -> Vec<String> {
        vec![]
    }

    /// Returns where Codex stores the sessions of a task: for containers, in `of_task`. Returns `None` if only the worker knows
    /// this.
    fn sessions(&self, of_task: Option<&Path>) -> Option<SessionFolder>;

    /// Returns the folder with the sessions of a task, even if other programs also use it. The folder is only read.
    fn session_folder(&self, of_task: &Path) -> Option<PathBuf>;

    /// Whether the worker's runs are in containers, with an agent repository from which the work is exported.
    fn uses_agent_repository(&self) -> bool {
        false
    }

    /// Whether this server can run setups, and start runs from their snapshots.
    fn runs_setups(&self) -> bool {
        false
    }

    /// Whether runs can start only if this server can create containers.
    fn needs_container_engine(&self) -> bool {
        false
    }

    /// Whether the status names the program.
    fn names_its_program(&self) -> bool {
        true
    }

    /// Returns the image for a container, or `None` for the pinned image.
    fn image(&self, _site: Site<'_>, container: &ContainerSandbox, repository: EnvironmentId) -> Option<String> {
        image_of(container, repository)
    }

    /// Returns why no run of a repository with this image could start now.
    fn ready<'a>(
        &'a self,
        _site: Site<'a>,
        _repository: Option<&'a EnvironmentRecord>,
        _image: NeededImage,
    ) -> BoxFuture<'a, Result<(), Problem>> {
        Box::pin(async { Ok(()) })
    }

    /// Checks the settings of a run, and creates its image.
    fn prepare<'a>(&'a self, _site: Site<'a>, _request: PrepareRequest<'a>) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(async { Ok(()) })
    }

    /// Builds a repository's own image, if the worker uses it.
    fn build_image<'a>(&'a self, _site: Site<'a>, _request: ImageRequest<'a>) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(async { Ok(()) })
    }

    /// Writes the files that are mounted over those of a worktree.
    fn write_overlays<'a>(&'a self, _site: Site<'a>, _task: TaskId) -> BoxFuture<'a, Result<(), RunError>> {
        Box::pin(async { Ok(()) })
    }

    /// Returns the image that exports the work, or `None` for the pinned image. The error says why there is no usable image.
    fn export_image<'a>(
        &'a self,
        site: Site<'a>,
        container: &'a ContainerSandbox,
        repository: EnvironmentId,
    ) -> BoxFuture<'a, Result<Option<String>, Problem>> {
        let image = self.image(site, container, repository);
        Box::pin(async { Ok(image) })
    }

    /// Returns what the worker reported on stderr for people.
    fn remarks<'a>(&'a self, _files: &'a RunFiles, _redactor: &'a Redactor) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(async { Ok(vec![]) })
    }

    /// Returns the place of a run's copy of the login, or `None` if the worker has its own login.
    fn login_copy(&self, _site: Site<'_>, _task: TaskId) -> Option<LoginCopy> {
        None
    }

    /// Completes the command that renews the tokens of the login.
    fn renewal(&self, command: CommandSpec<'static>, _config: &Config, _endpoint: &'static str) -> CommandSpec<'static> {
        command
    }

    /// Returns the command with which somebody logs in.
    fn login_command(&self, program: &Path) -> LoginCommand {
        LoginCommand { program: program.to_owned(), args: vec![], environment: vec![] }
    }

    /// Returns why a stored login would have no effect.
    fn login_obstacle(&self, config: &Config) -> Option<Problem>;

    /// Returns the first line of Codex's version, if Codex is a program on this machine.
    fn codex_version<'a>(
        &'a self,
        _program: &'a Path,
        _environment: &'a [(OsString, OsString)],
    ) -> BoxFuture<'a, Result<Option<String>, RunProgramError>> {
        Box::pin(async { Ok(None) })
    }

    /// Checks the worker for `doctor`.
    fn findings<'a>(&'a self, worker: FoundWorker<'a>, config: &'a Config) -> BoxFuture<'a, Vec<Finding>>;
}

/// A worker that was found, for `doctor`.
#[derive(Clone, Copy)]
pub(super) struct FoundWorker<'a> {
    /// The name in the settings.
    pub(super) name: &'a str,
    /// The program.
    pub(super) program: &'a Path,
    /// The program's variables.
    pub(super) environment: &'a [(OsString, OsString)],
}

/// Returns the name of a container's image, or `None` for the pinned image.
pub(crate) fn image_of(container: &ContainerSandbox, repository: EnvironmentId) -> Option<String> {
    match &container.image {
        ImageRef::Pinned => None,
        ImageRef::Named(name) => Some(name.clone()),
        ImageRef::Built => Some(own_image(repository)),
    }
}
