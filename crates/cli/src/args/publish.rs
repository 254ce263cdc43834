//! The arguments for Git hosts: the token of a repository, and the arguments of `task push`.
//! A token is never an argument. It is read from a file or from stdin.

use std::path::PathBuf;

use clap::Args;

use super::TaskArgument;

/// The token for a repository's Git host.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Git host")]
pub(crate) struct TokenArguments {
    /// File with a token that can push branches and open pull requests; `-` reads it from stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) forge_token_file: Option<String>,
    /// Delete the token
    #[arg(long, conflicts_with = "forge_token_file")]
    pub(crate) no_forge_token: bool,
}

/// The task to push, and the pull request to open.
#[derive(Debug, Args)]
pub(crate) struct PushArguments {
    #[command(flatten)]
    pub(crate) task: TaskArgument,
    /// Also open a pull request, or update the open one
    #[arg(long, visible_alias = "pr")]
    pub(crate) pull_request: bool,
    /// Title of the pull request [default: the title of the task]
    #[arg(long, requires = "pull_request")]
    pub(crate) title: Option<String>,
    /// Description of the pull request [default: the repository's template, the last message and a summary of the runs]
    #[arg(long, requires = "pull_request", conflicts_with = "body_file")]
    pub(crate) body: Option<String>,
    /// Read the description from a file; `-` reads it from stdin
    #[arg(long, requires = "pull_request", value_name = "FILE")]
    pub(crate) body_file: Option<PathBuf>,
    /// Open the pull request as a draft
    #[arg(long, requires = "pull_request")]
    pub(crate) draft: bool,
    /// Overwrite the remote branch if it still points to the commit that the last push found
    #[arg(long)]
    pub(crate) force_with_lease: bool,
}
