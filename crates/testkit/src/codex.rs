//! The real Codex CLI in the versions that the tests use: installs it, creates a temporary home, runs it, and reads its output.
//!
//! The tests never use a Codex that is installed on this machine, nor its login: the program is installed once from npm into the
//! build folder, and every home is temporary. The model is scripted.
//!
//! If `CODEX_UNDER_TEST` is set to a version, the tests run that version instead of the usual ones (`cargo xtask codex`).

mod home;
mod install;
mod outcome;
mod running;
mod survey;

use std::path::{Path, PathBuf};

pub use home::CodexHome;
pub use outcome::Outcome;
pub use running::RunningCodex;
pub use survey::{Comparison, Survey};
use tokio::process::Command;

pub use crate::npm::InstallError;

pub use model::OLDEST_CODEX_VERSION;

/// The previously pinned version.
pub const PREVIOUS_CODEX_VERSION: &str = "0.169.0";

/// The versions that the tests run, newest first.
pub const TESTED_CODEX_VERSIONS: [&str; 3] = [model::CODEX_VERSION, PREVIOUS_CODEX_VERSION, OLDEST_CODEX_VERSION];

/// The environment variable that selects a different version to test.
pub const UNDER_TEST: &str = "CODEX_UNDER_TEST";

/// An installed version of the Codex CLI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodexCli {
    version: String,
    program: PathBuf,
}

impl CodexCli {
    /// Returns the pinned version, or the one that `CODEX_UNDER_TEST` selects.
    ///
    /// # Panics
    /// If the version is not installed and npm cannot install it.
    pub fn pinned() -> Self {
        Self::version(under_test().as_deref().unwrap_or(model::CODEX_VERSION))
    }

    /// Returns the previously pinned version.
    ///
    /// # Panics
    /// If the version is not installed and npm cannot install it.
    pub fn previous() -> Self {
        Self::version(PREVIOUS_CODEX_VERSION)
    }

    /// Returns all versions that the tests run, newest first, or only the one that `CODEX_UNDER_TEST` selects.
    ///
    /// # Panics
    /// If a version is not installed and npm cannot install it.
    pub fn tested() -> Vec<Self> {
        match under_test() {
            Some(version) => vec![Self::version(&version)],
            None => TESTED_CODEX_VERSIONS.map(Self::version).to_vec(),
        }
    }

    /// Returns the oldest supported version.
    ///
    /// # Panics
    /// If the version is not installed and npm cannot install it.
    pub fn oldest() -> Self {
        Self::version(OLDEST_CODEX_VERSION)
    }

    /// Returns this version of Codex. Installs it if necessary.
    ///
    /// # Panics
    /// If the version is not installed and npm cannot install it.
    pub fn version(version: &str) -> Self {
        match Self::provision(version) {
            Ok(cli) => cli,
            Err(error) => panic!("this test needs Codex {version}: {error}"),
        }
    }

    /// Installs this version of Codex if it is missing. Simultaneous processes share one installation.
    pub fn provision(version: &str) -> Result<Self, InstallError> {
        let program = install::native_program(version)?;
        Ok(Self { version: version.to_owned(), program })
    }

    /// Returns the native program, not npm's wrapper.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Returns the version, such as `0.169.0`.
    pub fn version_number(&self) -> &str {
        &self.version
    }

    /// Runs `codex exec --json` in `worktree` without Codex's sandbox and waits for it to end. The prompt is passed on stdin.
    pub async fn exec(&self, home: &CodexHome, worktree: &Path, prompt: &str) -> Outcome {
        let running = self.start(home, worktree, &[], prompt).await;
        running.end().await
    }

    /// Runs `codex exec --json … resume <thread_id>` in the same way.
    pub async fn resume(&self, home: &CodexHome, worktree: &Path, thread_id: &str, prompt: &str) -> Outcome {
        let subcommand = ["resume", thread_id];
        let running = self.start(home, worktree, &subcommand, prompt).await;
        running.end().await
    }

    /// Starts `codex exec --json … <subcommand> -` with the prompt and does not wait for it to end.
    pub async fn start(&self, home: &CodexHome, worktree: &Path, subcommand: &[&str], prompt: &str) -> RunningCodex {
        let mut command = Command::new(&self.program);
        command
            .args(["exec", "--json", "--skip-git-repo-check"])
            .arg("--dangerously-bypass-approvals-and-sandbox")
            .args(subcommand)
            .arg("-")
            .current_dir(worktree)
            .env_clear()
            .envs(home.environment());
        RunningCodex::spawn(command, prompt).await
    }
}

fn under_test() -> Option<String> {
    std::env::var(UNDER_TEST).ok().filter(|version| !version.is_empty())
}
