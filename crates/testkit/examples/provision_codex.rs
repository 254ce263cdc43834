//! Installs the versions of Codex that the tests drive, and GitHub's description of its API, ahead of the tests, and says where
//! they are.
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
    match testkit::npm::github_description() {
        Ok(file) => writeln!(io::stdout(), "GitHub's API: {}", file.display())?,
        Err(error) => {
            writeln!(io::stderr(), "error: could not get the description of GitHub's API: {error}")?;
            return Ok(ExitCode::FAILURE);
        }
    }
    Ok(ExitCode::SUCCESS)
}
