//! Turns settings into the request that creates a container. Pure.
//!
//! Everything that is not requested is off: capabilities, new privileges, the host's network, the engine's socket. No mount
//! source is in a folder that an agent can write to. The request contains no secrets, because every user of the engine can read
//! it.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, MountVolumeOptions, ResourcesUlimits,
};

use crate::inside;
use crate::labels;
use crate::package_managers;
use crate::seccomp::{EngineKind, Seccomp};
use crate::settings::{CodexHome, ContainerUser, Limits, Network, Settings, VolumeWish};

/// The network that all containers with an open network share. They cannot connect to each other.
pub(crate) const NETWORK: &str = "codex-docker";

/// The capabilities of root in the container: only those that package managers need.
const ROOT_CAPABILITIES: &[&str] = &["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID"];

/// The options of a file system for temporary files. Its size counts towards the container's memory.
const TMPFS: &str = "rw,nosuid,nodev,exec,size=1g";

/// The properties of the engine and its machine that a request depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Memory in bytes.
    pub(crate) memory: u64,
    /// The limit on the open files of a process.
    pub(crate) open_files: u64,
    /// The limit on the number of processes of the current user, if there is one.
    pub(crate) processes: Option<u64>,
    /// Whether the engine runs without root privileges, so that root in a container is the engine's user.
    pub(crate) rootless: bool,
    /// The kind of the engine.
    pub(crate) kind: EngineKind,
    /// The source of the seccomp profile.
    pub(crate) seccomp: Seccomp,
}

/// How input and output reach Codex.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Talk {
    /// Through a terminal with this many rows and columns.
    Terminal(u16, u16),
    /// Output goes to files. Input comes from the caller's stream.
    Stream,
    /// Output goes to files. Input comes from a file, or there is none.
    Files,
    /// Output goes to the caller's stream. There is no input.
    Output,
}

/// Returns the request that creates the container of a run.
pub(crate) fn container(
    settings: &Settings,
    machine: &Machine,
    talk: Talk,
    arguments: &[String],
    layers: &[Mount],
) -> ContainerCreateBody {
    let entry = format!("{}/{}", inside::IN, inside::ENTRY);
    let streams = matches!(talk, Talk::Terminal(..) | Talk::Stream);
    let at_terminal = matches!(talk, Talk::Terminal(..));
    let shows_output = at_terminal || talk == Talk::Output;
    ContainerCreateBody {
        image: Some(settings.kept_image.as_ref().unwrap_or(&settings.image).clone()),
        entrypoint: Some(vec!["/bin/sh".to_owned(), entry]),
        cmd: Some(arguments.to_vec()),
        working_dir: Some(settings.inside.clone()),
        user: Some(user(settings, machine)),
        tty: Some(at_terminal),
        open_stdin: Some(streams),
        stdin_once: Some(streams),
        attach_stdin: Some(streams),
        attach_stdout: Some(shows_output),
        attach_stderr: Some(shows_output),
        stop_signal: Some(stop_signal(settings).to_owned()),
        labels: Some(labels::of_container(&settings.state.to_string_lossy(), &settings.labels)),
        host_config: Some(HostConfig {
            mounts: Some(mounts(settings).into_iter().chain(layers.iter().cloned()).collect()),
            tmpfs: Some(tmpfs(settings, machine)),
            network_mode: Some(network_mode(settings)),
            readonly_rootfs: Some(settings.user == ContainerUser::Caller),
            ..isolated(&settings.limits, settings.user, machine, &settings.state)
        }),
        ..ContainerCreateBody::default()
    }
}

/// Returns the signal after which Codex ends in good order. SIGINT would end its app server, but not the commands of the agent.
pub(crate) fn stop_signal(settings: &Settings) -> &'static str {
    if settings.pipe.is_some() { "SIGTERM" } else { "SIGINT" }
}

/// Returns the network of the container: that of its services, if there are any.
fn network_mode(settings: &Settings) -> String {
    match settings.network {
        _ if !settings.services.is_empty() => format!("container:{}", holder_of(&settings.name)),
        Network::Open => NETWORK.to_owned(),
        Network::None | Network::Allow(_) => "none".to_owned(),
    }
}

/// Returns the name of the container that owns the network of a run with services.
pub(crate) fn holder_of(container: &str) -> String {
    format!("{container}-net")
}

