//! The command line and the environment of one run, as the worker contract wants them.
//!
//! The prompt is not among the arguments: it comes on stdin. `CODEX_PASSTHROUGH_ENV` is never empty, because the public helper
//! script takes an empty one as "pass everything". `CODEX_WORKSPACE_DIR` is not set: with it that script mounts nothing.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use model::ids::{Attempt, RunNumber, TaskId, ThreadId};
use model::image::ImageFile;
use model::names::{Setting, VariableName};
use model::secret::Secret;
use serde::{Deserialize, Serialize};

use super::container::ContainerRun;
use super::find::{Worker, WorkerKind};
use super::script;
use super::session::SessionFolder;
use crate::config::{Broker, Config};
use crate::store::Layout;

/// The variable by which everything that belongs to a run can be told: `<task_id>/<run>/<attempt>`.
pub(crate) const RUN_MARK: &str = "ORCH_RUN";

/// What a worker needs of the server's environment besides the common names.
const WORKER_NAMES: &[&str] = &["LANG", "LC_ALL", "TZ", "TERM", "IMAGE_NAME"];

/// What leads to the container engine, and what holds for every container.
const ENGINE_NAMES: &[&str] = &[
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "XDG_RUNTIME_DIR",
    "CODEX_DOCKER_SECCOMP",
];

/// Where the container worker has the images of a task.
pub(super) const IMAGES_INSIDE: &str = "/codex-docker/images";

/// A key of the model's API.
pub(super) const API_KEY: &str = "CODEX_API_KEY";

/// What Codex itself needs, also inside a container.
const CODEX_NAMES: &[&str] = &[API_KEY, "CODEX_ACCESS_TOKEN"];

/// One run, as a worker is told about it.
#[derive(Debug, Clone)]
pub struct RunCall<'a> {
    /// The task.
    pub task_id: TaskId,
    /// Which of its runs.
    pub run: RunNumber,
    /// Which try.
    pub attempt: Attempt,
    /// The model, else Codex's own choice.
    pub model: Option<&'a Setting>,
    /// The reasoning effort, else Codex's own choice.
    pub effort: Option<&'a Setting>,
    /// The thread to go on with.
    pub resumes: Option<ThreadId>,
    /// The images that go along with the prompt.
    pub images: &'a [ImageFile],
    /// Where the images of the task lie, if it ever had some: what a thread was shown, it may want to look at again.
    pub images_folder: Option<PathBuf>,
    /// The environment's variables for the agent.
    pub variables: &'a BTreeMap<VariableName, String>,
    /// Those that nobody may see.
    pub secrets: &'a BTreeMap<VariableName, Secret>,
    /// The additional settings of a run whose worker uses containers.
    pub container: Option<ContainerRun<'a>>,
}

/// What to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerCall {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// What ends what the worker may leave behind where no signal reaches it.
    pub cleanup: Option<Cleanup>,
    /// Where Codex keeps its sessions, as far as that is known.
    pub sessions: Option<SessionFolder>,
    /// What readers of the run should know of the worker.
    pub notes: Vec<String>,
}

/// A program that ends what is left of one try of a run. Running it twice is harmless.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleanup {
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<String>,
}

/// What of the server's environment reaches a worker, and the names that may go on into its container.
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

/// What the container worker needs where it runs nothing for an agent: no key, no variable of an environment.
pub fn engine_environment(config: &Config) -> Vec<(OsString, OsString)> {
    let mut environment = picked(config, ENGINE_NAMES.iter().map(|name| (*name).to_owned()));
    let layout = Layout::new(&config.home);
    environment.insert("CODEX_DOCKER_STATE".into(), layout.containers().into());
    // Older versions kept the files of containers in the folders of tasks.
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

/// The mark of one try of a run.
pub(crate) fn run_mark(task_id: TaskId, run: RunNumber, attempt: Attempt) -> String {
    format!("{task_id}/{}/{}", run.0, attempt.0)
}

/// The name of the container of a run.
fn container_name(call: &RunCall<'_>) -> String {
    format!("codex-{}-run-{}", call.task_id, call.run)
}

impl Worker {
    /// How this worker is called for a run.
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

    /// Where Codex keeps the sessions of a task whose containers have them in `of_task`. A custom worker does not say.
    pub fn sessions(&self, of_task: Option<&Path>) -> Option<SessionFolder> {
        match self.kind {
            WorkerKind::Container => of_task.map(|folder| SessionFolder::OfTask(folder.to_owned())),
            WorkerKind::Host => self.codex_home.as_ref().map(|home| SessionFolder::Shared(home.join("sessions"))),
            // The script's own Codex home may be somebody else's too.
            WorkerKind::Script => {
                let folder = of_task.filter(|_| self.script.as_ref().is_some_and(|script| script.home().mounted.is_none()))?;
                Some(SessionFolder::OfTask(folder.to_owned()))
            }
            WorkerKind::Custom => None,
        }
    }

    /// Where the sessions of a task are, whoever else uses the folder. Only good for a look.
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
            // The container is the sandbox; Codex's own one does not work within it.
            WorkerKind::Container => args.push("--dangerously-bypass-approvals-and-sandbox".to_owned()),
            WorkerKind::Script | WorkerKind::Custom => {}
        }
        if let Some(model) = call.model {
            args.extend(["-m".to_owned(), model.to_string()]);
        }
        if let Some(effort) = call.effort {
            args.extend(["-c".to_owned(), format!("model_reasoning_effort={effort}")]);
        }
        // Before `resume`, where every version of Codex takes them; in one word each, or the next word would be taken for an image.
        args.extend(call.images.iter().map(|image| format!("--image={}", self.image_path(call, image))));
        if let Some(thread) = call.resumes {
            args.extend(["resume".to_owned(), thread.to_string()]);
        }
        args.push("-".to_owned());
        args
    }

    /// Where the worker sees an image. Codex takes a comma for the end of a path, and a home may have one: so it is said from the
    /// worktree, in which a worker on the host starts, or from where a container has its images.
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
            // The public helper script mounts what is named here, at the same path.
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
            // Behind the broker the key stays outside.
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
