//! Prepares a run: checks what must exist, then writes the files that the container needs.
//! All checks come before the first change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum};
use rustix::process::Resource;

use super::Begun;
use crate::agent_note::{self, Checkout};
use crate::codex_config::{self, ModelRoute, TOKEN_VARIABLE};
use crate::connect::{refused, status_of};
use crate::disk;
use crate::failure::Failure;
use crate::folder::{Outputs, RunFolder, Stdin, private_folder};
use crate::image;
use crate::inside;
use crate::layers;
use crate::ledger::Marker;
use crate::proxy::allow::{AllowProxy, Refusal};
use crate::proxy::broker::{Broker, BrokerSettings, new_token};
use crate::seccomp::{self, EngineKind, Seccomp};
use crate::settings::{CodexHome, Network, Settings, default_state};
use crate::spec::{Machine, Talk, ignored_files, own_variables, placed_file};
use model::ErrorCode;

/// The limit on open files, which is more than programs need.
const MANY_FILES: u64 = 65_536;

/// The limit on processes. Some engines cannot set a higher one.
const MANY_PROCESSES: u64 = 32_768;

/// The first API version that can mount a folder of a volume (Docker 26).
const VOLUME_FOLDERS: (usize, usize) = (1, 45);

/// The locked folder of a run, and the run's token for the broker.
pub(crate) struct PreparedRun {
    folder: RunFolder,
    token: String,
}

/// The servers of a run. They stop when this is dropped.
pub(crate) struct Servers {
    _broker: Option<Broker>,
    _proxy: Option<AllowProxy>,
}

/// Checks that the required files exist. Like the public script, it skips optional mounts whose source is missing, with a
/// warning.
pub(crate) fn check(settings: &mut Settings) -> Result<(), Failure> {
    let missing = |what: &str, path: &Path| {
        Failure::new(ErrorCode::MountMissing, format!("{what} `{}` not found", path.display()))
            .hint("create it, or specify another path")
    };
    if let Some(folder) = settings.folder.iter().find(|folder| !folder.is_dir()) {
        return Err(missing("working directory", folder));
    }
    let twin = settings.twin.iter().flat_map(|twin| twin.objects.iter().chain([&twin.git_dir]));
    if let Some(path) = twin.chain(&settings.images).find(|path| !path.exists()) {
        return Err(missing("mount source", path));
    }
    if let Some(CodexHome::Shared { folder, inside }) = &settings.codex_home
        && !folder.is_dir()
    {
        crate::say(&format!("warning: CODEX_HOME `{}` not found; Codex runs without it", folder.display()));
        settings.codex_home = Some(CodexHome::Missing { inside: inside.clone() });
    }
    let mut warned = Vec::new();
    settings.mounts.retain(|wish| {
        let found = wish.source.exists();
        if !found && !warned.contains(&wish.source) {
            crate::say(&format!("warning: `{}` in {} not found; it is not mounted", wish.source.display(), wish.variable));
            warned.push(wish.source.clone());
        }
        found
    });
    layers::drop_unusable(settings);
    if settings.folder.is_none() && !is_mounted(settings) {
        crate::say(&format!(
            "warning: nothing is mounted at `{}`: CODEX_WORKSPACE_DIR only sets the working directory; mount a folder there with \
             CODEX_MOUNT_MAPS or CODEX_VOLUME_MOUNTS",
            settings.inside
        ));
    }
    Ok(())
}

/// Returns whether the caller mounts something at, above or below the working directory.
fn is_mounted(settings: &Settings) -> bool {
    let mut targets =
        settings.mounts.iter().map(|wish| &wish.target).chain(settings.volumes.iter().map(|wish| &wish.target)).map(Path::new);
    let inside = Path::new(&settings.inside);
    targets.any(|target| inside.starts_with(target) || target.starts_with(inside))
}

/// Fails if a folder of a volume is requested and the engine is too old. Such an engine would mount the whole volume
/// instead, without an error.
pub(super) fn check_volumes(docker: &Docker, settings: &Settings) -> Result<(), Failure> {
    let Some(wish) = settings.volumes.iter().find(|wish| wish.folder.is_some()) else { return Ok(()) };
    let version = docker.client_version();
    if (version.major_version, version.minor_version) >= VOLUME_FOLDERS {
        return Ok(());
    }
    let detail =
        format!("the container engine is too old to mount a folder of the volume `{}`: it has API {version}", wish.volume);
    Err(Failure::new(ErrorCode::EngineTooOld, detail)
        .hint("use Docker 26 or newer, or mount the whole volume with CODEX_VOLUME_MOUNTS"))
}

