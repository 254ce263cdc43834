//! The arguments of `env shell`.

use clap::Args;

use super::EnvArgument;

/// The arguments of `env shell`.
#[derive(Debug, Args)]
pub(crate) struct ShellArguments {
    #[command(flatten)]
    pub(crate) env: EnvArgument,
    /// Branch, tag or commit to start from; defaults to the default branch
    #[arg(long = "ref", value_name = "REF")]
    pub(crate) git_ref: Option<String>,
    /// Program to start instead of a login shell, with its arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}
