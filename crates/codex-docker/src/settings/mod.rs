//! Parses the environment variables of a caller into [`Settings`].
//!
//! Pure. Half of the variables come from the public helper script with the same name. Variables that start with
//! `CODEX_DOCKER_` are additions of this program. An invalid value is an error that names the variable.

mod files;
pub(crate) mod layers;
mod mounts;
mod services;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use model::ErrorCode;
use model::container::HostedTools;
use uuid::Uuid;

pub use self::files::FileWish;
pub use self::layers::LayerWish;
pub use self::mounts::{MountWish, VolumeWish};
pub use self::services::ServiceWish;
use self::values::{absolute, bytes, count, cpus, labels, list};
pub(crate) use self::values::{image_name, split_image_name};
use crate::failure::Failure;
use crate::image::DEFAULT_IMAGE;
use crate::proxy::allow::AllowList;

/// Variables of the caller that are always passed on. They only affect how text is displayed.
pub(crate) const COMMON: &[&str] = &["TERM", "LANG", "LC_ALL", "TZ", "NO_COLOR", "COLORTERM"];

/// The variable with the key for the model's API.
const API_KEY: &str = "CODEX_API_KEY";

/// The variable with the folder for the files of runs.
const STATE: &str = "CODEX_DOCKER_STATE";

/// The variable with the name of the image in which changes are kept.
const KEEP_AS: &str = "CODEX_DOCKER_KEEP_AS";

/// The variables with logins that are passed on by default.
const LOGINS: &[&str] = &[API_KEY, "CODEX_ACCESS_TOKEN"];

/// The prefix of variables that are passed to the container, without the prefix.
const CONTAINER_PREFIX: &str = "CODEX_CONTAINER_ENV_";

/// The user that Codex runs as in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerUser {
    /// Root in the container, which can install packages.
    Root,
    /// The caller's user and group.
    Caller,
}

impl ContainerUser {
    /// Returns the home directory of this user in the container.
    pub(crate) fn home(self) -> &'static str {
        match self {
            Self::Root => "/root",
            Self::Caller => "/home/agent",
        }
    }
}

/// What a container can reach over the network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// Everything except other containers.
    Open,
    /// The container reaches nothing.
    None,
    /// Only listed hosts, through a proxy.
    Allow(AllowList),
}

/// The limits of a container.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Memory in bytes. The default depends on the machine's memory.
    pub memory: Option<u64>,
    /// What the container may write outside of mounted folders, in bytes.
    pub disk: Option<u64>,
    /// Processors. The default is all of them.
    pub cpus: Option<f64>,
    /// The number of processes and threads.
    pub pids: u32,
    /// The run is stopped when fewer bytes than this are free on the disk.
    pub free_disk: u64,
}

/// The folder with Codex's settings, login and sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodexHome {
    /// A folder of the caller, which is mounted.
    Shared {
        /// The folder's path on the host.
        folder: PathBuf,
        /// The folder's path in the container.
        inside: String,
    },
    /// A folder in the container that is not mounted, because the caller's folder does not exist.
    Missing {
        /// The folder's path in the container.
        inside: String,
    },
    /// A folder that exists only in the container. Only the sessions and the login are stored on the host.
    Private {
        /// The folder for the sessions.
        sessions: PathBuf,
        /// The folder with the run's copy of an account's login.
        auth: Option<PathBuf>,
        /// The `config.toml` to start from.
        config: Option<PathBuf>,
    },
}

/// The agent repository: the agent's own git repository, separate from the one that the host uses for the worktree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// The repository's folder, which the agent can change.
    pub git_dir: PathBuf,
    /// The read-only folders from which the repository borrows objects.
    pub objects: Vec<PathBuf>,
}

/// The settings of the broker, with the key that the container never sees.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerWish {
    /// The key for the model's API.
    pub api_key: String,
    /// The base URL of the model's API.
    pub model_url: String,
    /// The number of tokens that the run may use.
    pub token_budget: Option<u64>,
}

/// Formats the settings without the key.
impl std::fmt::Debug for BrokerWish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerWish")
            .field("model_url", &self.model_url)
            .field("token_budget", &self.token_budget)
            .finish_non_exhaustive()
    }
}

/// The user who called the program, and the current folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The current folder.
    pub folder: PathBuf,
    /// The user ID.
    pub uid: u32,
    /// The group ID.
    pub gid: u32,
}

