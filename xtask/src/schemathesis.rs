//! The check of the HTTP API against its `OpenAPI` document with Schemathesis.
//!
//! Schemathesis and its dependencies are pinned in `xtask/schemathesis/requirements.txt` and installed in the `tools` folder of the build.
//! The requests are the same in every run.

use std::path::Path;

use crate::console::{self, StepError};
use crate::tools;

/// Sends generated requests to a server, and fails if an answer contradicts the document.
pub(crate) fn run(root: &Path) -> Result<(), StepError> {
    let settings = root.join("xtask/schemathesis");
    let schemathesis = tools::python_program(root, "schemathesis")?;
    tools::build(root)?;
    console::run(tools::example(root, "schemathesis").arg(tools::program(root)).arg(schemathesis).arg(settings))
}
