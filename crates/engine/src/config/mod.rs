//! What can be set, and where each setting came from: flags over environment variables over `config.toml` over defaults.
//!
//! The only room that reads this process's environment. Invariant: a [`Config`] is complete and was validated as a whole.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::ErrorCode;
use model::forge::{ApiUrl, ProjectPath};
use model::notice::NoticeSettings;
use model::problem::Problem;
use model::publication::follow::TICK;
use model::secret::Secret;
use model::size::parse_size;
use serde::Deserialize;

use crate::exec::BaseEnvironment;

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// `ORCH_HOME`: where all state lies. Absolute.
    pub home: PathBuf,
    /// `ORCH_LISTEN`: the TCP address of the API; none switches TCP off.
    pub listen: Option<SocketAddr>,
    /// More names under which the API may be reached over TCP.
    pub allowed_hosts: Vec<String>,
    /// `ORCH_WORKER`: `codex-docker`, `host`, or the path of a program.
    pub worker: Option<String>,
    /// `CODEX_HOME`: Codex's own folder for the worker `host` and programs; `ORCH_HOME/codex` for `host` where it is not set.
    pub codex_home: Option<PathBuf>,
    /// The program of the built-in worker that runs Codex in containers, and its first arguments: this one, as `codex-docker`.
    pub container_program: Vec<String>,
    /// `IMAGE_NAME`: the image of runs whose environment names none; the pinned one's where it is not set.
    pub image: Option<String>,
    /// `CODEX_DOCKER_MODEL_URL`: the model's API behind the broker; the one of `OpenAI` where it is not set.
    pub model_url: Option<String>,
    /// Whether an API key stays outside the container, behind a broker.
    pub broker: Broker,
    /// Codex's settings that runs in containers start from.
    pub codex_config: Option<PathBuf>,
    /// `ORCH_GITHUB_TOKEN`: pushes to GitHub and opens pull requests there, for environments that have no token of their own.
    pub github_token: Option<Secret>,
    /// `ORCH_GITHUB_REPO`: the name on GitHub of repositories whose URL does not say it.
    pub github_project: Option<ProjectPath>,
    /// `ORCH_GITHUB_API_URL`: GitHub Enterprise.
    pub github_api_url: Option<ApiUrl>,
    /// How often each repository's forge is asked how its pull requests are.
    pub forge_poll_interval: Duration,
    /// Who is told when a task has ended or needs somebody. The page fills in what is left open here.
    pub notices: NoticeSettings,
    /// More names of variables that a worker gets from the server's environment.
    pub pass_environment: Vec<String>,
    /// `ORCH_MAX_PARALLEL_RUNS`: the most runs at once; the number of processors where it is not set, and at least 2.
    pub max_parallel_runs: usize,
    /// `ORCH_FREE_SPACE_FLOOR`: no run begins while less than so many bytes are free where the home lies.
    pub free_space_floor: u64,
    /// How long what was removed stays in the trash.
    pub trash_time: Duration,
    /// How long an object of a mirror must have been unreachable before it is deleted.
    pub prune_time: Duration,
    /// Whether a run that was cut off is resumed by itself, where its environment does not say.
    pub resume_interrupted: bool,
    /// The longest that one run may take.
    pub run_time_limit: Duration,
    /// How long a worker may linger after its turn has ended.
    pub turn_end_grace: Duration,
    /// How long a stopped worker may take after SIGINT, and again after SIGTERM.
    pub stop_grace: Duration,
    /// The longest that a clone may take.
    pub clone_time_limit: Duration,
    /// The longest that a fetch may take.
    pub fetch_time_limit: Duration,
    /// The longest that a push may take.
    pub push_time_limit: Duration,
    /// The program that is started as a keeper: this one.
    pub keeper_program: PathBuf,
    /// What children may see of this process's environment.
    pub base_environment: BaseEnvironment,
    /// This process's environment as it was at the start, for the worker's list.
    pub environment: BTreeMap<OsString, OsString>,
}

/// Whether the container of a run gets an API key itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Broker {
    /// It does not: a broker outside of it puts the key into its requests.
    #[default]
    On,
    /// It does, and the agent could take it.
    Off,
}

