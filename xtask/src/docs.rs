//! `cargo xtask docs`: regenerates all documents that are generated from the code.
//!
//! Each document is written by an example of the crate that owns its source, or by a test of that crate if `UPDATE_DOCS` is set. A test
//! of the same crate fails if the committed document is out of date.

use std::path::Path;

use crate::console::{self, StepError};
use crate::tools::cargo;

/// The commands that write the documents, as arguments for cargo.
const GENERATORS: &[&[&str]] = &[
    // docs/openapi.json
    &["run", "--quiet", "--package", "web", "--example", "openapi"],
    // docs/errors.md
    &["test", "--quiet", "--package", "protocol", "--test", "it", "error_reference::"],
    // docs/config.toml
    &["run", "--quiet", "--package", "config", "--example", "config_sample"],
    // docs/settings.md
    &["run", "--quiet", "--package", "web", "--example", "settings"],
    // docs/cli.md
    &[
        "test",
        "--quiet",
        "--package",
        "codex-orchestrator",
        "--bin",
        "codex-orchestrator",
        "reference::tests::the_document_is_up_to_date",
    ],
];

/// Writes all documents.
pub(crate) fn run(root: &Path) -> Result<(), StepError> {
    GENERATORS.iter().try_for_each(|arguments| console::run(cargo(root).args(*arguments).env("UPDATE_DOCS", "1")))
}
