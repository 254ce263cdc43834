//! Every setting of the server, described once: names, form, default, help, and how a value becomes part of a [`Config`].
//!
//! Parsing, errors, the sample file and the reference are derived from this table.

mod notifications;

use std::fmt;

use model::forge::{ApiUrl, ProjectPath};
use model::policy::DriverChoice;
use model::secret::Secret;

use self::notifications::{NOTIFICATIONS, QUIET_HOURS};
use super::value::{Invalid, RawValue, ValueForm};
use super::{Broker, Config, DAY, LEAST_PRUNE_DAYS};

/// A setting of the server.
#[derive(Clone, Copy)]
pub struct Setting {
    /// The key of the setting in `config.toml`, e.g. `listen` or `notify.ntfy_url`. `None` if the file cannot contain the setting.
    pub key: Option<&'static str>,
    /// The environment variable of the setting.
    pub variable: Option<&'static str>,
    /// The flag of the setting, after the name of the command that accepts it.
    pub flag: Option<&'static str>,
    /// The form of its value.
    pub form: ValueForm,
    /// The default of the setting as TOML. Empty quotes mean that it is not set by default.
    pub default: &'static str,
    /// What applies if the setting is not set.
    pub unset: Option<&'static str>,
    /// An example value as TOML, for a setting that is not set by default.
    pub example: Option<&'static str>,
    /// What the setting does, in full sentences.
    pub help: &'static str,
    /// Stores a value in a [`Draft`]. None if another part of the program reads the setting.
    pub(super) set: Option<Set>,
}

impl fmt::Debug for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setting").field("name", &self.name()).finish_non_exhaustive()
    }
}

/// A group of related settings.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// The heading.
    pub title: &'static str,
    /// The settings, in the order of the sample file.
    pub settings: &'static [Setting],
}

/// The settings while they are being read.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) config: Config,
    /// The keys below `[notify.quiet_hours]`, which are only valid together.
    pub(super) quiet_hours: toml::Table,
}

type Set = fn(&mut Draft, &RawValue) -> Result<(), Invalid>;

impl Setting {
    const fn new(key: &'static str, form: ValueForm, default: &'static str, help: &'static str, set: Set) -> Self {
        Self { key: Some(key), variable: None, flag: None, form, default, unset: None, example: None, help, set: Some(set) }
    }

    /// A setting that `config.toml` cannot contain.
    const fn outside(variable: &'static str, form: ValueForm, unset: &'static str, help: &'static str) -> Self {
        Self {
            key: None,
            variable: Some(variable),
            flag: None,
            form,
            default: "\"\"",
            unset: Some(unset),
            example: None,
            help,
            set: None,
        }
    }

    const fn variable(self, variable: &'static str) -> Self {
        Self { variable: Some(variable), ..self }
    }

    const fn flag(self, flag: &'static str) -> Self {
        Self { flag: Some(flag), ..self }
    }

    const fn unset(self, unset: &'static str) -> Self {
        Self { unset: Some(unset), ..self }
    }

    const fn example(self, example: &'static str) -> Self {
        Self { example: Some(example), ..self }
    }

    /// The flag without the name of its command.
    pub(super) fn flag_name(&self) -> &'static str {
        self.flag.and_then(|flag| flag.rsplit(' ').next()).unwrap_or_default()
    }

    /// The default as a value.
    pub(super) fn default_value(&self) -> RawValue {
        RawValue::File(self.default.parse().expect("a test checks that every default is TOML"))
    }

    /// The name for people: its key, or its variable.
    pub fn name(&self) -> &'static str {
        self.key.or(self.variable).unwrap_or_default()
    }
}

/// All settings that have a key.
pub(super) fn keyed() -> impl Iterator<Item = (&'static str, Set, &'static Setting)> {
    let all = SETTINGS.iter().flat_map(|section| section.settings);
    all.filter_map(|setting| Some((setting.key?, setting.set?, setting)))
}

const UNSET: &str = "\"\"";

/// Every setting, by section.
pub static SETTINGS: &[Section] = &[SERVER, CODEX, QUEUE, GIT, STORAGE, NOTIFICATIONS, QUIET_HOURS];

