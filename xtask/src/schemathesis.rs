//! The check of the HTTP API against its `OpenAPI` document with Schemathesis.
//!
//! Schemathesis and its dependencies are pinned in `xtask/schemathesis/requirements.txt` and installed in the `tools` folder of the build.
//! The requests are the same in every run.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::console::{self, StepError};
use crate::tools;

/// Sends generated requests to a server, and fails if an answer contradicts the document.
pub(crate) fn run(root: &Path) -> Result<(), StepError> {
    let settings = root.join("xtask/schemathesis");
    let schemathesis = install(root, &settings)?;
    tools::build(root)?;
    console::run(tools::example(root, "schemathesis").arg(tools::program(root)).arg(schemathesis).arg(settings))
}

/// Returns the path of Schemathesis, which is installed if it is missing or has another version.
fn install(root: &Path, settings: &Path) -> Result<PathBuf, StepError> {
    let folder = tools::tools_folder(root).join("schemathesis");
    let requirements = settings.join("requirements.txt");
    let (installed, wanted) = (std::fs::read(folder.join("requirements.txt")), std::fs::read(&requirements));
    let program = folder.join("bin/schemathesis");
    if program.is_file() && installed.is_ok_and(|installed| wanted.is_ok_and(|wanted| installed == wanted)) {
        return Ok(program);
    }
    console::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
    let pip = ["install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
    console::run(Command::new(folder.join("bin/pip")).args(pip).arg(&requirements))?;
    // The copy is written last, so an incomplete installation is repeated.
    console::run(Command::new("cp").arg(&requirements).arg(&folder))?;
    Ok(program)
}
