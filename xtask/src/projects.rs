//! `cargo xtask projects`: builds and tests the published projects of `testkit` in tasks, and prints what that costs compared with doing it
//! by hand.
//!
//! It needs the container engine and the images of `cargo xtask test`, and downloads the projects and their dependencies.

use std::path::Path;

use crate::console::{self, StepError};
use crate::tools::cargo;

/// Builds the program like a release, and runs the benchmark.
pub(crate) fn run(root: &Path) -> Result<(), StepError> {
    console::run(cargo(root).args(["bench", "--package", "codex-orchestrator", "--profile", "dist", "--bench", "projects"]))
}
