//! `cargo xtask screenshots`: takes screenshots of the main pages for the README in a real Chromium. An example of `testkit` does
//! this; the command builds the program and sets the output folder.

use std::path::Path;

use crate::console::{self, StepError};
use crate::tools::{cargo, target_folder};

/// The folder with the images of the README.
const FOLDER: &str = "docs/images";

/// Builds the program and takes the screenshots.
pub(crate) fn run(root: &Path) -> Result<(), StepError> {
    console::run(cargo(root).args(["build", "--package", "codex-orchestrator"]))?;
    let stage = ["run", "--quiet", "--package", "testkit", "--example", "screenshots", "--"];
    let binary = target_folder(root).join("debug/codex-orchestrator");
    console::run(cargo(root).args(stage).arg(binary).arg(root.join(FOLDER)))
}
