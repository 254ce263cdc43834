//! The public `codex-docker` script as a worker: what it mounts for a run, and the settings of Codex in its container.
//!
//! The script mounts the worktree, a Codex home, and the paths in the variables of the contract. With these variables, its
//! container gets the same as a container of the built-in worker: the agent repository, a `.git` file that points to it, and a
//! `config.toml` that disables Codex's sandbox, because the container is the sandbox. The files that the user's own Codex reads
//! are not changed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use config::Config;
use durable::create_private_folder;
use durable::write_atomically;
use model::ErrorCode;
use model::artifact::ARTIFACTS_INSIDE;
use model::container::{ContainerNetwork, ContainerUser};
use model::problem::Problem;
use model::setup::CachePath;
use store::read_plain_file;
use toml::{Table, Value};

use super::container::{NetworkNeeds, mount_maps};
use super::login::Login;
use super::request::{Cleanup, ContainerFolders, ContainerRun, IMAGES_INSIDE, RunCall, ToRead};
use super::variables::{API_KEY, RUN_MARK, run_mark};
use crate::spec::{ContainerSandbox, ImageRef};

/// The maximum size of the script in bytes.
const SCRIPT_LIMIT_BYTES: u64 = 256 * 1024;

/// The variable that identifies the script: a worker that reads it mounts the paths in it.
const RECOGNIZED_BY: &str = "CODEX_MOUNT_MAPS";

/// The text before the script's default image.
const DEFAULT_IMAGE: &str = "IMAGE_NAME:-";

/// The path at which the script mounts the Codex home of the user who starts it.
const USERS_HOME_INSIDE: &str = "/root/.codex";

/// Codex's home in the container if nothing of the host is mounted there.
const OWN_HOME_INSIDE: &str = "/codex-docker/home";

/// The path at which the script mounts the worktree.
const GIT_FILE_INSIDE: &str = "/workspace/worktree/.git";

/// The path of the agent repository.
const GIT_INSIDE: &str = "/git/agent.git";

/// The path of the objects that the agent repository borrows.
const OBJECTS_INSIDE: &str = "/git/objects";

/// A worker with the interface of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Script {
    /// The image that the script uses if the caller names none, or `None` if it cannot be read from the script.
    pub(super) image: Option<String>,
    /// The program that ends the script's containers.
    container_program: Vec<String>,
    /// `CODEX_HOME`, if it is set.
    codex_home: Option<PathBuf>,
    /// The home that the script uses if `CODEX_HOME` is not set.
    users_home: Option<PathBuf>,
}

/// Codex's home in a container of the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScriptHome {
    /// The folder of the host that the script mounts. If there is none, the home is in the container, and only the sessions
    /// outlive the container.
    pub(super) mounted: Option<PathBuf>,
    /// The path in the container.
    inside: PathBuf,
    /// Whether the script must get the path in `CODEX_HOME`.
    named: bool,
}

impl ScriptHome {
    fn owner(&self) -> HomeOwner {
        if self.mounted.is_some() { HomeOwner::User } else { HomeOwner::Orchestrator }
    }
}

/// Whose Codex home is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum HomeOwner {
    User,
    Orchestrator,
}

/// The files that are mounted read-only over those of a worktree and a Codex home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScriptFiles {
    folder: PathBuf,
}

impl ScriptFiles {
    pub(super) fn of(folders: &ContainerFolders) -> Self {
        Self { folder: folders.overlays.clone() }
    }

    fn git_file(&self) -> PathBuf {
        self.folder.join("git-file")
    }

    fn config(&self) -> PathBuf {
        self.folder.join("config.toml")
    }
}

impl Script {
    /// Recognizes the script, or a program that replaces it. A script is recognized by the variable that it reads, other
    /// programs by name.
    pub(super) fn recognize(program: &Path, config: &Config) -> Option<Self> {
        let mut text = Vec::new();
        let file = fs_err::File::open(program).ok()?;
        file.take(SCRIPT_LIMIT_BYTES).read_to_end(&mut text).ok()?;
        let text = String::from_utf8_lossy(&text);
        let is_one = if text.starts_with("#!") {
            text.contains(RECOGNIZED_BY)
        } else {
            program.file_name() == Some(OsStr::new("codex-docker"))
        };
        is_one.then(|| Self {
            image: default_image(&text),
            container_program: config.container_program.clone(),
            codex_home: config.codex_home.clone(),
            users_home: config.environment.get(OsStr::new("HOME")).map(|home| Path::new(home).join(".codex")),
        })
    }

