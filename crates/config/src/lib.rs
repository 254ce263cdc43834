//! The settings of the server. Flags override environment variables, and those override `config.toml` and the defaults.
//!
//! Only this module reads the environment of the process. Invariant: a [`Config`] is always complete and valid.

mod reference;
mod settings;
mod value;

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::forge::{ApiUrl, ProjectPath};
use model::near::near;
use model::notice::{NoticeSettings, QuietHours};
use model::policy::DriverChoice;
use model::problem::Problem;
use model::secret::Secret;
use process::BaseEnvironment;

use self::settings::{Draft, keyed};
use self::value::{RawValue, unusable};

pub use self::reference::{reference, sample};
pub use self::settings::{SETTINGS, Section, Setting};
pub use self::value::ValueForm;

/// The settings of a server.
#[derive(Debug, Clone)]
pub struct Config {
    /// The absolute path of the home, the folder that contains all state.
    pub home: PathBuf,
    /// The TCP address of the API and the pages. None if the server listens only on the unix socket.
    pub listen: Option<SocketAddr>,
    /// Additional host names under which the API can be reached over TCP.
    pub allowed_hosts: Vec<String>,
    /// The worker: `codex-docker`, `host`, or the path of a program. None means `codex-docker`.
    pub worker: Option<String>,
    /// Codex's own folder, used by the worker `host` and by custom programs. For `host`, None means `codex` in the home.
    pub codex_home: Option<PathBuf>,
    /// The program that runs Codex in containers, and its first arguments. By default, this program as `codex-docker`.
    pub container_program: Vec<String>,
    /// The image for repositories that set no image. None means the default image of this version.
    pub image: Option<String>,
    /// The URL of the model API behind the broker. None means the API of `OpenAI`.
    pub model_url: Option<String>,
    /// Whether an API key stays outside of containers, behind a broker.
    pub broker: Broker,
    /// How Codex is run, for repositories that do not say it.
    pub driver: DriverChoice,
    /// A `config.toml` for the Codex in containers.
    pub codex_config: Option<PathBuf>,
    /// A token for pushes to GitHub and pull requests there, for repositories without their own token.
    pub github_token: Option<Secret>,
    /// The GitHub owner and name of repositories whose URL does not contain them.
    pub github_project: Option<ProjectPath>,
    /// The URL of the API of GitHub Enterprise.
    pub github_api_url: Option<ApiUrl>,
    /// How often the Git host of each repository is polled for its pull requests.
    pub forge_poll_interval: Duration,
    /// Who gets which notifications. The page *Notifications* sets everything that is not set here.
    pub notices: NoticeSettings,
    /// Names of additional variables that a worker gets from the server's environment.
    pub pass_environment: Vec<String>,
    /// Maximum number of runs at the same time. By default, the number of processors, and at least 2.
    pub max_parallel_runs: usize,
    /// The memory of all runs together in bytes, or `None` for a share of the machine's memory.
    pub memory_for_runs: Option<u64>,
    /// No run starts while fewer bytes than this are free in the home.
    pub free_space_floor: u64,
    /// Maximum number of prepared worktrees for each repository.
    pub prepared_worktrees: usize,
    /// Maximum disk usage of all prepared worktrees in bytes.
    pub prepared_worktrees_space: u64,
    /// The size in bytes above which snapshots that no task uses are deleted.
    pub snapshot_limit: u64,
    /// How long removed items stay in the trash.
    pub trash_time: Duration,
    /// How long a mirror keeps unreachable objects.
    pub prune_time: Duration,
    /// Whether interrupted runs are resumed automatically. A repository can override this.
    pub resume_interrupted: bool,
    /// Maximum duration of a run.
    pub run_time_limit: Duration,
    /// How long a worker may take to exit after its turn ended.
    pub turn_end_grace: Duration,
    /// How long a stopped worker may take to exit after SIGINT, and again after SIGTERM.
    pub stop_grace: Duration,
    /// Maximum duration of a clone.
    pub clone_time_limit: Duration,
    /// Maximum duration of a fetch.
    pub fetch_time_limit: Duration,
    /// Maximum duration of a push.
    pub push_time_limit: Duration,
    /// The program that is started as a keeper: this program.
    pub keeper_program: PathBuf,
    /// The variables that child processes get from the environment of this process.
    pub base_environment: BaseEnvironment,
    /// The environment of this process at its start, from which a worker gets listed variables.
    pub environment: BTreeMap<OsString, OsString>,
}

/// Whether the container of a run gets the API key itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Broker {
    /// The container does not get the key: a broker outside of it adds the key to requests.
    #[default]
    On,
    /// The container gets the key, so the agent can read it.
    Off,
}