/// Returns the isolation and the limits that apply to every container. `folder` contains the files of its run.
pub(crate) fn isolated(limits: &Limits, user: ContainerUser, machine: &Machine, folder: &Path) -> HostConfig {
    let capabilities = match user {
        ContainerUser::Root => ROOT_CAPABILITIES.iter().map(|name| (*name).to_owned()).collect(),
        ContainerUser::Caller => vec![],
    };
    let memory = i64::try_from(limits.memory.unwrap_or((machine.memory / 2).max(1 << 30))).unwrap_or(i64::MAX);
    HostConfig {
        init: Some(true),
        auto_remove: Some(false),
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        cap_drop: Some(vec!["ALL".to_owned()]),
        cap_add: Some(capabilities),
        security_opt: Some(["no-new-privileges".to_owned()].into_iter().chain(machine.seccomp.option(folder)).collect()),
        pids_limit: Some(limits.pids.into()),
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: limits.cpus.map(nano),
        storage_opt: limits.disk.map(|bytes| HashMap::from([("size".to_owned(), bytes.to_string())])),
        ulimits: Some(ulimits(machine)),
        ipc_mode: Some("private".to_owned()),
        ..HostConfig::default()
    }
}

/// Returns the resource limits: no core dumps, and otherwise this process's own limits, because not every engine can raise them.
fn ulimits(machine: &Machine) -> Vec<ResourcesUlimits> {
    let processes = machine.processes.map(|most| ulimit("nproc", most));
    [ulimit("core", 0), ulimit("nofile", machine.open_files)].into_iter().chain(processes).collect()
}

fn ulimit(name: &str, most: u64) -> ResourcesUlimits {
    let most = i64::try_from(most).ok();
    ResourcesUlimits { name: Some(name.to_owned()), soft: most, hard: most }
}

#[expect(clippy::cast_possible_truncation, reason = "the number of processors was checked to be small")]
fn nano(cpus: f64) -> i64 {
    (cpus * 1e9) as i64
}

/// Returns the user of the container as `uid:gid`. With a rootless engine, root in the container is the caller.
fn user(settings: &Settings, machine: &Machine) -> String {
    match settings.user {
        ContainerUser::Caller if !machine.rootless => format!("{}:{}", settings.caller.uid, settings.caller.gid),
        ContainerUser::Caller | ContainerUser::Root => "0:0".to_owned(),
    }
}

/// Returns the variables that this program sets. They are passed in a file with the others, so that the configuration of the
/// container is that of its image.
pub(crate) fn own_variables(settings: &Settings, talk: Talk) -> Vec<(&'static str, String)> {
    // Git does not need to check who owns a repository, because only the agent uses this container.
    // Codex 0.75.0 hides variables with `KEY` in their names from commands, so GIT_CONFIG_COUNT and GIT_CONFIG_KEY_0 do not work.
    let ignored = if settings.files.is_empty() {
        String::new()
    } else {
        format!(" 'core.excludesFile={}/{}'", inside::IN, inside::IGNORED_FILES)
    };
    let mut own = vec![("GIT_CONFIG_PARAMETERS", format!("'safe.directory=*'{ignored}"))];
    match &settings.codex_home {
        Some(CodexHome::Private { .. }) => own.push(("CODEX_HOME", inside::CODEX_HOME.to_owned())),
        Some(CodexHome::Shared { inside, .. } | CodexHome::Missing { inside }) => own.push(("CODEX_HOME", inside.clone())),
        None => {}
    }
    own.extend(package_managers::variables(settings.user.home()));
    if settings.user == ContainerUser::Caller {
        own.push(("HOME", settings.user.home().to_owned()));
    }
    if let Talk::Terminal(rows, columns) = talk {
        own.push(("CODEX_DOCKER_TERMINAL", format!("{rows} {columns}")));
    }
    own
}

