//! Provides what the container tests need: a container engine and a base image.
//!
//! A running container engine is used as it is. Otherwise, Debian's is installed and started, and it stops when this command ends.
//! On Debian, no image registry is needed.

mod base;
mod engine;
mod leftovers;

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use self::base::ensure as ensure_base;
pub(crate) use self::engine::{Engine, ensure as ensure_engine};
pub(crate) use self::leftovers::remove as remove_leftovers;
use crate::console::StepError;
use crate::packages::PackagesError;
use crate::tools;

/// Why the tests cannot use containers.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DockerError {
    #[error(transparent)]
    Packages(#[from] PackagesError),
    #[error("the tests need a container engine, but DOCKER_HOST={0} does not answer\nhint: start it, or unset DOCKER_HOST")]
    Elsewhere(String),
    #[error(
        "the tests need a container engine, but none is running\nhint: run `sudo systemctl start docker` or `sudo dockerd`, then try again"
    )]
    NotRoot,
    #[error("could not start `{program}`")]
    Start {
        program: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("dockerd did not become ready: {why}; its output ends with:\n{said}\nhint: see the complete log: {log}")]
    NotReady { why: String, said: String, log: PathBuf },
    #[error("could not prepare the images of the tests: {0}")]
    Base(#[from] StepError),
    #[error("could not create the base image: debootstrap failed with {status}; its output ends with:\n{said}")]
    Debootstrap { status: std::process::ExitStatus, said: String },
    #[error("cannot use {path}")]
    Folder {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Returns a command that runs Docker's client.
fn docker(arguments: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.args(arguments);
    command
}

fn engine_answers() -> bool {
    tools::answers(&mut docker(&["info", "--format", "{{.ServerVersion}}"]))
}

/// Returns the last lines of a log, for an error message.
fn last_words(log: &Path) -> String {
    let text = std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].iter().map(|line| format!("  | {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_log_the_last_words_are_shown() {
        let folder = tempfile::tempdir().expect("the folder can be created");
        let log = folder.path().join("log");
        let lines: Vec<String> = (1..=12).map(|number| format!("line {number}")).collect();
        std::fs::write(&log, lines.join("\n")).expect("the file can be written");
        let said = last_words(&log);
        assert!(said.starts_with("  | line 3\n") && said.ends_with("  | line 12"), "{said}");
        assert_eq!(last_words(&folder.path().join("gone")), "");
    }
}
