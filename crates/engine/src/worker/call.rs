//! The command line and the environment of a run, following the worker contract.
//!
//! The prompt is not an argument: it is passed on stdin. `CODEX_PASSTHROUGH_ENV` is never empty, because the public helper
//! script interprets an empty value as "pass everything". `CODEX_WORKSPACE_DIR` is not set, because it would make that script
//! mount nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use model::ids::{Attempt, RunNumber, TaskId, ThreadId};
use model::image::ImageFile;
use model::names::{Setting, VariableName};
use model::secret::Secret;
use serde::{Deserialize, Serialize};
use store::Layout;

use super::container::ContainerRun;
use super::find::{Worker, WorkerKind};
use super::script;
use super::session::SessionFolder;
use crate::config::{Broker, Config};

/// The variable that identifies everything that belongs to a run: `<task_id>/<run>/<attempt>`.
pub(crate) const RUN_MARK: &str = "ORCH_RUN";

/// Variables of the server that a worker gets, besides the common ones.
const WORKER_NAMES: &[&str] = &["LANG", "LC_ALL", "TZ", "TERM", "IMAGE_NAME"];

/// Variables for reaching the container engine, and settings for every container.
const ENGINE_NAMES: &[&str] = &[
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "XDG_RUNTIME_DIR",
    "CODEX_DOCKER_SECCOMP",
];

/// The path of a task's images in a container.
pub(super) const IMAGES_INSIDE: &str = "/codex-docker/images";

/// The variable with an API key of the model.
pub(super) const API_KEY: &str = "CODEX_API_KEY";

/// Variables that Codex itself needs, even inside a container.
const CODEX_NAMES: &[&str] = &[API_KEY, "CODEX_ACCESS_TOKEN"];

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
    /// The thread to continue.
    pub resumes: Option<ThreadId>,
    /// The images of the prompt.
    pub images: &'a [ImageFile],
    /// The folder with the task's images, if the task ever had any. A thread may look at its images again.
    pub images_folder: Option<PathBuf>,
    /// The repository's variables for the agent.
    pub variables: &'a BTreeMap<VariableName, String>,
    /// The repository's secret variables.
    pub secrets: &'a BTreeMap<VariableName, Secret>,
    /// Additional settings of a run whose worker uses containers.
    pub container: Option<ContainerRun<'a>>,
}

/// The command to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCall {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// The complete environment of the program.
    pub environment: Vec<(OsString, OsString)>,
    /// The program that ends what the worker may leave behind and no signal reaches.
    pub cleanup: Option<Cleanup>,
    /// The folder of Codex's sessions, if it is known.
    pub sessions: Option<SessionFolder>,
    /// Notes about the worker for people.
    pub notes: Vec<String>,
}

/// A program that ends what is left of an attempt. Running it twice is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleanup {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// Returns the variables of the server that reach a worker, and the names that may be passed into its container.
pub(super) fn passed(config: &Config, kind: WorkerKind) -> (Vec<(OsString, OsString)>, Vec<String>) {
    let names: Vec<String> =
        CODEX_NAMES.iter().map(|name| (*name).to_owned()).chain(config.pass_environment.iter().cloned()).collect();
    let defaults = if kind == WorkerKind::Container { super::container::DEFAULTS } else { &[] };
    let known = WORKER_NAMES.iter().chain(ENGINE_NAMES).chain(defaults);
    let listed = known.map(|name| (*name).to_owned()).chain(names.iter().cloned());
    let passed = picked(config, listed);
    let present = names.into_iter().filter(|name| passed.contains_key(&OsString::from(name))).collect();
    (passed.into_iter().collect(), present)
}

