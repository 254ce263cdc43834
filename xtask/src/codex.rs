//! `cargo xtask codex VERSION`: runs the contract tests with any published version of Codex, and compares it with the pinned version.
//!
//! The tests and the comparison belong to testkit. This command starts them and summarizes the result. It changes nothing in
//! the repository.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::console::{self, StepError};
use crate::tools::{self, cargo};

/// The environment variable with the version to test, as in `testkit::codex::UNDER_TEST`.
const UNDER_TEST: &str = "CODEX_UNDER_TEST";

/// The packages with contract tests.
const PACKAGES: &[&str] = &["testkit", "codex-docker", "codex-orchestrator"];

/// The module that contains the contract tests of each package.
const CONTRACT: &str = "real_codex::";

/// Test modules for other versions, which are skipped.
const OTHER_VERSIONS: &[&str] = &["previous::", "oldest::"];

/// Why a version did not pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CodexError {
    #[error("invalid Codex version `{0}`\nhint: use a form like 0.75.0 or 0.162.0-alpha.15")]
    Version(String),
    #[error("could not install Codex {version}; see the error above ({source})")]
    Install { version: String, source: StepError },
    #[error("could not compare Codex {version} with the pinned version; see the error above ({source})")]
    Compare { version: String, source: StepError },
    #[error("could not run the contract tests: {0}")]
    Start(#[from] StepError),
    #[error("could not run the contract tests with Codex {0}; see the output above")]
    Unfinished(String),
    #[error("Codex {version} failed {} of the contract tests:\n  {}", .failed.len(), failed.iter().map(String::as_str).collect::<Vec<_>>().join("\n  "))]
    Failed { version: String, failed: BTreeSet<String> },
}

/// Installs this version, runs the contract tests with it, and prints the differences.
pub(crate) fn run(root: &Path, version: &str) -> Result<(), CodexError> {
    if !is_version(version) {
        return Err(CodexError::Version(version.to_owned()));
    }
    let at = || version.to_owned();
    console::timed(&format!("install Codex {version}"), || console::run(example(root, "provision_codex").arg(version)))
        .map_err(|source| CodexError::Install { version: at(), source })?;
    let tests = console::timed(&format!("contract tests with Codex {version}"), || contract(root, version));
    // The differences are most useful if a test failed, so they are always printed.
    console::timed("compare with the pinned version", || console::run(example(root, "compare_codex").arg(version)))
        .map_err(|source| CodexError::Compare { version: at(), source })?;
    tests?;
    console::say(&format!("Codex {version} passed every contract test"));
    Ok(())
}

fn contract(root: &Path, version: &str) -> Result<(), CodexError> {
    let mut command = tests(root);
    command.env(UNDER_TEST, version).stdin(Stdio::null());
    let start = |source| StepError::Start { program: "cargo".to_owned(), source };
    // Use one pipe for stdout and stderr, so that the lines keep their order.
    let (reader, writer) = std::io::pipe().map_err(start)?;
    let mut child = command.stdout(writer.try_clone().map_err(start)?).stderr(writer).spawn().map_err(start)?;
    // The command holds the other end of the pipe, so reading does not end until the command is dropped.
    drop(command);
    let mut failed = BTreeSet::new();
    for line in BufReader::new(reader).lines() {
        let line = line.map_err(start)?;
        console::say(&line);
        failed.extend(failed_test(&line));
    }
    let status = child.wait().map_err(start)?;
    match (status.success(), failed.is_empty()) {
        (true, true) => Ok(()),
        (_, false) => Err(CodexError::Failed { version: version.to_owned(), failed }),
        (false, true) => Err(CodexError::Unfinished(version.to_owned())),
    }
}

fn tests(root: &Path) -> Command {
    let mut command = cargo(root);
    let has_nextest = tools::has_nextest(root);
    if has_nextest {
        command.args(["nextest", "run", "--no-fail-fast", "--color=never", "--status-level=fail", "--failure-output=immediate"]);
    } else {
        command.args(["test", "--no-fail-fast", "--color=never"]);
    }
    command.args(["--test", "it"]).args(PACKAGES.iter().flat_map(|package| ["--package", package]));
    command.args(["--", CONTRACT]).args(OTHER_VERSIONS.iter().flat_map(|module| ["--skip", module]));
    command
}

fn example(root: &Path, name: &str) -> Command {
    let mut command = cargo(root);
    command.args(["run", "--quiet", "--package", "testkit", "--example", name, "--"]);
    command
}

/// Whether the text is a full version: three numbers with an optional preview suffix. A tag such as `latest` would mean a different
/// version later.
fn is_version(text: &str) -> bool {
    let (numbers, preview) = text.split_once('-').unwrap_or((text, "alpha.1"));
    let number = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_digit());
    let parts: Vec<&str> = numbers.split('.').collect();
    let word = |part: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric());
    parts.len() == 3 && parts.into_iter().all(number) && preview.split('.').all(word)
}

/// Returns the test that a line in the output of nextest or `cargo test` reports as failed.
fn failed_test(line: &str) -> Option<String> {
    // Do not trim the line: nextest indents the output of a failed test, which can contain the same text.
    if let Some(name) = line.strip_prefix("test ").and_then(|rest| rest.strip_suffix(" ... FAILED")) {
        return Some(name.to_owned());
    }
    let (word, rest) = line.trim_start().split_once(" [")?;
    let failed = ["FAIL", "TIMEOUT", "ABORT", "LEAK-FAIL"].contains(&word) || word.starts_with("SIG");
    let name = rest.split_once(']')?.1.trim_start();
    let name = if name.starts_with('(') { name.split_once(')')?.1.trim_start() } else { name };
    (failed && !name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_full_version_is_accepted() {
        for version in ["0.75.0", "0.162.0-alpha.15", "1.0.0-beta"] {
            assert!(is_version(version), "{version}");
        }
        for version in ["", "latest", "0.171", "v0.75.0", "0.75.0.1", "0.75.x", "0.75.0-", "0.75.0-a b", "--help"] {
            assert!(!is_version(version), "{version}");
        }
    }

    #[test]
    fn failed_tests_are_found_in_the_output_of_both_runners() {
        let check = |line: &str, expect: Option<&str>| assert_eq!(failed_test(line).as_deref(), expect, "{line}");
        check(
            "        FAIL [   0.241s] (6/6) testkit::it real_codex::pinned::a_plan",
            Some("testkit::it real_codex::pinned::a_plan"),
        );
        check("        FAIL [   0.241s] testkit::it real_codex::pinned::a_plan", Some("testkit::it real_codex::pinned::a_plan"));
        check("     TIMEOUT [  60.000s] (1/6) testkit::it real_codex::slow", Some("testkit::it real_codex::slow"));
        check("test real_codex::pinned::a_plan_is_followed ... FAILED", Some("real_codex::pinned::a_plan_is_followed"));
        check("        PASS [   0.241s] (6/6) testkit::it real_codex::pinned::a_plan", None);
        check("     Summary [  13.168s] 44 tests run: 44 passed, 0 skipped", None);
        check("    test real_codex::pinned::a_plan_is_followed ... FAILED", None);
        check("test real_codex::pinned::a_plan_is_followed ... ok", None);
        check("test result: FAILED. 0 passed; 1 failed", None);
    }

    #[test]
    fn testkit_reads_the_variable_that_is_set_here() {
        let kit = include_str!("../../crates/testkit/src/codex.rs");
        assert!(kit.contains(&format!("\"{UNDER_TEST}\"")), "testkit does not know {UNDER_TEST}");
    }
}
