//! Installs the versions of Codex that the tests drive, and what else they need of npm, ahead of the tests, and says where
//! they are.
//!
//! `cargo run --package testkit --example provision_codex`. It installs nothing that is there already.

use std::io::{self, Write};
use std::process::ExitCode;

use testkit::codex::{CodexCli, TESTED_CODEX_VERSIONS};

fn main() -> io::Result<ExitCode> {
    for version in TESTED_CODEX_VERSIONS {
        match CodexCli::provision(version) {
            Ok(codex) => writeln!(io::stdout(), "Codex {version}: {}", codex.program().display())?,
            Err(error) => {
                writeln!(io::stderr(), "error: could not get Codex {version}: {error}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    let more = [("GitHub's API", testkit::npm::github_description()), ("rules for pages", testkit::npm::accessibility_rules())];
    for (what, found) in more {
        match found {
            Ok(file) => writeln!(io::stdout(), "{what}: {}", file.display())?,
            Err(error) => {
                writeln!(io::stderr(), "error: could not get what the tests need ({what}): {error}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
