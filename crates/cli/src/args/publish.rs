//! The words about publishing on the command line: an environment's forge, and what a push takes along.
//! No token is ever an argument: it comes from a file, or from stdin.

use std::path::PathBuf;

use clap::Args;

/// Where an environment's pull requests are opened. `default` takes back what was set before.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Its forge, where the URL does not say it; `default` takes back what was set before")]
pub(crate) struct ForgeArguments {
    /// The make: `github`, `gitlab` or `forgejo`
    #[arg(long, value_name = "MAKE")]
    pub(crate) forge: Option<String>,
    /// The repository's name there
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) forge_project: Option<String>,
    /// The address of its API
    #[arg(long, value_name = "URL")]
    pub(crate) forge_api: Option<String>,
    /// A file with the token that pushes and opens pull requests there; `-` reads it from stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) forge_token_file: Option<String>,
    /// Forget the token
    #[arg(long, conflicts_with = "forge_token_file")]
    pub(crate) no_forge_token: bool,
}

/// What is published of a task, and how.
#[derive(Debug, Args)]
pub(crate) struct PushArguments {
    /// Its id, or the first characters of it
    pub(crate) task: String,
    /// Open a pull request too, or renew the one that is open
    #[arg(long, visible_alias = "pr")]
    pub(crate) pull_request: bool,
    /// The pull request's title [default: the task's]
    #[arg(long, requires = "pull_request")]
    pub(crate) title: Option<String>,
    /// The pull request's body [default: the repository's template, the last message, the runs and figures]
    #[arg(long, requires = "pull_request", conflicts_with = "body_file")]
    pub(crate) body: Option<String>,
    /// Read the body from a file; `-` is stdin
    #[arg(long, requires = "pull_request", value_name = "FILE")]
    pub(crate) body_file: Option<PathBuf>,
    /// Open it as a draft
    #[arg(long, requires = "pull_request")]
    pub(crate) draft: bool,
    /// Replace the commits that were found in the way at the last try
    #[arg(long)]
    pub(crate) force_with_lease: bool,
}
