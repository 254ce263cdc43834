//! `cargo xtask long`: runs the tests that take too long for every change, one after the other, and prints their results with the commit.
//!
//! Each test is a command of this program, so it can be repeated alone. A failed test does not stop the others. `docs/reliability.md` has
//! the results of the last runs.

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use crate::console::{self, StepError, spoken};

/// A long test: its name, and the arguments of `cargo xtask` that run it.
struct LongTest {
    name: &'static str,
    arguments: &'static [&'static str],
}

const TESTS: &[LongTest] = &[
    LongTest { name: "kills", arguments: &["chaos"] },
    LongTest { name: "containers", arguments: &["chaos", "--containers"] },
    LongTest { name: "power", arguments: &["chaos", "--power"] },
    LongTest { name: "runner", arguments: &["chaos", "--runner"] },
    LongTest { name: "fuzz", arguments: &["fuzz", "--seconds", "600"] },
    LongTest { name: "api", arguments: &["schemathesis"] },
    LongTest { name: "projects", arguments: &["projects"] },
];

/// Why long tests did not run or did not pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LongError {
    #[error("long test `{name}` not found\nhint: use one of {}", names().join(", "))]
    NoTest { name: String },
    #[error("could not find this program: {0}")]
    Program(#[from] std::io::Error),
    #[error("long tests failed: {}", .0.join(", "))]
    Failed(Vec<&'static str>),
}

fn names() -> Vec<&'static str> {
    TESTS.iter().map(|test| test.name).collect()
}

/// Returns the tests with these names, in their usual order. No names mean all tests.
fn chosen(asked: &[String]) -> Result<Vec<&'static LongTest>, LongError> {
    if let Some(unknown) = asked.iter().find(|name| !names().contains(&name.as_str())) {
        return Err(LongError::NoTest { name: unknown.clone() });
    }
    Ok(TESTS.iter().filter(|test| asked.is_empty() || asked.iter().any(|name| name == test.name)).collect())
}

/// Runs the tests with these names, or all.
pub(crate) fn run(root: &Path, asked: &[String]) -> Result<(), LongError> {
    let tests = chosen(asked)?;
    let program = std::env::current_exe()?;
    let commit = commit(root);
    let mut lines = vec![];
    let mut failed = vec![];
    for LongTest { name, arguments } in tests {
        let began = Instant::now();
        console::say(&format!("==> {name}: cargo xtask {}", arguments.join(" ")));
        let result = console::run(Command::new(&program).args(*arguments).current_dir(root));
        lines.push(line(name, arguments, &commit, &spoken(began.elapsed()), &result));
        if result.is_err() {
            failed.push(*name);
        }
    }
    console::say("\n| test | command | commit | duration | result |\n|---|---|---|---|---|");
    for line in &lines {
        console::say(line);
    }
    if failed.is_empty() { Ok(()) } else { Err(LongError::Failed(failed)) }
}

/// Returns a line of the table of results.
fn line(name: &str, arguments: &[&str], commit: &str, duration: &str, result: &Result<(), StepError>) -> String {
    let outcome = result.as_ref().map_or_else(ToString::to_string, |()| "passed".to_owned());
    format!("| {name} | `cargo xtask {}` | {commit} | {duration} | {outcome} |", arguments.join(" "))
}

/// Returns the short ID of the tested commit, with a mark if files have changed since.
fn commit(root: &Path) -> String {
    let described = Command::new("git").args(["describe", "--always", "--dirty", "--exclude=*"]).current_dir(root).output();
    let text = described.ok().filter(|output| output.status.success()).map(|output| output.stdout).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).trim().to_owned();
    if text.is_empty() { "unknown".to_owned() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(asked: &[&str]) -> Result<Vec<&'static str>, String> {
        let asked: Vec<String> = asked.iter().map(|&name| name.to_owned()).collect();
        chosen(&asked).map(|tests| tests.iter().map(|test| test.name).collect()).map_err(|error| error.to_string())
    }

    #[test]
    fn all_tests_run_unless_some_are_chosen() {
        assert_eq!(named(&[]), Ok(names()));
        assert_eq!(named(&["fuzz", "kills"]), Ok(vec!["kills", "fuzz"]), "the usual order");
        let refused = named(&["kills", "carriers"]).expect_err("there is no such test");
        assert!(refused.contains("`carriers` not found") && refused.contains("kills, containers, power"), "{refused}");
    }

    #[test]
    fn a_result_names_the_command_that_repeats_it() {
        let passed = line("runner", &["chaos", "--runner"], "0123abc", "12 min 00 s", &Ok(()));
        assert_eq!(passed, "| runner | `cargo xtask chaos --runner` | 0123abc | 12 min 00 s | passed |");
        let missing = console::run(&mut Command::new("no-such-program"));
        assert!(line("x", &["y"], "z", "1.0 s", &missing).ends_with("| could not start `no-such-program` |"));
    }

    #[test]
    fn the_tested_commit_is_named() {
        assert_eq!(commit(Path::new("/")), "unknown");
        assert!(!commit(Path::new(env!("CARGO_MANIFEST_DIR"))).is_empty());
    }
}
