//! Installs the tested versions of Codex and the other npm packages that tests need, and prints their paths.
//!
//! Usage: `cargo run --package testkit --example provision_codex [VERSION]...`. Versions on the command line replace the tested ones.
//! Packages that are already installed are kept.

use std::io::{self, Write};
use std::process::ExitCode;

use testkit::codex::{CodexCli, TESTED_CODEX_VERSIONS};

fn main() -> io::Result<ExitCode> {
    let named: Vec<String> = std::env::args().skip(1).collect();
    let versions = if named.is_empty() { TESTED_CODEX_VERSIONS.map(str::to_owned).to_vec() } else { named };
    for version in &versions {
        match CodexCli::provision(version) {
            Ok(codex) => writeln!(io::stdout(), "Codex {version}: {}", codex.program().display())?,
            Err(error) => {
                writeln!(io::stderr(), "error: could not install Codex {version}: {error}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    let more = [
        ("GitHub's API description", testkit::npm::github_description()),
        ("accessibility rules", testkit::npm::accessibility_rules()),
    ];
    for (what, found) in more {
        match found {
            Ok(file) => writeln!(io::stdout(), "{what}: {}", file.display())?,
            Err(error) => {
                writeln!(io::stderr(), "error: could not install {what}, which the tests need: {error}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
