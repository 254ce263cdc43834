//! The environment variables that a worker gets from the server, and those that this crate sets for every worker.
//!
//! Only listed variables of the server reach a worker. The values of the server's environment were read when it started.

use std::collections::BTreeMap;
use std::ffi::OsString;

use config::Config;
use model::ids::{Attempt, RunNumber, TaskId};
use store::Layout;

/// The variable that identifies everything that belongs to a run: `<task_id>/<run>/<attempt>`.
pub const RUN_MARK: &str = "ORCH_RUN";

/// Variables of the server that a worker gets, besides the common ones.
const WORKER_NAMES: &[&str] = &["LANG", "LC_ALL", "TZ", "TERM", "IMAGE_NAME"];

/// Variables for reaching the container engine, settings for every container, and the sources of images that are built.
const ENGINE_NAMES: &[&str] = &[
    "DOCKER_HOST",
    "DOCKER_CONTEXT",
    "DOCKER_CONFIG",
    "DOCKER_CERT_PATH",
    "DOCKER_TLS_VERIFY",
    "XDG_RUNTIME_DIR",
    "CODEX_DOCKER_SECCOMP",
    "CODEX_DOCKER_CA_FILE",
    "CODEX_DOCKER_NPM_REGISTRY",
    "CODEX_DOCKER_PYPI_INDEX",
    "CODEX_DOCKER_TOOL_SOURCES",
];

/// The variable with an API key of the model.
pub(super) const API_KEY: &str = "CODEX_API_KEY";

/// Variables that Codex itself needs, even inside a container.
const CODEX_NAMES: &[&str] = &[API_KEY, "CODEX_ACCESS_TOKEN"];

/// Settings of `codex-docker` that the server's environment may set for all runs.
pub(super) const CONTAINER_NAMES: &[&str] = &[
    "CODEX_DOCKER_MEMORY",
    "CODEX_DOCKER_DISK",
    "CODEX_DOCKER_CPUS",
    "CODEX_DOCKER_PIDS",
    "CODEX_DOCKER_FREE_DISK",
    "CODEX_DOCKER_CONFIG",
];

/// Returns the variables of the server that reach a worker, and the names that may be passed into its container. `more` lists
/// names that only this kind of worker gets.
pub(super) fn passed(config: &Config, more: &[&str]) -> (Vec<(OsString, OsString)>, Vec<String>) {
    let names: Vec<String> =
        CODEX_NAMES.iter().map(|name| (*name).to_owned()).chain(config.pass_environment.iter().cloned()).collect();
    let known = WORKER_NAMES.iter().chain(ENGINE_NAMES).chain(more);
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

/// Returns the server's limits for every container. The memory of a container is not one of them, because it also depends on the number of
/// runs.
pub(crate) fn container_limits(config: &Config) -> Vec<(OsString, OsString)> {
    let limits = CONTAINER_NAMES.iter().filter(|name| ![crate::memory::VARIABLE, "CODEX_DOCKER_CONFIG"].contains(name));
    limits.filter_map(|name| Some((name.into(), config.environment.get(&OsString::from(name))?.clone()))).collect()
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
pub fn run_mark(task_id: TaskId, run: RunNumber, attempt: Attempt) -> String {
    format!("{task_id}/{}/{}", run.0, attempt.0)
}