fn mounts(settings: &Settings) -> Vec<Mount> {
    let state = &settings.state;
    let mut mounts: Vec<_> = settings.folder.iter().map(|folder| bind(folder, &settings.inside)).collect();
    mounts.extend([
        bind_read_only(&state.join("in"), inside::IN),
        bind(&state.join("out"), inside::OUT),
        bind_read_only(&state.join("in").join(inside::PROFILE), inside::PROFILE_SCRIPT),
    ]);
    if let Some(twin) = &settings.twin {
        mounts.push(bind_read_only(&state.join("in").join(inside::GIT_FILE), &format!("{}/.git", settings.inside)));
        mounts.push(bind(&twin.git_dir, inside::GIT_DIR));
        mounts.extend(twin.objects.iter().enumerate().map(|(n, path)| bind_read_only(path, &objects_inside(n))));
    }
    match &settings.codex_home {
        Some(CodexHome::Private { sessions, auth, .. }) => {
            mounts.push(bind(sessions, &format!("{}/sessions", inside::CODEX_HOME)));
            mounts.push(bind_read_only(&state.join("in").join(inside::CONFIG), &format!("{}/config.toml", inside::CODEX_HOME)));
            mounts.extend(auth.iter().map(|path| bind(path, inside::AUTH)));
        }
        Some(CodexHome::Shared { folder, inside }) => mounts.push(bind(folder, inside)),
        Some(CodexHome::Missing { .. }) | None => {}
    }
    mounts.extend(settings.images.iter().map(|path| bind_read_only(path, inside::IMAGES)));
    mounts.extend(settings.mounts.iter().map(|wish| {
        let mount = if wish.read_only { bind_read_only } else { bind };
        mount(&wish.source, &wish.target)
    }));
    mounts.extend(settings.volumes.iter().map(volume));
    mounts.extend(settings.pipe.iter().map(|path| bind(path, inside::PIPE)));
    let placed = settings.files.iter().enumerate();
    mounts.extend(placed.map(|(n, file)| bind_read_only(&state.join("in").join(placed_file(n)), &file.target)));
    mounts
}

/// Returns the name of the `n`th placed file below the folder with the input.
pub(crate) fn placed_file(n: usize) -> String {
    format!("{}{n}", inside::PLACED_FILE)
}

/// Returns patterns with which git ignores the placed files of the worktree.
pub(crate) fn ignored_files(settings: &Settings) -> String {
    let worktree = Path::new(&settings.inside);
    let below = settings.files.iter().filter_map(|file| Path::new(&file.target).strip_prefix(worktree).ok());
    let special = |c: char| matches!(c, '*' | '?' | '[' | ']' | '\\' | '!' | '#' | ' ');
    let escaped = |c: char| special(c).then_some('\\').into_iter().chain([c]);
    let pattern = |path: &Path| format!("/{}\n", path.to_string_lossy().chars().flat_map(escaped).collect::<String>());
    below.map(pattern).collect()
}

fn volume(wish: &VolumeWish) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(wish.volume.clone()),
        target: Some(wish.target.clone()),
        read_only: Some(wish.read_only),
        volume_options: wish
            .folder
            .clone()
            .map(|folder| MountVolumeOptions { subpath: Some(folder), ..MountVolumeOptions::default() }),
        ..Mount::default()
    }
}

/// Returns the path in the container of the `n`th object store that the agent repository borrows from.
pub(crate) fn objects_inside(n: usize) -> String {
    if n == 0 { inside::OBJECTS.to_owned() } else { format!("{}-{n}", inside::OBJECTS) }
}

/// Returns a mount that the container can write to.
pub(crate) fn bind(source: &Path, target: &str) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(source.to_string_lossy().into_owned()),
        target: Some(target.to_owned()),
        read_only: Some(false),
        ..Mount::default()
    }
}

/// Returns a mount that the container can only read.
pub(crate) fn bind_read_only(source: &Path, target: &str) -> Mount {
    Mount { read_only: Some(true), ..bind(source, target) }
}

