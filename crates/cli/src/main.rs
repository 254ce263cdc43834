//! `codex-orchestrator`: hand coding tasks to the Codex CLI and walk away.
//!
//! Every command but `serve`, `demo`, `doctor`, `down` and `completions` is a client of the HTTP API over the home's socket, and
//! starts a server where none runs. A keeper is this program too, and so is `codex-docker`: both are dispatched before anything else,
//! so that they stay small.

mod args;
mod client;
mod commands;
mod diff_lines;
mod follow;
mod hidden;
mod ids;
mod images;
mod output;
mod printer;
mod progress;
#[cfg(test)]
mod reference;
#[cfg(test)]
mod samples;
mod server;
mod sse;
mod supervisor;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser as _;
use model::problem::Problem;

/// The other name of this program: a link to it, or its first argument.
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
        return engine::keeper::main(order.as_ref());
    }
    let arguments = args::Arguments::parse();
    if let args::Command::CodexDocker { arguments } = arguments.command {
        return codex_docker::main(arguments);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&Problem::internal(format!("no threads to work with: {error}"))),
    };
    match runtime.block_on(commands::run(arguments)) {
        Ok(code) => code,
        Err(problem) => fail(&problem),
    }
}

/// What this program is to do as `codex-docker`: under that name, or with it as the first argument.
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
    if problem.code == commands::USAGE { ExitCode::from(2) } else { ExitCode::FAILURE }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dispatched(words: &[&str]) -> Option<Vec<String>> {
        let arguments = for_codex_docker(words.iter().map(OsString::from).collect())?;
        Some(arguments.into_iter().map(|word| word.into_string().expect("text")).collect())
    }

    #[test]
    fn one_program_answers_to_two_names() {
        for words in
            [&["codex-docker", "exec", "-"][..], &["/usr/bin/codex-docker", "exec", "-"], &["orch", "codex-docker", "exec", "-"]]
        {
            assert_eq!(dispatched(words).expect("it is codex-docker"), ["exec", "-"]);
        }
        assert_eq!(dispatched(&["codex-docker"]).expect("at a terminal"), Vec::<String>::new());
        assert_eq!(dispatched(&["codex-docker", "codex-docker"]).expect("Codex's own word"), ["codex-docker"]);
        for words in [&["orch"][..], &["orch", "status"], &["orch", "task", "codex-docker"], &[]] {
            assert_eq!(dispatched(words), None, "{words:?}");
        }
    }
}