/// Settings from the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Overrides `ORCH_HOME`.
    pub home: Option<PathBuf>,
    /// Overrides `ORCH_LISTEN`.
    pub listen: Option<String>,
    /// Overrides `ORCH_WORKER`.
    pub worker: Option<String>,
}

/// The path of the running program, which stays valid even if an upgrade replaces its file.
const THIS_PROGRAM: &str = "/proc/self/exe";

const DAY: Duration = Duration::from_hours(24);

/// Minimum grace period for unreachable objects, in days. Git's default is also two weeks.
const LEAST_PRUNE_DAYS: u32 = 14;

impl Overrides {
    /// Returns the value of a flag by the key of its setting.
    fn get(&self, key: &str) -> Option<RawValue> {
        let text = match key {
            "listen" => self.listen.as_ref(),
            "worker" => self.worker.as_ref(),
            _ => None,
        };
        text.map(|text| RawValue::Text(text.into()))
    }
}

impl Config {
    /// Returns the defaults for a home, without anything from the environment of this process.
    pub fn for_home(home: &Path) -> Self {
        let mut draft = Draft { config: Self::before_defaults(home), quiet_hours: toml::Table::new() };
        for (_, set, setting) in keyed() {
            let default = setting.default_value();
            if !default.is_empty() {
                set(&mut draft, &default).expect("a test checks that every default is valid");
            }
        }
        draft.config
    }

    /// The settings before the defaults of the table are filled in.
    fn before_defaults(home: &Path) -> Self {
        Self {
            home: home.to_owned(),
            listen: None,
            allowed_hosts: vec![],
            worker: None,
            codex_home: None,
            container_program: vec![],
            image: None,
            model_url: None,
            broker: Broker::default(),
            driver: DriverChoice::default(),
            codex_config: None,
            github_token: None,
            github_project: None,
            github_api_url: None,
            forge_poll_interval: Duration::ZERO,
            notices: NoticeSettings::default(),
            pass_environment: vec![],
            max_parallel_runs: std::thread::available_parallelism().map_or(2, usize::from).max(2),
            memory_for_runs: None,
            free_space_floor: 0,
            prepared_worktrees: 0,
            prepared_worktrees_space: 0,
            snapshot_limit: 0,
            resume_interrupted: false,
            trash_time: Duration::ZERO,
            prune_time: Duration::ZERO,
            run_time_limit: Duration::ZERO,
            turn_end_grace: Duration::ZERO,
            stop_grace: Duration::ZERO,
            clone_time_limit: Duration::ZERO,
            fetch_time_limit: Duration::ZERO,
            push_time_limit: Duration::ZERO,
            keeper_program: PathBuf::from(THIS_PROGRAM),
            base_environment: BaseEnvironment::default(),
            environment: BTreeMap::new(),
        }
    }

    /// Reads the environment and `config.toml` in the home.
    pub fn load(overrides: &Overrides) -> Result<Self, Problem> {
        Self::from_environment(overrides, process_environment().into_iter().collect())
    }

    fn from_environment(overrides: &Overrides, environment: BTreeMap<OsString, OsString>) -> Result<Self, Problem> {
        let get = |name: &str| environment.get(OsStr::new(name)).filter(|value| !value.is_empty());
        let home = home_path(overrides.home.as_deref(), get("ORCH_HOME"), get("HOME"))?;
        let mut file = read_file(&home.join("config.toml"))?;
        let mut draft = Draft { config: Self::for_home(&home), quiet_hours: toml::Table::new() };
        for (key, set, setting) in keyed() {
            let flag = overrides.get(key).map(|given| (setting.flag_name(), given));
            let variable = setting.variable.and_then(|name| Some((name, RawValue::Text(get(name)?.clone()))));
            let in_file = file.remove(key).map(|value| (key, RawValue::File(value)));
            let given = [flag, variable, in_file].into_iter().flatten().find(|(_, given)| !given.is_empty());
            if let Some((name, given)) = given {
                set(&mut draft, &given).map_err(|invalid| invalid.into_problem(setting.form, name, &given))?;
            }
        }
        let Draft { mut config, quiet_hours } = draft;
        config.notices = with_quiet_hours(config.notices, quiet_hours)?;
        config.notices.check().map_err(|bad| unusable(format!("`notify.{}` {}", bad.name, bad.why)))?;
        config.base_environment = BaseEnvironment::pick(environment.clone());
        config.environment = environment;
        Ok(config)
    }

