//! The definition of the command line. The functions that run the commands are in `commands`.
//! Each help text says what the command does and which default applies.

mod publish;
mod settings;
mod setup;
mod shell;
mod sources;
mod task;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::output::OutputFormat;

pub(crate) use self::publish::{PushArguments, TokenArguments};
pub(crate) use self::settings::SettingArguments;
pub(crate) use self::setup::{EditSetupArguments, SetupCommand};
pub(crate) use self::shell::ShellArguments;
pub(crate) use self::sources::{AnswerArguments, AnswerWord, CommitArguments};
pub(crate) use self::task::{
    AfterStart, ArtifactsArguments, FollowUpArgument, FollowUpCommand, InstalledArguments, PromptArguments, TaskArgument,
    TaskArguments, TaskCommand,
};

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

impl Arguments {
    /// Returns the requested format of the answer.
    pub(crate) fn format(&self) -> OutputFormat {
        if self.json { OutputFormat::Json } else { OutputFormat::Text }
    }
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
    Up {
        /// PEM file with additional trusted certificates for the image, for networks that intercept TLS
        #[arg(long, value_name = "FILE")]
        ca_file: Option<PathBuf>,
    },
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
    /// Show the server's status, its worker and the number of running tasks
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
        /// Shell to generate the script for
        shell: clap_complete::Shell,
    },
    /// Write a man page for every command to a folder
    #[command(hide = true)]
    Man(ManArguments),
}

/// The folder that `man` writes to.
#[derive(Debug, Args)]
pub(crate) struct ManArguments {
    /// Folder for the pages
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,
}

/// The commands for the server's settings.
#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a sample config.toml with every setting and its default
    Sample,
}

/// The commands for the password of the pages.
#[derive(Debug, Subcommand)]
pub(crate) enum PasswordCommand {
    /// Set the password (typed in the terminal or passed on stdin)
    Set,
    /// Remove the password (browsers stay signed in)
    Remove,
}

/// The arguments of `gc`, which select the items to delete.
#[derive(Debug, Args)]
pub(crate) struct GcArguments {
    /// Delete everything in the trash
    #[arg(long, conflicts_with = "older_than")]
    pub(crate) all: bool,
    /// Delete items that were removed at least this many days ago [default: `trash_days` in config.toml, 30]
    #[arg(long, value_name = "DAYS")]
    pub(crate) older_than: Option<u32>,
    /// Show what would be deleted without deleting anything
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Keep the demo server running after the demo
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
    /// User to run the server and its tasks as [default: the user who called sudo, or root]
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

impl Command {
    /// Whether stdin is passed to a program in a container.
    pub(crate) fn passes_stdin(&self) -> bool {
        matches!(self, Self::Env(EnvCommand::Shell(_)))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum EnvCommand {
    /// Add a repository and clone it
    Add {
        /// URL to clone from: https, ssh, `git@host:path`, a file URL or an absolute path
        url: String,
        #[command(flatten)]
        settings: SettingArguments,
        #[command(flatten)]
        secrets: SecretArguments,
        #[command(flatten)]
        token: TokenArguments,
    },
    /// List repositories
    List,
    /// Show a repository and its settings
    Show {
        #[command(flatten)]
        env: EnvArgument,
    },
    /// List, show or change the settings of a repository
    ///
    /// Without KEY, lists every setting with its value, default and description. With KEY, prints the value of the setting. With VALUE,
    /// changes the setting.
    #[command(after_help = "Examples:\n  codex-orchestrator env config app\n  codex-orchestrator env config app memory 4g\n  \
                            codex-orchestrator env config app allow_hosts example.com '*.example.org'\n  \
                            codex-orchestrator env config app memory --unset")]
    Config(ConfigArguments),
    /// Change the settings of a repository
    ///
    /// Omitted settings stay as they are. The value `default` restores the default of a setting.
    Edit {
        #[command(flatten)]
        env: EnvArgument,
        #[command(flatten)]
        settings: Box<SettingArguments>,
        #[command(flatten)]
        secrets: SecretArguments,
        /// Delete a secret; repeat the flag for several
        #[arg(long = "no-secret", value_name = "NAME", help_heading = "Variables and secrets")]
        forgotten: Vec<String>,
        #[command(flatten)]
        token: TokenArguments,
    },
    /// Show, change or run the setup of a repository's environment
    #[command(subcommand)]
    Setup(SetupCommand),
    /// Start a shell in the environment of a repository, to try it by hand
    ///
    /// The shell runs in a container like that of a new task: with the image, the result of the setup, the services, variables and secrets,
    /// and the files of the repository. Nothing is kept: when you exit the shell, the container and all changes are removed.
    #[command(after_help = "Examples:\n  codex-orchestrator env shell app\n  codex-orchestrator env shell app --ref develop\n  \
                            codex-orchestrator env shell app npm test")]
    Shell(ShellArguments),
    /// Fetch from the remote of a repository
    Fetch {
        #[command(flatten)]
        env: EnvArgument,
    },
    /// Retry the failed clone of a repository
    Retry {
        #[command(flatten)]
        env: EnvArgument,
    },
    /// List the branches and tags that a task can start from, newest first
    Refs {
        #[command(flatten)]
        env: EnvArgument,
        /// Only list names that contain this text
        text: Option<String>,
    },
    /// Stop starting new runs in a repository (running ones continue)
    Pause {
        #[command(flatten)]
        env: EnvArgument,
    },
    /// Start new runs in a repository again
    Unpause {
        #[command(flatten)]
        env: EnvArgument,
    },
    /// Restore a removed repository and the tasks that were removed with it
    Restore {
        #[command(flatten)]
        env: EnvArgument,
    },
    /// Move a repository and its tasks to the trash
    Remove {
        #[command(flatten)]
        env: EnvArgument,
        /// Do not ask for confirmation
        #[arg(long, short)]
        yes: bool,
    },
}

/// The arguments of `env config`: a repository, a setting and its new value.
#[derive(Debug, Args)]
pub(crate) struct ConfigArguments {
    #[command(flatten)]
    pub(crate) env: EnvArgument,
    /// Name of the setting, e.g. `memory`
    pub(crate) key: Option<String>,
    /// New value; lists accept several values
    #[arg(value_name = "VALUE")]
    pub(crate) values: Vec<String>,
    /// Restore the default
    #[arg(long, requires = "key", conflicts_with = "values")]
    pub(crate) unset: bool,
}

/// The repository that a command applies to.
#[derive(Debug, Args)]
pub(crate) struct EnvArgument {
    /// Repository name, ID or unique ID prefix
    pub(crate) env: String,
}

/// Secrets to set. Their values are never arguments, because other users can read the arguments of a process.
#[derive(Debug, Args)]
#[command(next_help_heading = "Variables and secrets")]
pub(crate) struct SecretArguments {
    /// Secret environment variable for Codex, taken from your shell's environment; repeat the flag for several
    #[arg(long = "secret", value_name = "NAME")]
    pub(crate) from_environment: Vec<String>,
    /// Secret environment variable for Codex, read from a file or, with `-`, from stdin; repeat the flag for several
    #[arg(long = "secret-file", value_name = "NAME=FILE")]
    pub(crate) from_files: Vec<String>,
}

/// How to log in to Codex: with a code, an API key or a copied login.
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