/// Settings that were given on the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Instead of `ORCH_HOME`.
    pub home: Option<PathBuf>,
    /// Instead of `ORCH_LISTEN`.
    pub listen: Option<String>,
    /// Instead of `ORCH_WORKER`.
    pub worker: Option<String>,
}

/// `config.toml`, where everything may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigFile {
    listen: Option<String>,
    allowed_hosts: Option<Vec<String>>,
    worker: Option<String>,
    codex_home: Option<PathBuf>,
    container_program: Option<Vec<String>>,
    image: Option<String>,
    model_url: Option<String>,
    broker: Option<bool>,
    codex_config: Option<PathBuf>,
    github_token: Option<Secret>,
    github_repo: Option<String>,
    github_api_url: Option<String>,
    forge_poll_interval: Option<String>,
    #[serde(default)]
    notify: NoticeSettings,
    pass_environment: Option<Vec<String>>,
    max_parallel_runs: Option<usize>,
    free_space_floor: Option<String>,
    resume_interrupted: Option<bool>,
    trash_days: Option<u32>,
    prune_days: Option<u32>,
    run_time_limit: Option<String>,
    turn_end_grace: Option<String>,
    stop_grace: Option<String>,
    clone_time_limit: Option<String>,
    fetch_time_limit: Option<String>,
    push_time_limit: Option<String>,
}

/// The running program itself, also when its file was replaced by an upgrade.
const THIS_PROGRAM: &str = "/proc/self/exe";

const HOUR: Duration = Duration::from_hours(1);

const DAY: Duration = Duration::from_hours(24);

/// The shortest grace period of unreachable objects, in days. Git's own default is two weeks as well.
const LEAST_PRUNE_DAYS: u32 = 14;

impl Config {
    /// The defaults for a home, with nothing of this process's environment.
    pub fn for_home(home: &Path) -> Self {
        Self {
            home: home.to_owned(),
            listen: Some(SocketAddr::from(([127, 0, 0, 1], 8080))),
            allowed_hosts: vec![],
            worker: None,
            codex_home: None,
            container_program: vec![THIS_PROGRAM.to_owned(), "codex-docker".to_owned()],
            image: None,
            model_url: None,
            broker: Broker::default(),
            codex_config: None,
            github_token: None,
            github_project: None,
            github_api_url: None,
            forge_poll_interval: TICK,
            notices: NoticeSettings::default(),
            pass_environment: vec![],
            max_parallel_runs: std::thread::available_parallelism().map_or(2, usize::from).max(2),
            free_space_floor: 1 << 30,
            resume_interrupted: false,
            trash_time: 30 * DAY,
            prune_time: LEAST_PRUNE_DAYS * DAY,
            run_time_limit: 2 * HOUR,
            turn_end_grace: Duration::from_secs(10),
            stop_grace: Duration::from_secs(10),
            clone_time_limit: HOUR,
            fetch_time_limit: Duration::from_mins(5),
            push_time_limit: Duration::from_mins(10),
            keeper_program: PathBuf::from(THIS_PROGRAM),
            base_environment: BaseEnvironment::default(),
            environment: BTreeMap::new(),
        }
    }

    /// Reads the environment and the home's `config.toml`.
    pub fn load(overrides: &Overrides) -> Result<Self, Problem> {
        Self::from_environment(overrides, process_environment().into_iter().collect())
    }

