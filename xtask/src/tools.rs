//! Optional Rust tools: cargo-nextest and cargo-deny.
//!
//! Nothing is installed in the user's own folders: CI installs missing tools in the `tools` folder of the build.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::console::{self, StepError};

/// The version of cargo-deny in CI. It is pinned so that a new release cannot break a build.
const CARGO_DENY: &str = "cargo-deny@0.20.2";

/// Returns a command that runs the same cargo that started this program.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Returns Cargo's target folder.
pub(crate) fn target_folder(root: &Path) -> PathBuf {
    root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Returns the folder that keeps the tools of the tests between builds.
pub(crate) fn tools_folder(root: &Path) -> PathBuf {
    target_folder(root).join("tools")
}

/// Builds the program and all examples. All crates are selected, as for the tests: if Cargo built fewer crates, some dependencies would
/// have fewer features, and the tests would compile these, and everything that uses them, again.
pub(crate) fn build(root: &Path) -> Result<(), StepError> {
    console::run(cargo(root).args(["build", "--quiet", "--workspace", "--bin", "codex-orchestrator", "--examples"]))
}

/// Returns the path of the program that [`build`] builds.
pub(crate) fn program(root: &Path) -> PathBuf {
    target_folder(root).join("debug/codex-orchestrator")
}

/// Returns a command that runs an example that [`build`] builds.
pub(crate) fn example(root: &Path, name: &str) -> Command {
    let mut command = Command::new(target_folder(root).join("debug/examples").join(name));
    command.current_dir(root);
    command
}

/// Whether `cargo nextest` is installed.
pub(crate) fn has_nextest(root: &Path) -> bool {
    answers(cargo(root).args(["nextest", "--version"]))
}

/// Returns cargo-deny from `PATH`, or from the build folder, where it is installed in CI. `None` means that the check is skipped.
pub(crate) fn cargo_deny(root: &Path) -> Result<Option<Command>, StepError> {
    if answers(Command::new("cargo-deny").arg("--version")) {
        return Ok(Some(Command::new("cargo-deny")));
    }
    let home = tools_folder(root).join("cargo-deny");
    let program: PathBuf = home.join("bin/cargo-deny");
    if !program.is_file() {
        if !in_ci() {
            return Ok(None);
        }
        let install = ["install", "--quiet", "--locked", "--debug", "--no-default-features", "--root"];
        console::run(cargo(root).args(install).arg(&home).arg(CARGO_DENY))?;
    }
    Ok(Some(Command::new(program)))
}

/// Whether this process runs in CI.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Whether a command starts and succeeds.
pub(crate) fn answers(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
