//! The options of `env add` and `env edit` for the containers of a repository's runs.
//! Values are texts here; `commands/env_values` and the server parse them.

use clap::Args;

/// How the container of an environment's runs is made. `default` takes back what was set before.
#[derive(Debug, Default, Args)]
#[command(next_help_heading = "The container of its runs; `default` takes back what was set before")]
pub(crate) struct ContainerArguments {
    /// The image [default: the pinned one]
    #[arg(long, value_name = "NAME")]
    pub(crate) image: Option<String>,
    /// A Dockerfile on the server's machine that the image is built from
    #[arg(long, value_name = "FILE")]
    pub(crate) dockerfile: Option<String>,
    /// Who Codex is in it: `root` can install packages, `caller` is the server's own user [default: root]
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// What it sees: `open`, `none` (only the model), or `allow` (the hosts of a list) [default: open]
    #[arg(long, value_name = "NETWORK")]
    pub(crate) network: Option<String>,
    /// A host that it may reach, e.g. example.com, *.example.org or example.net:8443; may be repeated. A host on the server's own
    /// networks also needs its address and port, e.g. 10.0.0.5:4873
    #[arg(long = "allow-host", value_name = "HOST")]
    pub(crate) allow_hosts: Vec<String>,
    /// Let the model's API search the web, fetch URLs and use its other tools: `allow` or `deny`
    /// [default: `allow` only with `--network open`]
    #[arg(long, value_name = "WORD")]
    pub(crate) hosted_tools: Option<String>,
    /// How much memory it may use, as in 4g
    #[arg(long, value_name = "SIZE")]
    pub(crate) memory: Option<String>,
    /// How many processors it may use, as in 1.5
    #[arg(long, value_name = "NUMBER")]
    pub(crate) cpus: Option<String>,
    /// How many processes it may have
    #[arg(long, value_name = "NUMBER")]
    pub(crate) pids: Option<String>,
    /// How many tokens one run may use [default: no limit]
    #[arg(long, value_name = "NUMBER")]
    pub(crate) token_budget: Option<String>,
}
