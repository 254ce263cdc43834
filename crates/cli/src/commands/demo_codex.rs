//! Finds the Codex CLI for the demo: the one on `PATH`, or the pinned version, which npm installs in the home directory.
//! It never changes a Codex CLI that the user installed, or its login.

use std::path::{Path, PathBuf};
use std::time::Duration;

use config::Config;
use model::ErrorCode;
use model::problem::Problem;
use model::{CODEX_VERSION, OLDEST_CODEX_VERSION};
use process::{CommandSpec, RunProgramError, Tool};

use crate::printer;
use model::codex::CodexVersion;

/// The time limit for npm to install Codex over a slow connection.
const INSTALL_LIMIT: Duration = Duration::from_mins(15);

/// The time limit for the sandbox to start a program that does nothing.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// Returns a folder that contains the program `codex`.
pub(super) async fn folder(config: &Config) -> Result<PathBuf, Problem> {
    if let Some(folder) = usable_on_path(config).await {
        return Ok(folder);
    }
    let tools = config.home.join("tools").join(format!("codex-{CODEX_VERSION}"));
    let bin = tools.join("node_modules/.bin");
    if !bin.join("codex").exists() {
        install(config, &tools).await?;
    }
    printer::remark(format!("  using Codex CLI {CODEX_VERSION} in {}", tools.display()));
    Ok(bin)
}

async fn usable_on_path(config: &Config) -> Option<PathBuf> {
    let codex = Tool::find("codex", &config.base_environment).ok()?;
    let path = codex.path().to_owned();
    let asked = codex.ask_version(&["--version"], &config.base_environment).await;
    let version = asked.ok().and_then(|codex| CodexVersion::parse(codex.version()?));
    match version {
        Some(version) if version.is_usable() => {
            printer::remark(format!("  using Codex CLI {version} at {}", path.display()));
            path.parent().map(Path::to_owned)
        }
        Some(version) => {
            let path = path.display();
            printer::remark(format!(
                "  ignoring the Codex CLI at {path}: version {version} is older than {OLDEST_CODEX_VERSION}"
            ));
            None
        }
        None => {
            printer::remark(format!("  ignoring the Codex CLI at {}: it does not report its version", path.display()));
            None
        }
    }
}

/// Installs into a temporary folder and renames it, so that an incomplete installation is never used.
async fn install(config: &Config, tools: &Path) -> Result<(), Problem> {
    let npm = Tool::find("npm", &config.base_environment).map_err(|_| {
        not_installed("no usable `codex` on PATH, and no `npm` to install it")
            .hint("install Node.js with npm (Debian: apt-get install npm), or install the Codex CLI")
    })?;
    let partial = tools.with_extension("partial");
    let file = |error: std::io::Error| not_installed(format!("could not write `{}`: {error}", partial.display()));
    if partial.exists() {
        std::fs::remove_dir_all(&partial).map_err(file)?;
    }
    std::fs::create_dir_all(&partial).map_err(file)?;
    printer::remark(format!("  installing @openai/codex@{CODEX_VERSION} with npm (only the first time; about 400 MB) …"));
    CommandSpec::new(&npm, &config.base_environment, &partial)
        // Pass on all variables, because the registry, the proxy and certificates can be set in many of them.
        .envs(&config.environment)
        .args(["install", "--no-audit", "--no-fund", "--loglevel=error", "--prefix"])
        .arg(&partial)
        .arg(format!("@openai/codex@{CODEX_VERSION}"))
        .deadline(INSTALL_LIMIT)
        .run_ok()
        .await
        .map_err(|error| npm_failed(&error))?;
    std::fs::rename(&partial, tools).map_err(file)
}

fn not_installed(detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::CodexNotInstalled, detail)
}

