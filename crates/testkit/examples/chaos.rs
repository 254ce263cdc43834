//! Runs a chaos test from the command line: `chaos BINARY SEED KILLS [containers]`, or `chaos BINARY SEED CUTS ext4|xfs|btrfs` with
//! power cuts. Prints a report and fails if there are violations. `cargo xtask chaos` builds the program first and chooses a seed if
//! none is given.

use std::process::ExitCode;

use testkit::chaos::{Agent, Storm};

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the output is for the person who runs the example")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (binary, seed, kills, agent, power) = match &arguments[..] {
        [binary, seed, kills] => (binary, seed, kills, Agent::Script, None),
        [binary, seed, kills, word] if word == "containers" => (binary, seed, kills, Agent::Codex, None),
        [binary, seed, kills, word] => match word.parse() {
            Ok(kind) => (binary, seed, kills, Agent::Script, Some(kind)),
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        },
        _ => {
            eprintln!("usage: chaos BINARY SEED KILLS [containers|ext4|xfs|btrfs]");
            return ExitCode::from(2);
        }
    };
    let (Ok(seed), Ok(kills)) = (seed.parse(), kills.parse()) else {
        eprintln!("error: SEED and KILLS must be numbers");
        return ExitCode::from(2);
    };
    let is_root = rustix::process::geteuid().is_root();
    let with_disk = agent == Agent::Script && power.is_none() && is_root;
    let own_engine = agent == Agent::Codex && is_root;
    let kills_a_round = match (agent, power) {
        (Agent::Script, None) => 50,
        (Agent::Script, Some(_)) => 10,
        (Agent::Codex, _) => 15,
    };
    let storm = Storm { binary: binary.clone(), seed, agent, kills, kills_a_round, power, with_disk, own_engine };
    let account = storm.rage().await;
    println!("{account}");
    if account.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
