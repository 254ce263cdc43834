//! Collects the commands of all runs of a task.

use std::collections::BTreeSet;

use printable::printable_line;
use serde::{Deserialize, Serialize};

use super::find::{FoundCommand, FoundInstall, found_in};
use super::programs::Effect;
use super::reason::LeftOutInstallReason;
use crate::codex::item::CommandExecution;
use crate::codex::shell::unwrap_shell;
use crate::ids::RunNumber;

/// The maximum number of proposed commands.
const MOST_COMMANDS: usize = 100;

/// The maximum number of commands that are listed without being proposed.
const MOST_LEFT_OUT: usize = 100;

/// The maximum length of a command that is listed without being proposed, in characters.
const SHOWN_CHARS: usize = 200;

/// A command with which an agent installed something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstallCommand {
    /// The first run that contains it.
    pub run: RunNumber,
    /// The command. It starts in the top-level folder of the repository.
    pub command: String,
    /// Whether it certainly succeeded. False if the exit code was that of another command, as in `npm ci | tail`.
    pub verified: bool,
}

/// A command that probably installed something, but is not proposed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct LeftOutInstall {
    /// Number of the run.
    #[schema(value_type = u32, minimum = 1)]
    pub run: RunNumber,
    /// The start of the command, without invisible characters.
    pub command: String,
    /// Why it is not proposed.
    pub reason: LeftOutInstallReason,
}

/// The commands with which agents installed things, in the order in which they ran.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Installs {
    /// Commands that a setup can run. Each one is listed once.
    pub commands: Vec<InstallCommand>,
    /// Commands that are not proposed. Each one is listed once.
    pub left_out: Vec<LeftOutInstall>,
    /// The number of further commands that are not proposed.
    pub more_left_out: u64,
}

impl Installs {
    /// Adds a command of a run, in the form in which Codex reports it. A command that failed has no effect.
    pub fn observe(&mut self, run: RunNumber, command: &CommandExecution) {
        if command.exit_code == Some(0) && command.ok() == Some(true) {
            for found in found_in(&unwrap_shell(&command.command)) {
                match found {
                    FoundCommand::Install(FoundInstall { command, verified, .. }) => {
                        self.propose(InstallCommand { run, command, verified });
                    }
                    FoundCommand::LeftOut(command, reason) => self.leave_out(run, &command, reason),
                }
            }
        }
    }

    fn propose(&mut self, found: InstallCommand) {
        if let Some(known) = self.commands.iter_mut().find(|known| known.command == found.command) {
            known.verified |= found.verified;
        } else if self.commands.len() < MOST_COMMANDS {
            self.commands.push(found);
        } else {
            self.leave_out(found.run, &found.command, LeftOutInstallReason::TooMany);
        }
    }

    fn leave_out(&mut self, run: RunNumber, command: &str, reason: LeftOutInstallReason) {
        let command = printable_line(command, SHOWN_CHARS);
        if self.left_out.iter().any(|known| known.command == command && known.reason == reason) {
            return;
        }
        if self.left_out.len() < MOST_LEFT_OUT {
            self.left_out.push(LeftOutInstall { run, command, reason });
        } else {
            self.more_left_out += 1;
        }
    }
}

/// Whether a command of an agent installed something that can be proposed.
pub(in crate::codex) fn is_install(command: &CommandExecution) -> bool {
    let mut found = Installs::default();
    found.observe(RunNumber::FIRST, command);
    !missing_installs("", &found.commands).is_empty()
}