/// Fails if the engine gives the users of containers other IDs: they could not read or write any folder of a run. `options` are the
/// engine's security options.
pub(crate) fn check_users(options: &[String]) -> Result<(), Failure> {
    if !options.iter().any(|option| option.contains("name=userns")) {
        return Ok(());
    }
    let detail =
        "the container engine gives the users of containers other IDs (userns-remap), so a run could not use its folders";
    Err(Failure::new(ErrorCode::EngineRemapsUsers, detail)
        .hint("remove `userns-remap` from the container engine's settings and restart the engine")
        .hint("or use a rootless container engine"))
}

/// Asks the engine about its machine, and chooses the seccomp profile.
pub(crate) async fn machine(docker: &Docker, environment: &BTreeMap<String, String>) -> Result<Machine, Failure> {
    let failed = |error| refused(ErrorCode::EngineFailed, "could not get information about the container engine", &error);
    let (info, version) = (docker.info().await.map_err(failed)?, docker.version().await.map_err(failed)?);
    let is_podman = version.components.iter().flatten().any(|component| component.name.contains("Podman"));
    let kind = if is_podman { EngineKind::Podman } else { EngineKind::Docker };
    let seccomp = Seccomp::choose(environment.get(seccomp::VARIABLE).map(String::as_str), &info, kind)?;
    let options = info.security_options.unwrap_or_default();
    check_users(&options)?;
    let memory = info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()).unwrap_or(2 << 30);
    let most = |resource| rustix::process::getrlimit(resource).maximum;
    let open_files = most(Resource::Nofile).unwrap_or(u64::MAX).min(MANY_FILES);
    let processes = most(Resource::Nproc).map(|most| most.min(MANY_PROCESSES));
    let rootless = options.iter().any(|option| option.contains("name=rootless"));
    Ok(Machine { memory, open_files, processes, rootless, kind, seccomp })
}

/// Fails if the engine does not have the image. Otherwise, the engine could pull an unknown image with this name from a registry.
pub(crate) async fn check_image(docker: &Docker, image: &str) -> Result<(), Failure> {
    match docker.inspect_image(image).await {
        Ok(_) => Ok(()),
        Err(error) if status_of(&error) == Some(404) => Err(image::missing(image)),
        Err(error) => Err(refused(ErrorCode::EngineFailed, "could not inspect the image", &error)),
    }
}

/// Returns the folder with the locks that all processes of a user share.
pub(super) fn locks(settings: &Settings, environment: &BTreeMap<String, String>) -> PathBuf {
    let own = || settings.state.parent().unwrap_or(&settings.state).to_owned();
    default_state(environment).unwrap_or_else(|_| own()).join("locks")
}

impl PreparedRun {
    /// Locks the folder of the run. Fails if the disk is full.
    pub(crate) fn hold(settings: &Settings) -> Result<Self, Failure> {
        let marker =
            Marker { keep_as: settings.keep_as.clone(), ..Marker::new(&settings.name, &settings.image, settings.labels.clone()) };
        let folder = RunFolder::hold(&settings.root, &marker)?;
        disk::check(folder.path(), settings.limits.free_disk)?;
        let kept = fs_err::read_to_string(folder.path().join("token")).ok().filter(|token| token.len() >= 32);
        Ok(Self { folder, token: kept.unwrap_or_else(new_token) })
    }

    /// Returns the path of the run's folder.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Returns the run's folder.
    pub(crate) fn folder(&self) -> &RunFolder {
        &self.folder
    }

    /// Returns the run's folder, still locked.
    pub(crate) fn into_folder(self) -> RunFolder {
        self.folder
    }

