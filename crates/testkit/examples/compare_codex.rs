//! Compares a version of Codex with the pinned one: `compare_codex VERSION`. `cargo xtask codex` runs it.
//!
//! Prints a report. Fails only if a version cannot be installed or started.

use std::io::{self, Write};
use std::process::ExitCode;

use testkit::codex::{CodexCli, Survey};

#[tokio::main]
async fn main() -> io::Result<ExitCode> {
    let Some(version) = std::env::args().nth(1) else {
        writeln!(io::stderr(), "usage: compare_codex VERSION")?;
        return Ok(ExitCode::from(2));
    };
    let mut surveys = Vec::new();
    for version in [model::CODEX_VERSION, &version] {
        match CodexCli::provision(version) {
            Ok(codex) => surveys.push(Survey::of(&codex).await),
            Err(error) => {
                writeln!(io::stderr(), "error: could not install Codex {version}: {error}")?;
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    if let [pinned, other] = &surveys[..] {
        write!(io::stdout(), "{}", other.against(pinned))?;
    }
    Ok(ExitCode::SUCCESS)
}