/// Returns the commands that a setup script does not contain yet. Updating the list of the system's packages is only missing if an
/// installation of such packages is.
pub fn missing_installs<'a>(script: &str, commands: &'a [InstallCommand]) -> Vec<&'a str> {
    let mut known: BTreeSet<String> = script.lines().map(|line| line.trim().to_owned()).collect();
    known.extend(found_in(script).into_iter().filter_map(|found| match found {
        FoundCommand::Install(install) => Some(install.command),
        FoundCommand::LeftOut(..) => None,
    }));
    let missing: Vec<_> = commands.iter().map(|it| it.command.as_str()).filter(|command| !known.contains(*command)).collect();
    let is = |command: &str, expect: Effect| {
        found_in(command).iter().any(|found| matches!(found, FoundCommand::Install(install) if install.effect == expect))
    };
    let has_packages = missing.iter().any(|command| is(command, Effect::SystemInstall));
    missing.into_iter().filter(|command| has_packages || !is(command, Effect::Refresh)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codex::item::ItemStatus;

    fn ran(command: &str, exit_code: Option<i64>) -> CommandExecution {
        let status = if exit_code == Some(0) { ItemStatus::Completed } else { ItemStatus::Failed };
        CommandExecution { command: command.to_owned(), aggregated_output: String::new(), exit_code, status }
    }

    fn installs(commands: &[(u32, &str)]) -> Installs {
        let mut installs = Installs::default();
        for (run, command) in commands {
            installs.observe(RunNumber(*run), &ran(command, Some(0)));
        }
        installs
    }

    fn texts(installs: &Installs) -> Vec<(u32, &str)> {
        installs.commands.iter().map(|found| (found.run.0, found.command.as_str())).collect()
    }

    #[test]
    fn each_command_is_listed_once_in_the_order_of_the_runs() {
        let found = installs(&[
            (1, "/bin/bash -lc 'apt-get update && apt-get install -y jq'"),
            (1, "/bin/bash -lc 'npm ci | tail -1'"),
            (2, "/bin/bash -lc 'apt-get update && apt-get install -y ripgrep'"),
            (2, "/bin/bash -lc 'npm ci'"),
            (3, "/bin/bash -lc 'npm install x'"),
            (3, "/bin/bash -lc 'npm install x'"),
        ]);
        let expect = [(1, "apt-get update"), (1, "apt-get install -y jq"), (1, "npm ci"), (2, "apt-get install -y ripgrep")];
        assert_eq!(texts(&found), expect);
        assert!(found.commands.iter().all(|found| found.verified), "a later run shows that `npm ci` succeeds");
        assert_eq!((found.left_out.len(), found.more_left_out), (1, 0));
    }

    #[test]
    fn only_commands_that_succeeded_are_found() {
        let mut installs = Installs::default();
        for exit_code in [None, Some(1), Some(-1)] {
            installs.observe(RunNumber::FIRST, &ran("npm ci", exit_code));
        }
        let declined = CommandExecution { status: ItemStatus::Declined, ..ran("npm ci", Some(0)) };
        installs.observe(RunNumber::FIRST, &declined);
        assert_eq!(installs, Installs::default());
    }

    #[test]
    fn the_result_has_a_limited_size() {
        let many: Vec<_> = (0..MOST_COMMANDS + MOST_LEFT_OUT + 5).map(|number| format!("pip install x{number}")).collect();
        let found = installs(&many.iter().map(|command| (1, command.as_str())).collect::<Vec<_>>());
        assert_eq!((found.commands.len(), found.left_out.len(), found.more_left_out), (MOST_COMMANDS, MOST_LEFT_OUT, 5));
        assert_eq!(found.left_out[0].reason, LeftOutInstallReason::TooMany);
        let hidden = installs(&[(1, &format!("pip install '\u{1b}[2J\u{202e}' {}", "x ".repeat(500)))]);
        let shown = &hidden.left_out[0].command;
        assert!(shown.chars().count() <= SHOWN_CHARS && !shown.contains(['\u{1b}', '\u{202e}']), "{shown}");
    }

    #[test]
    fn commands_of_the_setup_are_not_missing() {
        let found = installs(&[(1, "apt-get update && apt-get install -y jq && cd web && npm ci && uv sync")]);
        let missing = |script: &str| missing_installs(script, &found.commands).join("; ");
        assert_eq!(missing(""), "apt-get update; apt-get install -y jq; (cd web && npm ci); (cd web && uv sync)");
        assert_eq!(missing("set -e\napt-get update\ncd web\nnpm ci\n"), "apt-get install -y jq; (cd web && uv sync)");
        assert_eq!(missing("if true; then\n  (cd web && npm ci)\nfi\napt-get install -y jq"), "(cd web && uv sync)");
        assert_eq!(missing(&missing("").replace("; ", "\n")), "");
    }
}
