//! The Codex CLI for the demo: the one on PATH, or the pinned one, installed with npm below the home.
//! It never touches a Codex CLI that the user installed, nor its login.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use engine::Config;
use engine::exec::Tool;
use model::CODEX_VERSION;
use model::problem::{Problem, ProblemKind};
use tokio::process::Command;

use crate::printer;

/// The folder in which there is a program `codex`.
pub(super) async fn folder(config: &Config) -> Result<PathBuf, Problem> {
    if let Ok(codex) = Tool::find("codex", &config.base_environment) {
        printer::remark(format!("  using the Codex CLI at {}", codex.path().display()));
        return Ok(codex.path().parent().unwrap_or(Path::new("/")).to_owned());
    }
    let tools = config.home.join("tools").join(format!("codex-{CODEX_VERSION}"));
    let bin = tools.join("node_modules/.bin");
    if !bin.join("codex").exists() {
        install(config, &tools).await?;
    }
    printer::remark(format!("  using the Codex CLI {CODEX_VERSION} in {}", tools.display()));
    Ok(bin)
}

/// Installs into a folder of its own and renames it, so that a half-made one is never used.
async fn install(config: &Config, tools: &Path) -> Result<(), Problem> {
    let failed = |detail: String| Problem::new(ProblemKind::Unavailable, "codex_not_installed", detail);
    let npm = Tool::find("npm", &config.base_environment).map_err(|_| {
        failed("neither `codex` nor `npm` is on PATH".to_owned())
            .hint("install Node.js with npm (Debian: apt-get install npm), or the Codex CLI itself")
    })?;
    let partial = tools.with_extension("partial");
    let file = |error: std::io::Error| failed(format!("`{}` cannot be written: {error}", partial.display()));
    if partial.exists() {
        std::fs::remove_dir_all(&partial).map_err(file)?;
    }
    std::fs::create_dir_all(&partial).map_err(file)?;
    printer::remark(format!("  installing @openai/codex@{CODEX_VERSION} with npm (about 130 MB, once) …"));
    let done = Command::new(npm.path())
        .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
        .arg(&partial)
        .arg(format!("@openai/codex@{CODEX_VERSION}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| failed(format!("npm could not be started: {error}")))?;
    if !done.status.success() {
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason").to_owned();
        return Err(failed(format!("npm could not install the Codex CLI: {last}"))
            .hint("check the network and npm's registry, then try again"));
    }
    std::fs::rename(&partial, tools).map_err(file)
}

/// Whether Codex's own sandbox works on this machine.
pub(super) async fn sandbox_works(codex: &Path, codex_home: &Path) -> bool {
    let probe = Command::new(codex)
        .args(["sandbox", "--", "true"])
        .env("CODEX_HOME", codex_home)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .status();
    tokio::time::timeout(std::time::Duration::from_secs(20), probe)
        .await
        .is_ok_and(|done| done.is_ok_and(|status| status.success()))
}