/// All settings of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The name of the container.
    pub name: String,
    /// The image.
    pub image: String,
    /// The folder that is mounted as the working directory, unless the caller mounts something else there.
    pub folder: Option<PathBuf>,
    /// The working directory in the container.
    pub inside: String,
    /// The folder with the files of all runs.
    pub root: PathBuf,
    /// The folder with the files of this run. Its name is the name of the container.
    pub state: PathBuf,
    /// The caller's labels of the container.
    pub labels: BTreeMap<String, String>,
    /// The user in the container.
    pub user: ContainerUser,
    /// The caller.
    pub caller: Caller,
    /// What the container can reach over the network.
    pub network: Network,
    /// Whether the model's API may run tools, such as a web search.
    pub hosted_tools: HostedTools,
    /// The limits of the container.
    pub limits: Limits,
    /// The Codex home, if there is one.
    pub codex_home: Option<CodexHome>,
    /// The agent repository.
    pub twin: Option<Twin>,
    /// The folder with the images of prompts.
    pub images: Option<PathBuf>,
    /// Other folders and files to mount.
    pub mounts: Vec<MountWish>,
    /// Named volumes to mount.
    pub volumes: Vec<VolumeWish>,
    /// Folders in the container that the task keeps between its runs.
    pub layers: Vec<LayerWish>,
    /// Files with secrets that are placed in the container.
    pub files: Vec<FileWish>,
    /// The services that run next to Codex.
    pub services: Vec<ServiceWish>,
    /// The folder for the logs of the services, if they are kept after the run.
    pub service_logs: Option<PathBuf>,
    /// The name of the image in which the changes to the root file system are kept.
    pub keep_as: Option<String>,
    /// The image that the container is created from, if earlier runs installed something. Other containers of the run never use it,
    /// because an agent changed it.
    pub kept_image: Option<String>,
    /// The folder that Codex starts in, below the working directory.
    pub start_folder: Option<String>,
    /// The named pipe that is Codex's stdin. A Codex with such a pipe is a server, which ends only when it is asked to.
    pub pipe: Option<PathBuf>,
    /// The variables of the container.
    pub variables: BTreeMap<String, String>,
    /// The broker, if the container uses one.
    pub broker: Option<BrokerWish>,
}

impl Settings {
    /// Parses the variables.
    pub fn read(environment: &BTreeMap<String, String>, caller: Caller) -> Result<Self, Failure> {
        let get = |name: &str| environment.get(name).map(String::as_str).filter(|value| !value.is_empty());
        let folder_of = |name: &'static str| get(name).map(|path| absolute(name, path, &caller.folder)).transpose();
        let (folder, inside) = workspace(get("CODEX_WORKSPACE_DIR"), &caller.folder)?;
        let name = get("CONTAINER_NAME").map_or_else(|| format!("codex-{}", Uuid::now_v7().simple()), str::to_owned);
        values::container_name(&name)?;
        let root = match folder_of(STATE)? {
            Some(root) => root,
            None => default_state(environment)?,
        };
        let user = match get("CODEX_DOCKER_USER") {
            None | Some("root") => ContainerUser::Root,
            Some("caller") => ContainerUser::Caller,
            Some(other) => return Err(values::unusable("CODEX_DOCKER_USER", other, "`root` or `caller`")),
        };
        let codex_home = codex_home(&folder_of)?.or_else(|| {
            let default = get("HOME").map(|home| Path::new(home).join(".codex")).filter(|path| path.is_dir());
            default.map(|folder| CodexHome::Shared { folder, inside: format!("{}/.codex", user.home()) })
        });
        let broker = broker(&get, codex_home.as_ref())?;
        let network = network(&get)?;
        Ok(Self {
            image: get("IMAGE_NAME").unwrap_or(DEFAULT_IMAGE).to_owned(),
            labels: labels("CODEX_DOCKER_LABELS", get("CODEX_DOCKER_LABELS").unwrap_or_default())?,
            hosted_tools: hosted_tools(&get, &network)?,
            network,
            limits: Limits {
                memory: get("CODEX_DOCKER_MEMORY").map(|text| bytes("CODEX_DOCKER_MEMORY", text)).transpose()?,
                disk: get("CODEX_DOCKER_DISK").map(|text| bytes("CODEX_DOCKER_DISK", text)).transpose()?,
                cpus: get("CODEX_DOCKER_CPUS").map(|text| cpus("CODEX_DOCKER_CPUS", text)).transpose()?,
                pids: get("CODEX_DOCKER_PIDS").map_or(Ok(4096), |text| count("CODEX_DOCKER_PIDS", text))?,
                free_disk: get("CODEX_DOCKER_FREE_DISK").map_or(Ok(1 << 30), |text| bytes("CODEX_DOCKER_FREE_DISK", text))?,
            },
            twin: folder_of("CODEX_DOCKER_GIT_DIR")?
                .map(|git_dir| -> Result<Twin, Failure> {
                    let named = get("CODEX_DOCKER_GIT_OBJECTS").unwrap_or_default().split(':').filter(|path| !path.is_empty());
                    let objects =
                        named.map(|path| absolute("CODEX_DOCKER_GIT_OBJECTS", path, &caller.folder)).collect::<Result<_, _>>()?;
                    Ok(Twin { git_dir, objects })
                })
                .transpose()?,
            images: folder_of("CODEX_DOCKER_IMAGES")?,
            mounts: mounts::mounts(&get, &caller.folder, user.home())?,
            volumes: mounts::volumes(&get)?,
            layers: layers::layers(&get, user.home(), &inside)?,
            files: files::files(&get, user.home(), &inside)?,
            services: services::services(&get)?,
            service_logs: folder_of("CODEX_DOCKER_SERVICE_LOGS")?,
            kept_image: None,
            keep_as: get(KEEP_AS).map(|name| values::image_name(KEEP_AS, name)).transpose()?,
            start_folder: get("CODEX_DOCKER_START_FOLDER").map(str::to_owned),
            pipe: None,
            variables: variables(environment, broker.as_ref()),
            state: root.join(&name),
            root,
            name,
            user,
            folder,
            inside,
            codex_home,
            broker,
            caller,
        })
    }
}

