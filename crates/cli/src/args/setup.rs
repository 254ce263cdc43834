//! The arguments of `env setup`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::EnvArgument;

/// The commands about the setup of a repository.
#[derive(Debug, Subcommand)]
pub(crate) enum SetupCommand {
    /// Show the description of the environment, the last setup and the snapshots
    ///
    /// If the repository has no description, shows a proposal that is derived from its files.
    Show {
        #[command(flatten)]
        env: EnvArgument,
        /// Print only the description or the proposal, e.g. to change it and pass it to `env setup edit`
        #[arg(long, conflicts_with = "json")]
        toml: bool,
    },
    /// Replace the description of the environment
    Edit(EditSetupArguments),
    /// Use the proposed description
    Accept {
        #[command(flatten)]
        env: EnvArgument,
    },
    /// Let the setup use the secrets that its description names
    ///
    /// From then on, agents no longer get these secrets. Approve again after the description changes.
    Approve {
        #[command(flatten)]
        env: EnvArgument,
    },
    /// Show how a branch changes the description of the environment
    Diff {
        #[command(flatten)]
        env: EnvArgument,
        /// Branch, or ID of a task for the task's own branch
        branch: String,
    },
    /// Use the description on a branch for the tasks of this branch
    ///
    /// Prints the changes that are accepted. They apply until the description changes again. The setup of such a branch gets no secrets.
    AcceptBranch {
        #[command(flatten)]
        env: EnvArgument,
        /// Branch, or ID of a task for the task's own branch
        branch: String,
        /// Use the description of the default branch again
        #[arg(long)]
        undo: bool,
    },
    /// Use the descriptions on these branches for the tasks that start from them
    ///
    /// Replaces the list of trusted branches. The default branch is always trusted.
    Trust {
        #[command(flatten)]
        env: EnvArgument,
        /// Branches or patterns such as `release/*`
        #[arg(value_name = "BRANCH", required_unless_present = "none")]
        branches: Vec<String>,
        /// Trust only the default branch
        #[arg(long, conflicts_with = "branches")]
        none: bool,
    },
    /// Run the setup now, and print its output
    ///
    /// If the result of the same inputs exists, it stays.
    Run {
        #[command(flatten)]
        env: EnvArgument,
        /// Start from the image, not from an earlier result
        #[arg(long)]
        fresh: bool,
    },
    /// Start tasks without the setup that failed
    Skip {
        #[command(flatten)]
        env: EnvArgument,
    },
    /// Print the output of the last setup
    Log {
        #[command(flatten)]
        env: EnvArgument,
        /// Keep streaming until the setup has ended
        #[arg(short, long)]
        follow: bool,
    },
}

/// The arguments of `env setup edit`.
#[derive(Debug, Args)]
pub(crate) struct EditSetupArguments {
    #[command(flatten)]
    pub(crate) env: EnvArgument,
    /// File with the new description, or `-` for stdin
    #[arg(long, value_name = "FILE", conflicts_with = "reset", required_unless_present = "reset")]
    pub(crate) file: Option<PathBuf>,
    /// Use the repository's own description again
    #[arg(long)]
    pub(crate) reset: bool,
}
