//! What the agents of a task installed, as a proposal for the description of the environment.
//!
//! A proposal has no effect until its text is saved as the description.

use model::codex::LeftOutInstall;
use model::ids::RunNumber;
use model::run::RunError;
use serde::{Deserialize, Serialize};

/// The commands with which the agents of a task installed things, and a description that contains them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Installed)]
pub struct InstalledView {
    /// The commands of all runs that a setup can run, in their order. Each one is listed once.
    pub commands: Vec<InstalledCommandView>,
    /// Commands that probably installed something, but are not proposed.
    pub left_out: Vec<LeftOutInstall>,
    /// The number of further commands that are not proposed.
    pub more_left_out: u64,
    /// Whether all logs were searched. False if they are too large.
    pub complete: bool,
    /// Whether the worker applies descriptions. Only the built-in worker `codex-docker` does.
    pub applies: bool,
    /// The description that the proposal extends, as TOML: the one in effect, or else the one derived from the repository's files.
    pub base: Option<String>,
    /// The description with the commands at the end of its setup script, as TOML. Null if there is nothing to add.
    pub proposal: Option<String>,
    /// Why the description in effect cannot be extended.
    pub error: Option<RunError>,
}

/// A command with which an agent installed something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = InstalledCommand)]
pub struct InstalledCommandView {
    /// Number of the first run with this command.
    #[schema(value_type = u32, minimum = 1)]
    pub run: RunNumber,
    /// The command. It starts in the top-level folder of the repository.
    pub command: String,
    /// Whether it certainly succeeded. False if the exit code was that of another command, as in `npm ci | tail`.
    pub verified: bool,
    /// Whether the description already contains it.
    pub described: bool,
}