/// Parses a `key=value` argument of the command line.
pub(crate) fn label_argument(text: &str) -> Result<(String, String), String> {
    values::label("--label", text).map_err(|failure| failure.hints.join("; "))
}

/// Returns the folder to mount and the working directory: the caller's folder under its own name, or only a path in the
/// container.
fn workspace(named: Option<&str>, folder: &Path) -> Result<(Option<PathBuf>, String), Failure> {
    let variable = "CODEX_WORKSPACE_DIR";
    match named {
        Some(path) if path.starts_with('/') => Ok((None, path.to_owned())),
        Some(path) => Err(values::unusable(variable, path, "an absolute path in the container")),
        None => {
            let name = folder.file_name().map_or_else(|| "root".to_owned(), |name| name.to_string_lossy().into_owned());
            Ok((Some(folder.to_owned()), format!("/workspace/{name}")))
        }
    }
}

/// Returns the folder with the files of runs, for commands that need no other settings.
pub(crate) fn state_root(environment: &BTreeMap<String, String>) -> Result<PathBuf, Failure> {
    match environment.get(STATE).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty()) {
        Some(root) => std::path::absolute(root).map_err(|error| {
            Failure::new(ErrorCode::NoStateFolder, format!("cannot resolve the path in {STATE}: {error}"))
                .hint("set the variable to an absolute path")
        }),
        None => default_state(environment),
    }
}

/// Returns the default folder for the files of runs.
pub(crate) fn default_state(environment: &BTreeMap<String, String>) -> Result<PathBuf, Failure> {
    let get = |name: &str| environment.get(name).filter(|path| Path::new(path).is_absolute()).map(PathBuf::from);
    let state = get("XDG_STATE_HOME").or_else(|| Some(get("HOME")?.join(".local/state")));
    let missing = || {
        Failure::new(ErrorCode::NoStateFolder, "neither XDG_STATE_HOME nor HOME is set")
            .hint("set HOME, or set CODEX_DOCKER_STATE to a folder")
    };
    Ok(state.ok_or_else(missing)?.join("codex-docker"))
}