const SERVER: Section = Section {
    title: "Server",
    settings: &[
        Setting::outside(
            "ORCH_HOME",
            ValueForm::Path,
            "`~/.codex-orchestrator`",
            "The folder that contains all state and `config.toml`.",
        )
        .flag("--home"),
        Setting::new(
            "listen",
            ValueForm::Address,
            "\"127.0.0.1:8080\"",
            "TCP address of the API and the pages. With `off`, the server listens only on the unix socket.",
            |draft, given| {
                let text = given.text()?;
                let address = if text == "off" { None } else { Some(text.parse().map_err(|_| Invalid::Form)?) };
                draft.config.listen = address;
                Ok(())
            },
        )
        .variable("ORCH_LISTEN")
        .flag("serve --listen"),
        Setting::new(
            "allowed_hosts",
            ValueForm::List,
            "[]",
            "Additional host names under which the API and the pages can be reached over TCP, e.g. the name of an HTTPS proxy. \
             Requests for other names are refused.",
            |draft, given| given.list().map(|hosts| draft.config.allowed_hosts = hosts),
        )
        .example("[\"codex.example.org\"]"),
        Setting::outside(
            "ORCH_LOG",
            ValueForm::Text,
            "`info` for the server, `warn` for other commands",
            "Log level for stderr: `error`, `warn`, `info`, `debug` or `trace`. Can be set per crate, e.g. `info,engine=trace`.",
        ),
        Setting::outside(
            "ORCH_LOG_FORMAT",
            ValueForm::Text,
            "`text`",
            "Format of the server's log: `text`, or `json` for one JSON object per line.",
        )
        .flag("serve --log-format"),
    ],
};

const CODEX: Section = Section {
    title: "Running Codex",
    settings: &[
        Setting::new(
            "worker",
            ValueForm::Text,
            UNSET,
            "The program that runs Codex: `codex-docker` (built in: runs Codex in containers), `host` (runs the `codex` on PATH on \
             this machine), or the path of your own program.",
            |draft, given| given.text().map(|worker| draft.config.worker = Some(worker)),
        )
        .variable("ORCH_WORKER")
        .flag("serve --worker")
        .unset("`codex-docker`"),
        Setting::new(
            "codex_home",
            ValueForm::Path,
            UNSET,
            "Codex's own folder, with its login and sessions. Used by the worker `host` and by your own programs.",
            |draft, given| given.path().map(|path| draft.config.codex_home = Some(path)),
        )
        .variable("CODEX_HOME")
        .unset("`codex` in the home directory, for the worker `host`"),
        Setting::new(
            "image",
            ValueForm::Text,
            UNSET,
            "Container image for repositories that set no image.",
            |draft, given| given.text().map(|image| draft.config.image = Some(image)),
        )
        .variable("IMAGE_NAME")
        .unset("the image that `codex-orchestrator up` builds")
        .example("\"registry.example.org/codex:1\""),
        Setting::new(
            "model_url",
            ValueForm::Url,
            UNSET,
            "Base URL of the model API. Containers reach it through the broker.",
            |draft, given| given.text().map(|url| draft.config.model_url = Some(url)),
        )
        .variable("CODEX_DOCKER_MODEL_URL")
        .unset("`https://api.openai.com/v1`"),
        Setting::new(
            "broker",
            ValueForm::Boolean,
            "true",
            "Keep API keys out of containers: a broker next to each run adds the key to its requests. With `false`, containers get \
             the key itself, and the agent can read it.",
            |draft, given| {
                given.boolean().map(|on| draft.config.broker = if on { Broker::On } else { Broker::Off })
            },
        ),
        Setting::new(
            "driver",
            ValueForm::Text,
            "\"auto\"",
            "How Codex is run, for repositories that do not set it: `exec` for `codex exec`, `app-server` for Codex's app server, or \
             `auto` for the app server if the version of Codex has a usable one. Workers other than `codex-docker` and `host` always \
             use `exec`.",
            |draft, given| {
                let invalid = || Invalid::Rule("use `exec`, `app-server` or `auto`".to_owned());
                draft.config.driver = DriverChoice::parse(&given.text()?).ok_or_else(invalid)?;
                Ok(())
            },
        )
        .variable("ORCH_DRIVER"),
        Setting::new(
            "codex_config",
            ValueForm::Path,
            UNSET,
            "A `config.toml` for the Codex in containers. A relative path is relative to the home directory.",
            |draft, given| {
                let path = given.path()?;
                draft.config.codex_config = Some(draft.config.home.join(path));
                Ok(())
            },
        )
        .unset("no file")
        .example("\"codex.toml\""),
        Setting::new(
            "container_program",
            ValueForm::List,
            "[\"/proc/self/exe\", \"codex-docker\"]",
            "The program that runs as the built-in worker, and its first arguments. The program must be an absolute path. The \
             default is the server's own program.",
            |draft, given| {
                let program = given.list()?;
                // Runs start in a worktree, so a relative path would name a file there.
                if !program.first().is_some_and(|first| std::path::Path::new(first).is_absolute()) {
                    return Err(Invalid::Rule("start with the absolute path of a program, e.g. [\"/usr/local/bin/codex-docker\"]".to_owned()));
                }
                draft.config.container_program = program;
                Ok(())
            },
        ),
        Setting::new(
            "pass_environment",
            ValueForm::List,
            "[]",
            "Names of additional variables that workers get from the server's environment. Their values are masked in transcripts.",
            |draft, given| given.list().map(|names| draft.config.pass_environment = names),
        )
        .example("[\"NPM_TOKEN\"]"),
        Setting::outside(
            "CODEX_API_KEY",
            ValueForm::Secret,
            "the login that `codex-orchestrator login` stored",
            "An OpenAI API key for all tasks. A repository's own key takes precedence.",
        ),
        Setting::outside(
            "CODEX_DOCKER_MEMORY",
            ValueForm::Size,
            "`memory_for_runs` divided by `max_parallel_runs`",
            "Memory limit of a container, unless the repository sets one.",
        ),
        Setting::outside(
            "CODEX_DOCKER_DISK",
            ValueForm::Size,
            "no limit",
            "Limit for the files that a container writes outside of the worktree, unless the repository sets one.",
        ),
        Setting::outside(
            "CODEX_DOCKER_CPUS",
            ValueForm::Text,
            "all",
            "Number of CPUs of a container, e.g. `1.5`, unless the repository sets it.",
        ),
        Setting::outside(
            "CODEX_DOCKER_PIDS",
            ValueForm::Number,
            "`4096`",
            "Maximum number of processes and threads in a container, unless the repository sets it.",
        ),
        Setting::outside(
            "CODEX_DOCKER_FREE_DISK",
            ValueForm::Size,
            "`1g`",
            "A run stops when less disk space than this is free.",
        ),
        Setting::outside(
            "CODEX_DOCKER_CA_FILE",
            ValueForm::Path,
            "no file",
            "PEM file with additional trusted certificates for images that are built, as an absolute path.",
        ),
        Setting::outside(
            "CODEX_DOCKER_NPM_REGISTRY",
            ValueForm::Url,
            "`https://registry.npmjs.org`",
            "npm registry for images that are built.",
        ),
        Setting::outside(
            "CODEX_DOCKER_PYPI_INDEX",
            ValueForm::Url,
            "`https://pypi.org/simple`",
            "Index of Python packages for images that are built.",
        ),
        Setting::outside(
            "CODEX_DOCKER_TOOL_SOURCES",
            ValueForm::Text,
            "the publishers of the tools",
            "Mirrors of language tools for images that are built, such as `go=https://goproxy.example node=npm+https://npm.example`.",
        ),
    ],
};

