//! The real Codex CLI, in the versions that the tests pin: found or installed, given a home, driven, and read.
//!
//! It never uses a Codex of this machine, nor its login: the program comes from npm into the build's own folder, once, and
//! every home is temporary. The model it talks to is a scripted one.

mod home;
mod install;
mod outcome;
mod running;

use std::path::{Path, PathBuf};

pub use home::CodexHome;
pub use outcome::Outcome;
pub use running::RunningCodex;
use tokio::process::Command;

pub use crate::npm::InstallError;

/// The oldest version that the product understands.
pub const OLDEST_CODEX_VERSION: &str = "0.75.0";

/// One installed version of the Codex CLI.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodexCli {
    version: String,
    program: PathBuf,
}

impl CodexCli {
    /// The version that the product pins.
    ///
    /// # Panics
    /// When it is neither installed nor to be had with npm.
    pub fn pinned() -> Self {
        Self::version(model::CODEX_VERSION)
    }

    /// The oldest version that the product understands.
    ///
    /// # Panics
    /// When it is neither installed nor to be had with npm.
    pub fn oldest() -> Self {
        Self::version(OLDEST_CODEX_VERSION)
    }

    /// Codex of this version, installed now if it is not there.
    ///
    /// # Panics
    /// When it is neither installed nor to be had with npm.
    pub fn version(version: &str) -> Self {
        match Self::provision(version) {
            Ok(cli) => cli,
            Err(error) => panic!("Codex {version} is needed by this test: {error}"),
        }
    }

    /// Codex of this version, installed now if it is not there; processes that ask at once share one installation.
    pub fn provision(version: &str) -> Result<Self, InstallError> {
        let program = install::native_program(version)?;
        Ok(Self { version: version.to_owned(), program })
    }

    /// The native program, not npm's wrapper around it.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Its version, such as `0.169.0`.
    pub fn version_number(&self) -> &str {
        &self.version
    }

    /// Runs `codex exec --json` in `worktree`, without a sandbox of its own, with the prompt on stdin, to its end.
    pub async fn exec(&self, home: &CodexHome, worktree: &Path, prompt: &str) -> Outcome {
        let running = self.start(home, worktree, &[], prompt).await;
        running.end().await
    }

    /// Runs `codex exec --json … resume <thread_id>` likewise.
    pub async fn resume(&self, home: &CodexHome, worktree: &Path, thread_id: &str, prompt: &str) -> Outcome {
        let subcommand = ["resume", thread_id];
        let running = self.start(home, worktree, &subcommand, prompt).await;
        running.end().await
    }

    /// Starts `codex exec --json … <subcommand> -` and hands it the prompt, to be watched while it runs.
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
