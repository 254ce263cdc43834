//! Finds the server of a home directory, and starts one if none is running.
//!
//! A new server prints one line: a message that it is ready, or the problem that prevented the start.
//! Invariant: if several commands find no server at the same time, one of them starts it and the others use it.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use client::Client;
use config::{Config, Overrides};
use model::ErrorCode;
use model::problem::Problem;
use process::{ProcessIdentity, Signal};
use protocol::ProblemView;
use store::{Layout, holder};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::args::Arguments;

/// How long a server may take to start. It reads all records first.
const PATIENCE: Duration = Duration::from_mins(2);

/// How long to wait for a server that holds the home directory but does not answer. A shutdown takes less time.
pub(crate) const HOLDER_PATIENCE: Duration = Duration::from_secs(30);

/// How often to check whether a server that another command started is ready. The server sends no event for this.
const ASK_EVERY: Duration = Duration::from_millis(50);

/// How many times to try to start a server while other servers start and stop.
const TRIES: u8 = 5;

/// The server's log file in the home directory.
const LOG: &str = "server.log";

/// How many lines of the log to show if the server exits without a message.
const LAST_WORDS: usize = 5;

/// Loads the settings from the command line, the environment and `config.toml`.
pub(crate) fn config(arguments: &Arguments) -> Result<Config, Problem> {
    Config::load(&Overrides { home: arguments.home.clone(), ..Overrides::default() })
}

/// Returns a client of the home directory's server, whether or not the server is running.
pub(crate) async fn client_of(home: &Path) -> Result<Client, Problem> {
    Client::at(&Layout::new(home).socket()).await
}

/// Returns a client of the home directory's server, and whether the server had to be started.
pub(crate) async fn ensure(config: &Config) -> Result<(Client, bool), Problem> {
    let client = client_of(&config.home).await?;
    if client.answers().await {
        return Ok((client, false));
    }
    let _turn = take_turn(&config.home).await?;
    let mut refused = None;
    for _ in 0..TRIES {
        // Another command may have created the home directory or started the server in the meantime.
        let client = client_of(&config.home).await?;
        if client.answers().await {
            return Ok((client, false));
        }
        match start(&config.home, &[]).await {
            Ok(()) => return Ok((client_of(&config.home).await?, true)),
            Err(problem) if problem.report.code == ErrorCode::HomeInUse => {
                holder_settles(&config.home, &client).await.map_err(|_| problem.clone())?;
                refused = Some(problem);
            }
            Err(problem) => return Err(problem),
        }
    }
    Err(refused.unwrap_or_else(|| not_started("other servers keep starting and stopping in the same home directory")))
}

fn not_started(why: impl std::fmt::Display) -> Problem {
    Problem::new(ErrorCode::ServerNotStarted, format!("the server did not start: {why}"))
}

/// Creates the home directory and opens the log file.
fn open_log(home: &Path) -> Result<File, Problem> {
    let unusable = |error: io::Error| {
        not_started(format!("cannot use the home directory `{}`: {error}", home.display()))
            .hint("fix its permissions, or set ORCH_HOME to another folder")
    };
    private_folder(home).map_err(unusable)?;
    File::options().create(true).append(true).mode(0o600).open(home.join(LOG)).map_err(unusable)
}

/// Creates a folder and its missing parents, accessible only to their owner.
pub(crate) fn private_folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Waits until no other command is starting the server. The lock is released when the returned file is closed.
async fn take_turn(home: &Path) -> Result<File, Problem> {
    let file = open_log(home)?;
    let turn = tokio::task::spawn_blocking(move || file.lock().map(|()| file)).await.map_err(Problem::internal)?;
    turn.map_err(|error| not_started(format!("could not lock the log in `{}`: {error}", home.display())))
}

/// Waits until the server that holds the home directory is ready or has exited.
pub(crate) async fn holder_settles(home: &Path, client: &Client) -> io::Result<()> {
    let Some(holder) = holder(home)? else { return Ok(()) };
    let settled = async {
        tokio::select! {
            gone = holder.wait_until_gone() => gone,
            () = until_it_answers(client) => Ok(()),
        }
    };
    tokio::time::timeout(HOLDER_PATIENCE, settled).await.map_err(io::Error::from)?
}

/// Stops a server and waits until it has exited. Its runs continue under their keepers. A server that has already exited is not an
/// error.
pub(crate) async fn end(server: &ProcessIdentity) -> io::Result<()> {
    server.signal(Signal::TERM)?;
    tokio::time::timeout(HOLDER_PATIENCE, server.wait_until_gone()).await?
}

async fn until_it_answers(client: &Client) {
    let mut ticks = tokio::time::interval(ASK_EVERY);
    while !client.answers().await {
        ticks.tick().await;
    }
}

/// Starts a server in the background with additional environment variables, and waits until it is ready.
pub(crate) async fn start(home: &Path, variables: &[(&str, &OsStr)]) -> Result<(), Problem> {
    let log = open_log(home)?;
    let from = log.metadata().map_or(0, |metadata| metadata.len());
    let mut child = Command::new("/proc/self/exe")
        .arg0("codex-orchestrator")
        .arg("--home")
        .arg(home)
        .args(["serve", "--announce"])
        .envs(variables.iter().copied())
        .current_dir(home)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .process_group(0)
        .spawn()
        .map_err(not_started)?;
    let stdout = child.stdout.take().ok_or_else(|| not_started("its output cannot be read"))?;
    let mut lines = BufReader::new(stdout).lines();
    match tokio::time::timeout(PATIENCE, lines.next_line()).await {
        Ok(Ok(Some(line))) => heard(&line),
        Ok(_) => {
            let status = child.wait().await.map_err(not_started)?;
            Err(without_a_word(&home.join(LOG), from, status))
        }
        Err(_) => Err(not_started(format!("it was not ready within {} s", PATIENCE.as_secs()))
            .hint(format!("see {}", home.join(LOG).display()))),
    }
}

