//! Installs the versions of Codex that the tests drive, ahead of the tests, and says where they are.
//!
//! `cargo run --package testkit --example provision_codex`. It installs nothing that is there already.

use std::io::{self, Write};
use std::process::ExitCode;

use testkit::codex::{CodexCli, OLDEST_CODEX_VERSION};

fn main() -> io::Result<ExitCode> {
    for version in [model::CODEX_VERSION, OLDEST_CODEX_VERSION] {
        match CodexCli::provision(version) {
            Ok(codex) => writeln!(io::stdout(), "Codex {version}: {}", codex.program().display())?,
            Err(error) => {
                writeln!(io::stderr(), "error: could not get Codex {version}: {error}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