/// Returns the file systems in memory: for Codex's databases, and for temporary files if the root file system is read-only.
fn tmpfs(settings: &Settings, machine: &Machine) -> HashMap<String, String> {
    let mut tmpfs = HashMap::from([("/run".to_owned(), "rw,nosuid,nodev,size=64m,mode=1777".to_owned())]);
    let owner = user(settings, machine).replacen(':', ",gid=", 1);
    if matches!(settings.codex_home, Some(CodexHome::Private { .. })) {
        tmpfs.insert(inside::CODEX_HOME.to_owned(), format!("{TMPFS},mode=0700,uid={owner}"));
    }
    if settings.user == ContainerUser::Caller {
        tmpfs.insert("/tmp".to_owned(), format!("{TMPFS},mode=1777"));
        let home = settings.user.home();
        tmpfs.insert(home.to_owned(), format!("{TMPFS},mode=0700,uid={owner}"));
        // The engine would create the folders above a mount point as root.
        let targets = settings.layers.iter().map(|layer| &layer.target).chain(settings.files.iter().map(|file| &file.target));
        let above = targets.flat_map(|target| Path::new(target).ancestors().skip(1));
        let below_home = above.filter(|path| path.starts_with(home) && *path != Path::new(home));
        tmpfs.extend(below_home.map(|path| (path.to_string_lossy().into_owned(), format!("{TMPFS},mode=0755,uid={owner}"))));
    }
    tmpfs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::PathBuf;

    use super::*;
    use crate::settings::Caller;

    const MACHINE: Machine = Machine {
        memory: 16 << 30,
        open_files: 1024,
        processes: None,
        rootless: false,
        kind: EngineKind::Docker,
        seccomp: Seccomp::Engine,
    };

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let fixed = [("HOME", "/home/nobody-there"), ("CONTAINER_NAME", "c"), ("CODEX_DOCKER_STATE", "/state")];
        let environment: BTreeMap<String, String> =
            fixed.iter().chain(pairs).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let caller = Caller { folder: PathBuf::from("/home/me/app"), uid: 1000, gid: 100 };
        Settings::read(&environment, caller).expect("sound")
    }

    fn body(pairs: &[(&str, &str)], machine: &Machine) -> ContainerCreateBody {
        container(&settings(pairs), machine, Talk::Files, &["exec".to_owned(), "-".to_owned()], &[])
    }

    fn text(body: &ContainerCreateBody) -> String {
        serde_json::to_string(body).expect("the request can be serialized")
    }

    #[test]
    fn nothing_is_on_that_was_not_asked_for() {
        let host = body(&[], &MACHINE).host_config.expect("set");
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges".to_owned()]));
        assert_eq!((host.privileged, host.pid_mode, host.userns_mode, host.devices), (None, None, None, None));
        assert_eq!((host.init, host.auto_remove), (Some(true), Some(false)));
        assert_eq!((host.memory, host.memory_swap, host.pids_limit), (Some(8 << 30), Some(8 << 30), Some(4096)));
        assert_eq!(host.log_config.and_then(|log| log.typ).as_deref(), Some("none"));
        let allowed = host.cap_add.expect("root has some capabilities");
        for dangerous in ["SYS_ADMIN", "NET_ADMIN", "NET_RAW", "SYS_PTRACE", "MKNOD", "DAC_READ_SEARCH", "SYS_MODULE"] {
            assert!(!allowed.iter().any(|capability| capability == dangerous), "{dangerous}");
        }
    }

    #[test]
    fn our_seccomp_profile_goes_along_as_the_engine_wants_it() {
        for (seccomp, expected) in [
            (Seccomp::Inline, Some(format!("seccomp={}", crate::seccomp::PROFILE))),
            (Seccomp::File, Some("seccomp=/state/c/seccomp.json".to_owned())),
            (Seccomp::Engine, None),
        ] {
            let host = body(&[], &Machine { seccomp, ..MACHINE }).host_config.expect("set");
            let options = host.security_opt.expect("set");
            assert_eq!((options[0].as_str(), options.get(1)), ("no-new-privileges", expected.as_ref()), "{seccomp:?}");
        }
    }

    #[test]
    fn no_secret_is_in_what_anybody_with_the_engine_can_read() {
        let secrets = [
            ("CODEX_API_KEY", "sk-secret"),
            ("CODEX_CONTAINER_ENV_TOKEN", "secret-token"),
            ("CODEX_DOCKER_SESSIONS", "/t/sessions"),
            ("CODEX_PASSTHROUGH_ENV", "MINE"),
            ("MINE", "secret-of-mine"),
        ];
        let said = text(&body(&secrets, &MACHINE));
        assert!(!said.contains("secret"), "{said}");
    }

    #[test]
    fn no_mount_has_its_source_where_an_agent_can_write() {
        let body = body(
            &[
                ("CODEX_DOCKER_SESSIONS", "/t/sessions"),
                ("CODEX_DOCKER_GIT_DIR", "/t/agent.git"),
                ("CODEX_DOCKER_GIT_OBJECTS", "/m/objects:/n/objects"),
                ("CODEX_DOCKER_IMAGES", "/t/images"),
            ],
            &MACHINE,
        );
        let mounts = body.host_config.and_then(|host| host.mounts).expect("set");
        let sources: Vec<PathBuf> = mounts.iter().map(|mount| mount.source.clone().expect("set").into()).collect();
        let writable: Vec<&PathBuf> =
            mounts.iter().zip(&sources).filter(|(mount, _)| mount.read_only == Some(false)).map(|(_, source)| source).collect();
        for source in &sources {
            let below = writable.iter().any(|writable| source != *writable && source.starts_with(writable));
            assert!(!below, "{} is in a folder that the agent can write to", source.display());
        }
        let read_only: Vec<String> =
            mounts.iter().filter(|mount| mount.read_only == Some(true)).filter_map(|mount| mount.target.clone()).collect();
        assert_eq!(
            read_only,
            [
                "/codex-docker/in",
                "/etc/profile.d/zz-codex-docker.sh",
                "/workspace/app/.git",
                "/git/objects",
                "/git/objects-1",
                "/codex/config.toml",
                "/codex-docker/images"
            ]
        );
    }

    #[test]
    fn a_named_volume_is_mounted_as_a_volume_and_never_as_a_folder_of_the_host() {
        let body = body(&[("CODEX_VOLUME_MOUNTS", "cache=/var/cache/x,state/a/b=/workspace/state:ro")], &MACHINE);
        let mounts = body.host_config.and_then(|host| host.mounts).expect("set");
        let volumes: Vec<_> = mounts.into_iter().filter(|mount| mount.typ == Some(MountType::VOLUME)).collect();
        let subpath = |mount: &Mount| mount.volume_options.clone().and_then(|options| options.subpath);
        assert_eq!(
            (volumes[0].source.as_deref(), volumes[0].read_only, subpath(&volumes[0])),
            (Some("cache"), Some(false), None)
        );
        assert_eq!((volumes[1].source.as_deref(), volumes[1].read_only), (Some("state"), Some(true)));
        assert_eq!(subpath(&volumes[1]).as_deref(), Some("a/b"));
    }

    #[test]
    fn a_named_workspace_is_a_folder_of_the_container_and_mounts_nothing() {
        let body = body(&[("CODEX_WORKSPACE_DIR", "/srv/app")], &MACHINE);
        assert_eq!(body.working_dir.as_deref(), Some("/srv/app"));
        let mounts = body.host_config.and_then(|host| host.mounts).expect("set");
        assert!(!mounts.iter().any(|mount| mount.source.as_deref() == Some("/home/me/app")), "{mounts:?}");
    }

    #[test]
    fn only_an_open_network_is_one() {
        for (wish, expected) in [("open", NETWORK), ("none", "none"), ("allow", "none")] {
            let host = body(&[("CODEX_DOCKER_NETWORK", wish)], &MACHINE).host_config.expect("set");
            assert_eq!(host.network_mode.as_deref(), Some(expected), "{wish}");
        }
    }

    #[test]
    fn the_caller_as_user_has_no_capability_and_cannot_write_the_image() {
        let caller = [("CODEX_DOCKER_USER", "caller"), ("CODEX_DOCKER_SESSIONS", "/t/sessions")];
        let made = body(&caller, &MACHINE);
        let host = made.host_config.expect("set");
        assert_eq!((made.user.as_deref(), host.readonly_rootfs), (Some("1000:100"), Some(true)));
        assert_eq!(host.cap_add, Some(vec![]));
        let tmpfs = host.tmpfs.expect("set");
        assert!(tmpfs["/codex"].ends_with("uid=1000,gid=100") && tmpfs.contains_key("/tmp"), "{tmpfs:?}");
        let rootless = body(&caller, &Machine { rootless: true, ..MACHINE });
        assert_eq!(rootless.user.as_deref(), Some("0:0"), "with a rootless engine, root is the caller");
    }

    #[test]
    fn limits_are_passed_on() {
        let limits = [
            ("CODEX_DOCKER_MEMORY", "512m"),
            ("CODEX_DOCKER_CPUS", "1.5"),
            ("CODEX_DOCKER_PIDS", "256"),
            ("CODEX_DOCKER_DISK", "1g"),
        ];
        let host = body(&limits, &MACHINE).host_config.expect("set");
        assert_eq!((host.memory, host.nano_cpus, host.pids_limit), (Some(512 << 20), Some(1_500_000_000), Some(256)));
        assert_eq!(host.storage_opt, Some(HashMap::from([("size".to_owned(), (1_u64 << 30).to_string())])));
    }
}
