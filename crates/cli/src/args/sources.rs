//! The words about submodules: which the server fetches without asking, and the answer to a task that asks.
//! What they do is in `commands::task_answer` and `commands::env_values`.

use clap::{Args, ValueEnum};

use super::TaskArgument;

/// Which submodules the server fetches without asking. `default` forgets what was set before.
#[derive(Debug, Default, Args)]
#[command(
    next_help_heading = "Submodules fetched without asking, besides those of the default branch; `default` forgets what was set before"
)]
pub(crate) struct SourcesArguments {
    /// Trust the submodules of a branch, e.g. release/*, where * matches anything but a slash; repeat for several
    #[arg(long = "trust-branch", value_name = "PATTERN")]
    pub(crate) trusted_branches: Vec<String>,
    /// Fetch submodules from this URL for any branch; repeat for several
    #[arg(long = "allow-submodule", value_name = "URL")]
    pub(crate) allowed_urls: Vec<String>,
}

/// The answer to what a task asks.
#[derive(Debug, Args)]
pub(crate) struct AnswerArguments {
    #[command(flatten)]
    pub(crate) task: TaskArgument,
    /// Whether to fetch the submodules; `fetch` also allows their URLs for later tasks of the repository
    pub(crate) answer: AnswerWord,
    /// Answer only the question with this number [default: the open one]
    #[arg(long, value_name = "N")]
    pub(crate) question: Option<u32>,
}

/// The words of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnswerWord {
    /// Fetch the submodules and start
    Fetch,
    /// Start without them
    Skip,
}