    fn from_environment(overrides: &Overrides, environment: BTreeMap<OsString, OsString>) -> Result<Self, Problem> {
        let get = |name: &str| environment.get(OsStr::new(name)).filter(|value| !value.is_empty());
        let text = |name: &str| get(name).map(|value| value.to_string_lossy().into_owned());
        let home = home_path(overrides.home.as_deref(), get("ORCH_HOME"), get("HOME"))?;
        let file = read_file(&home.join("config.toml"))?;
        let mut config = Self::for_home(&home);
        if let Some(listen) = overrides.listen.clone().or_else(|| text("ORCH_LISTEN")).or(file.listen) {
            config.listen = parse_listen(&listen)?;
        }
        config.worker = overrides.worker.clone().or_else(|| text("ORCH_WORKER")).or(file.worker);
        config.codex_home = get("CODEX_HOME").map(PathBuf::from).or(file.codex_home);
        config.container_program = container_program(file.container_program, config.container_program)?;
        config.image = text("IMAGE_NAME").or(file.image);
        config.model_url = text("CODEX_DOCKER_MODEL_URL").or(file.model_url);
        config.broker = if file.broker.unwrap_or(true) { Broker::On } else { Broker::Off };
        config.codex_config = file.codex_config.map(|path| home.join(path));
        config.github_token = text("ORCH_GITHUB_TOKEN").map(Secret::new).or(file.github_token);
        config.github_project =
            text("ORCH_GITHUB_REPO").or(file.github_repo).map(|name| ProjectPath::parse(&name)).transpose()?;
        config.github_api_url = text("ORCH_GITHUB_API_URL").or(file.github_api_url).map(|url| ApiUrl::parse(&url)).transpose()?;
        file.notify.check().map_err(|bad| unusable(format!("`{}` under `[notify]` {}", bad.name, bad.why)))?;
        config.notices = file.notify;
        config.allowed_hosts = file.allowed_hosts.unwrap_or_default();
        config.pass_environment = file.pass_environment.unwrap_or_default();
        config.resume_interrupted = file.resume_interrupted.unwrap_or_default();
        config.trash_time = file.trash_days.map_or(config.trash_time, |days| days * DAY);
        config.prune_time = checked_prune_days(file.prune_days.unwrap_or(LEAST_PRUNE_DAYS))? * DAY;
        let most = text("ORCH_MAX_PARALLEL_RUNS").map(|text| parse_count(&text)).transpose()?.or(file.max_parallel_runs);
        if let Some(most) = most {
            config.max_parallel_runs = checked_count(most)?;
        }
        if let Some(floor) = text("ORCH_FREE_SPACE_FLOOR").or(file.free_space_floor) {
            config.free_space_floor = parse_size(&floor)
                .ok_or_else(|| unusable(format!("`{floor}` is no size for `free_space_floor`")).hint("write it as 512m or 4g"))?;
        }
        for (name, given, setting) in [
            ("run_time_limit", file.run_time_limit, &mut config.run_time_limit),
            ("turn_end_grace", file.turn_end_grace, &mut config.turn_end_grace),
            ("stop_grace", file.stop_grace, &mut config.stop_grace),
            ("clone_time_limit", file.clone_time_limit, &mut config.clone_time_limit),
            ("fetch_time_limit", file.fetch_time_limit, &mut config.fetch_time_limit),
            ("push_time_limit", file.push_time_limit, &mut config.push_time_limit),
            ("forge_poll_interval", file.forge_poll_interval, &mut config.forge_poll_interval),
        ] {
            if let Some(given) = given {
                *setting = parse_duration(name, &given)?;
            }
        }
        config.base_environment = BaseEnvironment::pick(environment.clone());
        config.environment = environment;
        Ok(config)
    }

    /// The names at which other programs could get the session cookies of the pages: browsers send a cookie to every port of the
    /// name that set it. The pages' own name on this machine is none of them, since nobody else knows it.
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

    /// Values that must not be shown.
    pub fn secret_values(&self) -> Vec<String> {
        let known = ["CODEX_API_KEY", "CODEX_ACCESS_TOKEN", "OPENAI_API_KEY"].into_iter().map(OsString::from);
        let names = known.chain(self.pass_environment.iter().map(OsString::from));
        let values = names.filter_map(|name| self.environment.get(&name)?.to_str().map(str::to_owned));
        values.chain(self.github_token.iter().map(|token| token.expose().to_owned())).collect()
    }
}

/// This process's environment: read once by a server, and handed on as it is by a keeper.
#[expect(clippy::disallowed_methods, reason = "this is the room that reads the environment")]
pub(crate) fn process_environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

fn unusable(detail: String) -> Problem {
    Problem::new(ErrorCode::ConfigUnusable, detail)
}

fn home_path(flag: Option<&Path>, variable: Option<&OsString>, user: Option<&OsString>) -> Result<PathBuf, Problem> {
    let default = || user.map(|user| Path::new(user).join(".codex-orchestrator"));
    let home = flag.map(Path::to_owned).or_else(|| variable.map(PathBuf::from)).or_else(default);
    let home = home.ok_or_else(|| unusable("neither ORCH_HOME nor HOME is set".to_owned()).hint("set ORCH_HOME to a folder"))?;
    std::path::absolute(&home).map_err(|error| unusable(format!("`{}` is no path: {error}", home.display())))
}

