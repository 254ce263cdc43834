//! `cargo xtask chaos`: a long storm over the program as it is built for use.
//!
//! The storm itself is `testkit::chaos`; this builds both and chooses a seed. It changes nothing of the repository.

use std::path::Path;

use crate::ChoreError;
use crate::console::{self, StepError};
use crate::tools::{cargo, target_folder};

/// So many kills where nobody says.
const KILLS: u64 = 250;

/// Asks for the real Codex CLI in real containers.
const CONTAINERS: &str = "--containers";

/// Builds the program and lets the storm rage.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), ChoreError> {
    let (with_containers, arguments) = match arguments {
        [flag, rest @ ..] if flag == CONTAINERS => (true, rest),
        others => (false, others),
    };
    let mut numbers = arguments.iter().map(|text| text.parse::<u64>().map_err(|_| ChoreError::NoNumber(text.clone())));
    let seed = numbers.next().transpose()?.unwrap_or_else(new_seed);
    let kills = numbers.next().transpose()?.unwrap_or(KILLS);
    if let Some(more) = numbers.next() {
        return Err(ChoreError::OneTooMany(more?));
    }
    rage(root, seed, kills, with_containers).map_err(ChoreError::Chaos)
}

fn rage(root: &Path, seed: u64, kills: u64, with_containers: bool) -> Result<(), StepError> {
    console::run(cargo(root).args(["build", "--release", "--package", "codex-orchestrator"]))?;
    let binary = target_folder(root).join("release/codex-orchestrator");
    let flag = if with_containers { format!(" {CONTAINERS}") } else { String::new() };
    console::say(&format!("==> a storm with seed {seed}; again: cargo xtask chaos{flag} {seed} {kills}"));
    let storm = ["run", "--quiet", "--package", "testkit", "--example", "chaos", "--"];
    let word = with_containers.then_some("containers");
    console::run(cargo(root).args(storm).arg(binary).args([seed.to_string(), kills.to_string()]).args(word))
}

/// Another one each second.
fn new_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_secs())
}
