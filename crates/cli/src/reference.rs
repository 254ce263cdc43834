//! Tests of the help of all commands, which read the same definitions as the program.
//! The snapshots show each change of wording in review.

use clap::{Command, CommandFactory as _};

use crate::args::Arguments;

/// The commands of both programs as clap has built them, with names such as `codex-orchestrator task create`.
fn commands() -> [Command; 2] {
    [Arguments::command(), codex_docker::command()].map(|command| {
        let mut command = command.term_width(100);
        command.build();
        command
    })
}

/// The help of a command and of all commands below it.
fn help_of(command: &mut Command) -> String {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
    let own = format!("$ {name} --help\n{}\n", command.render_long_help());
    let below = command.get_subcommands_mut().filter(|below| below.get_name() != "help").map(help_of);
    std::iter::once(own).chain(below).collect()
}

#[test]
fn every_command_has_help() {
    for mut program in commands() {
        let name = program.get_name().to_owned();
        let short = program.render_help().to_string();
        insta::assert_snapshot!(
            format!("help-{name}"),
            format!("$ {name} -h\n{short}\n$ {name} --help\n{}", program.render_long_help())
        );
        for command in program.get_subcommands_mut().filter(|command| command.get_name() != "help") {
            insta::assert_snapshot!(format!("help-{name}-{}", command.get_name()), help_of(command));
        }
    }
}
