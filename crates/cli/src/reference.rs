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
    use clap::{Arg, ArgAction};

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

    /// Returns the part of the document after the introduction.
    fn described(program: Command) -> String {
        let mut program = program.term_width(100);
        program.build();
        let text = markdown::document([program, Command::new("other")]);
        let (_, after) = text.split_once("\n## tool\n").expect("the program has a section");
        after.split("\n## other").next().unwrap_or_default().to_owned()
    }

    #[test]
    fn hidden_commands_and_options_are_not_in_the_document() {
        let hidden = Arg::new("secret-option").long("secret-option").hide(true);
        let program = Command::new("tool")
            .about("Do things")
            .arg(hidden)
            .arg(Arg::new("shown").long("shown").help("Show things"))
            .subcommand(Command::new("internal").hide(true))
            .subcommand(Command::new("public").about("Do public things"));
        let text = described(program);
        assert!(!text.contains("secret-option") && !text.contains("internal"), "{text}");
        assert!(
            text.contains("- [`public`](#tool-public): Do public things\n") && text.contains("\n### tool public\n"),
            "{text}"
        );
    }

    #[test]
    fn an_option_is_described_with_its_values_default_and_variable() {
        let program = Command::new("tool")
            .arg(
                Arg::new("level")
                    .long("level")
                    .short('l')
                    .visible_alias("depth")
                    .value_name("LEVEL")
                    .value_parser(["low", "high"])
                    .default_value("low")
                    .help("How deep to look, e.g. `*`"),
            )
            .arg(Arg::new("quiet").long("quiet").action(ArgAction::SetTrue).help("Print nothing [default: off]"))
            .arg(Arg::new("file").required(true).value_name("FILE").help("File to read"))
            .arg(Arg::new("more").value_name("MORE").help("More *files*"));
        let text = described(program);
        for line in [
            "- `-l`, `--level <LEVEL>`, `--depth <LEVEL>`: How deep to look, e.g. `*`. Values: `low`, `high`. Default: `low`.",
            "- `--quiet`: Print nothing. Default: off.",
            "- `<FILE>`: File to read.",
            "- `[MORE]`: More \\*files\\*.",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        let (arguments, options) = (text.find("**Arguments**"), text.find("**Options**"));
        assert!(arguments.is_some() && arguments < options, "arguments come first: {text}");
    }

    #[test]
    fn options_are_listed_below_their_headings() {
        let program = Command::new("tool")
            .arg(Arg::new("a").long("a").help_heading("Limits *").help("A limit"))
            .arg(Arg::new("b").long("b").help("An option"))
            .after_help("Example: tool --a 1 <2>");
        let text = described(program);
        let position = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} is missing: {text}"));
        assert!(position("**Options**") < position("**Limits \\***"), "{text}");
        assert!(text.ends_with("```text\nExample: tool --a 1 <2>\n```\n"), "examples are not changed: {text}");
    }

    #[test]
    fn every_command_says_what_it_does_in_a_sentence_that_starts_with_a_verb() {
        fn check(command: &Command) {
            let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
            let about = command.get_about().map(ToString::to_string).unwrap_or_default();
            assert!(about.chars().next().is_some_and(char::is_uppercase) && !about.ends_with('.'), "{name}: {about:?}");
            for arg in command.get_arguments().filter(|arg| !arg.is_hide_set()) {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                assert!(!help.is_empty() && !help.ends_with('.'), "{name} {}: {help:?}", arg.get_id());
            }
            command.get_subcommands().filter(|below| below.get_name() != "help").for_each(check);
        }
        built().iter().for_each(check);
    }
}
