//! The Rust tools that a check uses when they are there: cargo-nextest and cargo-deny.
//!
//! Nothing is installed into the user's own folders: what CI needs and lacks goes into the build's `tools` folder.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::console::{self, StepError};

/// The version of cargo-deny that CI uses, so that a new release never turns a build red by itself.
const CARGO_DENY: &str = "cargo-deny@0.20.2";

/// The cargo that runs this chore.
pub(crate) fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

/// Where Cargo builds to.
pub(crate) fn target_folder(root: &Path) -> PathBuf {
    root.join(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}

/// Where what the tests need is kept between builds.
pub(crate) fn tools_folder(root: &Path) -> PathBuf {
    target_folder(root).join("tools")
}

/// Whether `cargo nextest` works here.
pub(crate) fn has_nextest(root: &Path) -> bool {
    answers(cargo(root).args(["nextest", "--version"]))
}

/// A cargo-deny to use: the one on `PATH`, or the one in the build's folder, which is made in CI. None means: do without.
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

/// Whether this is a machine that checks changes, rather than a person's.
pub(crate) fn in_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| !value.is_empty() && value != "false")
}

/// Whether a command starts and succeeds.
pub(crate) fn answers(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}
