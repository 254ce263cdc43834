//! A storm by hand: `chaos BINARY SEED KILLS`. It prints its account, and fails when something is wrong.
//! `cargo xtask chaos` builds the program first, and chooses a seed where none is given.

use std::process::ExitCode;

use testkit::chaos::Storm;

#[tokio::main]
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a person called it and reads what it prints")]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [binary, seed, kills] = &arguments[..] else {
        eprintln!("usage: chaos BINARY SEED KILLS");
        return ExitCode::from(2);
    };
    let (Ok(seed), Ok(kills)) = (seed.parse(), kills.parse()) else {
        eprintln!("a seed and a number of kills are numbers");
        return ExitCode::from(2);
    };
    let with_disk = rustix::process::geteuid().is_root();
    let storm = Storm { binary: binary.clone(), seed, kills, kills_a_round: 50, with_disk };
    let account = storm.rage().await;
    println!("{account}");
    if account.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
