//! Finding the home's server, and starting one where none runs.
//!
//! The server that is started says one line once it answers. If it ends instead, its own words are the reason that is shown.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use engine::{Config, Overrides};
use model::problem::{Problem, ProblemKind};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::args::Arguments;
use crate::client::Client;

/// How long a server may take to start: it reads every record first.
const PATIENCE: Duration = Duration::from_mins(2);

/// Where the started server's log goes, below the home.
const LOG: &str = "server.log";

/// The settings as the command line, the environment and the file give them.
pub(crate) fn config(arguments: &Arguments) -> Result<Config, Problem> {
    Config::load(&Overrides { home: arguments.home.clone(), ..Overrides::default() })
}

/// A client of the home's server, which is started if it does not run. Also says whether it was started now.
pub(crate) async fn ensure(config: &Config) -> Result<(Client, bool), Problem> {
    let client = Client::new(&config.home.join("orchestrator.sock"))?;
    if client.answers().await {
        return Ok((client, false));
    }
    start(&config.home, &[]).await?;
    Ok((client, true))
}

/// Starts a server in the background, with more variables if need be, and waits until it answers.
pub(crate) async fn start(home: &Path, variables: &[(&str, &std::ffi::OsStr)]) -> Result<(), Problem> {
    let failed = |detail: String| Problem::new(ProblemKind::Unavailable, "server_not_started", detail);
    std::fs::create_dir_all(home).map_err(|error| {
        failed(format!("the home `{}` cannot be made: {error}", home.display())).hint("choose another with ORCH_HOME")
    })?;
    let log = home.join(LOG);
    let file = std::fs::File::options().create(true).append(true).open(&log);
    let file = file.map_err(|error| {
        failed(format!("the home `{}` cannot be written: {error}", home.display()))
            .hint("mend its permissions, or choose another with ORCH_HOME")
    })?;
    let from = file.metadata().map_or(0, |metadata| metadata.len());
    let mut child = Command::new("/proc/self/exe")
        .arg0("codex-orchestrator")
        .arg("--home")
        .arg(home)
        .args(["serve", "--announce"])
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(file)
        .process_group(0)
        .spawn()
        .map_err(|error| failed(format!("the server could not be started: {error}")))?;
    let stdout = child.stdout.take().ok_or_else(|| failed("the server has no output".to_owned()))?;
    let mut lines = BufReader::new(stdout).lines();
    match tokio::time::timeout(PATIENCE, lines.next_line()).await {
        Ok(Ok(Some(_))) => Ok(()),
        Ok(_) => Err(why(&log, from).unwrap_or_else(|| failed(format!("the server ended at once; see `{}`", log.display())))),
        Err(_) => {
            Err(failed(format!("the server did not answer within {} s", PATIENCE.as_secs()))
                .hint(format!("see `{}`", log.display())))
        }
    }
}

/// The started server's own reason: the last `error:` of its log, with its hints.
fn why(log: &Path, from: u64) -> Option<Problem> {
    let text = std::fs::read(log).ok()?;
    let text = String::from_utf8_lossy(text.get(usize::try_from(from).ok()?..)?).into_owned();
    let lines: Vec<_> = text.lines().collect();
    let at = lines.iter().rposition(|line| line.starts_with("error: "))?;
    let detail = lines[at].trim_start_matches("error: ");
    let problem = Problem::new(ProblemKind::Unavailable, "server_not_started", format!("the server did not start: {detail}"));
    let hints = lines[at + 1..].iter().filter_map(|line| line.strip_prefix("hint:"));
    Some(hints.fold(problem, |problem, hint| problem.hint(hint.trim())))
}
