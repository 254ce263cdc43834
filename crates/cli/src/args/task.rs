//! The arguments of `task` and `task follow-up`.
//! The functions that run them are in `commands::task` and `commands::queue`.

use std::ffi::OsStr;
use std::marker::PhantomData;
use std::path::PathBuf;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::{Args, Subcommand, ValueEnum};

use model::setup::ServiceName;

use super::{AnswerArguments, CommitArguments, PushArguments};

fn service_name(text: &str) -> Result<ServiceName, String> {
    ServiceName::parse(text).ok_or_else(|| "use the name of a service, such as `db`".to_owned())
}

/// The task that a command applies to.
#[derive(Debug, Args)]
pub(crate) struct TaskArgument {
    /// Task ID or unique prefix
    #[arg(value_name = "TASK")]
    pub(crate) task: String,
}

/// The tasks that a command applies to.
#[derive(Debug, Args)]
pub(crate) struct TaskArguments {
    /// Task IDs or unique prefixes
    #[arg(value_name = "TASK", required = true)]
    pub(crate) tasks: Vec<String>,
}

/// The follow-up that a command applies to.
#[derive(Debug, Args)]
pub(crate) struct FollowUpArgument {
    #[command(flatten)]
    pub(crate) task: TaskArgument,
    /// Number of the follow-up, as shown by `task show`
    #[arg(value_name = "NUMBER")]
    pub(crate) number: u32,
}

/// Which artifacts to list, and where to save them.
#[derive(Debug, Args)]
pub(crate) struct ArtifactsArguments {
    #[command(flatten)]
    pub(crate) task: TaskArgument,
    /// Number of the run [default: the last run]
    #[arg(long, value_name = "N")]
    pub(crate) run: Option<u32>,
    /// Save the files in this folder; existing files are never replaced
    #[arg(long, value_name = "DIR")]
    pub(crate) download: Option<PathBuf>,
}

/// The task whose installations are listed.
#[derive(Debug, Args)]
pub(crate) struct InstalledArguments {
    #[command(flatten)]
    pub(crate) task: TaskArgument,
    /// Number of the run [default: all runs]
    #[arg(long, value_name = "N")]
    pub(crate) run: Option<u32>,
    /// Print only the proposed description
    #[arg(long)]
    pub(crate) toml: bool,
}

/// The file that a branch is exported to.
#[derive(Debug, Args)]
pub(crate) struct OutputArgument {
    /// Output file [default: stdout]
    #[arg(long, short, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
}

/// A prompt and the options of its run.
#[derive(Debug, Args)]
pub(crate) struct PromptArguments {
    /// Prompt for Codex; `-` reads it from stdin. Put `--` before a prompt that starts with a dash
    pub(crate) prompt: Option<String>,
    /// Read the prompt from a file
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub(crate) prompt_file: Option<PathBuf>,
    /// Attach an image (PNG, JPEG, GIF or WebP); repeat the flag for several
    #[arg(long = "image", value_name = "FILE")]
    pub(crate) images: Vec<PathBuf>,
    /// Attach any file, which Codex can read; repeat the flag for several
    #[arg(long = "attach", value_name = "FILE")]
    pub(crate) attachments: Vec<PathBuf>,
    /// Model to use [default: the previous run's, then the repository's, then Codex's own]
    #[arg(long, short)]
    pub(crate) model: Option<String>,
    /// Reasoning effort to use [default: the effort set with that model, or Codex's own default]
    #[arg(long)]
    pub(crate) effort: Option<String>,
    /// Queue priority [default: normal]
    #[arg(long, value_parser = SuggestedValues::<PriorityWord>::new())]
    pub(crate) priority: Option<String>,
    /// Stream the transcript; the exit code shows the run's outcome (0 completed, 1 failed, 130 stopped)
    #[arg(long, short)]
    pub(crate) follow: bool,
}

impl PromptArguments {
    /// Returns what to do after the run was requested.
    pub(crate) fn after_start(&self) -> AfterStart {
        if self.follow { AfterStart::Follow } else { AfterStart::Return }
    }
}

/// What a command does after it requested a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AfterStart {
    /// The command ends.
    Return,
    /// The command prints the run until it ends.
    Follow,
}

/// A priority in the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum PriorityWord {
    Low,
    Normal,
    High,
}

/// How Codex is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum DriverWord {
    Auto,
    AppServer,
    Exec,
}

/// A task status to filter by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StatusWord {
    Queued,
    Preparing,
    Running,
    Stopping,
    Completed,
    Failed,
    Stopped,
    Interrupted,
    Removing,
}

/// A group of tasks to filter by, as shown on the pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum GroupWord {
    NeedsYou,
    Running,
    Queued,
    Done,
}