/// The first word must be a path, since runs start in a worktree.
fn container_program(given: Option<Vec<String>>, default: Vec<String>) -> Result<Vec<String>, Problem> {
    match given {
        None => Ok(default),
        Some(words) if words.first().is_some_and(|program| Path::new(program).is_absolute()) => Ok(words),
        Some(_) => Err(unusable("`container_program` does not begin with the absolute path of a program".to_owned())
            .hint("as in container_program = [\"/usr/local/bin/codex-docker\"]")),
    }
}

fn read_file(path: &Path) -> Result<ConfigFile, Problem> {
    match fs_err::read_to_string(path) {
        Ok(text) => toml::from_str(&text).map_err(|error| {
            unusable(format!("`{}` cannot be used: {}", path.display(), error.message()))
                .hint("the README lists the settings and their forms")
        }),
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => {
            Ok(ConfigFile::default())
        }
        Err(error) => Err(unusable(format!("`{}` cannot be read: {error}", path.display()))),
    }
}

fn parse_listen(text: &str) -> Result<Option<SocketAddr>, Problem> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| {
        unusable(format!("`{text}` is no address to listen on"))
            .hint("use an IP address and a port, as in 127.0.0.1:8080, or `off`")
    })
}

fn parse_count(text: &str) -> Result<usize, Problem> {
    text.trim().parse().map_err(|_| unusable(format!("`{text}` is no number for `max_parallel_runs`")))
}

fn checked_count(most: usize) -> Result<usize, Problem> {
    if (1..=10_000).contains(&most) {
        return Ok(most);
    }
    Err(unusable(format!("{most} is no number of runs at once")).hint("`max_parallel_runs` is 1 to 10000"))
}

fn checked_prune_days(days: u32) -> Result<u32, Problem> {
    if days >= LEAST_PRUNE_DAYS {
        return Ok(days);
    }
    Err(unusable(format!("invalid value {days} for `prune_days`")).hint(format!("use {LEAST_PRUNE_DAYS} or more days")))
}