fn npm_failed(error: &RunProgramError) -> Problem {
    let last = match error {
        RunProgramError::Failed { stderr_tail, .. } => stderr_tail.lines().find(|line| !line.trim().is_empty()),
        RunProgramError::NotFound { .. }
        | RunProgramError::DirectoryMissing { .. }
        | RunProgramError::Spawn { .. }
        | RunProgramError::Io { .. }
        | RunProgramError::TimedOut { .. }
        | RunProgramError::Cancelled { .. }
        | RunProgramError::OutputTooLarge { .. } => None,
    };
    let reason = last.map_or_else(|| error.to_string(), str::to_owned);
    not_installed(format!("npm could not install the Codex CLI: {reason}"))
        .hint("check the network and the npm registry, then try again")
}

/// Whether Codex's sandbox works on this machine.
pub(super) async fn sandbox_works(config: &Config, codex: &Path, codex_home: &Path) -> bool {
    CommandSpec::new(&Tool::at(codex), &config.base_environment, codex_home)
        .args(["sandbox", "--", "true"])
        .env("CODEX_HOME", codex_home)
        .deadline(PROBE_LIMIT)
        .run_ok()
        .await
        .is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use process::BaseEnvironment;

    use super::*;

    fn config(folder: &Path) -> Config {
        let path = format!("{}:/usr/bin:/bin", folder.display());
        let mut config = Config::for_home(folder);
        config.base_environment = BaseEnvironment::default().with("PATH", path);
        config
    }

    fn program(folder: &Path, name: &str, script: &str) {
        let path = folder.join(name);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("ours");
    }

    #[tokio::test]
    async fn a_usable_codex_on_the_path_is_used_as_it_is() {
        let folder = tempfile::tempdir().expect("a folder");
        program(folder.path(), "codex", "echo codex-cli 0.170.0");
        program(folder.path(), "npm", "exit 1");
        assert_eq!(super::folder(&config(folder.path())).await.as_deref(), Ok(folder.path()));
    }

    #[tokio::test]
    async fn an_old_codex_is_left_alone_and_the_pinned_one_is_installed_once() {
        let folder = tempfile::tempdir().expect("a folder");
        program(folder.path(), "codex", "echo codex-cli 0.42.0");
        let npm = "while [ $# -gt 1 ]; do [ \"$1\" = --prefix ] && to=$2; shift; done\n\
            echo \"$1\" >> \"$(dirname \"$0\")/asked\"\nmkdir -p \"$to/node_modules/.bin\"; : > \"$to/node_modules/.bin/codex\"";
        program(folder.path(), "npm", npm);
        for _ in 0..2 {
            let bin = super::folder(&config(folder.path())).await.expect("npm works");
            assert!(bin.starts_with(folder.path().join("tools")) && bin.join("codex").exists(), "{}", bin.display());
        }
        let asked = std::fs::read_to_string(folder.path().join("asked")).expect("npm was called");
        assert_eq!(asked, format!("@openai/codex@{CODEX_VERSION}\n"), "once");
    }

    #[tokio::test]
    async fn a_failed_installation_says_why_and_leaves_nothing_that_would_be_used() {
        let folder = tempfile::tempdir().expect("a folder");
        program(folder.path(), "codex", "echo nothing useful");
        program(folder.path(), "npm", "echo 'npm error code ENOTFOUND' >&2; exit 1");
        let problem = super::folder(&config(folder.path())).await.expect_err("npm fails");
        assert!(problem.report.message.contains("ENOTFOUND") && !problem.report.hints.is_empty(), "{problem:?}");
        assert!(!folder.path().join(format!("tools/codex-{CODEX_VERSION}")).exists());
    }

    #[tokio::test]
    async fn without_codex_and_npm_the_hint_says_what_to_install() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        config.base_environment = BaseEnvironment::default().with("PATH", folder.path());
        let problem = super::folder(&config).await.expect_err("neither program is installed");
        assert!(problem.report.message.contains("npm") && problem.report.hints[0].contains("apt-get"), "{problem:?}");
    }
}
