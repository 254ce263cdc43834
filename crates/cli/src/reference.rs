//! The definitions of both command lines, for man pages and for `docs/cli.md`.
//! The tests compare `docs/cli.md` and all help texts with the committed files.

use clap::{Command, CommandFactory as _};

use crate::args::Arguments;

/// Returns the definitions of `codex-orchestrator` and `codex-docker`.
pub(crate) fn programs() -> [Command; 2] {
    [Arguments::command(), codex_docker::command()]
}

#[cfg(test)]
mod markdown;

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/cli.md");

    /// The environment variable with which `cargo xtask docs` tells the test to write the document.
    const UPDATE: &str = "UPDATE_DOCS";

    /// Returns the definitions with complete names such as `codex-orchestrator task create`, at a fixed width.
    fn built() -> [Command; 2] {
        programs().map(|program| {
            let mut program = program.term_width(100);
            program.build();
            program
        })
    }

    /// Returns the help of a command and of all its subcommands.
    fn help_of(command: &mut Command) -> String {
        let name = command.get_bin_name().unwrap_or_else(|| command.get_name()).to_owned();
        let own = format!("$ {name} --help\n{}\n", command.render_long_help());
        let below = command.get_subcommands_mut().filter(|below| below.get_name() != "help").map(help_of);
        std::iter::once(own).chain(below).collect()
    }

    #[test]
    fn every_command_has_help() {
        for mut program in built() {
            let name = program.get_name().to_owned();
            let short = program.render_help();
            let long = program.render_long_help();
            insta::assert_snapshot!(format!("help-{name}"), format!("$ {name} -h\n{short}\n$ {name} --help\n{long}"));
            for command in program.get_subcommands_mut().filter(|command| command.get_name() != "help") {
                insta::assert_snapshot!(format!("help-{name}-{}", command.get_name()), help_of(command));
            }
        }
    }

    #[test]
    fn the_document_is_up_to_date() {
        if std::env::var_os(UPDATE).is_some() {
            return fs_err::write(DOCUMENT, markdown::document(built())).expect("the document can be written");
        }
        let committed = fs_err::read_to_string(DOCUMENT).expect("the document exists");
        assert!(committed == markdown::document(built()), "docs/cli.md is out of date: run `cargo xtask docs`");
    }
}
