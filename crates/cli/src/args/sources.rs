//! The arguments of `task answer` and `task commit`.

use clap::{Args, ValueEnum};

use super::TaskArgument;

/// The answer to a task's question.
#[derive(Debug, Args)]
pub(crate) struct AnswerArguments {
    #[command(flatten)]
    pub(crate) task: TaskArgument,
    /// Whether to fetch submodules (`fetch` also allows their URLs for later tasks of the repository), or to commit held files
    pub(crate) answer: AnswerWord,
    /// Answer only the question with this number [default: the open question]
    #[arg(long, value_name = "N")]
    pub(crate) question: Option<u32>,
}

/// The arguments of `task commit`.
#[derive(Debug, Args)]
pub(crate) struct CommitArguments {
    #[command(flatten)]
    pub(crate) task: TaskArgument,
    /// Files and folders, as listed by `task show`
    #[arg(required = true, value_name = "PATH")]
    pub(crate) paths: Vec<String>,
}

/// The possible answers to a question about submodules or held files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnswerWord {
    /// Fetch the submodules and start
    Fetch,
    /// Start without the submodules
    Skip,
    /// Commit the held files
    Commit,
    /// Do not commit the held files, now and after later runs
    Ignore,
}