/// Parses the first line that a server prints: a problem as JSON, or any other text if the server is ready.
fn heard(line: &str) -> Result<(), Problem> {
    let Ok(view) = serde_json::from_str::<ProblemView>(line) else { return Ok(()) };
    let problem = Problem::from(view);
    let message = not_started(&problem.report.message).report.message;
    Err(problem.with_message(message))
}

/// Returns the error for a server that exited without a message: its exit status and the end of its log.
fn without_a_word(log: &Path, from: u64, status: std::process::ExitStatus) -> Problem {
    let text = std::fs::read(log).unwrap_or_default();
    let new = usize::try_from(from).ok().and_then(|from| text.get(from..)).unwrap_or_default();
    let new = String::from_utf8_lossy(new);
    let skipped = new.lines().count().saturating_sub(LAST_WORDS);
    let problem = not_started(format!("it exited immediately ({status})"));
    let problem = new.lines().skip(skipped).fold(problem, |problem, line| problem.hint(format!("log: {line}")));
    problem.hint(format!("see {}", log.display()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;

    use super::*;

    #[test]
    fn a_problem_of_the_server_is_passed_on() {
        let problem = Problem::new(ErrorCode::HomeInUse, "another server serves it").hint("use that one");
        let line = serde_json::to_string(&ProblemView::from(&problem)).expect("JSON");
        let heard = heard(&line).expect_err("a problem");
        assert_eq!((heard.report.code.known(), heard.report.hints), (Some(ErrorCode::HomeInUse), problem.report.hints));
        assert_eq!(heard.report.message, "the server did not start: another server serves it");
    }

    #[test]
    fn any_other_first_line_means_that_the_server_is_ready() {
        assert_eq!(heard("serving on http://127.0.0.1:8080"), Ok(()));
    }

    #[test]
    fn a_server_that_exits_without_a_message_is_reported_with_its_log() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join(LOG);
        std::fs::write(&log, "an earlier server\none\ntwo\nthree\nfour\nfive\nsix\n").expect("written");
        let problem = without_a_word(&log, 18, std::process::ExitStatus::from_raw(9));
        assert!(problem.report.message.contains("signal: 9"), "{problem:?}");
        let said: Vec<_> = problem.report.hints.iter().filter_map(|hint| hint.strip_prefix("log: ")).collect();
        assert_eq!(said, ["two", "three", "four", "five", "six"]);
        assert!(problem.report.hints.last().is_some_and(|hint| hint.contains(LOG)));
    }

    #[tokio::test]
    async fn one_command_at_a_time_starts_a_server() {
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().join("home");
        let first = take_turn(&home).await.expect("the home directory can be created");
        let other = File::open(home.join(LOG)).expect("the log file exists");
        assert!(matches!(other.try_lock(), Err(std::fs::TryLockError::WouldBlock)), "another command must wait");
        drop(first);
        other.try_lock().expect("the lock was released");
    }

    #[tokio::test]
    async fn a_server_that_has_exited_is_not_waited_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut gone = std::process::Command::new("true").spawn().expect("a process");
        gone.wait().expect("it ends");
        std::fs::write(Layout::new(folder.path()).lock(), format!("process {}\n", gone.id())).expect("written");
        let client = client_of(folder.path()).await.expect("a client");
        holder_settles(folder.path(), &client).await.expect("no server is left to wait for");
    }

    #[tokio::test]
    async fn a_home_that_cannot_be_created_is_named_with_a_fix() {
        let problem = take_turn(Path::new("/proc/nowhere")).await.expect_err("the folder cannot be created");
        assert!(problem.report.message.contains("/proc/nowhere") && problem.report.hints[0].contains("ORCH_HOME"), "{problem:?}");
    }

    #[test]
    fn the_home_directory_is_private() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let home = folder.path().join("a/b");
        drop(open_log(&home).expect("the home directory can be created"));
        let mode = |path: &Path| std::fs::metadata(path).expect("it exists").permissions().mode() & 0o777;
        assert_eq!([mode(&folder.path().join("a")), mode(&home), mode(&home.join(LOG))], [0o700, 0o700, 0o600]);
        std::fs::write(home.join(LOG), "kept\n").expect("written");
        drop(open_log(&home).expect("the home directory exists"));
        assert_eq!(std::fs::read_to_string(home.join(LOG)).expect("the log"), "kept\n", "an earlier log is kept");
    }

    #[test]
    fn a_log_that_cannot_be_read_is_still_named() {
        let problem = without_a_word(Path::new("/nowhere/server.log"), 0, std::process::ExitStatus::from_raw(256));
        assert_eq!(problem.report.message, "the server did not start: it exited immediately (exit status: 1)");
        assert_eq!(problem.report.hints, ["see /nowhere/server.log"]);
    }

    #[test]
    fn a_log_that_was_replaced_by_a_shorter_one_has_no_last_words() {
        let folder = tempfile::tempdir().expect("a folder");
        let log = folder.path().join(LOG);
        std::fs::write(&log, "short\n").expect("written");
        assert_eq!(without_a_word(&log, 1000, std::process::ExitStatus::from_raw(0)).report.hints.len(), 1);
    }

    #[tokio::test]
    async fn a_running_server_is_used_and_not_started() {
        let stage = crate::tests::stage::Stage::new().await;
        let config = Config::for_home(stage.server.socket().parent().expect("a folder"));
        let (client, started) = ensure(&config).await.expect("the server answers");
        assert!(!started && client.answers().await);
        assert!(!config.home.join(LOG).exists(), "nothing was written");
    }
}
