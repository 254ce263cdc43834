//! What the built-in worker gets for a run in addition to the common contract: limits of the container, its network, mounted
//! folders, and the login. Everything is passed in environment variables, never as arguments.
//!
//! Invariant: with the broker, an API key of the model is only given to `codex-docker` and never to the container.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use config::{Broker, Config};
use model::ErrorCode;
use model::artifact::ARTIFACTS_INSIDE;
use model::container::{ContainerNetwork, HostPattern};
use model::environment::EnvironmentRecord;
use model::ids::TaskId;
use model::names::VariableName;
use model::problem::Problem;
use model::setup::{Service, ServiceName};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;

use super::login::Login;
use super::request::{ContainerRun, Layer, PlacedFile, RunCall, ToRead};
use super::variables::API_KEY;
use crate::memory;
use crate::spec::RunSpec;

/// The variable that names the folder with a run's copy of the login.
pub(crate) const LOGIN_FOLDER: &str = "CODEX_DOCKER_AUTH";

/// The variable that names the image with what a run installs.
pub(super) const KEEP_AS: &str = "CODEX_DOCKER_KEEP_AS";

/// The variable with the folder in which Codex starts.
pub(super) const START_FOLDER: &str = "CODEX_DOCKER_START_FOLDER";

/// The hosts that Codex with an account needs to reach the model and renew its login.
const ACCOUNT_HOSTS: &[&str] = &["chatgpt.com", "auth.openai.com"];

/// Returns the label of all containers of a home. Labels are separated by commas, so the path must not contain one.
pub(crate) fn home_label(home: &Path) -> String {
    let mut label = "home=".to_owned();
    for c in home.to_string_lossy().chars() {
        if c == ',' || c == '%' || c.is_whitespace() || c.is_control() {
            label.extend(utf8_percent_encode(c.encode_utf8(&mut [0; 4]), NON_ALPHANUMERIC));
        } else {
            label.push(c);
        }
    }
    label
}

/// Returns the labels of all containers of a task.
pub(crate) fn task_labels(home: &Path, task: TaskId) -> [String; 2] {
    [home_label(home), format!("task={task}")]
}

/// What decides whether runs of a repository can reach the model.
#[derive(Debug, Clone)]
pub(super) struct NetworkNeeds<'a> {
    /// The name of the repository.
    pub(super) repository: &'a str,
    /// The network of its runs.
    pub(super) network: ContainerNetwork,
    /// The names of its variables.
    names: Vec<&'a VariableName>,
}

impl<'a> NetworkNeeds<'a> {
    /// Returns the needs of a repository.
    pub(super) fn of_repository(repository: &'a EnvironmentRecord) -> Self {
        Self {
            repository: repository.name.as_str(),
            network: repository.container.network,
            names: repository.variables.keys().chain(repository.secrets.keys()).collect(),
        }
    }

    /// Returns the needs of a run.
    pub(super) fn of_run(spec: &'a RunSpec) -> Self {
        Self {
            repository: &spec.source.name,
            network: spec.sandbox.container().map(|container| container.settings.network).unwrap_or_default(),
            names: spec.variables.keys().chain(spec.secrets.keys()).collect(),
        }
    }
}

/// Returns why runs of a repository cannot reach the model, or `None` if they can.
pub(super) fn unreachable_model(needs: &NetworkNeeds<'_>, config: &Config, login: Option<&Login>) -> Option<Problem> {
    let has_key = config.environment.contains_key(&OsString::from(API_KEY))
        || needs.names.iter().any(|name| name.as_str() == API_KEY)
        || matches!(login, Some(Login::ApiKey(_)));
    let needs_key = |why: &str| {
        let detail = format!("the network of `{}` is `none`, but {why}", needs.repository);
        Problem::new(ErrorCode::NetworkNeedsKey, detail)
            .hint("store an API key, so that a broker can reach the model provider: codex-orchestrator login --with-api-key")
            .hint("or set the repository's network to `allow` or `open`")
    };
    match (needs.network, has_key, config.broker) {
        (ContainerNetwork::Open | ContainerNetwork::Allow, _, _) | (ContainerNetwork::None, true, Broker::On) => None,
        (ContainerNetwork::None, false, _) => {
            Some(needs_key("without an API key, Codex must connect to the model provider itself"))
        }
        (ContainerNetwork::None, true, Broker::Off) => Some(needs_key("the broker is off")),
    }
}

