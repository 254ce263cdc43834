//! The project's development commands: `cargo xtask <command>`.
//!
//! Each command has its own file. The commands start programs and read files of this repository. They are not part of the product, and
//! no crate depends on them.

mod book;
mod chaos;
mod codex;
mod compiler;
mod console;
mod diagram;
mod docker;
mod docs;
mod fuzz;
mod long;
mod openapi;
mod packages;
mod projects;
mod schemathesis;
mod screenshots;
mod test;
mod texts;
mod tidy;
mod tools;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
Run a development command of this project.

Usage: cargo xtask <command>

  test [-- ARGUMENTS]     Install what the tests need, then run all checks and tests
                          ARGUMENTS are passed to the test runner, e.g. `-- -p engine keeper`
  codex VERSION           Run the contract tests with any published version of the Codex CLI,
                          and show how it differs from the pinned version
  schemathesis            Send generated requests to the HTTP API, and compare the answers with docs/openapi.json
  chaos [SEED] [KILLS]    Subject a server to random kills and faults (disk, network, clock), then report what was lost
                          Defaults: a new seed, 250 kills
  chaos --containers [SEED] [KILLS]
                          Run the same test with the real Codex CLI in containers, and also kill the containers and their engine
  chaos --power [--fs ext4|xfs|btrfs] [SEED] [CUTS]
                          Cut the power of the disk at random moments, on one file system or on all three
                          Defaults: a new seed, 200 cuts on each file system; requires root
  chaos --runner [SEED] [STORMS]
                          Kill servers whose runs execute elsewhere, at a fake runner that loses requests and answers
                          Defaults: a new seed, 100 storms
  long [TEST...]          Run the tests that take hours, and print their results with the commit
                          Tests: kills, containers, power, runner, fuzz, api, projects; default: all of them
  projects                Build and test published projects in tasks, and measure what that costs
  screenshots             Take the screenshots for the README in Chromium
  book                    Build the documentation as a website in target/book with mdBook
  fuzz [TARGET] [--seconds N] [--merge]
                          Search for inputs that make a parser fail, with one fuzz target or all of them
                          --merge adds new inputs to the corpus in fuzz/corpus
                          Default: 1 second for each target, with a build that is not optimized
  tidy                    Check the project's own rules for source files and documents
  docs                    Regenerate all documents that are generated from the code
  openapi                 Regenerate docs/openapi.json
  diagram                 Regenerate docs/images/architecture.svg
  words [PATH...]         List patterns that the writing guide rejects, in all texts or only below PATH
  sentences [SEED] [COUNT]
                          Draw sentences at random from all kinds of text, to judge how natural they sound
                          Defaults: seed 7, 160 sentences
