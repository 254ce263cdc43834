//! How a run is described to a worker, and the command that starts the worker.
//!
//! These types contain no logic. The worker decides what becomes an argument, a variable or a file.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::Broker;
use model::codex::app_server::SandboxMode;
use model::container::ContainerSettings;
use model::ids::{Attempt, RunNumber, TaskId, ThreadId};
use model::image::ImageFile;
use model::names::{Setting, VariableName};
use model::secret::Secret;
use model::setup::{CachePath, Service, ServiceName};
use model::subdirectory::Subdirectory;
use serde::{Deserialize, Serialize};
use store::Layout;

use super::login::Login;
use super::session::SessionFolder;

/// The path of a task's images in a container.
pub(super) const IMAGES_INSIDE: &str = "/codex-docker/images";

/// A run, as described to a worker.
#[derive(Debug, Clone)]
pub struct RunCall<'a> {
    /// The task.
    pub task_id: TaskId,
    /// The run of the task.
    pub run: RunNumber,
    /// The attempt.
    pub attempt: Attempt,
    /// The model. If it is not set, Codex chooses.
    pub model: Option<&'a Setting>,
    /// The reasoning effort. If it is not set, Codex chooses.
    pub effort: Option<&'a Setting>,
    /// What happens if Codex's app server cannot be used, or `None` if the run does not use it.
    pub app_server: Option<Otherwise>,
    /// The thread to continue.
    pub resumes: Option<ThreadId>,
    /// The worktree.
    pub worktree: &'a Path,
    /// The folder of the worktree that the agent starts in, if it is not the worktree itself.
    pub subdirectory: Option<&'a Subdirectory>,
    /// The images of the prompt.
    pub images: &'a [ImageFile],
    /// The folder with the task's images, if the task ever had any. A thread may look at its images again.
    pub images_folder: Option<PathBuf>,
    /// The repository's variables for the agent.
    pub variables: &'a BTreeMap<VariableName, String>,
    /// The repository's secret variables.
    pub secrets: &'a BTreeMap<VariableName, Secret>,
    /// Notes about the worker for people.
    pub notes: Vec<String>,
    /// Additional settings of a run whose worker uses containers.
    pub container: Option<ContainerRun<'a>>,
}

/// The command to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCall {
    /// The program.
    pub program: PathBuf,
    /// The arguments of the program.
    pub args: Vec<String>,
    /// The complete environment of the program.
    pub environment: Vec<(OsString, OsString)>,
    /// The program that ends what the worker may leave behind and no signal reaches.
    pub cleanup: Option<Cleanup>,
    /// The folder of Codex's sessions, if it is known.
    pub sessions: Option<SessionFolder>,
    /// How to start Codex's app server instead, if the run uses it.
    pub app_server: Option<AppServerCall>,
    /// Notes about the worker for people.
    pub notes: Vec<String>,
}

/// How to start Codex's app server in place of `codex exec`, and the turn that it runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppServerCall {
    /// The arguments of the program.
    pub args: Vec<String>,
    /// The folder in which the program starts.
    pub directory: PathBuf,
    /// Codex's sandbox.
    pub sandbox: SandboxMode,
    /// The paths of the images, as Codex sees them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<String>,
    /// The model. If it is not set, Codex chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<Setting>,
    /// The reasoning effort. If it is not set, Codex chooses.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub effort: Option<Setting>,
    /// The thread to continue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resumes: Option<ThreadId>,
    /// What happens if the server cannot run the turn.
    pub otherwise: Otherwise,
    /// How long the server may take to answer for the first time, in milliseconds.
    pub answer_limit_ms: u64,
    /// The maximum size of the server's messages, in bytes.
    pub messages_limit_bytes: u64,
}

/// What happens if Codex's app server cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Otherwise {
    /// The run uses `codex exec`.
    Exec,
    /// The run fails.
    Fail,
}

/// A program that ends what is left of an attempt. Running it twice is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleanup {
    /// The program.
    pub program: PathBuf,
    /// The arguments of the program.
    pub args: Vec<String>,
}

