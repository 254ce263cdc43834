//! `cargo xtask chaos`: a long storm over the program as it is built for use.
//!
//! The storm itself is `testkit::chaos`; this builds both and chooses a seed. It changes nothing of the repository.

use std::path::Path;

use crate::ChoreError;
use crate::console::{self, StepError};
use crate::tools::{cargo, target_folder};

/// So many kills where nobody says.
const KILLS: u64 = 250;

/// Builds the program and lets the storm rage.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), ChoreError> {
    let mut numbers = arguments.iter().map(|text| text.parse::<u64>().map_err(|_| ChoreError::NoNumber(text.clone())));
    let seed = numbers.next().transpose()?.unwrap_or_else(new_seed);
    let kills = numbers.next().transpose()?.unwrap_or(KILLS);
    rage(root, seed, kills).map_err(ChoreError::Chaos)
}

fn rage(root: &Path, seed: u64, kills: u64) -> Result<(), StepError> {
    console::run(cargo(root).args(["build", "--release", "--package", "codex-orchestrator"]))?;
    let binary = target_folder(root).join("release/codex-orchestrator");
    console::say(&format!("==> a storm with seed {seed}; again: cargo xtask chaos {seed} {kills}"));
    let storm = ["run", "--quiet", "--package", "testkit", "--example", "chaos", "--"];
    console::run(cargo(root).args(storm).arg(binary).args([seed.to_string(), kills.to_string()]))
}

/// Another one each second.
fn new_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_secs())
}
