//! Runs Codex in a container. Only this crate uses the API of a container engine.
//!
//! This is the default worker of the orchestrator, which starts it as a program, and a command for use in any repository. Stdout
//! carries only Codex's output or the result of a command. See `docs/codex-docker.md`.

mod agent_note;
mod args;
mod check;
mod codex_config;
pub mod connect;
mod disk;
pub mod failure;
mod folder;
mod give_back;
mod harvest;
mod housekeeping;
pub mod image;
mod inside;
mod keep;
mod labels;
mod layers;
mod ledger;
mod network;
mod one_shot;
mod package_managers;
pub mod proxy;
mod remains;
mod run;
mod seccomp;
mod services;
pub mod settings;
mod setup;
mod slots;
mod spec;
#[cfg(test)]
mod tests;

use model::ErrorCode;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use self::args::{ParsedArguments, Verb};
use self::connect::connect;
use self::failure::{EXIT_FAILED, Failure};
use self::run::Program;
use self::settings::Caller;

/// Runs the program with these arguments (without the program's name) and returns its exit code.
pub fn main(arguments: Vec<OsString>) -> ExitCode {
    let asked = match args::read(arguments) {
        ParsedArguments::Said(said) => {
            // If stdout is closed, there is nowhere to report the error.
            drop(said.print());
            return ExitCode::from(u8::try_from(said.exit_code()).unwrap_or(EXIT_FAILED));
        }
        asked => asked,
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Failure::new(ErrorCode::NoThreads, format!("could not start threads: {error}"))),
    };
    let ended = runtime.block_on(perform(asked));
    // A thread may still be blocked in a read of stdin, which cannot be canceled.
    runtime.shutdown_background();
    ended.map_or_else(|failure| fail(&failure), ExitCode::from)
}

/// Returns the definition of the command line, from which its documentation is generated.
pub fn command() -> clap::Command {
    <args::OwnArguments as clap::CommandFactory>::command()
}

/// Runs a program, or a login shell if there is none, in the container that these variables describe. `folder` takes the place of the
/// current folder, and the program starts in `start` below it. Returns the exit code.
pub async fn shell(
    mut environment: BTreeMap<String, String>,
    folder: PathBuf,
    start: Option<String>,
    command: &[String],
) -> Result<u8, Failure> {
    // They describe the terminal of this process.
    environment.extend(self::environment().into_iter().filter(|(name, _)| settings::COMMON.contains(&name.as_str())));
    run::run(&environment, caller_in(folder), Program::Shell { start: start.unwrap_or_default() }, command).await
}

async fn perform(asked: ParsedArguments) -> Result<u8, Failure> {
    let environment = environment();
    let own = match asked {
        ParsedArguments::Codex(arguments) => return run::run(&environment, caller()?, Program::Codex, &arguments).await,
        ParsedArguments::Own(own) => own,
        ParsedArguments::Said(_) => return Ok(EXIT_FAILED),
    };
    match own.verb {
        Verb::Shell { cd, command } => {
            return run::run(&environment, caller()?, Program::Shell { start: cd.unwrap_or_default() }, &command).await;
        }
        Verb::List { json, labels } => {
            let root = settings::state_root(&environment)?;
            let found = housekeeping::list(&connect(&environment).await?, &root, &labels.into_iter().collect()).await?;
            if json {
                answer(&json_of(&found)?);
            } else {
                for listed in found {
                    answer(&format!("{}\t{}\t{}\t{}", listed.name, listed.state, listed.holder(), listed.image));
                }
            }
        }
        Verb::Stop { name, variable } => {
            let docker = connect(&environment).await?;
            let ended = match variable {
                None => housekeeping::stop(&docker, &name).await?,
                Some((key, value)) => housekeeping::end_by_variable(&docker, &name, &format!("{key}={value}")).await?,
            };
            if !ended {
                say(&format!("container `{name}` not found; nothing to stop"));
            }
        }
        Verb::Reap { labels, if_reachable } => {
            let docker = match connect(&environment).await {
                Err(failure) if if_reachable => {
                    say(&format!("could not look for orphaned containers: {failure}"));
                    return Ok(0);
                }
                connected => connected?,
            };
            housekeeping::reap(&docker, &environment, &labels.into_iter().collect()).await?;
        }
        Verb::Check { json, image, layers_in } => {
            let checked = check::check(&environment, &image, layers_in.as_deref()).await;
            if json {
                answer(&json_of(&checked)?);
            } else {
                say_checked(&checked, &image);
            }
            return Ok(u8::from(!checked.usable));
        }
        Verb::GiveBack(arguments) => give_back::folder(&environment, &caller()?, &arguments).await?,
        Verb::Harvest(arguments) => return harvest::harvest(&environment, &arguments).await,
        Verb::Setup(arguments) => return setup::setup(&environment, caller()?, &arguments).await,
        Verb::Kept { command } => keep::run(&connect(&environment).await?, command).await?,
        Verb::Image { command } => {
            command.check()?;
            image::run(&connect(&environment).await?, command).await?;
        }
    }
    Ok(0)
}

fn say_checked(checked: &check::CheckReport, image: &str) {
    for line in checked.lines(image) {
        answer(&line);
    }
    for line in checked.problem_lines() {
        say(&line);
    }
}

/// Returns the environment of this process, without variables that are not UTF-8, which no setting uses.
#[expect(clippy::disallowed_methods, reason = "only this function reads the environment")]
fn environment() -> BTreeMap<String, String> {
    std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?))).collect()
}

fn caller() -> Result<Caller, Failure> {
    let folder = std::env::current_dir().map_err(|error| {
        Failure::new(ErrorCode::NoFolder, format!("cannot use the current folder: {error}"))
            .hint("change to a folder that exists")
    })?;
    Ok(caller_in(folder))
}

fn caller_in(folder: PathBuf) -> Caller {
    Caller { folder, uid: rustix::process::getuid().as_raw(), gid: rustix::process::getgid().as_raw() }
}

fn json_of(answer: &impl serde::Serialize) -> Result<String, Failure> {
    serde_json::to_string(answer).map_err(|error| Failure::new(ErrorCode::Internal, error.to_string()))
}

/// Prints a line on stdout. It is not an error if the reader has closed the pipe.
fn answer(line: &str) {
    drop(writeln!(std::io::stdout(), "{line}"));
}

/// Prints a line on stderr, with a prefix that distinguishes it from Codex's output.
pub(crate) fn say(line: &str) {
    drop(writeln!(std::io::stderr(), "codex-docker: {line}"));
}

fn fail(failure: &Failure) -> ExitCode {
    // If stderr is closed, there is nowhere to report the error.
    drop(write!(std::io::stderr(), "{}", report(failure)));
    ExitCode::from(EXIT_FAILED)
}

/// Formats a failure as text: the message, and a line for each hint.
fn report(failure: &Failure) -> String {
    let hints = failure.hints.iter().map(|hint| format!("  hint: {hint}\n"));
    format!("error: {}\n{}", failure.message, hints.collect::<String>())
}
