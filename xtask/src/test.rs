//! `cargo xtask test`: runs every check and test that a change must pass.
//!
//! It builds the program, then installs tools and runs the checks at the same time, then the tests, so that the test runner's summary is
//! the last output. A failed check does not stop the others; all failures are listed at the end.

use std::fmt::Display;
use std::path::Path;
use std::process::Command;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::compiler::{self, checking_cargo};
use crate::console::{self, StepError};
use crate::tools::{self, cargo};
use crate::{docker, fuzz, packages, schemathesis, tidy};

/// Why a change does not pass.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TestError {
    #[error(transparent)]
    Packages(#[from] packages::PackagesError),
    #[error("could not build the program and the examples: {0}")]
    Build(#[source] StepError),
    #[error("could not install the tested versions of Codex: {0}")]
    Codex(#[source] StepError),
    #[error(transparent)]
    Docker(#[from] docker::DockerError),
    #[error("failed: {}", .0.join(", "))]
    Checks(Vec<&'static str>),
}

/// Runs all checks and tests. `runner_arguments` are passed to the test runner.
pub(crate) fn run(root: &Path, runner_arguments: &[String]) -> Result<(), TestError> {
    packages::ensure()?;
    console::timed("build", || compiler::build(root)).map_err(TestError::Build)?;
    let failed = Failures::default();
    // The checks of the sources keep the compiler busy. Preparing the tests mostly waits for downloads, containers and single programs. It
    // starts no compiler, because Cargo would wait for the other one. It stays in this thread: the container engine ends with the thread
    // that started it.
    let engine = thread::scope(|scope| {
        let sources = scope.spawn(|| check_sources(root, &failed));
        let engine = prepare(root, runner_arguments, &failed);
        sources.join().expect("the thread does not panic");
        engine
    });
    // A container engine that was started here stops when this function returns.
    let _engine = engine?;
    // If everything passes, the test runner's summary is the last output.
    console::say("==> tests");
    failed.note("tests", tests(root, runner_arguments).and_then(|mut tests| console::run(&mut tests)));
    failed.result()
}

/// The names of the checks that failed.
#[derive(Debug, Default)]
struct Failures(Mutex<Vec<&'static str>>);

impl Failures {
    /// Performs a check, and prints its result and duration.
    fn check<E: Display>(&self, name: &'static str, work: impl FnOnce() -> Result<(), E>) {
        self.note(name, console::timed(name, work));
    }

    /// Notes the result of a check.
    fn note<E: Display>(&self, name: &'static str, result: Result<(), E>) {
        if let Err(error) = result {
            console::complain(&format!("{name}: {error}"));
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(name);
        }
    }

    fn result(self) -> Result<(), TestError> {
        let failed = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if failed.is_empty() { Ok(()) } else { Err(TestError::Checks(failed)) }
    }
}

/// Checks the sources and the dependencies.
fn check_sources(root: &Path, failed: &Failures) {
    failed.check("formatting", || console::run(cargo(root).args(["fmt", "--all", "--check"])));
    failed.check("lints, documentation, and the build of the tests", || build_tests(root));
    failed.check("licenses and sources", || dependencies(root));
    failed.check("examples in the documentation", || examples(root));
    failed.check("tidiness", || tidy::run(root));
    failed.check("fuzz targets", || fuzz::run(root, &fuzz::FuzzArguments::default()));
}

/// Prepares what the tests need: the tested versions of Codex, a container engine and images. It then checks the API with a server.
fn prepare(root: &Path, runner_arguments: &[String], failed: &Failures) -> Result<Option<docker::Engine>, TestError> {
    let mut codex = tools::example(root, "provision_codex");
    console::timed("install the tested versions of Codex", || console::run(&mut codex)).map_err(TestError::Codex)?;
    let engine = if needs_containers(runner_arguments) { Some(container_engine(root)?) } else { None };
    if engine.is_some() {
        failed.check("images with Codex, built by the program", || images(root));
    }
    failed.check("HTTP API against its OpenAPI document", || schemathesis::check(root));
    Ok(engine)
}

fn container_engine(root: &Path) -> Result<docker::Engine, docker::DockerError> {
    let engine = docker::ensure_engine(root)?;
    console::timed("remove images of earlier tests", docker::remove_leftovers)?;
    docker::ensure_base(root)?;
    Ok(engine)
}

/// Builds the test images with the program under test.
fn images(root: &Path) -> Result<(), StepError> {
    console::run(tools::example(root, "provision_images").arg(tools::program(root)))
}

/// Builds the tests and everything else, which also reports clippy's lints and errors in the documentation.
fn build_tests(root: &Path) -> Result<(), StepError> {
    console::run(checking_cargo(root)?.args(["test", "--quiet", "--no-run", "--workspace", "--all-targets"]))
}

/// Runs the examples in doc comments. Building the documentation tests of a crate takes seconds, so crates without examples are left alone.
fn examples(root: &Path) -> Result<(), StepError> {
    let names = crates_with_examples(&root.join("crates"))?;
    if names.is_empty() {
        return Ok(());
    }
    let packages = names.iter().flat_map(|name| ["--package", name]);
    console::run(cargo(root).args(["test", "--quiet", "--doc"]).args(packages))
}

/// Returns the folders of crates with a code block in a doc comment, sorted.
fn crates_with_examples(crates: &Path) -> std::io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(crates)? {
        let entry = entry?;
        if has_example(&entry.path().join("src"))? {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn has_example(folder: &Path) -> std::io::Result<bool> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let found = if path.is_dir() {
            has_example(&path)?
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path)?;
            text.lines().map(str::trim_start).any(|line| line.starts_with("/// ```") || line.starts_with("//! ```"))
        } else {
            false
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Checks the dependencies. Skips advisories, because their database is not reachable from every network.
fn dependencies(root: &Path) -> Result<(), StepError> {
    let Some(mut deny) = tools::cargo_deny(root)? else {
        console::say("    skipped: cargo-deny is not installed (`cargo install --locked cargo-deny`)");
        return Ok(());
    };
    console::run(deny.current_dir(root).args(["check", "bans", "licenses", "sources"]))
}

fn tests(root: &Path, arguments: &[String]) -> Result<Command, StepError> {
    let mut command = checking_cargo(root)?;
    if tools::has_nextest(root) {
        command.args(["nextest", "run", "--no-fail-fast"]);
        if !arguments.iter().any(|argument| argument.starts_with("--test-threads") || argument.starts_with("-j")) {
            command.arg(format!("--test-threads={}", test_threads()));
        }
    } else {
        command.args(["test", "--tests", "--no-fail-fast"]);
    }
    command.args(scope(arguments)).args(arguments);
    Ok(command)
}

/// Returns how many tests run at the same time. Most of the slow tests wait for servers, containers and time limits, so there are more tests
/// than processors.
fn test_threads() -> usize {
    const PER_PROCESSOR: usize = 2;
    PER_PROCESSOR * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// Crates whose tests start containers.
const WITH_CONTAINERS: &[&str] = &["codex-docker", "codex-orchestrator", "testkit"];

/// Whether any of the selected tests starts containers.
fn needs_containers(arguments: &[String]) -> bool {
    let named = |argument: &String| WITH_CONTAINERS.iter().any(|name| argument.ends_with(name));
    scope(arguments).is_some() || arguments.iter().any(named)
}

/// Returns the option for all crates, unless the arguments select some.
fn scope(arguments: &[String]) -> Option<&'static str> {
    let chooses = |argument: &String| argument == "-p" || argument.starts_with("--package");
    (!arguments.iter().any(chooses)).then_some("--workspace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_crates_with_an_example_build_documentation_tests() {
        let folder = tempfile::tempdir().expect("the folder can be created");
        for (name, text) in [("a", "//! ```\n//! x();\n//! ```\n"), ("b", "// ```\n"), ("c/below", "    /// ```no_run\n")] {
            let source = folder.path().join(name.split('/').next().expect("a name")).join("src");
            let file = source.join(name).join("lib.rs");
            std::fs::create_dir_all(file.parent().expect("a folder")).expect("the folder can be created");
            std::fs::write(file, text).expect("the file can be written");
        }
        assert_eq!(crates_with_examples(folder.path()).expect("the folder can be read"), ["a", "c"]);
    }

    #[test]
    fn every_crate_is_tested_unless_some_are_chosen() {
        let check = |arguments: &[&str], expect| {
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.into()).collect();
            assert_eq!(scope(&arguments), expect, "{arguments:?}");
        };
        check(&[], Some("--workspace"));
        check(&["keeper"], Some("--workspace"));
        check(&["-p", "engine", "keeper"], None);
        check(&["--package=engine"], None);
    }

    #[test]
    fn containers_are_made_ready_only_for_tests_that_start_some() {
        let check = |arguments: &[&str], expect| {
            let arguments: Vec<String> = arguments.iter().map(|&argument| argument.into()).collect();
            assert_eq!(needs_containers(&arguments), expect, "{arguments:?}");
        };
        check(&[], true);
        check(&["keeper"], true);
        check(&["-p", "engine", "keeper"], false);
        check(&["-p", "engine", "-p", "codex-docker"], true);
        check(&["--package=codex-orchestrator"], true);
    }

    #[test]
    fn a_failed_check_does_not_stop_the_others() {
        let failed = Failures::default();
        thread::scope(|scope| {
            scope.spawn(|| failed.check("lints", || console::run(&mut Command::new("false"))));
        });
        failed.check("formatting", || console::run(&mut Command::new("true")));
        failed.note("tests", console::run(&mut Command::new("false")));
        let error = failed.result().expect_err("two checks fail");
        assert_eq!(error.to_string(), "failed: lints, tests");
        Failures::default().result().expect("no check fails");
    }

    #[test]
    fn a_change_that_does_not_pass_hears_every_reason() {
        let error = TestError::Checks(vec!["formatting", "tests"]);
        assert_eq!(error.to_string(), "failed: formatting, tests");
    }
}
