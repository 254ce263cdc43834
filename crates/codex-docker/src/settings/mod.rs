//! The environment contract: what a caller can set, read once and parsed as a whole.
//!
//! Pure: from a map of variables, a folder and a user to [`Settings`]. The first half of the contract is that of the public
//! helper script of the same name; what begins with `CODEX_DOCKER_` is ours. A value that makes no sense is named and refused.

mod mounts;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use model::container::HostedTools;
use uuid::Uuid;

pub use self::mounts::{MountWish, VolumeWish};
use self::values::{absolute, bytes, count, cpus, labels, list};
use crate::failure::Failure;
use crate::image::DEFAULT_IMAGE;
use crate::proxy::allow::AllowList;

/// Variables of the caller that always go along: they say how text is shown, not who somebody is.
const COMMON: &[&str] = &["TERM", "LANG", "LC_ALL", "TZ", "NO_COLOR", "COLORTERM"];

/// The variable with a key of the model's API.
const API_KEY: &str = "CODEX_API_KEY";

/// The variable with the folder for the files of runs.
const STATE: &str = "CODEX_DOCKER_STATE";

/// The logins that go along by name where nothing was said about it.
const LOGINS: &[&str] = &[API_KEY, "CODEX_ACCESS_TOKEN"];

/// What a caller's own variable must start with to reach the container under its name.
const CONTAINER_PREFIX: &str = "CODEX_CONTAINER_ENV_";

/// The user that Codex runs as in the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContainerUser {
    /// Root of the container, who can install packages.
    Root,
    /// The caller's own user and group.
    Caller,
}

impl ContainerUser {
    /// The home of this user in the container.
    pub(crate) fn home(self) -> &'static str {
        match self {
            Self::Root => "/root",
            Self::Caller => "/home/agent",
        }
    }
}

/// What of the network a container sees.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// All of it, but no other container.
    Open,
    /// Nothing.
    None,
    /// The hosts of a list, through a proxy.
    Allow(AllowList),
}

/// What a container may use of the machine.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Bytes of memory; none leaves the default to the machine's size.
    pub memory: Option<u64>,
    /// Processors; none allows all.
    pub cpus: Option<f64>,
    /// Processes and threads.
    pub pids: u32,
    /// Bytes of free disk below which the run is stopped.
    pub free_disk: u64,
}

/// Where Codex keeps its settings, its login and its sessions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodexHome {
    /// A folder of the caller's, mounted whole.
    Shared {
        /// On the host.
        folder: PathBuf,
        /// In the container.
        inside: String,
    },
    /// A folder of the container that is not mounted, because the caller's does not exist.
    Missing {
        /// In the container.
        inside: String,
    },
    /// The container's own, with only the sessions outliving it.
    Private {
        /// Where the sessions are kept.
        sessions: PathBuf,
        /// The folder with the login of an account, shared by all runs.
        auth: Option<PathBuf>,
        /// The settings to start from.
        config: Option<PathBuf>,
    },
}

/// The agent's own git repository, of which the worktree's real one knows nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Twin {
    /// Its folder, which the agent may change.
    pub git_dir: PathBuf,
    /// Where it borrows objects, read-only.
    pub objects: Vec<PathBuf>,
}

/// The model behind the broker, and the key that the container never sees.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerWish {
    /// The key.
    pub api_key: String,
    /// The model API's address.
    pub model_url: String,
    /// The tokens that the run may use.
    pub token_budget: Option<u64>,
}

/// The key is not shown.
impl std::fmt::Debug for BrokerWish {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BrokerWish")
            .field("model_url", &self.model_url)
            .field("token_budget", &self.token_budget)
            .finish_non_exhaustive()
    }
}

/// Who calls, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The folder that the program was started in.
    pub folder: PathBuf,
    /// User and group.
    pub uid: u32,
    /// The group.
    pub gid: u32,
}

/// All that can be set, parsed.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The container's name.
    pub name: String,
    /// The image.
    pub image: String,
    /// The folder that is mounted for Codex to work in; none if the caller mounts something else there.
    pub folder: Option<PathBuf>,
    /// Where Codex works in the container.
    pub inside: String,
    /// The folder with the files of all runs.
    pub root: PathBuf,
    /// The folder with the files of this run, which is named after the container.
    pub state: PathBuf,
    /// What the container can be found by.
    pub labels: BTreeMap<String, String>,
    /// The user in the container.
    pub user: ContainerUser,
    /// Who calls.
    pub caller: Caller,
    /// What it sees of the network.
    pub network: Network,
    /// Whether the model's API may act elsewhere for it.
    pub hosted_tools: HostedTools,
    /// What it may use.
    pub limits: Limits,
    /// Codex's own folder; none where there is none to share.
    pub codex_home: Option<CodexHome>,
    /// The agent's own repository.
    pub twin: Option<Twin>,
    /// Where images lie that go along with prompts.
    pub images: Option<PathBuf>,
    /// More folders.
    pub mounts: Vec<MountWish>,
    /// Named volumes.
    pub volumes: Vec<VolumeWish>,
    /// Variables of the container.
    pub variables: BTreeMap<String, String>,
    /// The broker, if there is one.
    pub broker: Option<BrokerWish>,
}