/// Returns the variables for calls of the container worker that do not run an agent: no key, and no variable of a repository.
pub fn engine_environment(config: &Config) -> Vec<(OsString, OsString)> {
    let mut environment = picked(config, ENGINE_NAMES.iter().map(|name| (*name).to_owned()));
    let layout = Layout::new(&config.home);
    environment.insert("CODEX_DOCKER_STATE".into(), layout.containers().into());
    // Older versions stored the files of containers in the folders of tasks.
    environment.insert("CODEX_DOCKER_FORMER_STATE".into(), layout.tasks().into());
    environment.into_iter().collect()
}

fn picked(config: &Config, names: impl Iterator<Item = String>) -> BTreeMap<OsString, OsString> {
    let mut picked = config.base_environment.common();
    for name in names {
        if let Some(value) = config.environment.get(&OsString::from(&name)) {
            picked.insert(name.into(), value.clone());
        }
    }
    picked
}

/// Returns the mark of an attempt.
pub(crate) fn run_mark(task_id: TaskId, run: RunNumber, attempt: Attempt) -> String {
    format!("{task_id}/{}/{}", run.0, attempt.0)
}

/// Returns the name of a run's container.
fn container_name(call: &RunCall<'_>) -> String {
    format!("codex-{}-run-{}", call.task_id, call.run)
}

impl Worker {
    /// Returns the command for a run.
    pub fn call(&self, call: &RunCall<'_>) -> WorkerCall {
        WorkerCall {
            program: self.program.clone(),
            args: self.arguments(call),
            environment: self.environment(call),
            cleanup: call.container.as_ref().and_then(|container| self.cleanup(container, call)),
            sessions: self.sessions(call.container.as_ref().map(|container| container.folders.sessions.as_path())),
            notes: match (&self.script, &call.container) {
                (Some(_), Some(container)) => script::notes(container.settings),
                (Some(_) | None, _) => vec![],
            },
        }
    }

    fn cleanup(&self, container: &ContainerRun<'_>, call: &RunCall<'_>) -> Option<Cleanup> {
        if let Some(script) = &self.script {
            return script.cleanup(call, &container_name(call));
        }
        let labels = container.labels(call).into_iter().flat_map(|label| ["--label".to_owned(), label]);
        let words = ["reap", "--if-reachable"].map(str::to_owned);
        let args = self.prefix.iter().cloned().chain(words).chain(labels).collect();
        Some(Cleanup { program: self.program.clone(), args })
    }

    /// Returns where Codex stores the sessions of a task: for containers, in `of_task`. Returns `None` for a custom worker.
    pub fn sessions(&self, of_task: Option<&Path>) -> Option<SessionFolder> {
        match self.kind {
            WorkerKind::Container => of_task.map(|folder| SessionFolder::OfTask(folder.to_owned())),
            WorkerKind::Host => self.codex_home.as_ref().map(|home| SessionFolder::Shared(home.join("sessions"))),
            // Other programs may also use the script's own Codex home.
            WorkerKind::Script => {
                let folder = of_task.filter(|_| self.script.as_ref().is_some_and(|script| script.home().mounted.is_none()))?;
                Some(SessionFolder::OfTask(folder.to_owned()))
            }
            WorkerKind::Custom => None,
        }
    }

    /// Returns the folder with the sessions of a task, even if other programs also use it. Use the folder only for reading.
    pub(crate) fn session_folder(&self, of_task: &Path) -> Option<PathBuf> {
        let shared = |home: PathBuf| home.join("sessions");
        match self.kind {
            WorkerKind::Container => Some(of_task.to_owned()),
            WorkerKind::Script => Some(self.script.as_ref()?.home().mounted.map_or_else(|| of_task.to_owned(), shared)),
            WorkerKind::Host | WorkerKind::Custom => self.codex_home.clone().map(shared),
        }
    }

