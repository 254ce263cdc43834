//! The definition of the command line. The functions that run the commands are in `commands`.
//! Each help text says what the command does and which default applies.

mod container;
mod publish;
mod sources;
mod task;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::container::ContainerArguments;
pub(crate) use self::publish::{ForgeArguments, PushArguments};
pub(crate) use self::sources::{AnswerArguments, AnswerWord, SourcesArguments};
pub(crate) use self::task::{FollowUpArgument, FollowUpCommand, PromptArguments, TaskArgument, TaskArguments, TaskCommand, word};

/// Run coding tasks with the Codex CLI in the background
///
/// Add a repository, create tasks in it, and come back to a transcript, a diff and a branch for each task.
#[derive(Debug, Parser)]
#[command(name = "codex-orchestrator", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Folder for all data [default: ~/.codex-orchestrator]
    #[arg(long, global = true, value_name = "DIR", help_heading = "Global options")]
    pub(crate) home: Option<PathBuf>,
    /// Print JSON instead of text
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const COMPLETIONS_HELP: &str = "\
Install the script, then start a new shell:
  bash: codex-orchestrator completions bash > ~/.local/share/bash-completion/completions/codex-orchestrator
  zsh:  codex-orchestrator completions zsh > \"${fpath[1]}/_codex-orchestrator\"
  fish: codex-orchestrator completions fish > ~/.config/fish/completions/codex-orchestrator.fish";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// See the Codex CLI complete a sample task with a scripted model (under a minute)
    Demo(DemoArguments),
    /// Start the server in the background
    ///
    /// Builds the container image first if it is missing. Fails if no task can start.
    Up,
    /// Stop the server (running tasks continue)
    ///
    /// The next command starts the server again.
    Down,
    /// Print a one-time sign-in link for the pages, and its QR code
    SignIn {
        /// Host name or URL at which the browser reaches the server [default: the server's own address]
        #[arg(long, value_name = "URL")]
        address: Option<String>,
    },
    /// Set or remove a password for the pages
    ///
    /// Sign-in links keep working.
    #[command(subcommand)]
    Password(PasswordCommand),
    /// Run the server in the foreground
    Serve(ServeArguments),
    /// Install or manage the systemd service
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Show the server, its worker, and how many tasks are running
    Status,
    /// Check this machine for problems and suggest fixes
    Doctor,
    /// Log in to Codex for all tasks
    ///
    /// The login of your own Codex CLI does not change.
    #[command(after_help = "Example: printenv OPENAI_API_KEY | codex-orchestrator login --with-api-key")]
    Login(LoginArguments),
    /// Delete the Codex login
    Logout,
    /// Run Codex in a container, in the current folder
    ///
    /// For its options, run `codex-orchestrator codex-docker --help`.
    #[command(name = "codex-docker", disable_help_flag = true)]
    CodexDocker {
        /// Arguments for codex-docker or Codex
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Manage repositories
    #[command(subcommand)]
    Env(EnvCommand),
    /// Create and manage tasks
    #[command(subcommand)]
    Task(TaskCommand),
    /// Show queued runs and what each is waiting for
    Queue,
    /// List removed tasks and repositories that can be restored
    ///
    /// To restore them, use `task restore` and `env restore`.
    Trash,
    /// Permanently delete expired trash, repack mirrors and remove unused images
    Gc(GcArguments),
    /// Show disk usage by kind, repository and task
    Disk,
    /// Work with the server's settings
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Print a completion script for a shell
    #[command(after_help = COMPLETIONS_HELP)]
    Completions {
        /// Shell to complete commands in
        shell: clap_complete::Shell,
    },
    /// Write a man page for every command to a folder
    #[command(hide = true)]
    Man(ManArguments),
}

/// The arguments of `man`.
#[derive(Debug, Args)]
pub(crate) struct ManArguments {
    /// Folder for the pages
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// The subcommands of `config`.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a sample config.toml with every setting and its default
    Sample,
}

/// The subcommands of `password`.
#[derive(Debug, Subcommand)]
pub(crate) enum PasswordCommand {
    /// Set the password (typed in the terminal or passed on stdin)
    Set,
    /// Remove the password (browsers stay signed in)
    Remove,
}

/// The arguments of `gc`.
#[derive(Debug, Args)]
pub(crate) struct GcArguments {
    /// Delete everything in the trash
    #[arg(long, conflicts_with = "older_than")]
    pub(crate) all: bool,
    /// Delete items that were removed at least this many days ago [default: `trash_days` in config.toml, 30]
    #[arg(long, value_name = "DAYS")]
    pub(crate) older_than: Option<u32>,
    /// Show what would be deleted, and delete nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Keep the demo server running at the end
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// TCP address for the API and the pages, or `off` [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Worker that runs Codex: `codex-docker`, `host`, or the path of a program [default: codex-docker]
    #[arg(long, value_name = "WORKER")]
    pub(crate) worker: Option<String>,
    /// Format of the log on stderr [default: `ORCH_LOG_FORMAT`, or text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Print a line when the API is ready
    #[arg(long, hide = true)]
    pub(crate) announce: bool,
}