    /// Returns the image that the script uses if the caller names none, if it can be read from the script.
    pub(super) fn default_image(&self) -> Option<&str> {
        self.image.as_deref()
    }

    /// Returns Codex's home, by the same rules as the script.
    pub(super) fn home(&self) -> ScriptHome {
        let of_user = || self.users_home.clone().filter(|folder| folder.is_dir());
        match (&self.codex_home, of_user()) {
            (Some(named), _) => {
                ScriptHome { mounted: Some(named.clone()).filter(|folder| folder.is_dir()), inside: named.clone(), named: true }
            }
            (None, Some(folder)) => ScriptHome { mounted: Some(folder), inside: USERS_HOME_INSIDE.into(), named: false },
            (None, None) => ScriptHome { mounted: None, inside: OWN_HOME_INSIDE.into(), named: true },
        }
    }

    /// Writes the files that are mounted for a run. `base` is the `config.toml` to start from if the script mounts no Codex
    /// home.
    pub(super) fn prepare(&self, folders: &ContainerFolders, base: Option<&Path>) -> io::Result<()> {
        let files = ScriptFiles::of(folders);
        create_private_folder(&files.folder)?;
        write_atomically(&files.git_file(), format!("gitdir: {GIT_INSIDE}\n").as_bytes())?;
        let home = self.home();
        let own = home.mounted.as_ref().map(|folder| folder.join("config.toml"));
        let base = match own.as_deref().or(base).map(read_settings) {
            Some(Err(error)) if error.kind() == io::ErrorKind::NotFound && own.is_some() => {
                // A file can only be mounted over an existing one. An empty file has no effect on Codex.
                own.as_deref().map_or(Ok(()), |path| fs_err::File::create_new(path).map(drop))?;
                String::new()
            }
            Some(text) => text?,
            None => String::new(),
        };
        write_atomically(&files.config(), codex_config(&base, home.owner())?.as_bytes())
    }

    /// Adds the variables that a run needs to those that every worker gets.
    pub(super) fn write(&self, run: &ContainerRun<'_>, call: &RunCall<'_>, environment: &mut BTreeMap<OsString, OsString>) {
        let (home, files) = (self.home(), ScriptFiles::of(&run.folders));
        let mut writable = vec![ToRead::new(&run.folders.twin, GIT_INSIDE)];
        writable.extend(run.artifacts.iter().map(|folder| ToRead::new(folder, ARTIFACTS_INSIDE)));
        writable.extend(run.caches.iter().map(|(folder, path)| ToRead { path: folder.clone(), inside: of_root(path) }));
        let mut readable: Vec<_> = run.folders.objects.iter().map(|path| ToRead::new(path, OBJECTS_INSIDE)).collect();
        readable.push(ToRead::new(&files.git_file(), GIT_FILE_INSIDE));
        readable.push(ToRead { path: files.config(), inside: home.inside("config.toml") });
        readable.extend(call.images_folder.iter().map(|folder| ToRead::new(folder, IMAGES_INSIDE)));
        readable.extend(run.to_read.iter().cloned());
        if home.mounted.is_none() {
            writable.push(ToRead { path: run.folders.sessions.clone(), inside: home.inside("sessions") });
            if let Some(Login::ApiKey(stored)) = run.login {
                environment.entry(API_KEY.into()).or_insert_with(|| stored.expose().into());
            }
        }
        let mut set = |name: &str, value: OsString| environment.insert(name.into(), value);
        for (name, maps) in [("CODEX_MOUNT_MAPS", mount_maps(&writable)), ("CODEX_MOUNT_MAPS_RO", mount_maps(&readable))] {
            if let Some(maps) = maps {
                set(name, maps);
            }
        }
        if home.named {
            set("CODEX_HOME", home.inside.into());
        }
        if let Some(image) = run.image {
            set("IMAGE_NAME", image.into());
        }
        // In the container, root works with files of the server's user, which git rejects by default. Codex 0.75.0 removes
        // variables with `KEY` in their names from commands, so GIT_CONFIG_COUNT and related variables cannot be used.
        let trust = || OsString::from("'safe.directory=*'");
        environment.entry("CODEX_CONTAINER_ENV_GIT_CONFIG_PARAMETERS".into()).or_insert_with(trust);
    }

