//! `login` and `logout`: log in to Codex for all tasks, in the orchestrator's own Codex home.
//!
//! The user's own Codex login is never changed: importing makes a copy. After a failed login, the previous login remains.
//! Invariant: a key is never an argument and is never printed.

use std::io;
use std::path::Path;
use std::process::{ExitCode, ExitStatus};

use config::Config;
use model::ErrorCode;
use model::problem::Problem;
use runner::worker::{Login, LoginCommand, Worker, WorkerProblem, engine_environment};
use serde_json::json;
use store::{CodexHome, Layout, read_plain_file};
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};

use crate::args::LoginArguments;
use crate::output::{Output, OutputFormat};
use crate::{hidden, printer};

/// The maximum number of bytes to read, which is more than any key has.
const KEY_LIMIT_BYTES: u64 = 64 * 1024;

pub(crate) async fn login(config: &Config, asked: &LoginArguments, format: OutputFormat) -> Result<ExitCode, Problem> {
    let worker = Worker::find(config);
    refuse_what_has_no_effect(config, &worker)?;
    let home = codex_home(config)?;
    if asked.with_api_key {
        let key = hidden::read("Paste the API key and press Enter (it is not shown):", KEY_LIMIT_BYTES)
            .map_err(|error| unreadable("stdin", &error))?;
        Login::store_key(&home, &key)?;
    } else if let Some(path) = &asked.import {
        import(&home, path)?;
    } else {
        with_a_code(config, &worker.map_err(|problem| problem.to_problem())?, &home).await?;
    }
    say(config, &home, format)
}

pub(crate) fn logout(config: &Config, format: OutputFormat) -> Result<ExitCode, Problem> {
    let home = codex_home(config)?;
    let was_there = home.remove_login().map_err(|error| unreadable("the login", &error))?;
    if format.is_json() {
        printer::json(&json!({ "logged_out": was_there }))?;
        return Ok(ExitCode::SUCCESS);
    }
    let before = if was_there { LoginBefore::LoggedIn } else { LoginBefore::LoggedOut };
    logged_out(before, has_key(config)).print();
    Ok(ExitCode::SUCCESS)
}

/// Whether `CODEX_API_KEY` is set in the environment of this command.
fn has_key(config: &Config) -> Key {
    if config.environment.contains_key(std::ffi::OsStr::new("CODEX_API_KEY")) { Key::Set } else { Key::Unset }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Set,
    Unset,
}

/// The state of the login before a command.
#[derive(Debug, Clone, Copy)]
enum LoginBefore {
    LoggedIn,
    LoggedOut,
}

fn logged_out(before: LoginBefore, key: Key) -> Output {
    let mut out = Output::default();
    out.line(match before {
        LoginBefore::LoggedIn => "Logged out of Codex. Active runs keep their login.",
        LoginBefore::LoggedOut => "Codex was not logged in.",
    });
    if key == Key::Set {
        out.remark("CODEX_API_KEY is set in this shell. A server that was started with it keeps using it.");
    }
    out
}

fn logged_in(kind: &str, key: Key) -> Output {
    let mut out = Output::default();
    out.line(format!("Logged in to Codex with {kind}. New runs use this login."));
    if key == Key::Set {
        out.remark("CODEX_API_KEY is set in this shell. A server that was started with it uses that key instead.");
    }
    out
}

/// Returns an error if the worker uses its own Codex home or login.
fn refuse_what_has_no_effect(config: &Config, worker: &Result<Worker, WorkerProblem>) -> Result<(), Problem> {
    worker.as_ref().ok().and_then(|worker| worker.login_obstacle(config)).map_or(Ok(()), Err)
}

fn codex_home(config: &Config) -> Result<CodexHome, Problem> {
    CodexHome::open(&Layout::new(&config.home)).map_err(|error| {
        Problem::new(ErrorCode::HomeUnusable, format!("cannot use the home directory `{}`: {error}", config.home.display()))
            .hint("fix its permissions, or set ORCH_HOME to another folder")
    })
}