/// The format of the server's log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// Plain text
    #[default]
    Text,
    /// One JSON object per line
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Install the service and start it now and at every login (with --system: at every boot)
    Install(InstallArguments),
    /// Stop the server and remove the service (running tasks continue)
    Uninstall {
        /// Use the system service instead of your user service
        #[arg(long)]
        system: bool,
    },
    /// Show whether the service is installed and running
    ///
    /// The exit code is 0 if the server is running.
    Status {
        /// Use the system service instead of your user service
        #[arg(long)]
        system: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct InstallArguments {
    /// Install a system service, which starts at boot (requires root)
    #[arg(long)]
    pub(crate) system: bool,
    /// User that the server and its runs belong to [default: the user who called sudo, or root]
    #[arg(long, value_name = "USER", requires = "system")]
    pub(crate) run_as: Option<String>,
    /// TCP address for the API and the pages, or `off` [default: `listen` in config.toml, or 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Worker that runs Codex: `codex-docker`, `host`, or the path of a program [default: `worker` in config.toml, or codex-docker]
    #[arg(long, value_name = "WORKER")]
    pub(crate) worker: Option<String>,
    /// Print the unit file without installing it
    #[arg(long)]
    pub(crate) print: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// Add a repository: https, ssh, `git@host:path`, a file URL or an absolute path
    Add {
        /// Where to clone from
        url: String,
        /// What tasks start from [default: the remote's own default]
        #[arg(long, value_name = "BRANCH")]
        default_branch: Option<String>,
        /// A name for people [default: the repository's]
        #[arg(long)]
        name: Option<String>,
        /// A variable for the agent's process; may be repeated
        #[arg(long = "var", value_name = "NAME=VALUE")]
        variables: Vec<String>,
        #[command(flatten)]
        secrets: SecretArguments,
        #[command(flatten)]
        container: Box<ContainerArguments>,
        #[command(flatten)]
        runs: RunsArguments,
        #[command(flatten)]
        forge: ForgeArguments,
        #[command(flatten)]
        sources: Box<SourcesArguments>,
    },
    /// List the environments
    List,
    /// Show one environment
    Show {
        /// Its id, or the first characters of it, or its name
        env: String,
    },
    /// Change one environment; what is not given stays
    Edit {
        /// Its id, or the first characters of it, or its name
        env: String,
        /// Another branch of the repository
        #[arg(long, value_name = "BRANCH")]
        default_branch: Option<String>,
        /// Another name
        #[arg(long)]
        name: Option<String>,
        /// All variables anew; may be repeated
        #[arg(long = "var", value_name = "NAME=VALUE")]
        variables: Vec<String>,
        #[command(flatten)]
        secrets: SecretArguments,
        /// A secret variable to forget; may be repeated
        #[arg(long = "no-secret", value_name = "NAME")]
        forgotten: Vec<String>,
        #[command(flatten)]
        container: Box<ContainerArguments>,
        #[command(flatten)]
        runs: RunsArguments,
        #[command(flatten)]
        forge: ForgeArguments,
        #[command(flatten)]
        sources: Box<SourcesArguments>,
    },
    /// Ask an environment's remote for what is new
    Fetch {
        /// Its id, or the first characters of it, or its name
        env: String,
    },
    /// Clone an environment again whose clone failed
    Retry {
        /// Its id, or the first characters of it, or its name
        env: String,
    },
    /// List the branches and tags that a task can start from, the newest first
    Refs {
        /// Its id, or the first characters of it, or its name
        env: String,
        /// Only names that contain this text
        text: Option<String>,
    },
    /// Let no run of an environment begin; those that are under way go on
    Pause {
        /// Its id, or the first characters of it, or its name
        env: String,
    },
    /// Let an environment's runs begin again
    Unpause {
        /// Its id, or the first characters of it, or its name
        env: String,
    },
    /// Bring a removed environment back, with the tasks that were removed along with it
    Restore {
        /// Its id, or the first characters of it, or its name
        env: String,
    },
    /// Remove one environment, its tasks first; it stays in the trash for a while
    Remove {
        /// Its id, or the first characters of it, or its name
        env: String,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}

/// Variables that are never shown again. Their values are not given on the command line, where others could read them.
#[derive(Debug, Args)]
pub(crate) struct SecretArguments {
    /// A secret variable for the agent, with the value that it has in this command's environment; may be repeated
    #[arg(long = "secret", value_name = "NAME")]
    pub(crate) from_environment: Vec<String>,
    /// A secret variable with the contents of a file as its value, `-` for stdin; may be repeated
    #[arg(long = "secret-file", value_name = "NAME=FILE")]
    pub(crate) from_files: Vec<String>,
}

/// How an environment's runs go. `default` takes back what was set before.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Its runs; `default` takes back what was set before")]
pub(crate) struct RunsArguments {
    /// How many may run at once [default: only the server's own limit]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) max_runs: Option<String>,
    /// How often a run that failed for a passing reason (network, overload, rate limit) is tried again [default: 0]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) retries: Option<u32>,
    /// Whether a run that was cut off is resumed by itself: `on` or `off` [default: as the server is set]
    #[arg(long, value_name = "ON/OFF")]
    pub(crate) resume_interrupted: Option<String>,
    /// The model of a new task that names none [default: Codex's own choice]
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// The reasoning effort of a new task that names none, as in low, medium or high [default: Codex's own choice]
    #[arg(long, value_name = "EFFORT")]
    pub(crate) effort: Option<String>,
}

/// The arguments of `login`.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct LoginArguments {
    /// Log in to an account with a code that you enter in a browser on any machine (default)
    #[arg(long)]
    pub(crate) device: bool,
    /// Read an API key from stdin
    #[arg(long)]
    pub(crate) with_api_key: bool,
    /// Copy the login of another Codex CLI from its `auth.json` or the folder that contains it
    #[arg(long, value_name = "PATH")]
    pub(crate) import: Option<PathBuf>,
}
