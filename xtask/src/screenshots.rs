//! `cargo xtask screenshots`: pictures of the main pages for the README, taken in a real Chromium.
//! The stage for them is an example of `testkit`; this builds the program and says where the pictures go.

use std::path::Path;

use crate::console::{self, StepError};
use crate::tools::{cargo, target_folder};

/// Where the README finds them.
const FOLDER: &str = "docs/images";

/// Builds the program and takes the pictures.
pub(crate) fn run(root: &Path) -> Result<(), StepError> {
    console::run(cargo(root).args(["build", "--package", "codex-orchestrator"]))?;
    let stage = ["run", "--quiet", "--package", "testkit", "--example", "screenshots", "--"];
    let binary = target_folder(root).join("debug/codex-orchestrator");
    console::run(cargo(root).args(stage).arg(binary).arg(root.join(FOLDER)))
}