    fn arguments(&self, call: &RunCall<'_>) -> Vec<String> {
        let mut args = self.prefix.clone();
        args.extend(["exec".to_owned(), "--json".to_owned()]);
        match self.kind {
            WorkerKind::Host => args.extend(["-s".to_owned(), "workspace-write".to_owned()]),
            // The container is the sandbox. Codex's own sandbox does not work inside it.
            WorkerKind::Container => args.push("--dangerously-bypass-approvals-and-sandbox".to_owned()),
            WorkerKind::Script | WorkerKind::Custom => {}
        }
        if let Some(model) = call.model {
            args.extend(["-m".to_owned(), model.to_string()]);
        }
        if let Some(effort) = call.effort {
            args.extend(["-c".to_owned(), format!("model_reasoning_effort={effort}")]);
        }
        // Images come before `resume`, where every version of Codex accepts them. Each path is in the same argument as its
        // flag, because Codex would interpret further arguments as images too.
        args.extend(call.images.iter().map(|image| format!("--image={}", self.image_path(call, image))));
        if let Some(thread) = call.resumes {
            args.extend(["resume".to_owned(), thread.to_string()]);
        }
        args.push("-".to_owned());
        args
    }

    /// Returns the path under which the worker finds an image. Codex interprets a comma as the end of a path, and the path of
    /// the home directory may contain one. Therefore, the path is relative to the worktree, where a worker on the host starts,
    /// or it is the path in a container.
    fn image_path(&self, call: &RunCall<'_>, image: &ImageFile) -> String {
        let folder = match (self.kind, &call.images_folder) {
            (WorkerKind::Container | WorkerKind::Script, _) => IMAGES_INSIDE.to_owned(),
            (WorkerKind::Custom, Some(folder)) => folder.to_string_lossy().into_owned(),
            (WorkerKind::Host, _) | (WorkerKind::Custom, None) => "../images".to_owned(),
        };
        format!("{folder}/{}", image.file)
    }

    fn environment(&self, call: &RunCall<'_>) -> Vec<(OsString, OsString)> {
        let mut environment: BTreeMap<OsString, OsString> = self.passed.iter().cloned().collect();
        let mut set = |name: String, value: OsString| environment.insert(name.into(), value);
        let mut passed = self.passed_names.clone();
        let plain = call.variables.iter().map(|(name, value)| (name, value.as_str(), false));
        for (name, value, is_secret) in plain.chain(call.secrets.iter().map(|(name, secret)| (name, secret.expose(), true))) {
            if is_secret && self.script.is_some() && script::passes_by_name(name.as_str()) {
                // The script puts other values on a command line, which every user of the machine can read.
                set(name.to_string(), value.into());
                passed.push(name.to_string());
                continue;
            }
            if !self.uses_containers() {
                set(name.to_string(), value.into());
            }
            set(format!("CODEX_CONTAINER_ENV_{name}"), value.into());
        }
        if let Some(home) = &self.codex_home {
            set("CODEX_HOME".to_owned(), home.into());
        }
        if let (WorkerKind::Custom, Some(folder)) = (self.kind, &call.images_folder) {
            // The public helper script mounts these paths under the same path.
            set("CODEX_MOUNT_PATHS_RO".to_owned(), folder.into());
        }
        set("CONTAINER_NAME".to_owned(), container_name(call).into());
        set(RUN_MARK.to_owned(), run_mark(call.task_id, call.run, call.attempt).into());
        if let (Some(script), Some(container)) = (&self.script, &call.container) {
            script.write(container, call, &mut environment);
            if environment.contains_key(&OsString::from(API_KEY)) && !passed.iter().any(|name| name == API_KEY) {
                passed.insert(0, API_KEY.to_owned());
            }
        } else if let Some(container) = &call.container {
            container.write(call, &mut environment);
            // With the broker, the key stays outside of the container.
            passed.retain(|name| name != API_KEY);
            if container.broker == Broker::Off && environment.contains_key(&OsString::from(API_KEY)) {
                passed.insert(0, API_KEY.to_owned());
            }
        }
        passed.push(RUN_MARK.to_owned());
        environment.insert("CODEX_PASSTHROUGH_ENV".into(), passed.join(",").into());
        environment.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
