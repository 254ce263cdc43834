//! `docs/openapi.json`: written anew from the code.
//!
//! The `web` crate writes it (`crates/web/examples/openapi.rs`) and has the test that holds it to the code; this only asks for it.

use std::path::Path;

use crate::console::{self, StepError};
use crate::tools::cargo;

/// Writes the file.
pub(crate) fn run(root: &Path) -> Result<(), StepError> {
    console::run(cargo(root).args(["run", "--quiet", "--package", "web", "--example", "openapi"]))
}