fn unreadable(what: &str, error: &io::Error) -> Problem {
    Problem::new(ErrorCode::LoginUnreadable, format!("could not read {what}: {error}"))
}

fn import(home: &CodexHome, path: &Path) -> Result<(), Problem> {
    let file = if path.is_dir() { path.join("auth.json") } else { path.to_owned() };
    let text = read_plain_file(&file).map_err(|error| {
        unreadable(&format!("`{}`", file.display()), &error)
            .hint("use the `auth.json` of a Codex CLI that is logged in, or the folder that contains it")
    })?;
    match Login::store_copy(home, &text)? {
        Login::ApiKey(_) => {}
        Login::Account { .. } => {
            printer::remark(
                "Both copies have the same refresh token, which works only once. The first copy to renew its login logs the other one out.",
            );
            printer::hint("log in separately: codex-orchestrator login");
        }
    }
    Ok(())
}

/// Runs `codex login --device-auth` in a temporary Codex home and copies the login from it.
async fn with_a_code(config: &Config, worker: &Worker, home: &CodexHome) -> Result<(), Problem> {
    let folder = tempfile::Builder::new().prefix(".login-").tempdir_in(home.folder()).map_err(Problem::internal)?;
    let (codex, work) = (folder.path().join("codex"), folder.path().join("work"));
    for path in [&codex, &work] {
        crate::server::private_folder(path).map_err(Problem::internal)?;
    }
    let LoginCommand { program, args, environment } = worker.login_command();
    let mut command = Command::new(program);
    command.args(args).env_clear().envs(environment);
    command.args(["login", "--device-auth"]).envs(engine_environment(config)).env("CODEX_HOME", &codex).current_dir(&work);
    let ended = wait_for(command).await.map_err(|error| not_logged_in(&format!("could not start Codex: {error}")))?;
    match read_plain_file(&codex.join("auth.json")) {
        Ok(text) if ended.success() => Login::store_copy(home, &text).map(drop),
        Ok(_) | Err(_) => Err(not_logged_in(&format!("Codex exited without logging in ({ended})"))),
    }
}

fn not_logged_in(why: &str) -> Problem {
    Problem::new(ErrorCode::NotLoggedIn, why)
        .hint("see the messages from Codex above")
        .hint("check whether Codex starts: codex-orchestrator doctor")
        .hint("use an API key instead: codex-orchestrator login --with-api-key")
}

/// Waits for a program that runs in this terminal. Ctrl-C stops only the program, so that this process can clean up.
async fn wait_for(mut command: Command) -> io::Result<ExitStatus> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut child = command.kill_on_drop(true).spawn()?;
    loop {
        tokio::select! {
            ended = child.wait() => return ended,
            _ = interrupts.recv() => {}
        }
    }
}

