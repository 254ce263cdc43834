//! `codex-orchestrator`: hand coding tasks to the Codex CLI and walk away.
//!
//! Every command but `serve`, `demo`, `doctor` and `completions` is a client of the HTTP API over the home's socket, and starts
//! a server where none runs. A keeper is this program too, dispatched before anything else so that it stays small.

mod args;
mod client;
mod codex_version;
mod commands;
mod follow;
mod ids;
mod printer;
mod progress;
mod server;
mod sse;

use std::process::ExitCode;

use clap::Parser as _;
use model::problem::Problem;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == "keeper")
        && let Some(order) = arguments.next()
    {
        commands::log_plainly();
        return engine::keeper::main(order.as_ref());
    }
    let arguments = args::Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Problem::internal(format!("no threads to work with: {error}"))),
    };
    match runtime.block_on(commands::run(arguments)) {
        Ok(code) => code,
        Err(problem) => fail(&problem),
    }
}

fn fail(problem: &Problem) -> ExitCode {
    printer::problem(problem);
    if problem.code == commands::USAGE { ExitCode::from(2) } else { ExitCode::FAILURE }
}