fn codex_home(folder_of: &impl Fn(&'static str) -> Result<Option<PathBuf>, Failure>) -> Result<Option<CodexHome>, Failure> {
    if let Some(sessions) = folder_of("CODEX_DOCKER_SESSIONS")? {
        let (auth, config) = (folder_of("CODEX_DOCKER_AUTH")?, folder_of("CODEX_DOCKER_CONFIG")?);
        return Ok(Some(CodexHome::Private { sessions, auth, config }));
    }
    let shared = |folder: PathBuf| CodexHome::Shared { inside: folder.to_string_lossy().into_owned(), folder };
    Ok(folder_of("CODEX_HOME")?.map(shared))
}

fn broker<'a>(get: &impl Fn(&str) -> Option<&'a str>, home: Option<&CodexHome>) -> Result<Option<BrokerWish>, Failure> {
    let wanted = match get("CODEX_DOCKER_BROKER") {
        None => matches!(home, Some(CodexHome::Private { .. })) && get(API_KEY).is_some(),
        Some("on") => true,
        Some("off") => false,
        Some(other) => return Err(values::unusable("CODEX_DOCKER_BROKER", other, "`on` or `off`")),
    };
    if !wanted {
        return Ok(None);
    }
    if !matches!(home, Some(CodexHome::Private { .. })) {
        return Err(Failure::new(
            ErrorCode::BrokerNeedsSessions,
            "the broker needs a private Codex home, but CODEX_DOCKER_SESSIONS is not set",
        )
        .hint("set CODEX_DOCKER_SESSIONS to a folder for the sessions"));
    }
    let Some(api_key) = get(API_KEY) else {
        return Err(Failure::new(ErrorCode::BrokerNeedsKey, "the broker needs an API key, but CODEX_API_KEY is not set")
            .hint("set CODEX_API_KEY, or switch the broker off with CODEX_DOCKER_BROKER=off"));
    };
    Ok(Some(BrokerWish {
        api_key: api_key.to_owned(),
        model_url: get("CODEX_DOCKER_MODEL_URL").unwrap_or("https://api.openai.com/v1").to_owned(),
        token_budget: get("CODEX_DOCKER_TOKEN_BUDGET")
            .map(|text| values::whole("CODEX_DOCKER_TOKEN_BUDGET", text))
            .transpose()?,
    }))
}

fn network<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Result<Network, Failure> {
    let hosts = get("CODEX_DOCKER_ALLOW_HOSTS");
    match (get("CODEX_DOCKER_NETWORK"), hosts) {
        (None | Some("open"), None) => Ok(Network::Open),
        (Some("none"), None) => Ok(Network::None),
        (None | Some("allow"), hosts) => AllowList::parse(hosts.unwrap_or_default()).map(Network::Allow).map_err(|error| {
            Failure::new(ErrorCode::SettingUnusable, format!("invalid CODEX_DOCKER_ALLOW_HOSTS: {error}"))
                .hint("separate hosts with commas, e.g. example.com,*.example.org,example.net:8443")
        }),
        (Some("open" | "none"), Some(_)) => Err(Failure::new(
            ErrorCode::SettingUnusable,
            "CODEX_DOCKER_ALLOW_HOSTS is set, but CODEX_DOCKER_NETWORK is not `allow`",
        )
        .hint("set CODEX_DOCKER_NETWORK=allow, or unset CODEX_DOCKER_ALLOW_HOSTS")),
        (Some(other), _) => Err(values::unusable("CODEX_DOCKER_NETWORK", other, "`open`, `none` or `allow`")),
    }
}

/// Returns whether hosted tools are allowed. Without an open network, they are denied by default, because they would
/// be a substitute for it.
fn hosted_tools<'a>(get: &impl Fn(&str) -> Option<&'a str>, network: &Network) -> Result<HostedTools, Failure> {
    match (get("CODEX_DOCKER_HOSTED_TOOLS"), network) {
        (Some("allow"), _) | (None, Network::Open) => Ok(HostedTools::Allow),
        (Some("deny"), _) | (None, Network::None | Network::Allow(_)) => Ok(HostedTools::Deny),
        (Some(other), _) => Err(values::unusable("CODEX_DOCKER_HOSTED_TOOLS", other, "`allow` or `deny`")),
    }
}

/// Returns the variables of the container: the common ones, those that the caller names (by default the logins), and those with
/// the prefix for containers. With a broker, the API key is omitted.
fn variables(environment: &BTreeMap<String, String>, broker: Option<&BrokerWish>) -> BTreeMap<String, String> {
    let named: BTreeSet<&str> = match environment.get("CODEX_PASSTHROUGH_ENV") {
        Some(names) => list(names).collect(),
        None => LOGINS.iter().copied().collect(),
    };
    let passed = COMMON.iter().copied().chain(named).filter(|name| !(broker.is_some() && *name == API_KEY));
    let mut variables: BTreeMap<String, String> =
        passed.filter_map(|name| Some((name.to_owned(), environment.get(name)?.clone()))).collect();
    variables.extend(environment.iter().filter_map(|(name, value)| {
        let name = name.strip_prefix(CONTAINER_PREFIX).filter(|name| values::is_variable_name(name))?;
        Some((name.to_owned(), value.clone()))
    }));
    variables
}

#[cfg(test)]
mod tests;