impl Settings {
    /// Reads the contract.
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
            variables: variables(environment, broker.is_some()),
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

/// `key=value`, for the command line.
pub(crate) fn label_argument(text: &str) -> Result<(String, String), String> {
    values::label("--label", text).map_err(|failure| failure.hints.join("; "))
}

/// What Codex works in: the caller's folder under its own name, or a folder of the container, which is not mounted.
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

/// The folder with the files of runs, for verbs that read no other settings.
pub(crate) fn state_root(environment: &BTreeMap<String, String>) -> Result<PathBuf, Failure> {
    match environment.get(STATE).map(PathBuf::from).filter(|path| !path.as_os_str().is_empty()) {
        Some(root) => std::path::absolute(root).map_err(|error| {
            Failure::new("no_state_folder", format!("cannot find the folder in {STATE}: {error}"))
                .hint("set it to an absolute path")
        }),
        None => default_state(environment),
    }
}

/// Where the files of runs lie by default.
pub(crate) fn default_state(environment: &BTreeMap<String, String>) -> Result<PathBuf, Failure> {
    let get = |name: &str| environment.get(name).filter(|path| Path::new(path).is_absolute()).map(PathBuf::from);
    let state = get("XDG_STATE_HOME").or_else(|| Some(get("HOME")?.join(".local/state")));
    let missing = || {
        Failure::new("no_state_folder", "neither XDG_STATE_HOME nor HOME is set")
            .hint("set HOME, or CODEX_DOCKER_STATE to a folder")
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
            "broker_needs_sessions",
            "the broker needs a Codex home of its own, and CODEX_DOCKER_SESSIONS is not set",
        )
        .hint("set CODEX_DOCKER_SESSIONS to the folder where the sessions are to be kept"));
    }
    let Some(api_key) = get(API_KEY) else {
        return Err(Failure::new("broker_needs_key", "the broker was asked for, and CODEX_API_KEY is not set")
            .hint("set CODEX_API_KEY, or CODEX_DOCKER_BROKER=off"));
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
            Failure::new("setting_unusable", format!("CODEX_DOCKER_ALLOW_HOSTS: {error}"))
                .hint("write hosts with commas between them: example.com,*.example.org,example.net:8443")
        }),
        (Some("open" | "none"), Some(_)) => {
            Err(Failure::new("setting_unusable", "CODEX_DOCKER_ALLOW_HOSTS is set, but CODEX_DOCKER_NETWORK is not `allow`")
                .hint("set CODEX_DOCKER_NETWORK=allow, or leave the list out"))
        }
        (Some(other), _) => Err(values::unusable("CODEX_DOCKER_NETWORK", other, "`open`, `none` or `allow`")),
    }
}

/// Unless it is said, what has no open network of its own does not get one by way of the model's API.
fn hosted_tools<'a>(get: &impl Fn(&str) -> Option<&'a str>, network: &Network) -> Result<HostedTools, Failure> {
    match (get("CODEX_DOCKER_HOSTED_TOOLS"), network) {
        (Some("allow"), _) | (None, Network::Open) => Ok(HostedTools::Allow),
        (Some("deny"), _) | (None, Network::None | Network::Allow(_)) => Ok(HostedTools::Deny),
        (Some(other), _) => Err(values::unusable("CODEX_DOCKER_HOSTED_TOOLS", other, "`allow` or `deny`")),
    }
}

/// What the container gets of the caller's variables: the common ones, those that were named (or else a login), and those that
/// were written for it. Behind a broker the key itself stays outside.
fn variables(environment: &BTreeMap<String, String>, behind_broker: bool) -> BTreeMap<String, String> {
    let named: BTreeSet<&str> = match environment.get("CODEX_PASSTHROUGH_ENV") {
        Some(names) => list(names).collect(),
        None => LOGINS.iter().copied().collect(),
    };
    let passed = COMMON.iter().copied().chain(named).filter(|name| !(behind_broker && *name == API_KEY));
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
