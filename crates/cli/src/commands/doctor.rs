//! `doctor`: what is needed on this machine, what is missing, and what to do about it. Needs no server, and starts none.
//! Each finding is one line with its remedy; only a failure changes the exit code.

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use engine::Config;
use engine::exec::{CommandSpec, Tool};
use engine::git::Git;
use engine::worker::{Worker, WorkerKind};
use model::codex::printable_line;
use model::problem::Problem;
use owo_colors::OwoColorize as _;
use rustix::fs::{Access, access};
use serde::Serialize;

use crate::client::Client;
use crate::codex_version::{CodexVersion, OLDEST};
use crate::printer;

/// Below this much free space a clone or a run is likely to fail.
const LOW_SPACE_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// Variables that log Codex in without a login.
const KEYS: [&str; 2] = ["CODEX_API_KEY", "CODEX_ACCESS_TOKEN"];

/// How long Codex may take to say whether it is logged in.
const PATIENCE: Duration = Duration::from_secs(20);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Warning,
    Failure,
}

#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    found: String,
    hints: Vec<String>,
}

impl Finding {
    fn new(check: &'static str, level: Level, found: impl Into<String>) -> Self {
        Self { check, level, found: found.into(), hints: vec![] }
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    fn hint_unless_ok(self, hint: &str) -> Self {
        if self.level == Level::Ok { self } else { self.hint(hint) }
    }
}

pub(crate) async fn run(config: &Config, json: bool) -> Result<ExitCode, Problem> {
    let mut findings = vec![git(config).await, home(config), space(&config.home)];
    findings.extend(worker(config).await);
    findings.push(server(config).await?);
    if json {
        printer::json(&findings)?;
    } else {
        findings.iter().for_each(print);
    }
    let failed = findings.iter().any(|finding| finding.level == Level::Failure);
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn print(finding: &Finding) {
    let level = match finding.level {
        Level::Ok => "ok     ".green().to_string(),
        Level::Warning => "warning".yellow().to_string(),
        Level::Failure => "failure".red().to_string(),
    };
    printer::line(format!("{level}  {:<7} {}", finding.check, finding.found));
    for hint in &finding.hints {
        printer::line(format!("                 → {hint}"));
    }
}

async fn git(config: &Config) -> Finding {
    match Git::discover(config.base_environment.clone(), None).await {
        Ok(git) if git.version().is_tested() => {
            Finding::new("git", Level::Ok, format!("{} at {}", git.version(), git.tool().path().display()))
        }
        Ok(git) => Finding::new("git", Level::Warning, format!("{} is older than what is tested", git.version()))
            .hint("install git 2.39 or newer"),
        Err(error) => Finding::new("git", Level::Failure, error.to_string()).hint("install git 2.39 or newer"),
    }
}

fn home(config: &Config) -> Finding {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    let path = &config.home;
    let shown = path.display();
    let Ok(metadata) = std::fs::metadata(path) else { return new_home(path) };
    let refused = |why: String| {
        Finding::new("home", Level::Failure, format!("{shown} {why}"))
            .hint("mend its permissions, or choose another with ORCH_HOME")
    };
    if !metadata.is_dir() {
        return refused("is not a folder".to_owned());
    }
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return refused(format!("belongs to another user ({})", metadata.uid()));
    }
    if let Err(error) = tempfile::tempfile_in(path) {
        return refused(format!("cannot be written: {error}"));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Finding::new("home", Level::Warning, format!("{shown} is open to others (mode {mode:03o})"))
            .hint(format!("the next start of the server closes it; or now: chmod 700 {shown}"));
    }
    Finding::new("home", Level::Ok, format!("{shown}, for its owner only"))
}

/// A home that is not there yet needs a folder in which it can be made.
fn new_home(path: &Path) -> Finding {
    let shown = path.display();
    let above = existing_above(path);
    if above.is_dir() && access(above, Access::WRITE_OK | Access::EXEC_OK).is_ok() {
        return Finding::new("home", Level::Ok, format!("{shown} will be made at the first start"));
    }
    Finding::new("home", Level::Failure, format!("{shown} cannot be made in {}", above.display()))
        .hint("choose another with ORCH_HOME")
}

fn existing_above(path: &Path) -> &Path {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"))
}

fn space(home: &Path) -> Finding {
    match rustix::fs::statvfs(existing_above(home)) {
        Ok(found) => {
            let free = found.f_bavail.saturating_mul(found.f_frsize);
            let shown = format!("{} GiB free", free >> 30);
            if free < LOW_SPACE_BYTES {
                Finding::new("disk", Level::Warning, shown).hint("free some space: a clone or a run needs room")
            } else {
                Finding::new("disk", Level::Ok, shown)
            }
        }
        Err(error) => Finding::new("disk", Level::Warning, format!("the free space is unknown: {error}")),
    }
}

async fn worker(config: &Config) -> Vec<Finding> {
    let worker = match Worker::find(config) {
        Ok(worker) => worker,
        Err(problem) => {
            let problem = problem.to_problem();
            let finding = Finding::new("worker", Level::Failure, problem.detail);
            return vec![problem.hints.into_iter().fold(finding, Finding::hint)];
        }
    };
    let program = worker.program().display();
    let mut findings = vec![Finding::new("worker", Level::Ok, format!("{} ({program})", worker.status().name))];
    match worker.kind() {
        WorkerKind::Host => findings.extend([codex(&worker).await, login(config, &worker).await]),
        WorkerKind::CodexDocker | WorkerKind::Custom => {}
    }
    findings
}

async fn codex(worker: &Worker) -> Finding {
    let mend = format!("install it anew: npm install -g @openai/codex@{}", model::CODEX_VERSION);
    match worker.codex_version().await {
        Ok(said) => version(said.as_deref().unwrap_or_default()).hint_unless_ok(&mend),
        Err(error) => Finding::new("codex", Level::Failure, error.to_string()).hint(mend),
    }
}

fn version(said: &str) -> Finding {
    match CodexVersion::parse(said) {
        Some(version) if version.is_usable() => Finding::new("codex", Level::Ok, said),
        Some(version) => {
            Finding::new("codex", Level::Failure, format!("Codex {version} is older than {OLDEST}, the oldest that can be used"))
        }
        None => Finding::new(
            "codex",
            Level::Warning,
            format!("the Codex CLI does not say its version but `{}`", printable_line(said, 60)),
        ),
    }
}

async fn login(config: &Config, worker: &Worker) -> Finding {
    if let Some(name) = KEYS.into_iter().find(|name| config.environment.contains_key(std::ffi::OsStr::new(name))) {
        return Finding::new("login", Level::Ok, format!("Codex has {name}, where this command runs"));
    }
    let tool = Tool::at(worker.program());
    let ask = CommandSpec::new(&tool, &config.base_environment, "/").args(["login", "status"]).deadline(PATIENCE);
    let ask = config.codex_home.iter().fold(ask, |ask, home| ask.env("CODEX_HOME", home));
    match ask.run_ok().await {
        Ok(_) => Finding::new("login", Level::Ok, "Codex is logged in"),
        Err(_) => Finding::new("login", Level::Warning, "Codex is not logged in")
            .hint("`codex login`, or set CODEX_API_KEY where the server is started"),
    }
}

async fn server(config: &Config) -> Result<Finding, Problem> {
    let client = Client::of(&config.home).await?;
    if client.answers().await {
        return Ok(Finding::new("server", Level::Ok, "it is running"));
    }
    let Some(address) = config.listen else {
        return Ok(Finding::new("server", Level::Ok, "it is not running; any command starts it"));
    };
    Ok(match std::net::TcpListener::bind(address) {
        Ok(_) => Finding::new("server", Level::Ok, format!("it is not running; {address} is free, and any command starts it")),
        Err(error) => Finding::new("server", Level::Failure, format!("it is not running, and {address} cannot be used: {error}"))
            .hint("set ORCH_LISTEN to another address, or to `off`"),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn levels(path: &Path) -> (Level, usize) {
        let finding = home(&Config::for_home(path));
        (finding.level, finding.hints.len())
    }

    #[test]
    fn a_home_is_judged_by_whether_it_can_be_used_and_who_else_can() {
        let folder = tempfile::tempdir().expect("a folder");
        assert_eq!(levels(&folder.path().join("not/there/yet")), (Level::Ok, 0));
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
        assert_eq!(levels(folder.path()), (Level::Warning, 1));
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).expect("ours");
        assert_eq!(levels(folder.path()), (Level::Ok, 0));
        let file = folder.path().join("file");
        std::fs::write(&file, "").expect("written");
        assert_eq!(levels(&file), (Level::Failure, 1));
        assert_eq!(levels(&file.join("home")), (Level::Failure, 1));
    }

    #[test]
    fn an_old_codex_is_a_failure_and_an_unknown_one_a_warning() {
        assert_eq!(version("codex-cli 0.169.0").level, Level::Ok);
        assert_eq!(version("codex-cli 0.42.0").level, Level::Failure);
        assert_eq!(version("something else").level, Level::Warning);
    }

    #[tokio::test]
    async fn a_key_counts_as_a_login() {
        let folder = tempfile::tempdir().expect("a folder");
        let codex = folder.path().join("codex");
        std::fs::write(&codex, "#!/bin/sh\n[ \"$CODEX_HOME\" = /logged/in ]\n").expect("written");
        std::fs::set_permissions(&codex, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let base = engine::exec::BaseEnvironment::default().with("PATH", folder.path());
        let mut config = Config { worker: Some("host".to_owned()), base_environment: base, ..Config::for_home(folder.path()) };
        let worker = Worker::find(&config).expect("it is on PATH");
        assert_eq!(login(&config, &worker).await.level, Level::Warning);
        config.codex_home = Some("/logged/in".into());
        assert_eq!(login(&config, &worker).await.level, Level::Ok, "the login of the configured CODEX_HOME counts");
        config.codex_home = None;
        config.environment.insert("CODEX_API_KEY".into(), "k".into());
        assert_eq!(login(&config, &worker).await.level, Level::Ok);
    }
}
