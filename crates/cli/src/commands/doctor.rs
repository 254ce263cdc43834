//! `doctor`: what is needed on this machine, what is missing, and what to do about it. Needs no server, and starts none.
//! Each finding is one line with its remedy; only a failure changes the exit code.

use std::path::Path;
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use engine::Config;
use engine::git::Git;
use engine::worker::{Worker, WorkerKind};
use model::problem::Problem;
use owo_colors::OwoColorize as _;
use serde::Serialize;
use tokio::process::Command;

use crate::client::Client;
use crate::printer;

/// Below this much free space a clone or a run is likely to fail.
const LOW_SPACE_BYTES: u64 = 2 * 1024 * 1024 * 1024;

/// How long a program may take to say its version or its login.
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
    use std::os::unix::fs::PermissionsExt as _;
    let path = &config.home;
    let shown = path.display();
    let Ok(metadata) = std::fs::metadata(path) else {
        return Finding::new("home", Level::Ok, format!("{shown} will be made at the first start"));
    };
    let mode = metadata.permissions().mode() & 0o777;
    if let Err(error) = tempfile::tempfile_in(path) {
        return Finding::new("home", Level::Failure, format!("{shown} cannot be written: {error}"))
            .hint("mend its permissions, or choose another with ORCH_HOME");
    }
    if mode & 0o077 != 0 {
        return Finding::new("home", Level::Warning, format!("{shown} is open to others (mode {mode:03o})"))
            .hint(format!("chmod 700 {shown}"));
    }
    Finding::new("home", Level::Ok, format!("{shown}, for its owner only"))
}

fn space(home: &Path) -> Finding {
    let existing = home.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
    match rustix::fs::statvfs(existing) {
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
        WorkerKind::Host => findings.extend(codex(&worker).await),
        WorkerKind::CodexDocker | WorkerKind::Custom => {}
    }
    findings
}

async fn codex(worker: &Worker) -> Vec<Finding> {
    let ask = |argument: &'static [&'static str]| {
        let answer = Command::new(worker.program()).args(argument).stdin(Stdio::null()).kill_on_drop(true).output();
        async move { tokio::time::timeout(PATIENCE, answer).await.ok().and_then(Result::ok) }
    };
    let version = match ask(&["--version"]).await {
        Some(answer) if answer.status.success() => {
            let said = String::from_utf8_lossy(&answer.stdout).trim().to_owned();
            Finding::new("codex", Level::Ok, said)
        }
        _ => Finding::new("codex", Level::Failure, "the Codex CLI does not say its version")
            .hint(format!("install it anew: npm install -g @openai/codex@{}", model::CODEX_VERSION)),
    };
    let login = match ask(&["login", "status"]).await {
        Some(answer) if answer.status.success() => Finding::new("login", Level::Ok, "Codex is logged in"),
        _ => Finding::new("login", Level::Warning, "Codex is not logged in")
            .hint("`codex login`, or set CODEX_API_KEY where the server is started"),
    };
    vec![version, login]
}

async fn server(config: &Config) -> Result<Finding, Problem> {
    let client = Client::new(&config.home.join("orchestrator.sock"))?;
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
