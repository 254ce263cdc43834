//! `cargo xtask openapi`: generates `docs/openapi.json` from the code.
//!
//! An example of the `web` crate writes it (`crates/web/examples/openapi.rs`), and a test of that crate fails if the file is out of date.

use std::path::Path;

use crate::console::{self, StepError};
use crate::tools::cargo;

/// Writes `docs/openapi.json`.
pub(crate) fn run(root: &Path) -> Result<(), StepError> {
    console::run(cargo(root).args(["run", "--quiet", "--package", "web", "--example", "openapi"]))
}
