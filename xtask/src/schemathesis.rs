//! The check of the HTTP API against its `OpenAPI` document with Schemathesis.
//!
//! Schemathesis and its dependencies are pinned in `xtask/schemathesis/requirements.txt` and installed in the `tools` folder of the build.
//! The requests are the same in every run.

use std::path::Path;

use crate::console::{self, StepError};
use crate::{compiler, tools};

/// Builds the program, and checks its API.
pub(crate) fn run(root: &Path) -> Result<(), StepError> {
    compiler::build(root)?;
    check(root)
}

/// Sends generated requests to a server, and fails if an answer contradicts the document. [`compiler::build`] builds the server.
pub(crate) fn check(root: &Path) -> Result<(), StepError> {
    let schemathesis = tools::python_program(root, "schemathesis")?;
    let mut example = tools::example(root, "schemathesis");
    console::run(example.arg(tools::program(root)).arg(schemathesis).arg(root.join("xtask/schemathesis")))
}
