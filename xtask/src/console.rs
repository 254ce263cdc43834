//! Prints the messages of the commands and the duration of each step.
//!
//! A step is a command whose output is passed through unchanged. The caller decides what follows from its result.

use std::io::{self, Write};
use std::process::Command;
use std::time::{Duration, Instant};

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StepError {
    #[error("could not start `{program}`")]
    Start {
        program: String,
        #[source]
        source: io::Error,
    },
    #[error("`{program}` failed with {status}")]
    Failed { program: String, status: std::process::ExitStatus },
    #[error("could not read the sources")]
    Sources(#[from] io::Error),
}

/// Prints a line to stdout. A closed stdout is not an error.
pub(crate) fn say(text: &str) {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).ok();
}

/// Prints a line to stderr.
pub(crate) fn complain(text: &str) {
    writeln!(io::stderr(), "{text}").ok();
}

/// Prints the name of a step, performs it, and prints its result and duration.
pub(crate) fn timed<T, E>(name: &str, work: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    say(&format!("==> {name}"));
    let began = Instant::now();
    let result = work();
    let outcome = if result.is_ok() { "ok" } else { "FAILED" };
    say(&format!("    {name}: {outcome} ({})", spoken(began.elapsed())));
    result
}

/// Runs a command and waits until it ends. The command writes to the output of this process.
pub(crate) fn run(command: &mut Command) -> Result<(), StepError> {
    let program = command.get_program().to_string_lossy().into_owned();
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(StepError::Failed { program, status }),
        Err(source) => Err(StepError::Start { program, source }),
    }
}

/// Formats a duration for people.
pub(crate) fn spoken(duration: Duration) -> String {
    let seconds = duration.as_secs();
    if seconds < 60 { format!("{:.1} s", duration.as_secs_f64()) } else { format!("{} min {:02} s", seconds / 60, seconds % 60) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_said_as_people_say_them() {
        let check = |millis, expect: &str| assert_eq!(spoken(Duration::from_millis(millis)), expect);
        check(0, "0.0 s");
        check(1_249, "1.2 s");
        check(60_000, "1 min 00 s");
        check(754_900, "12 min 34 s");
    }

    #[test]
    fn a_step_that_fails_says_which_program_and_how() {
        let said = |program: &str| run(&mut Command::new(program)).map_err(|error| error.to_string());
        assert_eq!(said("true"), Ok(()));
        assert_eq!(said("false"), Err("`false` failed with exit status: 1".to_owned()));
        assert_eq!(said("no-such-program"), Err("could not start `no-such-program`".to_owned()));
    }
}