fn say(config: &Config, home: &CodexHome, format: OutputFormat) -> Result<ExitCode, Problem> {
    let login = Login::stored(home).map_err(|error| unreadable("the login", &error))?;
    let kind = login.as_ref().map_or("none", Login::describe);
    if format.is_json() {
        printer::json(&json!({ "login": kind }))?;
        return Ok(ExitCode::SUCCESS);
    }
    logged_in(kind, has_key(config)).print();
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// Creates a home directory whose worker is a fake codex-docker with this script.
    fn stage(script: &str) -> (tempfile::TempDir, Config) {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("stand-in");
        std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("written");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let mut config = Config::for_home(&folder.path().join("home"));
        config.container_program = vec![program.display().to_string(), "codex-docker".to_owned()];
        config.base_environment = process::BaseEnvironment::default().with("PATH", "/usr/bin:/bin");
        (folder, config)
    }

    fn asked() -> LoginArguments {
        LoginArguments { device: false, with_api_key: false, import: None }
    }

    fn stored(config: &Config) -> Option<Login> {
        Login::stored(&codex_home(config).expect("a home")).expect("readable")
    }

    const ACCOUNT: &str = r#"{"auth_mode":"chatgpt","tokens":{"access_token":"a-token"}}"#;

    #[tokio::test]
    async fn a_login_by_code_uses_a_temporary_codex_home() {
        let script =
            format!("[ \"$*\" = 'codex-docker login --device-auth' ] && printf '%s' '{ACCOUNT}' > \"$CODEX_HOME/auth.json\"");
        let (_folder, config) = stage(&script);
        login(&config, &asked(), OutputFormat::Json).await.expect("logged in");
        assert_eq!(stored(&config).map(|login| login.describe()), Some("a ChatGPT account"));
        let names: Vec<_> = std::fs::read_dir(config.home.join("codex"))
            .expect("there")
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        assert_eq!(names, ["auth.json"], "only the copy for Codex on the host remains");
    }

    #[test]
    fn people_read_how_codex_is_logged_in() {
        let outputs = [
            logged_in("an API key", Key::Set),
            logged_out(LoginBefore::LoggedIn, Key::Set),
            logged_out(LoginBefore::LoggedOut, Key::Unset),
        ];
        insta::assert_snapshot!("login", outputs.map(|output| output.plain()).join("\n\n"));
    }

    #[tokio::test]
    async fn a_failed_login_keeps_the_previous_one() {
        let (folder, config) = stage(&format!("printf '%s' '{ACCOUNT}' > \"$CODEX_HOME/auth.json\"; exit 1"));
        let file = folder.path().join("auth.json");
        std::fs::write(&file, r#"{"OPENAI_API_KEY":"sk-test-1234"}"#).expect("written");
        login(&config, &LoginArguments { import: Some(file), ..asked() }, OutputFormat::Json).await.expect("imported");
        let problem = login(&config, &asked(), OutputFormat::Json).await.expect_err("Codex failed");
        assert!(problem.report.code == ErrorCode::NotLoggedIn && !problem.report.hints.is_empty(), "{problem:?}");
        assert_eq!(stored(&config).map(|login| login.describe()), Some("an API key"));
        logout(&config, OutputFormat::Json).expect("logged out");
        assert_eq!(stored(&config), None);
        logout(&config, OutputFormat::Json).expect("a second logout is harmless");
    }

    #[tokio::test]
    async fn a_login_is_imported_from_a_file_or_its_folder() {
        let (folder, config) = stage("exit 1");
        std::fs::write(folder.path().join("auth.json"), ACCOUNT).expect("written");
        login(&config, &LoginArguments { import: Some(folder.path().to_owned()), ..asked() }, OutputFormat::Json)
            .await
            .expect("imported");
        assert_eq!(stored(&config).map(|login| login.describe()), Some("a ChatGPT account"));
        assert_eq!(
            std::fs::read_to_string(folder.path().join("auth.json")).expect("there"),
            ACCOUNT,
            "the original is unchanged"
        );
        for path in ["/no/such/file", "/etc/passwd", "/dev/zero"] {
            let problem = login(&config, &LoginArguments { import: Some(path.into()), ..asked() }, OutputFormat::Json)
                .await
                .expect_err(path);
            assert!(!problem.report.hints.is_empty(), "{problem:?}");
        }
    }

    #[tokio::test]
    async fn a_login_that_no_run_would_use_is_refused() {
        let (folder, mut config) = stage("exit 1");
        config.worker = Some(folder.path().join("stand-in").display().to_string());
        assert_eq!(
            login(&config, &asked(), OutputFormat::Json).await.expect_err("another program").report.code,
            ErrorCode::LoginNotUsed
        );
        std::fs::copy(folder.path().join("stand-in"), folder.path().join("codex")).expect("copied");
        config.base_environment = process::BaseEnvironment::default().with("PATH", folder.path());
        (config.worker, config.codex_home) = (Some("host".to_owned()), Some("/mine".into()));
        let problem = login(&config, &asked(), OutputFormat::Json).await.expect_err("another home");
        assert!(
            problem.report.code == ErrorCode::LoginNotUsed && problem.report.hints[0].contains("CODEX_HOME=/mine"),
            "{problem:?}"
        );
    }
}
