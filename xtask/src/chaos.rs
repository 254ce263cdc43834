//! `cargo xtask chaos`: runs a long chaos test of the program.
//!
//! The test itself is in `testkit::chaos`. This command builds the program and the test, and chooses a seed. It changes nothing in the
//! repository.

use std::path::Path;

use crate::CommandError;
use crate::console::{self, StepError};
use crate::tools::{cargo, target_folder};

/// The default number of kills.
const KILLS: u64 = 250;

/// The default number of power cuts on each file system.
const CUTS: u64 = 200;

/// The flag that selects the real Codex CLI in real containers.
const CONTAINERS: &str = "--containers";

/// The flag that selects power cuts.
const POWER: &str = "--power";

/// The flag that selects a fake runner that loses requests and answers.
const RUNNER: &str = "--runner";

/// The default number of storms over the fake runner.
const STORMS: u64 = 100;

/// The flag that selects the file system of the disk whose power is cut.
const FILE_SYSTEM: &str = "--fs";

/// The default file systems for power cuts. They are tested one after another.
const FILE_SYSTEMS: [&str; 3] = ["ext4", "xfs", "btrfs"];

/// What a chaos test does in addition to killing servers, keepers and workers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum ChaosKind {
    Script,
    Containers,
    Power(Vec<String>),
    Runner,
}

/// Builds the program and runs the test.
pub(crate) fn run(root: &Path, arguments: &[String]) -> Result<(), CommandError> {
    let (kind, numbers) = parse(arguments)?;
    let seed = numbers.first().copied().unwrap_or_else(new_seed);
    let default = match kind {
        ChaosKind::Script | ChaosKind::Containers => KILLS,
        ChaosKind::Power(_) => CUTS,
        ChaosKind::Runner => STORMS,
    };
    let kills = numbers.get(1).copied().unwrap_or(default);
    rage(root, seed, kills, &kind).map_err(CommandError::Chaos)
}

/// Parses the kind of test, and an optional seed and number of kills, cuts or storms.
fn parse(arguments: &[String]) -> Result<(ChaosKind, Vec<u64>), CommandError> {
    let all = || FILE_SYSTEMS.map(str::to_owned).to_vec();
    let (kind, numbers) = match arguments {
        [flag, rest @ ..] if flag == CONTAINERS => (ChaosKind::Containers, rest),
        [flag, option, name, rest @ ..] if flag == POWER && option == FILE_SYSTEM => {
            if !FILE_SYSTEMS.contains(&name.as_str()) {
                return Err(CommandError::UnknownFileSystem(name.clone()));
            }
            (ChaosKind::Power(vec![name.clone()]), rest)
        }
        [flag, rest @ ..] if flag == POWER => (ChaosKind::Power(all()), rest),
        [flag, rest @ ..] if flag == RUNNER => (ChaosKind::Runner, rest),
        others => (ChaosKind::Script, others),
    };
    let numbers: Result<Vec<u64>, _> =
        numbers.iter().map(|text| text.parse().map_err(|_| CommandError::NoNumber(text.clone()))).collect();
    let numbers = numbers?;
    match numbers.get(2) {
        Some(more) => Err(CommandError::OneTooMany(*more)),
        None => Ok((kind, numbers)),
    }
}

fn rage(root: &Path, seed: u64, kills: u64, kind: &ChaosKind) -> Result<(), StepError> {
    match kind {
        ChaosKind::Script => {
            build(root, "release")?;
            storm(root, "release", "", seed, kills, None)
        }
        ChaosKind::Containers => {
            build(root, "release")?;
            storm(root, "release", CONTAINERS, seed, kills, Some("containers"))
        }
        // The simulated reboot, `ORCH_TEST_BOOT_ID`, exists only in debug builds.
        ChaosKind::Power(file_systems) => {
            build(root, "dev")?;
            file_systems
                .iter()
                .try_for_each(|name| storm(root, "debug", &format!("{POWER} {FILE_SYSTEM} {name}"), seed, kills, Some(name)))
        }
        ChaosKind::Runner => {
            console::say(&format!("==> storms from seed {seed}; to repeat them: cargo xtask chaos {RUNNER} {seed} {kills}"));
            let test = ["test", "--package", "engine", "--test", "it", "storm", "--", "--nocapture"];
            console::run(cargo(root).args(test).env("ORCH_RUNNER_STORMS", format!("{seed} {kills}")))
        }
    }
}

fn build(root: &Path, profile: &str) -> Result<(), StepError> {
    console::run(cargo(root).args(["build", "--profile", profile, "--package", "codex-orchestrator"]))
}

fn storm(root: &Path, folder: &str, flags: &str, seed: u64, kills: u64, word: Option<&str>) -> Result<(), StepError> {
    let binary = target_folder(root).join(folder).join("codex-orchestrator");
    let separator = if flags.is_empty() { "" } else { " " };
    console::say(&format!("==> chaos test with seed {seed}; to repeat it: cargo xtask chaos{separator}{flags} {seed} {kills}"));
    let example = ["run", "--quiet", "--package", "testkit", "--example", "chaos", "--"];
    console::run(cargo(root).args(example).arg(binary).args([seed.to_string(), kills.to_string()]).args(word))
}

/// Returns a different seed each second.
fn new_seed() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(1, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, kind: &ChaosKind, numbers: &[u64]) {
        let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
        let parsed = parse(&arguments).expect("the line is valid");
        assert_eq!((&parsed.0, &parsed.1[..]), (kind, numbers), "{line}");
    }

    #[test]
    fn a_storm_is_chosen_by_flags_and_two_numbers() {
        let power = |names: &[&str]| ChaosKind::Power(names.iter().map(|&name| name.to_owned()).collect());
        check("", &ChaosKind::Script, &[]);
        check("5 250", &ChaosKind::Script, &[5, 250]);
        check("--containers 5", &ChaosKind::Containers, &[5]);
        check("--runner 5 20", &ChaosKind::Runner, &[5, 20]);
        check("--power", &power(&FILE_SYSTEMS), &[]);
        check("--power 5 200", &power(&FILE_SYSTEMS), &[5, 200]);
        check("--power --fs xfs 5", &power(&["xfs"]), &[5]);
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, named) in [("--power --fs ntfs", "ntfs"), ("x", "x"), ("1 2 3", "3")] {
            let arguments: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let error = parse(&arguments).expect_err("the line is invalid");
            assert!(error.to_string().contains(&format!("`{named}`")), "{error}");
        }
    }
}