    /// Starts the servers that the container may reach.
    pub(crate) fn servers(&self, settings: &Settings) -> Result<Servers, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(
                ErrorCode::StateFolder,
                format!("could not create a socket in `{}`: {error}", self.folder.path().display()),
            )
            .hint("set CODEX_DOCKER_STATE to a writable folder on a file system that supports sockets")
        };
        let broker = match &settings.broker {
            None => None,
            Some(wish) => Some(
                Broker::start(BrokerSettings {
                    socket: self.folder.input(inside::BROKER_SOCKET),
                    upstream: wish.model_url.clone(),
                    api_key: wish.api_key.clone(),
                    token: self.token.clone(),
                    budget: wish.token_budget,
                    hosted_tools: settings.hosted_tools,
                    tell_removed: Box::new(say_removed),
                })
                .map_err(failed)?,
            ),
        };
        let proxy = match &settings.network {
            Network::Open | Network::None => None,
            Network::Allow(list) => {
                Some(AllowProxy::start(&self.folder.input(inside::PROXY_SOCKET), list.clone(), say_refused).map_err(failed)?)
            }
        };
        Ok(Servers { _broker: broker, _proxy: proxy })
    }

    /// Writes the files for a new container.
    pub(crate) fn begin(&self, settings: &Settings, stdin: Stdin, talk: Talk) -> Result<Outputs, Failure> {
        let folder = &self.folder;
        folder.clear()?;
        folder.put_private("token", &self.token)?;
        folder.put_variables(&self.variables(settings, talk))?;
        for (n, file) in settings.files.iter().enumerate() {
            folder.put(&placed_file(n), file.content.as_bytes())?;
        }
        folder.put(inside::IGNORED_FILES, ignored_files(settings).as_bytes())?;
        if settings.twin.is_some() {
            folder.put(inside::GIT_FILE, format!("gitdir: {}\n", inside::GIT_DIR).as_bytes())?;
        }
        if let Some(CodexHome::Private { sessions, config, auth }) = &settings.codex_home {
            let unusable =
                |error: std::io::Error| Failure::new(ErrorCode::CodexHome, format!("cannot use the folders of Codex: {error}"));
            for path in [Some(sessions), auth.as_ref()].into_iter().flatten() {
                private_folder(path).map_err(unusable)?;
            }
            let base = config.as_ref().map(fs_err::read_to_string).transpose().map_err(unusable)?;
            let route = if settings.broker.is_some() { ModelRoute::Broker } else { ModelRoute::Direct };
            let mut text = codex_config::config(base.as_deref(), route, settings.hosted_tools)?;
            let checkout = settings.twin.as_ref().map_or(Checkout::Whole, |twin| Checkout::of(&twin.git_dir));
            if let Some(note) = agent_note::note(settings, settings.keep_as.as_deref(), checkout) {
                text = codex_config::with_note(&text, &note)?;
            }
            folder.put(inside::CONFIG, text.as_bytes())?;
        }
        if stdin == Stdin::File {
            folder.put_stdin(std::io::stdin())?;
        }
        if let Some(start) = &settings.start_folder {
            folder.put(inside::START_FOLDER, start.as_bytes())?;
        }
        folder.make_outputs()
    }

    /// Has the container run a shell or another program instead of Codex.
    pub(super) fn put_shell(&self, start: &str) -> Result<(), Failure> {
        self.folder.put(inside::SHELL, start.as_bytes())
    }

    /// Writes which layers the container gives to its root.
    pub(crate) fn put_layer_owners(&self, settings: &Settings, machine: &Machine) -> Result<(), Failure> {
        let owners = layers::owners(settings, machine);
        owners.map_or(Ok(()), |text| self.folder.put(inside::LAYER_OWNERS, text.as_bytes()))
    }

    /// Continues with a container that an earlier codex-docker created.
    pub(super) fn go_on(&self, found: &ContainerInspectResponse) -> Result<Begun, Failure> {
        let status = found.state.as_ref().and_then(|state| state.status).unwrap_or(ContainerStateStatusEnum::EMPTY);
        Ok(Begun { outputs: self.folder.open_outputs()?, offset: handed_on(), status })
    }

    fn variables(&self, settings: &Settings, talk: Talk) -> BTreeMap<String, String> {
        let mut variables = settings.variables.clone();
        for (name, value) in own_variables(settings, talk) {
            variables.entry(name.to_owned()).or_insert(value);
        }
        if settings.broker.is_some() {
            variables.insert(TOKEN_VARIABLE.to_owned(), self.token.clone());
        }
        if matches!(settings.network, Network::Allow(_)) {
            let proxy = format!("http://127.0.0.1:{}", inside::PROXY_PORT);
            for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"] {
                variables.insert(name.to_owned(), proxy.clone());
            }
            for name in ["NO_PROXY", "no_proxy"] {
                variables.insert(name.to_owned(), "127.0.0.1,localhost,::1".to_owned());
            }
        }
        variables
    }
}

/// Reports a refused host on stderr. The server shows it in the notes of the run.
fn say_refused(refusal: &Refusal) {
    crate::say(&format!("refused {}:{} ({})", refusal.host, refusal.port, refusal.reason));
}

/// Reports on stderr what was removed from requests. The server shows it in the notes of the run.
fn say_removed(what: &str) {
    crate::say(&format!("removed {what} from requests to the model (hosted tools are not allowed)"));
}

/// Returns the number of bytes of output that an earlier codex-docker copied: the length of the file that stdout is redirected
/// to, if there is one.
fn handed_on() -> u64 {
    use std::os::fd::AsFd as _;
    let stdout = std::io::stdout().as_fd().try_clone_to_owned().ok().map(std::fs::File::from);
    let found = stdout.and_then(|file| file.metadata().ok());
    found.filter(std::fs::Metadata::is_file).map_or(0, |found| found.len())
}

#[cfg(test)]
mod tests;
