//! `cargo xtask openapi`: generates `docs/openapi.json` from the code.
//!
//! An example of the `web` crate writes it (`crates/web/examples/openapi.rs`), and a test there fails if it is out of date.

use std::path::Path;

use crate::console::{self, StepError};
use crate::tools::cargo;

/// Writes the file.
pub(crate) fn run(root: &Path) -> Result<(), StepError> {
    console::run(cargo(root).args(["run", "--quiet", "--package", "web", "--example", "openapi"]))
}