    /// Returns the host names at which other programs could get the session cookies of the pages: browsers send a cookie to every
    /// port of the host that set it. The local host name of the pages is not included, because only the owner knows that name.
    pub fn names_for_every_port(&self) -> Vec<String> {
        let address = self.listen.map(|listen| listen.ip().to_canonical());
        let address = address.filter(|address| !address.is_loopback() && !address.is_unspecified());
        let public = self.notices.public_url.as_deref().and_then(|url| url.strip_prefix("https://"));
        let public = public.and_then(|rest| rest.split(['/', ':']).next()).unwrap_or_default();
        let is_local = |name: &str| matches!(name, "localhost" | "127.0.0.1" | "[::1]") || name.ends_with(".localhost");
        let without_port = |host: &'_ String| match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name.to_owned(),
            Some(_) | None => host.clone(),
        };
        let names = self.allowed_hosts.iter().map(without_port);
        let names = names.filter(|name| !is_local(name) && !name.eq_ignore_ascii_case(public));
        address.map(|address| address.to_string()).into_iter().chain(names).collect()
    }

    /// Returns the values that must never be shown.
    pub fn secret_values(&self) -> Vec<String> {
        let known = ["CODEX_API_KEY", "CODEX_ACCESS_TOKEN", "OPENAI_API_KEY"].into_iter().map(OsString::from);
        let names = known.chain(self.pass_environment.iter().map(OsString::from));
        let values = names.filter_map(|name| self.environment.get(&name)?.to_str().map(str::to_owned));
        values.chain(self.github_token.iter().map(|token| token.expose().to_owned())).collect()
    }
}

/// Returns the environment of this process. A server reads it once at its start; a keeper passes it on.
#[expect(clippy::disallowed_methods, reason = "only this module reads the environment")]
pub fn process_environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

fn home_path(flag: Option<&Path>, variable: Option<&OsString>, user: Option<&OsString>) -> Result<PathBuf, Problem> {
    let default = || user.map(|user| Path::new(user).join(".codex-orchestrator"));
    let home = flag.map(Path::to_owned).or_else(|| variable.map(PathBuf::from)).or_else(default);
    let home = home.ok_or_else(|| unusable("neither ORCH_HOME nor HOME is set".to_owned()).hint("set ORCH_HOME to a folder"))?;
    std::path::absolute(&home).map_err(|error| unusable(format!("invalid home `{}`: {error}", home.display())))
}

/// Returns the settings of a file by their keys, e.g. `listen` and `notify.ntfy_url`. A file that does not exist is empty.
fn read_file(path: &Path) -> Result<BTreeMap<String, toml::Value>, Problem> {
    let text = match fs_err::read_to_string(path) {
        Ok(text) => text,
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            return Ok(BTreeMap::new());
        }
        Err(error) => return Err(unusable(format!("could not read `{}`: {error}", path.display()))),
    };
    let table: toml::Table = toml::from_str(&text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        unusable(format!("`{}` is not valid TOML: line {line}: {}", path.display(), error.message())).hint(SAMPLE_HINT)
    })?;
    let mut settings = BTreeMap::new();
    flatten(table, "", &mut settings);
    match settings.keys().find(|name| !keyed().any(|(key, ..)| key == *name)) {
        Some(unknown) => Err(unknown_setting(unknown, path)),
        None => Ok(settings),
    }
}

const SAMPLE_HINT: &str = "print a sample with all settings: codex-orchestrator config sample";

fn unknown_setting(name: &str, path: &Path) -> Problem {
    let problem = unusable(format!("unknown setting `{name}` in `{}`", path.display()));
    let problem = match near(name, keyed().map(|(key, ..)| key), 1).first() {
        Some(key) => problem.hint(format!("did you mean `{key}`?")),
        None => problem,
    };
    problem.hint(SAMPLE_HINT)
}

fn flatten(table: toml::Table, prefix: &str, settings: &mut BTreeMap<String, toml::Value>) {
    for (key, value) in table {
        let name = format!("{prefix}{key}");
        let section = format!("{name}.");
        match value {
            toml::Value::Table(inner) if keyed().any(|(key, ..)| key.starts_with(&section)) => flatten(inner, &section, settings),
            value => drop(settings.insert(name, value)),
        }
    }
}

fn with_quiet_hours(notices: NoticeSettings, table: toml::Table) -> Result<NoticeSettings, Problem> {
    if table.is_empty() {
        return Ok(notices);
    }
    let hours: QuietHours = table.try_into().map_err(|error: toml::de::Error| {
        unusable(format!("invalid quiet hours in `[notify.quiet_hours]`: {}", error.message()))
            .hint("set `from`, `to` and `zone`, e.g. \"22:00\", \"07:00\" and \"Europe/Berlin\"")
    })?;
    Ok(NoticeSettings { quiet_hours: Some(hours), ..notices })
}

#[cfg(test)]
mod tests;
