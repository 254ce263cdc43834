//! The functions that run the commands, one file per command or group.
//! Invariant: a command prints its answer on stdout and everything else on stderr.

mod demo;
mod demo_codex;
mod doctor;
mod down;
mod env;
mod env_config;
mod env_setup;
mod env_shell;
mod env_trust;
mod env_values;
mod image;
mod login;
mod man;
mod password;
mod queue;
mod serve;
mod service;
mod sign_in;
mod status;
mod task;
pub(crate) mod task_answer;
mod task_artifacts;
mod task_diff;
mod task_home;
mod task_installed;
mod task_prompt;
mod task_publish;
mod task_show;
mod task_update;
mod trash;

use std::process::ExitCode;

use clap::CommandFactory as _;
use model::problem::Problem;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::args::{Arguments, Command, ConfigCommand};
use crate::printer;
use crate::server::{config, ensure};

/// Runs the command.
pub(crate) async fn run(arguments: Arguments) -> Result<ExitCode, Problem> {
    if let Command::Serve(serve) = &arguments.command {
        return serve::run(&arguments, serve).await;
    }
    log_plainly();
    Box::pin(answer(&arguments)).await
}

/// Runs any command except `serve`.
pub(crate) async fn answer(arguments: &Arguments) -> Result<ExitCode, Problem> {
    match &arguments.command {
        Command::Completions { shell } => {
            let mut script = vec![];
            clap_complete::generate(*shell, &mut Arguments::command(), "codex-orchestrator", &mut script);
            printer::bytes(&script);
            Ok(ExitCode::SUCCESS)
        }
        Command::Man(man) => man::run(man),
        Command::Config(ConfigCommand::Sample) => {
            printer::bytes(config::sample().as_bytes());
            Ok(ExitCode::SUCCESS)
        }
        Command::Demo(demo) => demo::run(arguments, demo).await,
        Command::Down => down::run(&config(arguments)?, arguments.format()).await,
        Command::Doctor => doctor::run(&config(arguments)?, arguments.format()).await,
        Command::Login(login) => login::login(&config(arguments)?, login, arguments.format()).await,
        Command::Logout => login::logout(&config(arguments)?, arguments.format()),
        Command::Service(command) => service::run(arguments, command).await,
        Command::SignIn { address } => {
            sign_in::run(&ensure(&config(arguments)?).await?.0, address.as_deref(), arguments.format()).await
        }
        Command::Password(command) => password::run(&ensure(&config(arguments)?).await?.0, command).await,
        Command::Up { ca_file } => status::up(&config(arguments)?, ca_file.as_deref(), arguments.format()).await,
        Command::Status => status::status(&ensure(&config(arguments)?).await?.0, arguments.format()).await,
        Command::Env(command) => env::run(&ensure(&config(arguments)?).await?.0, command, arguments.format()).await,
        Command::Task(command) => task::run(&ensure(&config(arguments)?).await?.0, command, arguments.format()).await,
        Command::Trash => trash::list(&ensure(&config(arguments)?).await?.0, arguments.format()).await,
        Command::Gc(gc) => trash::collect(&ensure(&config(arguments)?).await?.0, gc, arguments.format()).await,
        Command::Disk => trash::disk(&ensure(&config(arguments)?).await?.0, arguments.format()).await,
        Command::Queue => queue::run(&ensure(&config(arguments)?).await?.0, arguments.format()).await,
        // `serve` is handled above, and `codex-docker` in `main`.
        Command::Serve(_) | Command::CodexDocker { .. } => Ok(ExitCode::SUCCESS),
    }
}

/// Logs warnings to stderr as plain lines. `ORCH_LOG` can set another level.
pub(crate) fn log_plainly() {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(log_filter(LevelFilter::WARN)).with(lines).init();
}

/// Returns the filter in `ORCH_LOG`, e.g. `debug` or `info,engine=trace`. If it is unset or invalid, returns the default level.
pub(crate) fn log_filter(default: LevelFilter) -> Targets {
    filter_from(std::env::var("ORCH_LOG").ok().as_deref(), default)
}

fn filter_from(wanted: Option<&str>, default: LevelFilter) -> Targets {
    let wanted = wanted.filter(|text| !text.is_empty()).and_then(|text| text.parse().ok());
    wanted.unwrap_or_else(|| Targets::new().with_default(default))
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    #[test]
    fn a_log_level_may_differ_by_crate_and_falls_back_to_the_default() {
        let check = |wanted, target, level, expect| {
            let filter = filter_from(wanted, LevelFilter::WARN);
            assert_eq!(filter.would_enable(target, &level), expect, "{wanted:?} {target} {level}");
        };
        check(Some("debug"), "engine", Level::DEBUG, true);
        check(Some("info,engine=trace"), "engine::admission", Level::TRACE, true);
        check(Some("info,engine=trace"), "web", Level::DEBUG, false);
        for unusable in [None, Some(""), Some("engine=loud")] {
            check(unusable, "engine", Level::WARN, true);
            check(unusable, "engine", Level::INFO, false);
        }
    }
}