const QUEUE: Section = Section {
    title: "Queue and time limits",
    settings: &[
        Setting::new(
            "max_parallel_runs",
            ValueForm::Number,
            UNSET,
            "Maximum number of runs at the same time, from 1 to 10000. Further runs wait in the queue.",
            |draft, given| {
                let most = given.number()?;
                if !(1..=10_000).contains(&most) {
                    return Err(Invalid::Rule("use a number from 1 to 10000".to_owned()));
                }
                draft.config.max_parallel_runs = most;
                Ok(())
            },
        )
        .variable("ORCH_MAX_PARALLEL_RUNS")
        .unset("the number of processors, at least 2")
        .example("4"),
        Setting::new(
            "memory_for_runs",
            ValueForm::Size,
            UNSET,
            "Memory that the containers of all runs and setups may use together. A run or a setup starts only if its memory limit \
             still fits. The limit of a run is this size divided by `max_parallel_runs`, but at least 1 GiB, unless `CODEX_DOCKER_MEMORY` or the repository sets it.",
            |draft, given| given.size().map(|bytes| draft.config.memory_for_runs = Some(bytes)),
        )
        .variable("ORCH_MEMORY_FOR_RUNS")
        .unset("80% of the memory of the container engine's machine")
        .example("\"16g\""),
        Setting::new(
            "free_space_floor",
            ValueForm::Size,
            "\"1g\"",
            "No run starts while less disk space than this is free in the home directory.",
            |draft, given| given.size().map(|floor| draft.config.free_space_floor = floor),
        )
        .variable("ORCH_FREE_SPACE_FLOOR"),
        Setting::new(
            "resume_interrupted",
            ValueForm::Boolean,
            "false",
            "Resume interrupted runs automatically, at most three times in a row. A repository can override this.",
            |draft, given| given.boolean().map(|on| draft.config.resume_interrupted = on),
        ),
        Setting::new("run_time_limit", ValueForm::Duration, "\"2h\"", "Maximum duration of a run.", |draft, given| {
            given.duration().map(|limit| draft.config.run_time_limit = limit)
        }),
        Setting::new(
            "turn_end_grace",
            ValueForm::Duration,
            "\"10s\"",
            "How long Codex may take to exit after its turn ended.",
            |draft, given| given.duration().map(|grace| draft.config.turn_end_grace = grace),
        ),
        Setting::new(
            "stop_grace",
            ValueForm::Duration,
            "\"10s\"",
            "How long a stopped worker may take to exit after an interrupt, and again after SIGTERM, before it is killed.",
            |draft, given| given.duration().map(|grace| draft.config.stop_grace = grace),
        ),
    ],
};