/// Lists the values of `V` in help and completions, but accepts any value. The server rejects unknown values with its own error code.
#[derive(Clone)]
struct SuggestedValues<V>(PhantomData<V>);

impl<V> SuggestedValues<V> {
    fn new() -> Self {
        Self(PhantomData)
    }
}

impl<V: ValueEnum + Send + Sync + 'static> TypedValueParser for SuggestedValues<V> {
    type Value = String;

    fn parse_ref(&self, command: &clap::Command, argument: Option<&clap::Arg>, value: &OsStr) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(V::value_variants().iter().filter_map(V::to_possible_value)))
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Create a task and start it
    #[command(after_help = "Example: codex-orchestrator task create --env app --follow \"Fix the failing test\"")]
    Create {
        /// Repository name, ID or unique prefix of the ID
        #[arg(long, short)]
        env: String,
        /// Branch, tag or commit to start from [default: the repository's default branch]
        #[arg(long = "ref", value_name = "REF")]
        git_ref: Option<String>,
        /// Title for lists [default: the first line of the prompt]
        #[arg(long)]
        title: Option<String>,
        /// How to run Codex [default: the repository's setting]
        #[arg(long, value_parser = SuggestedValues::<DriverWord>::new())]
        driver: Option<String>,
        #[command(flatten)]
        run: PromptArguments,
    },
    /// List tasks, newest first
    ///
    /// With `--group queued`, tasks are listed in the order in which they will start.
    List {
        /// Only list tasks of this repository (name, ID or unique prefix of the ID)
        #[arg(long, short)]
        env: Option<String>,
        /// Only list tasks with one of these statuses, separated by commas
        #[arg(long, value_parser = SuggestedValues::<StatusWord>::new(), value_delimiter = ',')]
        status: Vec<String>,
        /// Only list tasks of this group
        #[arg(long, value_parser = SuggestedValues::<GroupWord>::new())]
        group: Option<String>,
        /// Only list archived tasks
        #[arg(long)]
        archived: bool,
        /// Only list tasks whose title, ID, branch or prompt contains this text
        #[arg(long, short)]
        query: Option<String>,
        /// Maximum number of tasks to list
        #[arg(long, short = 'n', default_value_t = 50)]
        limit: usize,
    },
    /// Show a task and its runs
    Show {
        #[command(flatten)]
        task: TaskArgument,
    },
    /// Print the transcript of a run
    Logs {
        #[command(flatten)]
        task: TaskArgument,
        /// Number of the run [default: the last run]
        #[arg(long, value_name = "N")]
        run: Option<u32>,
        /// Keep streaming until the run has ended
        #[arg(long, short)]
        follow: bool,
        /// Print the raw JSON lines that Codex wrote
        #[arg(long)]
        raw: bool,
        /// Print the output of this service, such as `db`, instead of the transcript
        #[arg(long, value_name = "NAME", value_parser = service_name, conflicts_with_all = ["follow", "raw"])]
        service: Option<ServiceName>,
        /// Print the output of the setup that ran on the server's machine before the run
        #[arg(long, conflicts_with_all = ["follow", "raw", "service"])]
        setup: bool,
    },
    /// Continue a task's thread with a new prompt
    Resume {
        #[command(flatten)]
        task: TaskArgument,
        #[command(flatten)]
        run: PromptArguments,
    },
    /// Retry a task that failed or was interrupted
    ///
    /// Continues the thread. If Codex never started a thread, runs the same prompt again.
    Retry {
        #[command(flatten)]
        task: TaskArgument,
        /// Stream the transcript; the exit code shows the run's outcome (0 completed, 1 failed, 130 stopped)
        #[arg(long, short)]
        follow: bool,
    },
    /// Manage follow-ups: prompts that start when the run before them completes
    #[command(subcommand)]
    FollowUp(FollowUpCommand),
    /// Answer a task's question: whether to fetch submodules, or whether to commit held files
    Answer(AnswerArguments),
    /// Commit files that a run omitted, such as a generated folder
    #[command(after_help = "Example: codex-orchestrator task commit 01a2 .venv/")]
    Commit(CommitArguments),
    /// Stop a task's run and wait until it has ended
    Stop {
        #[command(flatten)]
        task: TaskArgument,
    },
    /// Archive finished tasks (hides them from lists; nothing is deleted)
    Archive(TaskArguments),
    /// Move archived tasks back to the lists
    Unarchive(TaskArguments),
    /// Use the newest environment of the repository in a task's next run
    ///
    /// The next run starts from the newest snapshot. Deletes what earlier runs installed outside of the worktree.
    RefreshEnvironment {
        #[command(flatten)]
        task: TaskArgument,
    },
    /// Print a task's changes as a patch for `git apply`
    Diff {
        #[command(flatten)]
        task: TaskArgument,
        /// Only show the changes of this run
        #[arg(long, value_name = "N")]
        run: Option<u32>,
        /// Only show changes made since they were last marked as viewed on the pages
        #[arg(long, conflicts_with = "run")]
        since_viewed: bool,
        /// Only list the changed files, with line counts
        #[arg(long)]
        stat: bool,
    },
    /// List the files that the agent saved in /artifacts, or download them
    Artifacts(ArtifactsArguments),
    /// List the commands with which the agent installed things, and propose a description that contains them
    #[command(after_help = "Example: codex-orchestrator task installed 01a2 --toml > environment.toml")]
    Installed(InstalledArguments),
    /// Push a task's branch, and open a pull request if --pull-request is given
    #[command(after_help = "Example: codex-orchestrator task push --pull-request --draft 01a2")]
    Push(PushArguments),
    /// Show a task's pull request, or preview it before it is opened
    #[command(visible_alias = "pr")]
    PullRequest {
        #[command(flatten)]
        task: TaskArgument,
    },
    /// Ask Codex to address open review comments and failed checks of the pull request
    Feedback {
        #[command(flatten)]
        task: TaskArgument,
    },
    /// Update a task's branch from its base branch
    ///
    /// If there are conflicts, nothing changes and the conflicting files are listed. With --hand-over, Codex resolves the conflicts in
    /// a follow-up.
    Update {
        #[command(flatten)]
        task: TaskArgument,
        /// Rebase the task's commits onto the base branch (default, unless the task's branch contains merges)
        #[arg(long, conflicts_with = "merge")]
        rebase: bool,
        /// Merge the base branch and keep the task's commits as they are
        #[arg(long)]
        merge: bool,
        /// If there are conflicts, ask Codex to resolve them in a follow-up
        #[arg(long)]
        hand_over: bool,
        /// Rebase onto the commits that somebody else pushed to the task's branch
        #[arg(long)]
        onto_remote: bool,
    },
    /// List the files in which a task conflicts with its base branch and with other tasks
    Conflicts {
        #[command(flatten)]
        task: TaskArgument,
        /// Fetch from the remote first
        #[arg(long)]
        fetch: bool,
    },
    /// Export a task's branch as a bundle for `git fetch`
    Bundle {
        #[command(flatten)]
        task: TaskArgument,
        #[command(flatten)]
        output: OutputArgument,
    },
    /// Export a task's commits as email patches for `git am`
    Patch {
        #[command(flatten)]
        task: TaskArgument,
        #[command(flatten)]
        output: OutputArgument,
    },
    /// Restore a removed task from the trash
    Restore {
        #[command(flatten)]
        task: TaskArgument,
    },
    /// Stop a task's run and move the task to the trash
    Remove {
        #[command(flatten)]
        task: TaskArgument,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum FollowUpCommand {
    /// Add a follow-up after the existing ones
    ///
    /// If no run is active, the follow-up starts immediately.
    Add {
        #[command(flatten)]
        task: TaskArgument,
        #[command(flatten)]
        run: PromptArguments,
    },
    /// Replace a follow-up that has not started
    Replace {
        #[command(flatten)]
        follow_up: FollowUpArgument,
        #[command(flatten)]
        run: PromptArguments,
    },
    /// Remove a follow-up that has not started
    Remove {
        #[command(flatten)]
        follow_up: FollowUpArgument,
    },
    /// Start the next follow-up, even though the last run did not complete
    Start {
        #[command(flatten)]
        task: TaskArgument,
    },
}

#[cfg(test)]
mod tests {
    use model::policy::DriverChoice;
    use model::queue::Priority;
    use model::task::{TaskGroup, TaskStatus};
    use serde::de::DeserializeOwned;

    use super::*;

    /// Returns the value as the command line spells it.
    fn word(value: &impl ValueEnum) -> String {
        value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    fn parsed<T: DeserializeOwned, V: ValueEnum>() -> Vec<T> {
        let parse = |value: &V| serde_json::from_value(word(value).into()).expect("the API accepts the value");
        V::value_variants().iter().map(parse).collect()
    }

    #[test]
    fn words_of_the_command_line_are_those_of_the_api() {
        assert_eq!(parsed::<Priority, PriorityWord>(), [Priority::Low, Priority::Normal, Priority::High]);
        let drivers = [DriverChoice::Auto, DriverChoice::AppServer, DriverChoice::Exec];
        assert_eq!(parsed::<DriverChoice, DriverWord>(), drivers);
        assert_eq!(parsed::<TaskGroup, GroupWord>(), TaskGroup::ALL);
        let statuses = parsed::<TaskStatus, StatusWord>();
        let names: Vec<_> = statuses.iter().map(|status| status.as_str().to_owned()).collect();
        assert_eq!(names, StatusWord::value_variants().iter().map(word).collect::<Vec<_>>());
    }
}