impl ContainerRun<'_> {
    /// Returns the labels of the container of this attempt.
    pub(super) fn labels(&self, call: &RunCall<'_>) -> [String; 3] {
        let [home, task] = task_labels(self.home, call.task_id);
        [home, task, format!("run={}/{}", call.run.0, call.attempt.0)]
    }

    /// Adds the variables of the run.
    pub(super) fn write(&self, call: &RunCall<'_>, environment: &mut BTreeMap<OsString, OsString>) {
        self.write_login(environment);
        let mut set = |name: &str, value: OsString| environment.insert(name.into(), value);
        let settings = self.settings;
        set("CODEX_DOCKER_LABELS", self.labels(call).join(",").into());
        set("CODEX_DOCKER_STATE", (&self.folders.state).into());
        set("CODEX_DOCKER_SESSIONS", (&self.folders.sessions).into());
        set("CODEX_DOCKER_GIT_DIR", (&self.folders.twin).into());
        set("CODEX_DOCKER_GIT_OBJECTS", joined(&self.folders.objects));
        set("CODEX_DOCKER_USER", settings.user.as_str().into());
        set("CODEX_DOCKER_NETWORK", settings.network.as_str().into());
        for (name, value) in [
            ("IMAGE_NAME", self.image.map(str::to_owned)),
            (START_FOLDER, call.subdirectory.map(ToString::to_string)),
            ("CODEX_DOCKER_HOSTED_TOOLS", settings.hosted_tools.map(|wish| wish.as_str().to_owned())),
            ("CODEX_DOCKER_MODEL_URL", self.model_url.map(str::to_owned)),
            (memory::VARIABLE, self.memory.map(|bytes| bytes.to_string())),
            ("CODEX_DOCKER_DISK", settings.disk.clone()),
            ("CODEX_DOCKER_CPUS", settings.cpus.map(|cpus| cpus.to_string())),
            ("CODEX_DOCKER_PIDS", settings.pids.map(|pids| pids.to_string())),
            ("CODEX_DOCKER_TOKEN_BUDGET", settings.token_budget.map(|tokens| tokens.to_string())),
        ] {
            if let Some(value) = value {
                set(name, value.into());
            }
        }
        if let Some(folder) = &call.images_folder {
            set("CODEX_DOCKER_IMAGES", folder.into());
        }
        if let Some(config) = self.codex_config {
            set("CODEX_DOCKER_CONFIG", config.into());
        }
        if let Some(layers) = layers(&self.layers) {
            set("CODEX_DOCKER_LAYERS", layers.into());
        }
        for (name, value) in PlacedFile::variables(&self.files) {
            set(&name, value.into());
        }
        if let Some(name) = &self.keep_as {
            set(KEEP_AS, name.into());
        }
        if let Some((services, logs)) = &self.services {
            set("CODEX_DOCKER_SERVICES", services_json(services).into());
            set("CODEX_DOCKER_SERVICE_LOGS", logs.into());
        }
        let artifacts: Vec<_> = self.artifacts.iter().map(|folder| ToRead::new(folder, ARTIFACTS_INSIDE)).collect();
        if let Some(maps) = mount_maps(&artifacts) {
            set("CODEX_MOUNT_MAPS", maps);
        }
        if let Some(maps) = mount_maps(&self.to_read) {
            set("CODEX_MOUNT_MAPS_RO", maps);
        }
        if settings.network == ContainerNetwork::Allow {
            let with_account = !environment.contains_key(&OsString::from(API_KEY));
            let known = if with_account { ACCOUNT_HOSTS } else { &[] };
            let hosts: Vec<_> = settings.allow_hosts.iter().map(HostPattern::as_str).chain(known.iter().copied()).collect();
            environment.insert("CODEX_DOCKER_ALLOW_HOSTS".into(), hosts.join(",").into());
        }
    }

    /// A key takes precedence over an account. The repository's key is used first, then the server's key, then a stored key.
    fn write_login(&self, environment: &mut BTreeMap<OsString, OsString>) {
        let own = environment.remove(&OsString::from(format!("CODEX_CONTAINER_ENV_{API_KEY}")));
        let key = OsString::from(API_KEY);
        if let Some(own) = own {
            environment.insert(key.clone(), own);
        }
        match self.login {
            Some(Login::ApiKey(stored)) => {
                environment.entry(key.clone()).or_insert_with(|| stored.expose().into());
            }
            Some(Login::Account { .. }) if !environment.contains_key(&key) => {
                environment.insert(LOGIN_FOLDER.into(), (&self.folders.auth).into());
            }
            Some(Login::Account { .. }) | None => {}
        }
        let broker = match self.broker {
            Broker::On if environment.contains_key(&key) => "on",
            Broker::On | Broker::Off => "off",
        };
        environment.insert("CODEX_DOCKER_BROKER".into(), broker.into());
    }
}

/// Formats `host=container` pairs, separated by `:`. A path with one of these characters cannot be expressed and is skipped.
pub(super) fn mount_maps(folders: &[ToRead]) -> Option<OsString> {
    let is_plain = |path: &Path| !path.as_os_str().as_encoded_bytes().iter().any(|byte| matches!(byte, b':' | b'='));
    let plain = folders.iter().filter(|folder| is_plain(&folder.path) && is_plain(Path::new(&folder.inside)));
    let maps = plain.map(|folder| {
        let mut map = folder.path.clone().into_os_string();
        map.push("=");
        map.push(&folder.inside);
        PathBuf::from(map)
    });
    let maps: Vec<_> = maps.collect();
    (!maps.is_empty()).then(|| joined(&maps))
}

/// Formats layers as JSON. A path with invalid UTF-8 cannot be expressed, and its layer is skipped.
fn layers(layers: &[Layer]) -> Option<String> {
    let texts: Vec<_> = layers.iter().filter_map(|layer| serde_json::to_string(layer).ok()).collect();
    (!texts.is_empty()).then(|| format!("[{}]", texts.join(",")))
}

/// Formats services in the format of `CODEX_DOCKER_SERVICES`.
pub(super) fn services_json(services: &BTreeMap<ServiceName, Service>) -> String {
    #[derive(Serialize)]
    struct Named<'a> {
        name: &'a ServiceName,
        #[serde(flatten)]
        service: &'a Service,
    }
    let named: Vec<_> = services.iter().map(|(name, service)| Named { name, service }).collect();
    // The values consist of texts and numbers, which JSON can always express.
    serde_json::to_string(&named).unwrap_or_default()
}

/// Joins paths with `:`.
fn joined(paths: &[PathBuf]) -> OsString {
    let mut joined = OsString::new();
    for (index, path) in paths.iter().enumerate() {
        if index > 0 {
            joined.push(":");
        }
        joined.push(path);
    }
    joined
}

#[cfg(test)]
mod tests;