";

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
enum CommandError {
    #[error(transparent)]
    Book(#[from] book::BookError),
    #[error("unknown command `{0}`\n\n{USAGE}")]
    Unknown(String),
    #[error("the chaos test failed or could not start: {0}")]
    Chaos(console::StepError),
    #[error("invalid number `{0}`\nhint: use a whole number")]
    NoNumber(String),
    #[error("invalid file system `{0}`\nhint: use ext4, xfs or btrfs")]
    UnknownFileSystem(String),
    #[error("unexpected argument `{0}`\nhint: `chaos` accepts a seed and a number of kills or cuts")]
    OneTooMany(u64),
    #[error("could not generate the documents: {0}")]
    Docs(console::StepError),
    #[error("could not write docs/openapi.json: {0}")]
    OpenApi(#[from] console::StepError),
    #[error("the API does not match docs/openapi.json, or the check could not start: {0}")]
    Schemathesis(console::StepError),
    #[error("a published project failed, or the benchmark could not start: {0}")]
    Projects(console::StepError),
    #[error("could not take the screenshots: {0}")]
    Screenshots(console::StepError),
    #[error("specify a version of Codex\nhint: cargo xtask codex 0.75.0")]
    NoVersion,
    #[error(transparent)]
    Fuzz(#[from] fuzz::FuzzError),
    #[error(transparent)]
    Long(#[from] long::LongError),
    #[error(transparent)]
    Diagram(#[from] diagram::DiagramError),
    #[error(transparent)]
    Codex(#[from] codex::CodexError),
    #[error(transparent)]
    Compiler(#[from] compiler::CompilerError),
    #[error(transparent)]
    Packages(#[from] packages::PackagesError),
    #[error(transparent)]
    Test(#[from] test::TestError),
    #[error(transparent)]
    Texts(#[from] texts::ReadError),
    #[error("found {0} rejected patterns")]
    Words(usize),
    #[error(transparent)]
    Tidy(#[from] tidy::TidyError),
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            console::complain(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<(), CommandError> {
    match arguments {
        [] => console::say(USAGE.trim_end()),
        [flag] if flag == "--help" || flag == "-h" => console::say(USAGE.trim_end()),
        _ if compiler::is_called_by_cargo(arguments) => compiler::run(arguments)?,
        [command] if command == "test" => test::run(root(), &[])?,
        [command, dashes, rest @ ..] if command == "test" && dashes == "--" => test::run(root(), rest)?,
        [command] if command == "codex" => return Err(CommandError::NoVersion),
        [command, version] if command == "codex" => codex::run(root(), version)?,
        [command] if command == "schemathesis" => schemathesis::run(root()).map_err(CommandError::Schemathesis)?,
        [command, rest @ ..] if command == "chaos" && rest.len() <= 5 => chaos::run(root(), rest)?,
        [command, tests @ ..] if command == "long" => long::run(root(), tests)?,
        [command, rest @ ..] if command == "fuzz" => fuzz::run(root(), &fuzz::FuzzArguments::parse(rest)?)?,
        [command] if command == "docs" => {
            docs::run(root()).map_err(CommandError::Docs)?;
            diagram::run(root())?;
        }
        [command] if command == "projects" => projects::run(root()).map_err(CommandError::Projects)?,
        [command] if command == "openapi" => openapi::run(root())?,
        [command] if command == "diagram" => diagram::run(root())?,
        [command] if command == "screenshots" => screenshots::run(root()).map_err(CommandError::Screenshots)?,
        [command] if command == "book" => book::run(root())?,
        [command] if command == "tidy" => tidy::run(root())?,
        [command, paths @ ..] if command == "words" => words(paths)?,
        [command] if command == "sentences" => sentences(7, 160)?,
        [command, seed] if command == "sentences" => sentences(number(seed)?, 160)?,
        [command, seed, count] if command == "sentences" => sentences(number(seed)?, number(count)?)?,
        other => return Err(CommandError::Unknown(other.join(" "))),
    }
    Ok(())
}

/// Lists the rejected patterns below `paths`, which are relative to the root of the repository.
fn words(paths: &[String]) -> Result<(), CommandError> {
    let folders = if paths.is_empty() { vec![root().to_owned()] } else { paths.iter().map(|path| root().join(path)).collect() };
    let mut texts = Vec::new();
    for folder in folders {
        texts.extend(texts::collect(root(), &folder)?);
    }
    let complaints = texts::complaints(&texts);
    for complaint in &complaints {
        console::say(complaint);
    }
    if complaints.is_empty() { Ok(()) } else { Err(CommandError::Words(complaints.len())) }
}

/// Prints a sample of sentences.
fn sentences(seed: u64, count: usize) -> Result<(), CommandError> {
    let texts = texts::collect(root(), root())?;
    console::say(texts::sample(&texts, seed, count).trim_start());
    Ok(())
}

fn number<N: std::str::FromStr>(argument: &str) -> Result<N, CommandError> {
    argument.parse().map_err(|_| CommandError::NoNumber(argument.to_owned()))
}

/// Returns the root of this repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate is in a folder of the repository")
}

#[cfg(test)]
mod tests {
    use super::USAGE;

    #[test]
    fn the_usage_text_reads_as_reviewed() {
        insta::assert_snapshot!("usage", USAGE);
    }
}
