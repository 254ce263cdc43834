//! The project's chores: `cargo xtask <chore>`.
//!
//! One file per chore. It starts programs and reads files of this repository; it is never part of the product, and no crate
//! depends on it.

mod chaos;
mod console;
mod docker;
mod openapi;
mod packages;
mod screenshots;
mod test;
mod tidy;
mod tools;

use std::path::Path;
use std::process::ExitCode;

const USAGE: &str = "\
Chores of this project. Usage: cargo xtask <chore>

  test [-- <arguments>]   install what the tests need, run every check and every test;
                          the arguments go to the test runner (`-- -p engine keeper`)
  chaos [SEED] [KILLS]    let a storm rage over a real server: random kills, troubled disks, remotes, clocks; its account says
                          what was lost (a new seed and 250 kills where they are not given)
  chaos --containers [SEED] [KILLS]
                          the same with the real Codex CLI in real containers, of which some are killed too, in an engine of its
                          own, which is killed as well
  chaos --power [--fs ext4|xfs|btrfs] [SEED] [CUTS]
                          cut the power of the home's disk at random moments, on one file system or on all three in turn
                          (200 cuts on each if no number is given); needs root
  screenshots             take pictures of the main pages for the README, in a real Chromium
  tidy                    check the project's own rules about its files
  openapi                 write docs/openapi.json anew from the code
";

/// Why a chore was not done.
#[derive(Debug, thiserror::Error)]
enum ChoreError {
    #[error("there is no chore `{0}`\n\n{USAGE}")]
    Unknown(String),
    #[error("the storm lost something, or could not begin: {0}")]
    Chaos(console::StepError),
    #[error("a seed and a number of kills are numbers, and `{0}` is none")]
    NoNumber(String),
    #[error("invalid file system `{0}`\nhint: use ext4, xfs or btrfs")]
    UnknownFileSystem(String),
    #[error("a storm takes a seed and a number of kills, and `{0}` is one too many")]
    OneTooMany(u64),
    #[error("docs/openapi.json was not written: {0}")]
    OpenApi(#[from] console::StepError),
    #[error("the pictures were not taken: {0}")]
    Screenshots(console::StepError),
    #[error(transparent)]
    Packages(#[from] packages::PackagesError),
    #[error(transparent)]
    Test(#[from] test::TestError),
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

fn run(arguments: &[String]) -> Result<(), ChoreError> {
    match arguments {
        [] => console::say(USAGE.trim_end()),
        [flag] if flag == "--help" || flag == "-h" => console::say(USAGE.trim_end()),
        [chore] if chore == "test" => test::run(root(), &[])?,
        [chore, dashes, rest @ ..] if chore == "test" && dashes == "--" => test::run(root(), rest)?,
        [chore, rest @ ..] if chore == "chaos" && rest.len() <= 5 => chaos::run(root(), rest)?,
        [chore] if chore == "openapi" => openapi::run(root())?,
        [chore] if chore == "screenshots" => screenshots::run(root()).map_err(ChoreError::Screenshots)?,
        [chore] if chore == "tidy" => tidy::run(root())?,
        other => return Err(ChoreError::Unknown(other.join(" "))),
    }
    Ok(())
}

/// The root of this repository.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the chores live in a folder of the repository")
}