/// `90s`, `10m`, `2h`, `250ms`.
fn parse_duration(name: &str, text: &str) -> Result<Duration, Problem> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let milliseconds = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let parsed = number.parse::<u64>().ok().and_then(|number| number.checked_mul(milliseconds)).filter(|found| *found > 0);
    parsed.map(Duration::from_millis).ok_or_else(|| {
        unusable(format!("`{text}` is no duration for `{name}`")).hint("write a number and a unit, as in 90s, 10m or 2h")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(folder: &Path, toml: &str, environment: &[(&str, &str)], overrides: &Overrides) -> Result<Config, Problem> {
        fs_err::write(folder.join("config.toml"), toml).expect("written");
        let mut variables: BTreeMap<OsString, OsString> =
            environment.iter().map(|(name, value)| (OsString::from(name), OsString::from(value))).collect();
        variables.insert("ORCH_HOME".into(), folder.into());
        Config::from_environment(overrides, variables)
    }

    #[test]
    fn flags_beat_the_environment_and_that_beats_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let toml = "worker = \"file\"\nlisten = \"127.0.0.1:1\"\nrun_time_limit = \"90m\"";
        let all = load(folder.path(), toml, &[("ORCH_WORKER", "variable")], &Overrides::default()).expect("sound");
        assert_eq!((all.worker.as_deref(), all.run_time_limit), (Some("variable"), Duration::from_mins(90)));
        assert_eq!(all.listen, Some(SocketAddr::from(([127, 0, 0, 1], 1))));
        let flag = Overrides { worker: Some("flag".to_owned()), listen: Some("off".to_owned()), home: None };
        let flagged = load(folder.path(), toml, &[("ORCH_WORKER", "variable")], &flag).expect("sound");
        assert_eq!((flagged.worker.as_deref(), flagged.listen), (Some("flag"), None));
    }

    #[test]
    fn names_whose_cookies_other_ports_get_are_known() {
        let folder = tempfile::tempdir().expect("a folder");
        let names = |toml: &str| load(folder.path(), toml, &[], &Overrides::default()).expect("sound").names_for_every_port();
        assert_eq!(names(""), [""; 0]);
        assert_eq!(
            names("listen = \"0.0.0.0:80\"\nallowed_hosts = [\"localhost:9000\", \"[::1]:9000\", \"a.localhost\"]"),
            [""; 0]
        );
        assert_eq!(
            names("listen = \"10.0.0.7:8080\"\nallowed_hosts = [\"box.lan:8080\", \"[fd00::1]\"]"),
            ["10.0.0.7", "box.lan", "[fd00::1]"]
        );
        let public = "allowed_hosts = [\"Box.example\", \"b.example\"]\n[notify]\npublic_url = \"https://box.example:8443/x\"";
        assert_eq!(names(public), ["b.example"]);
        assert_eq!(names("allowed_hosts = [\"box.lan\"]\n[notify]\npublic_url = \"http://box.lan\""), ["box.lan"]);
    }

    #[test]
    fn the_default_home_is_the_users() {
        let home = home_path(None, None, Some(&OsString::from("/home/me"))).expect("there is one");
        assert_eq!(home, Path::new("/home/me/.codex-orchestrator"));
        assert!(home_path(None, None, None).is_err());
    }

    #[test]
    fn a_setting_that_makes_no_sense_is_named() {
        let folder = tempfile::tempdir().expect("a folder");
        for (toml, named) in [
            ("wroker = \"host\"", "wroker"),
            ("stop_grace = \"soon\"", "stop_grace"),
            ("stop_grace = \"0s\"", "stop_grace"),
            ("listen = \"8080\"", "8080"),
            ("max_parallel_runs = 0", "0"),
            ("free_space_floor = \"some\"", "free_space_floor"),
            ("prune_days = 13", "prune_days"),
            ("listen = ", "config.toml"),
            ("[notify]\nntfy_url = \"ntfy.sh/topic\"", "ntfy_url"),
            ("[notify]\ntell = [\"all\"]", "all"),
            ("[notify.quiet_hours]\nfrom = \"22:00\"\nto = \"07:00\"\nzone = \"Mars/Olympus\"", "Mars/Olympus"),
            ("container_program = []", "container_program"),
            ("container_program = [\"codex-docker\"]", "container_program"),
        ] {
            let problem = load(folder.path(), toml, &[], &Overrides::default()).expect_err(toml);
            assert!(problem.report.message.contains(named) && problem.report.code == ErrorCode::ConfigUnusable, "{problem:?}");
        }
    }

    #[test]
    fn containers_are_made_by_this_program_with_the_key_outside_unless_it_is_said_otherwise() {
        let folder = tempfile::tempdir().expect("a folder");
        let plain = load(folder.path(), "", &[], &Overrides::default()).expect("sound");
        assert_eq!(plain.container_program, ["/proc/self/exe", "codex-docker"]);
        assert_eq!((plain.broker, plain.image, plain.model_url), (Broker::On, None, None));
        let toml = "broker = false\nimage = \"file:1\"\nmodel_url = \"http://m/v1\"\ncodex_config = \"codex.toml\"";
        let set = load(folder.path(), toml, &[("IMAGE_NAME", "variable:1")], &Overrides::default()).expect("sound");
        assert_eq!(
            (set.broker, set.image.as_deref(), set.model_url.as_deref()),
            (Broker::Off, Some("variable:1"), Some("http://m/v1"))
        );
        assert_eq!(set.codex_config, Some(folder.path().join("codex.toml")));
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, seconds) in [("90s", 90.0), ("2h", 7200.0), ("10m", 600.0), ("250ms", 0.25)] {
            assert!((parse_duration("x", text).expect(text).as_secs_f64() - seconds).abs() < 1e-9);
        }
        for text in ["", "10", "h", "-1s", "99999999999999999999h"] {
            assert!(parse_duration("x", text).is_err(), "{text}");
        }
    }

    #[test]
    fn secrets_are_known_by_the_names_that_are_passed_on() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = load(
            folder.path(),
            "pass_environment = [\"MY_TOKEN\"]",
            &[("MY_TOKEN", "t1"), ("CODEX_API_KEY", "k1"), ("OTHER", "x")],
            &Overrides::default(),
        );
        assert_eq!(config.expect("sound").secret_values(), ["k1", "t1"]);
    }
}