const GIT: Section = Section {
    title: "Git and Git hosts",
    settings: &[
        Setting::new(
            "github_token",
            ValueForm::Secret,
            UNSET,
            "A GitHub token for pushes and pull requests, for repositories without their own token.",
            |draft, given| given.text().map(|token| draft.config.github_token = Some(Secret::new(token))),
        )
        .variable("ORCH_GITHUB_TOKEN")
        .unset("no token"),
        Setting::new(
            "github_repo",
            ValueForm::Text,
            UNSET,
            "GitHub owner and name for repositories whose URL does not contain them, e.g. because the URL is a path.",
            |draft, given| {
                draft.config.github_project = Some(ProjectPath::parse(&given.text()?)?);
                Ok(())
            },
        )
        .variable("ORCH_GITHUB_REPO")
        .unset("taken from the URL")
        .example("\"owner/name\""),
        Setting::new(
            "github_api_url",
            ValueForm::Url,
            UNSET,
            "URL of the GitHub API. Set it for GitHub Enterprise.",
            |draft, given| {
                draft.config.github_api_url = Some(ApiUrl::parse(&given.text()?)?);
                Ok(())
            },
        )
        .variable("ORCH_GITHUB_API_URL")
        .unset("`https://api.github.com`")
        .example("\"https://github.example.org/api/v3\""),
        Setting::new(
            "forge_poll_interval",
            ValueForm::Duration,
            "\"1m\"",
            "How often the Git host of each repository is polled for open pull requests.",
            |draft, given| given.duration().map(|interval| draft.config.forge_poll_interval = interval),
        ),
        Setting::new("clone_time_limit", ValueForm::Duration, "\"1h\"", "Maximum duration of a clone.", |draft, given| {
            given.duration().map(|limit| draft.config.clone_time_limit = limit)
        }),
        Setting::new("fetch_time_limit", ValueForm::Duration, "\"5m\"", "Maximum duration of a fetch.", |draft, given| {
            given.duration().map(|limit| draft.config.fetch_time_limit = limit)
        }),
        Setting::new("push_time_limit", ValueForm::Duration, "\"10m\"", "Maximum duration of a push.", |draft, given| {
            given.duration().map(|limit| draft.config.push_time_limit = limit)
        }),
    ],
};

const STORAGE: Section = Section {
    title: "Trash and disk usage",
    settings: &[
        Setting::new(
            "prepared_worktrees",
            ValueForm::Number,
            "2",
            "How many worktrees are checked out in advance for each repository, so that tasks start faster. At most 100; `0` turns \
             this off.",
            |draft, given| {
                let most = given.number()?;
                if most > 100 {
                    return Err(Invalid::Rule("use a number from 0 to 100".to_owned()));
                }
                draft.config.prepared_worktrees = most;
                Ok(())
            },
        )
        .variable("ORCH_PREPARED_WORKTREES"),
        Setting::new(
            "prepared_worktrees_space",
            ValueForm::Size,
            "\"5g\"",
            "Maximum disk usage of all prepared worktrees.",
            |draft, given| given.size().map(|space| draft.config.prepared_worktrees_space = space),
        ),
        Setting::new(
            "trash_days",
            ValueForm::Days,
            "30",
            "How long removed tasks and repositories stay in the trash before they are deleted permanently.",
            |draft, given| given.number::<u32>().map(|days| draft.config.trash_time = days * DAY),
        ),
        Setting::new(
            "snapshot_limit",
            ValueForm::Size,
            "\"20g\"",
            "Total size of the snapshots of environments above which older ones are deleted, unless a task uses them. The newest snapshot of each repository stays.",
            |draft, given| given.size().map(|limit| draft.config.snapshot_limit = limit),
        ),
        Setting::new(
            "prune_days",
            ValueForm::Days,
            "14",
            "How long a mirror keeps objects after a repack finds that nothing refers to them. Must be at least 14.",
            |draft, given| {
                let days: u32 = given.number()?;
                if days < LEAST_PRUNE_DAYS {
                    return Err(Invalid::Rule(format!("use {LEAST_PRUNE_DAYS} or more days")));
                }
                draft.config.prune_time = days * DAY;
                Ok(())
            },
        ),
    ],
};