    /// Returns the program that ends a container that outlives the script. The container has the run's mark in its environment.
    pub(super) fn cleanup(&self, call: &RunCall<'_>, name: &str) -> Option<Cleanup> {
        let (program, prefix) = self.container_program.split_first()?;
        let mark = format!("{RUN_MARK}={}", run_mark(call.task_id, call.run, call.attempt));
        let words = ["stop".to_owned(), "--variable".to_owned(), mark, name.to_owned()];
        Some(Cleanup { program: program.into(), args: prefix.iter().cloned().chain(words).collect() })
    }
}

/// Returns the absolute path of a folder in the script's containers, whose user is root.
fn of_root(path: &CachePath) -> String {
    path.as_str().strip_prefix("~/").map_or_else(|| path.to_string(), |rest| format!("/root/{rest}"))
}

impl ScriptHome {
    fn inside(&self, name: &str) -> String {
        self.inside.join(name).to_string_lossy().into_owned()
    }
}

/// Reads a small file, even through a link, because people may keep their settings elsewhere. An agent may have put a pipe
/// there, so only a regular file is read.
fn read_settings(path: &Path) -> io::Result<String> {
    let bytes = read_plain_file(&fs_err::canonicalize(path)?)?;
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Returns the image in `${IMAGE_NAME:-image}`.
fn default_image(script: &str) -> Option<String> {
    let (_, rest) = script.split_once(DEFAULT_IMAGE)?;
    let (image, _) = rest.split_once('}')?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:@".contains(&byte);
    (image.bytes().all(is_plain) && image.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric()))
        .then(|| image.to_owned())
}

/// Returns the content of `config.toml`. Codex's own sandbox does not work in a container, and 0.75.0 would run its turn
/// read-only.
fn codex_config(base: &str, owner: HomeOwner) -> io::Result<String> {
    let mut table: Table = base.parse().map_err(|error: toml::de::Error| {
        let what = format!("invalid Codex `config.toml`: {}", error.message());
        io::Error::new(io::ErrorKind::InvalidData, what)
    })?;
    table.insert("sandbox_mode".to_owned(), Value::String("danger-full-access".to_owned()));
    if owner == HomeOwner::Orchestrator {
        table.insert("check_for_update_on_startup".to_owned(), Value::Boolean(false));
        let off = Table::from_iter([("enabled".to_owned(), Value::Boolean(false))]);
        table.insert("analytics".to_owned(), Value::Table(off));
    }
    Ok(table.to_string())
}

/// Whether a variable can be passed to the script under its own name, without changing what the script or its programs do.
pub(super) fn passes_by_name(name: &str) -> bool {
    let affects = ["BASH", "CODEX_", "DOCKER_", "GO", "LC_", "LD_", "ORCH_", "PS", "SHELL", "SSL_", "XDG_"];
    let is_one = ["CONTAINER_NAME", "ENV", "HOME", "IFS", "IMAGE_NAME", "LANG", "PATH", "PWD", "TERM", "TMPDIR"];
    let is_proxy = name.to_ascii_uppercase().ends_with("_PROXY");
    name == API_KEY || !(is_proxy || is_one.contains(&name) || affects.iter().any(|prefix| name.starts_with(prefix)))
}

/// Returns why the script cannot run tasks of a repository, or `None` if it can. It has no setting that restricts the network.
pub(super) fn open_network_only(needs: &NetworkNeeds<'_>) -> Option<Problem> {
    (needs.network != ContainerNetwork::Open).then(|| {
        let detail = format!(
            "the network of `{}` is `{}`, but this worker cannot restrict the network of containers",
            needs.repository,
            needs.network.as_str()
        );
        Problem::new(ErrorCode::NetworkNotClosed, detail)
            .hint("use the built-in worker: set ORCH_WORKER to `codex-docker` and restart the server")
            .hint("or set the repository's network to `open`")
    })
}

