//! `codex-orchestrator`: run coding tasks with the Codex CLI in the background.
//!
//! Most commands are clients of the HTTP API. They connect to the socket in the home directory and start a server if none is running.
//! Commands such as `serve`, `demo`, `doctor`, `down`, `login`, `service` and `completions` do not need a running server. The keeper and
//! `codex-docker` are also part of this binary. They are dispatched first, so that they use little memory.

mod args;
mod commands;
mod diff_lines;
mod follow;
mod hidden;
mod ids;
mod images;
mod live;
mod output;
mod printer;
mod progress;
mod reference;
mod server;
mod supervisor;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use model::ErrorCode;
use model::problem::Problem;

/// The second name of this program: the name of a link to it, or its first argument.
const CODEX_DOCKER: &str = "codex-docker";

fn main() -> ExitCode {
    if let Some(arguments) = for_codex_docker(std::env::args_os().collect()) {
        return codex_docker::main(arguments);
    }
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "keeper")
        && let Some(order) = arguments.next()
    {
        commands::log_plainly();
        return runner::keeper::main(order.as_ref());
    }
    let arguments = args::Arguments::parse();
    if let args::Command::CodexDocker { arguments } = arguments.command {
        return codex_docker::main(arguments);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Problem::internal(format!("could not start threads: {error}"))),
    };
    let passes_stdin = arguments.command.passes_stdin();
    let ended = runtime.block_on(commands::run(arguments));
    if passes_stdin {
        // A thread may still be blocked in a read of stdin, which cannot be canceled.
        runtime.shutdown_background();
    }
    ended.unwrap_or_else(|problem| fail(&problem))
}

/// Returns the arguments for `codex-docker` if the program or its first argument has that name.
fn for_codex_docker(mut all: Vec<OsString>) -> Option<Vec<OsString>> {
    let is_name = |word: &OsString| Path::new(word).file_name().is_some_and(|name| name == CODEX_DOCKER);
    let skipped = match all.as_slice() {
        [program, ..] if is_name(program) => 1,
        [_, first, ..] if first == CODEX_DOCKER => 2,
        _ => return None,
    };
    Some(all.split_off(skipped))
}

fn fail(problem: &Problem) -> ExitCode {
    printer::problem(problem);
    ExitCode::from(problem.report.code.known().map_or(1, ErrorCode::exit_code))
}
