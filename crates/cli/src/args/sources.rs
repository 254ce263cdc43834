//! The arguments of `task answer`.

use clap::{Args, ValueEnum};

use super::TaskArgument;

/// The answer to a task's question.
#[derive(Debug, Args)]
pub(crate) struct AnswerArguments {
    #[command(flatten)]
    pub(crate) task: TaskArgument,
    /// Whether to fetch the submodules; `fetch` also allows their URLs for later tasks of the repository
    pub(crate) answer: AnswerWord,
    /// Answer only the question with this number [default: the open question]
    #[arg(long, value_name = "N")]
    pub(crate) question: Option<u32>,
}

/// The possible answers to a question about submodules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AnswerWord {
    /// Fetch the submodules and start
    Fetch,
    /// Start without the submodules
    Skip,
}