/// The folders of a task for its container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerFolders {
    /// The folder with codex-docker's files of all containers.
    pub state: PathBuf,
    /// Codex's sessions.
    pub sessions: PathBuf,
    /// The agent repository.
    pub twin: PathBuf,
    /// The folders that the agent repository borrows objects from.
    pub objects: Vec<PathBuf>,
    /// The run's copy of an account's login.
    pub auth: PathBuf,
    /// The files that are mounted over those of the worktree and of Codex's home.
    pub overlays: PathBuf,
}

/// What the built-in worker gets for a run.
#[derive(Debug, Clone)]
pub struct ContainerRun<'a> {
    /// The repository's container settings.
    pub settings: &'a ContainerSettings,
    /// The image, or `None` for the pinned image.
    pub image: Option<&'a str>,
    /// The login of Codex, used if the server's environment has no key.
    pub login: Option<&'a Login>,
    /// Whether a key stays outside of the container.
    pub broker: Broker,
    /// The URL of the model's API, or `None` for that of `OpenAI`.
    pub model_url: Option<&'a str>,
    /// The Codex settings to start from.
    pub codex_config: Option<&'a Path>,
    /// The home directory, which distinguishes the containers of this server from those of other servers.
    pub home: &'a Path,
    /// The task's folders.
    pub folders: ContainerFolders,
    /// Other folders that the container may read.
    pub to_read: Vec<ToRead>,
    /// Folders of the container whose content lives as long as the task.
    pub layers: Vec<Layer>,
    /// Files with secrets that the container sees.
    pub files: Vec<PlacedFile>,
    /// The name of the image with what the task's runs installed.
    pub keep_as: Option<String>,
    /// The services that run next to Codex, and the folder for their logs.
    pub services: Option<(&'a BTreeMap<ServiceName, Service>, PathBuf)>,
    /// Folders of the task that are mounted at these folders of the container, if there are no layers.
    pub caches: Vec<(PathBuf, CachePath)>,
    /// The empty folder for files that the agent leaves for people.
    pub artifacts: Option<PathBuf>,
    /// The memory limit in bytes, or `None` for the default of `codex-docker`.
    pub memory: Option<u64>,
}

/// A folder of a container whose content lives as long as the task, in the format of `CODEX_DOCKER_LAYERS`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Layer {
    /// The path in the container. It may start with `~/`.
    pub target: String,
    /// The folder of the snapshot, which is never written to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lower: Option<PathBuf>,
    /// The folder of the task.
    pub upper: PathBuf,
}

/// A file with a secret that a container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlacedFile {
    /// The path in the container. It may start with `~/`.
    pub target: String,
    /// The content.
    pub content: Secret,
}

impl PlacedFile {
    /// Returns the variables with which `codex-docker` gets these files.
    pub(super) fn variables(files: &[Self]) -> Vec<(String, String)> {
        let named = || files.iter().enumerate().map(|(n, file)| (format!("CODEX_DOCKER_FILE_{n}"), file));
        let list: Vec<_> =
            named().map(|(variable, file)| serde_json::json!({ "target": file.target, "variable": variable })).collect();
        let list = (!files.is_empty()).then(|| ("CODEX_DOCKER_FILES".to_owned(), serde_json::Value::from(list).to_string()));
        named().map(|(variable, file)| (variable, file.content.expose().to_owned())).chain(list).collect()
    }
}

/// A folder of the host that a container may read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToRead {
    /// The path on the host.
    pub path: PathBuf,
    /// The path in the container.
    pub inside: String,
}

impl ToRead {
    pub(super) fn new(path: &Path, inside: &str) -> Self {
        Self { path: path.to_owned(), inside: inside.to_owned() }
    }
}

impl ContainerFolders {
    /// Returns the folders of a task whose mirror is at `mirror`.
    pub fn new(layout: &Layout, task: TaskId, mirror: &Path) -> Self {
        Self {
            state: layout.containers(),
            sessions: layout.sessions(task),
            twin: layout.twin(task),
            objects: vec![mirror.join("objects")],
            auth: layout.task_login(task),
            overlays: layout.overlays(task),
        }
    }
}