/// Returns why the script cannot mount a path, or `None` if it can.
pub fn cannot_mount(home: &Path) -> Option<Problem> {
    let bytes = home.as_os_str().as_encoded_bytes();
    bytes.iter().any(|byte| matches!(byte, b':' | b'=')).then(|| {
        let detail = format!("this worker cannot mount `{}`: the path contains `:` or `=`", home.display());
        Problem::new(ErrorCode::WorkerCannotMount, detail)
            .hint("set ORCH_HOME to a path without these characters, or use the built-in worker")
    })
}

/// Returns notes about the settings that the script does not apply.
pub(super) fn ignored_settings(container: &ContainerSandbox) -> Vec<String> {
    let settings = &container.settings;
    let ignored: Vec<_> = [
        ("dockerfile", container.image == ImageRef::Built),
        ("user", settings.user != ContainerUser::default()),
        ("memory", settings.memory.is_some()),
        ("cpus", settings.cpus.is_some()),
        ("disk", settings.disk.is_some()),
        ("pids", settings.pids.is_some()),
        ("token_budget", settings.token_budget.is_some()),
    ]
    .into_iter()
    .filter(|(_, is_set)| *is_set)
    .map(|(name, _)| format!("`{name}`"))
    .collect();
    if ignored.is_empty() { vec![] } else { vec![format!("this worker does not apply these settings: {}", ignored.join(", "))] }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use model::container::ContainerSettings;
    use model::ids::{Attempt, RunNumber};
    use model::names::VariableName;
    use model::secret::Secret;

    use super::super::Worker;
    use super::*;

    /// A text like the start of the public script, which names its default image.
    const LIKE_THE_SCRIPT: &str = "#!/usr/bin/env bash\nIMAGE_NAME=\"${IMAGE_NAME:-ghcr.io/some/body@sha256:12ab}\"\n\
        maps=\"${CODEX_MOUNT_MAPS:-}\"\n";

    fn recognized(name: &str, text: &str) -> Option<Script> {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join(name);
        fs_err::write(&program, text).expect("written");
        Script::recognize(&program, &Config::for_home(folder.path()))
    }

    #[test]
    fn the_script_is_recognized_whatever_it_is_called_and_other_scripts_are_not() {
        let script = recognized("worker.sh", LIKE_THE_SCRIPT).expect("the script reads the variable");
        assert_eq!(script.image.as_deref(), Some("ghcr.io/some/body@sha256:12ab"));
        assert_eq!(recognized("codex-docker", "#!/bin/sh\nexec codex \"$@\"\n"), None, "that script mounts nothing");
        assert!(recognized("codex-docker", "\u{7f}ELF").is_some(), "this program is recognized by its name");
        assert_eq!(recognized("worker", "\u{7f}ELF"), None);
    }

    #[test]
    fn the_default_image_is_read_only_if_it_is_a_plain_name() {
        let check = |line: &str, expect: Option<&str>| {
            let script = recognized("worker", &format!("#!/bin/sh\n: $CODEX_MOUNT_MAPS\n{line}\n")).expect("the script");
            assert_eq!(script.default_image(), expect, "{line}");
        };
        check("i=\"${IMAGE_NAME:-ghcr.io/me/codex:1}\"", Some("ghcr.io/me/codex:1"));
        check("i=${IMAGE_NAME:-codex}", Some("codex"));
        check("i=${IMAGE_NAME:-localhost:5000/a_b@sha256:0f}", Some("localhost:5000/a_b@sha256:0f"));
        check("i=${IMAGE_NAME:-}", None);
        check("i=${IMAGE_NAME:-$(evil)}", None);
        check("i=${IMAGE_NAME:-$DEFAULT}", None);
        check("i=${IMAGE_NAME:--rm}", None);
        check("i=${IMAGE_NAME:-a b}", None);
        check("i=${IMAGE_NAME:-never closed", None);
        check("i=$IMAGE_NAME", None);
        check("a=${IMAGE_NAME:-first} b=${IMAGE_NAME:-second}", Some("first"));
    }

    /// Returns the variables of a run, and its cleanup.
    fn called(login: Option<&Login>, secrets: &[(&str, &str)]) -> (BTreeMap<String, String>, Cleanup) {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("script");
        fs_err::write(&program, LIKE_THE_SCRIPT).expect("written");
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let mut config = Config::for_home(Path::new("/h"));
        config.worker = Some(program.display().to_string());
        let task_id = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650".parse().expect("an id");
        let layout = store::Layout::new(&config.home);
        let settings = ContainerSettings::default();
        let variables = BTreeMap::from([(VariableName::parse("PATH").expect("a name"), "/agents".to_owned())]);
        let secrets =
            secrets.iter().map(|(name, value)| (VariableName::parse(name).expect("a name"), Secret::new(*value))).collect();
        let call = Worker::find(&config).expect("it exists").call(&RunCall {
            task_id,
            run: RunNumber(2),
            attempt: Attempt(3),
            model: None,
            effort: None,
            resumes: None,
            app_server: None,
            worktree: Path::new("/w"),
            subdirectory: None,
            images: &[],
            images_folder: Some(layout.images(task_id)),
            variables: &variables,
            secrets: &secrets,
            notes: vec![],
            container: Some(ContainerRun {
                settings: &settings,
                image: Some("mine:1"),
                login,
                broker: config.broker,
                model_url: None,
                codex_config: None,
                home: &config.home,
                folders: ContainerFolders::new(&layout, task_id, Path::new("/m")),
                to_read: vec![ToRead::new(Path::new("/m/lfs"), "/git/lfs")],
                layers: vec![],
                files: vec![],
                keep_as: None,
                services: None,
                artifacts: Some("/t/artifacts".into()),
                caches: vec![
                    ("/t/upper/npm".into(), CachePath::parse("~/.npm").expect("a path")),
                    ("/t/upper/go".into(), CachePath::parse("/go/pkg").expect("a path")),
                ],
                memory: None,
            }),
        });
        assert_eq!(call.args, ["exec", "--json", "-"], "flags of the image's entry point are not repeated");
        assert!(matches!(call.sessions, Some(super::super::SessionFolder::OfTask(_))));
        let text = |text: OsString| text.into_string().expect("text");
        let variables = call.environment.into_iter().map(|(name, value)| (text(name), text(value))).collect();
        (variables, call.cleanup.expect("a container may be left behind"))
    }

    #[test]
    fn the_script_mounts_what_the_built_in_worker_mounts() {
        let (variables, cleanup) = called(Some(&Login::ApiKey(Secret::new("k-stored"))), &[]);
        let task = "/h/tasks/01a201f5-b7dd-79a1-8a6e-7e6639f5c650";
        let writable = format!(
            "{task}/agent.git=/git/agent.git:/t/artifacts=/artifacts:/t/upper/npm=/root/.npm:/t/upper/go=/go/pkg:\
             {task}/sessions=/codex-docker/home/sessions"
        );
        let readable = format!(
            "/m/objects=/git/objects:{task}/overlays/git-file=/workspace/worktree/.git:\
             {task}/overlays/config.toml=/codex-docker/home/config.toml:{task}/images=/codex-docker/images:/m/lfs=/git/lfs"
        );
        let mark = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650/2/3";
        let name = "codex-01a201f5-b7dd-79a1-8a6e-7e6639f5c650-run-002";
        for (variable, expected) in [
            ("CODEX_MOUNT_MAPS", writable.as_str()),
            ("CODEX_MOUNT_MAPS_RO", &readable),
            ("CODEX_HOME", "/codex-docker/home"),
            ("IMAGE_NAME", "mine:1"),
            ("CONTAINER_NAME", name),
            ("CODEX_API_KEY", "k-stored"),
            ("CODEX_PASSTHROUGH_ENV", "CODEX_API_KEY,ORCH_RUN"),
            ("CODEX_CONTAINER_ENV_PATH", "/agents"),
            ("ORCH_RUN", mark),
        ] {
            assert_eq!(variables.get(variable).map(String::as_str), Some(expected), "{variable}");
        }
        assert_ne!(
            variables.get("PATH").map(String::as_str),
            Some("/agents"),
            "a variable for the agent is not set for the script"
        );
        assert!(!variables.contains_key("CODEX_WORKSPACE_DIR"), "with it, the script would not mount the worktree");
        assert_eq!(cleanup.args.join(" "), format!("codex-docker stop --variable ORCH_RUN={mark} {name}"));
    }

    #[test]
    fn secrets_are_not_on_a_command_line_of_the_script() {
        let (variables, _) = called(None, &[("TOKEN", "t-1"), ("CODEX_API_KEY", "k-1"), ("DOCKER_HOST", "d-1")]);
        assert_eq!(variables.get("CODEX_PASSTHROUGH_ENV").map(String::as_str), Some("CODEX_API_KEY,TOKEN,ORCH_RUN"));
        assert_eq!((variables["TOKEN"].as_str(), variables["CODEX_API_KEY"].as_str()), ("t-1", "k-1"));
        assert!(!variables.contains_key("CODEX_CONTAINER_ENV_TOKEN") && !variables.contains_key("DOCKER_HOST"));
        assert_eq!(variables["CODEX_CONTAINER_ENV_DOCKER_HOST"], "d-1", "the script keeps its own container engine");
        for name in ["PATH", "LD_PRELOAD", "BASH_ENV", "CODEX_MOUNT_MAPS", "https_proxy", "IFS", "ORCH_RUN"] {
            assert!(!passes_by_name(name), "{name}");
        }
    }

    #[test]
    fn an_image_that_the_script_computes_is_unknown() {
        for text in
            ["${IMAGE_NAME:-$(cat image)}", "${IMAGE_NAME:-$DEFAULT}", "${IMAGE_NAME:-", "${IMAGE_NAME:--x}", "IMAGE_NAME=x"]
        {
            assert_eq!(default_image(text), None, "{text}");
        }
    }

    #[test]
    fn codex_may_write_whatever_its_settings_say_and_the_rest_of_them_stays() {
        let base = "sandbox_mode = \"read-only\"\nmodel = \"m\"\n[analytics]\nenabled = true\n";
        for (owner, analytics) in [(HomeOwner::Orchestrator, false), (HomeOwner::User, true)] {
            let made: Table = codex_config(base, owner).expect("sound").parse().expect("toml");
            assert_eq!(made["sandbox_mode"].as_str(), Some("danger-full-access"));
            assert_eq!((made["model"].as_str(), made["analytics"]["enabled"].as_bool()), (Some("m"), Some(analytics)));
        }
        assert!(codex_config("model = ", HomeOwner::Orchestrator).is_err());
    }

    #[test]
    fn the_users_own_settings_are_not_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (codex, program) = (folder.path().join("user/.codex"), folder.path().join("script"));
        fs_err::create_dir_all(&codex).expect("made");
        fs_err::write(&program, LIKE_THE_SCRIPT).expect("written");
        let mut config = Config::for_home(folder.path());
        config.environment.insert("HOME".into(), folder.path().join("user").into());
        let script = Script::recognize(&program, &config).expect("the script");
        let home = script.home();
        assert_eq!((home.mounted.as_deref(), home.inside.as_path()), (Some(codex.as_path()), Path::new("/root/.codex")));
        let task = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650".parse().expect("an id");
        let layout = store::Layout::new(folder.path());
        let folders = ContainerFolders::new(&layout, task, Path::new("/mirror"));
        fs_err::create_dir_all(layout.task(task)).expect("made");
        for (own, expected) in [("", 1), ("model = \"mine\"\n", 2)] {
            fs_err::write(codex.join("config.toml"), own).expect("written");
            script.prepare(&folders, None).expect("prepared");
            let made = fs_err::read_to_string(ScriptFiles::of(&folders).config()).expect("made");
            assert_eq!(made.lines().count(), expected, "{made}");
            assert!(made.contains("danger-full-access"), "{made}");
            assert_eq!(fs_err::read_to_string(codex.join("config.toml")).expect("there"), own);
        }
        fs_err::remove_file(codex.join("config.toml")).expect("removed");
        script.prepare(&folders, None).expect("a missing `config.toml` is accepted");
        let mode = fs_err::metadata(&folders.overlays).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "other users cannot change the mounted files");
    }

    #[test]
    fn a_home_of_which_the_script_would_mount_something_else_is_refused() {
        assert_eq!(cannot_mount(Path::new("/home/me/a b,c")), None);
        for path in ["/home/a:b", "/home/a=b"] {
            assert!(cannot_mount(Path::new(path)).is_some(), "{path}");
        }
    }
}
