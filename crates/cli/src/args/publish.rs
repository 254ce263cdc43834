//! The arguments that concern Git hosts: the settings of a repository, and `task push`.
//! A token is never an argument. It is read from a file or from stdin.

use std::path::PathBuf;

use clap::Args;

use super::TaskArgument;

/// Where a repository's pull requests are opened. The value `default` restores the default.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "Git host (detected from the URL if possible; `default` restores the default)")]
pub(crate) struct ForgeArguments {
    /// Kind of Git host: `github`, `gitlab` or `forgejo`
    #[arg(long, value_name = "KIND")]
    pub(crate) forge: Option<String>,
    /// Name of the repository on the Git host
    #[arg(long, value_name = "OWNER/NAME")]
    pub(crate) forge_project: Option<String>,
    /// URL of the Git host's API
    #[arg(long, value_name = "URL")]
    pub(crate) forge_api: Option<String>,
    /// File with the token for pushes and pull requests; `-` reads it from stdin
    #[arg(long, value_name = "FILE")]
    pub(crate) forge_token_file: Option<String>,
    /// Delete the stored token
    #[arg(long, conflicts_with = "forge_token_file")]
    pub(crate) no_forge_token: bool,
}

/// The arguments of `task push`.
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
    /// Overwrite the remote commits that the last push found on the branch
    #[arg(long)]
    pub(crate) force_with_lease: bool,
}
