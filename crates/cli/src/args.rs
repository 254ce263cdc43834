//! The command line's words. What they do is in `commands`.
//! Help texts teach: each says what happens, and what is taken where nothing is given.

mod container;
mod publish;
mod sources;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use self::container::ContainerArguments;
pub(crate) use self::publish::{ForgeArguments, PushArguments};
pub(crate) use self::sources::{AnswerArguments, AnswerWord, SourcesArguments};

/// Hand coding tasks to the Codex CLI and walk away.
///
/// Add a repository as an environment, create tasks in it, and come back to a transcript, a diff and a branch per task.
#[derive(Debug, Parser)]
#[command(name = "codex-orchestrator", version, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Where all state lies [default: ~/.codex-orchestrator]
    #[arg(long, global = true, value_name = "FOLDER", help_heading = "Global options")]
    pub(crate) home: Option<PathBuf>,
    /// Print the API's JSON instead of text for people
    #[arg(long, global = true, help_heading = "Global options")]
    pub(crate) json: bool,
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what this is for: a real run of the real Codex CLI with a scripted model, in under a minute
    Demo(DemoArguments),
    /// Build the image if it is missing and start the server in the background; fails if no task could start
    Up,
    /// Stop the server; running tasks continue, and the next command starts a server again
    Down,
    /// Show a link that signs one browser in to the pages, and a picture of it for a phone
    SignIn {
        /// How the browser reaches the server, where that is not the address it listens on: a name, or a URL
        #[arg(long, value_name = "URL")]
        address: Option<String>,
    },
    /// Set or remove a password for the pages, beside the links of `sign-in`
    #[command(subcommand)]
    Password(PasswordCommand),
    /// Run the server in the foreground
    Serve(ServeArguments),
    /// Run the server under systemd, from the login or the boot on
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Show what the server is doing
    Status,
    /// Check what is needed on this machine, and say what to do about what is missing
    Doctor,
    /// Log Codex in for all tasks; your own Codex is not touched
    #[command(after_help = "Example: printenv OPENAI_API_KEY | codex-orchestrator login --with-api-key")]
    Login(LoginArguments),
    /// Forget the login
    Logout,
    /// Codex in a container by hand, in this folder: `codex-orchestrator codex-docker --help`
    #[command(name = "codex-docker", disable_help_flag = true)]
    CodexDocker {
        /// What codex-docker or Codex is to do
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Work with environments: repositories that tasks are cut from
    #[command(subcommand)]
    Env(EnvCommand),
    /// Work with tasks
    #[command(subcommand)]
    Task(TaskCommand),
    /// Show what waits for its turn, and why
    Queue,
    /// List what was removed and can come back: `task restore`, `env restore`
    Trash,
    /// Free disk space: permanently delete expired trash, repack mirrors, remove unused images
    Gc(GcArguments),
    /// Show disk usage by kind, repository and task
    Disk,
    /// Print the completions for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// A password for the pages.
#[derive(Debug, Subcommand)]
pub(crate) enum PasswordCommand {
    /// Set it: typed in the terminal, which does not show it, or from stdin
    Set,
    /// Remove it; browsers that are signed in stay so
    Remove,
}

/// What to delete for good.
#[derive(Debug, Args)]
pub(crate) struct GcArguments {
    /// Everything in the trash
    #[arg(long, conflicts_with = "older_than")]
    pub(crate) all: bool,
    /// What was removed so many days ago or earlier [default: as long as things are kept, 30]
    #[arg(long, value_name = "DAYS")]
    pub(crate) older_than: Option<u32>,
    /// Only say what would be deleted
    #[arg(long)]
    pub(crate) dry_run: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoArguments {
    /// Leave the demo's server running at the end
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// The TCP address of the API, or `off` [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// `codex-docker`, `host`, or the path of a program
    #[arg(long, value_name = "WORKER")]
    pub(crate) worker: Option<String>,
    /// How the log on stderr is written: as text, or one JSON object on a line [default: `ORCH_LOG_FORMAT`, else text]
    #[arg(long, value_enum, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Print one line once the API answers
    #[arg(long, hide = true)]
    pub(crate) announce: bool,
}

/// How a server writes its log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Write the unit, start it, and have it started at every login (or, with --system, boot)
    Install(InstallArguments),
    /// Stop the server and remove the unit; runs go on
    Uninstall {
        /// The machine's service, not yours
        #[arg(long)]
        system: bool,
    },
    /// Show whether the service is installed and running; the exit code is 0 when it runs
    Status {
        /// The machine's service, not yours
        #[arg(long)]
        system: bool,
    },
}

#[derive(Debug, Args)]
pub(crate) struct InstallArguments {
    /// As a service of the machine, which starts at boot; needs root
    #[arg(long)]
    pub(crate) system: bool,
    /// Which user's the machine's service and its runs are [default: who called sudo, else root]
    #[arg(long, value_name = "USER", requires = "system")]
    pub(crate) run_as: Option<String>,
    /// The TCP address of the API, or `off` [default: as `config.toml` says, else 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// `codex-docker`, `host`, or the path of a program [default: as `config.toml` says, else codex-docker]
    #[arg(long, value_name = "WORKER")]
    pub(crate) worker: Option<String>,
    /// Only print the unit
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

/// How to log Codex in.
#[derive(Debug, Args)]
#[group(multiple = false)]
pub(crate) struct LoginArguments {
    /// With an account: shows a code to type in a browser, on any machine; this is the default
    #[arg(long)]
    pub(crate) device: bool,
    /// With an API key, which is read from stdin
    #[arg(long)]
    pub(crate) with_api_key: bool,
    /// With a copy of another Codex's login: its `auth.json`, or the folder with it
    #[arg(long, value_name = "PATH")]
    pub(crate) import: Option<PathBuf>,
}

/// What is asked of a run.
#[derive(Debug, Args)]
pub(crate) struct PromptArguments {
    /// What the agent should do; `-` reads it from stdin. Put `--` before one that looks like an option
    pub(crate) prompt: Option<String>,
    /// Read the prompt from a file
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub(crate) prompt_file: Option<PathBuf>,
    /// An image to go along: PNG, JPEG, GIF or WebP; can be given more than once
    #[arg(long = "image", value_name = "FILE")]
    pub(crate) images: Vec<PathBuf>,
    /// The model [default: that of the run before, the environment's, or Codex's own choice]
    #[arg(long, short)]
    pub(crate) model: Option<String>,
    /// The reasoning effort [default: as the model's]
    #[arg(long)]
    pub(crate) effort: Option<String>,
    /// Who goes first in the queue: `low`, `normal` or `high` [default: normal]
    #[arg(long)]
    pub(crate) priority: Option<String>,
    /// Stream the transcript; the run's outcome is the exit code (0 completed, 1 failed, 130 stopped)
    #[arg(long, short)]
    pub(crate) follow: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Hand a new task to Codex
    #[command(after_help = "Example: codex-orchestrator task create --env app --follow \"Fix the failing test\"")]
    Create {
        /// The environment: its id, or the first characters of it, or its name
        #[arg(long, short)]
        env: String,
        /// A branch, a tag or a commit to start from [default: the environment's default branch]
        #[arg(long = "ref", value_name = "REF")]
        git_ref: Option<String>,
        /// One line for people [default: the prompt's first line]
        #[arg(long)]
        title: Option<String>,
        #[command(flatten)]
        run: PromptArguments,
    },
    /// List the tasks, newest first; with `--group queued`, in the order in which they will start
    List {
        /// Only those of this environment
        #[arg(long, short)]
        env: Option<String>,
        /// Only those with one of these statuses, separated by commas
        #[arg(long)]
        status: Option<String>,
        /// Only `needs_you`, `running`, `queued` or `done`
        #[arg(long)]
        group: Option<String>,
        /// Only those that were archived
        #[arg(long)]
        archived: bool,
        /// Only those that mention this text
        #[arg(long, short)]
        query: Option<String>,
        /// How many at most
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: usize,
    },
    /// Show one task and its runs
    Show {
        /// Its id, or the first characters of it
        task: String,
    },
    /// Print the transcript of a run
    Logs {
        /// The task's id, or the first characters of it
        task: String,
        /// Which run [default: the last]
        #[arg(long, value_name = "N")]
        run: Option<u32>,
        /// Go on until the run has ended
        #[arg(long, short)]
        follow: bool,
        /// The JSON lines as the worker wrote them
        #[arg(long)]
        raw: bool,
    },
    /// Go on in a task's thread with another prompt
    Resume {
        /// Its id, or the first characters of it
        task: String,
        #[command(flatten)]
        run: PromptArguments,
    },
    /// Retry a task that failed or was interrupted
    ///
    /// Continues the thread. If Codex never started one, runs the same prompt again.
    Retry {
        /// Task ID or a unique prefix
        task: String,
        /// Stream the transcript; the exit code is the run's outcome (0 completed, 1 failed, 130 stopped)
        #[arg(long, short)]
        follow: bool,
    },
    /// Prompts that wait until the task's run has ended well
    #[command(subcommand)]
    FollowUp(FollowUpCommand),
    /// Answer what a task asks before its run can start
    Answer(AnswerArguments),
    /// End a task's run, and wait until it has ended
    Stop {
        /// Its id, or the first characters of it
        task: String,
    },
    /// Put tasks that have ended out of the lists, with all that they have
    Archive {
        /// Their ids, or the first characters of them
        #[arg(required = true)]
        tasks: Vec<String>,
    },
    /// Bring archived tasks back into the lists
    Unarchive {
        /// Their ids, or the first characters of them
        #[arg(required = true)]
        tasks: Vec<String>,
    },
    /// Print what a task changed, as a patch that `git apply` takes
    Diff {
        /// Its id, or the first characters of it
        task: String,
        /// Only what this run changed
        #[arg(long, value_name = "N")]
        run: Option<u32>,
        /// Only what changed since somebody marked the changes as viewed on the pages
        #[arg(long, conflicts_with = "run")]
        since_viewed: bool,
        /// Only which files changed, and by how many lines
        #[arg(long)]
        stat: bool,
    },
    /// Push a task's branch, and open its pull request with --pull-request
    #[command(after_help = "Example: codex-orchestrator task push --pull-request --draft 01a2")]
    Push(PushArguments),
    /// Show how a task's pull request is; before there is one, what it would say
    #[command(visible_alias = "pr")]
    PullRequest {
        /// Its id, or the first characters of it
        task: String,
    },
    /// Hand open review comments and failed checks of a task's pull request to the agent
    Feedback {
        /// Its id, or the first characters of it
        task: String,
    },
    /// Bring a task's branch up to the newest commit of its base
    #[command(
        after_help = "Where the two conflict nothing is changed, and the files are named; --hand-over lets the agent merge them."
    )]
    Update {
        /// Its id, or the first characters of it
        task: String,
        /// Make the task's commits anew on the base [default, unless the branch has merges of its own]
        #[arg(long, conflicts_with = "merge")]
        rebase: bool,
        /// Merge the base, and leave the task's commits as they are
        #[arg(long)]
        merge: bool,
        /// Give conflicts to the agent, as a follow-up
        #[arg(long)]
        hand_over: bool,
        /// Put the task's commits on top of what somebody else pushed to its own branch
        #[arg(long)]
        onto_remote: bool,
    },
    /// Show in which files a task conflicts with its base, and with other tasks
    Conflicts {
        /// Its id, or the first characters of it
        task: String,
        /// Fetch the newest commits first
        #[arg(long)]
        fetch: bool,
    },
    /// Take a task's branch as a bundle, which `git fetch` reads like a repository
    Bundle {
        /// Its id, or the first characters of it
        task: String,
        /// Into this file [default: stdout]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Take a task's commits as mails, which `git am` makes into the same commits
    Patch {
        /// Its id, or the first characters of it
        task: String,
        /// Into this file [default: stdout]
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Bring a removed task back, whole
    Restore {
        /// Its id, or the first characters of it
        task: String,
    },
    /// Remove a task, ending its run first; it stays in the trash for a while
    Remove {
        /// Its id, or the first characters of it
        task: String,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum FollowUpCommand {
    /// Add one, as the last; it runs at once if no run is active
    Add {
        /// The task's id, or the first characters of it
        task: String,
        #[command(flatten)]
        run: PromptArguments,
    },
    /// Ask something else in the place of one that waits
    Replace {
        /// The task's id, or the first characters of it
        task: String,
        /// Its number, as `task show` says it
        number: u32,
        #[command(flatten)]
        run: PromptArguments,
    },
    /// Forget one that waits
    Remove {
        /// The task's id, or the first characters of it
        task: String,
        /// Its number, as `task show` says it
        number: u32,
    },
    /// Begin the next one, which waits because the last run did not end well
    Start {
        /// The task's id, or the first characters of it
        task: String,
    },
}
