//! Adds commands to the setup script of a description.
//!
//! The script keeps its meaning: it still fails if it failed before, and the new commands start in the top-level folder. Only text is
//! changed, and no command is run.

use model::setup::{Description, Script, Setup};

use crate::propose::scripts::{joined, words};

/// Returns a description whose setup script ends with these commands, each of which is a single line. Commands that do not fit into a script
/// are omitted.
///
/// Returns `None` if nothing is left to add.
pub fn with_commands(description: &Description, commands: &[&str]) -> Option<Description> {
    let before = description.setup.as_ref().map(|setup| Before::of(setup.run.as_str()));
    let mut used = before.as_ref().map_or(0, Before::length) + HEADER_BYTES;
    let fitting = commands.iter().take_while(|command| {
        used += command.len() + 1;
        used <= Script::LIMIT_BYTES
    });
    let added: Vec<String> = fitting.map(|&command| command.to_owned()).collect();
    let script = match before {
        Some(before) if !added.is_empty() => format!("{}\n{}\n{}\n", before.header, before.body, added.join("\n")),
        Some(_) | None => joined(&added)?,
    };
    let run = Script::new(script)?;
    let setup = match &description.setup {
        Some(setup) => Setup { run, ..setup.clone() },
        None => Setup::new(run),
    };
    Some(Description { setup: Some(setup), ..description.clone() })
}

/// Enough space for the first line of a script.
const HEADER_BYTES: usize = 100;

/// A script before commands are added.
struct Before {
    /// The first line, which makes the script end at the first command that fails.
    header: String,
    /// The other commands, which do not affect the folder of later ones.
    body: String,
}

impl Before {
    fn of(script: &str) -> Self {
        let script = script.trim_end();
        let (header, body) = match script.split_once('\n') {
            Some((header, body)) if header.starts_with("set -e") => (Some(header), body),
            Some(_) | None => (None, script),
        };
        let changes_shell = words(body).any(|word| matches!(word, "cd" | "pushd" | "exit" | "exec" | "set"));
        // If the script ignores failures, it still does.
        let ignores_failures = header.is_none() && body.contains('\n');
        let body = match (ignores_failures, changes_shell) {
            (true, _) => format!("(\nset +e\n{body}\n)"),
            (false, true) => format!("(\n{body}\n)"),
            (false, false) => body.to_owned(),
        };
        Self { header: header.unwrap_or("set -e").to_owned(), body }
    }

    fn length(&self) -> usize {
        self.header.len() + self.body.len()
    }
}

#[cfg(test)]
mod tests {
    use model::codex::{CommandExecution, Installs, ItemStatus, missing_installs};
    use model::ids::RunNumber;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;
    use crate::{format, parse};

    fn described(script: &str) -> Description {
        Description { setup: Script::new(script).map(Setup::new), ..Description::default() }
    }

    fn extended(script: &str, commands: &[&str]) -> Option<String> {
        let setup = with_commands(&described(script), commands)?.setup?;
        Some(setup.run.as_str().to_owned())
    }

    #[test]
    fn commands_follow_the_script() {
        let check = |script: &str, commands: &[&str], expect: &str| {
            assert_eq!(extended(script, commands).as_deref(), Some(expect), "{script}");
        };
        check("", &["npm ci"], "npm ci");
        check("", &["npm ci", "uv sync"], "set -e\nnpm ci\nuv sync\n");
        check("npm ci", &["uv sync"], "set -e\nnpm ci\nuv sync\n");
        check("set -eu\nnpm ci\nmake\n", &["uv sync"], "set -eu\nnpm ci\nmake\nuv sync\n");
        assert_eq!(extended("npm ci", &[]), None);
        assert_eq!(extended("", &[]), None);
    }

    #[test]
    fn the_script_keeps_its_meaning() {
        let check = |script: &str, expect: &str| assert_eq!(extended(script, &["x"]).as_deref(), Some(expect), "{script}");
        check("cd web && npm ci", "set -e\n(\ncd web && npm ci\n)\nx\n");
        check("set -e\ncd web\nnpm ci", "set -e\n(\ncd web\nnpm ci\n)\nx\n");
        check("npm ci\nmake", "set -e\n(\nset +e\nnpm ci\nmake\n)\nx\n");
    }

    #[test]
    fn other_parts_of_the_description_stay() {
        let text = "image = \"slim\"\n\n[setup]\nrun = \"npm ci\"\nkeys = [\"package-lock.json\"]\nminutes = 5\n";
        let description = parse(text).expect("valid");
        let extended = with_commands(&description, &["uv sync"]).expect("a command is added");
        let expect = text.replace("\"npm ci\"", "'''\nset -e\nnpm ci\nuv sync\n'''");
        assert_eq!(format(&extended), expect);
    }

    #[test]
    fn commands_that_do_not_fit_are_omitted() {
        let command = "x".repeat(1000);
        let script = extended("npm ci", &vec![command.as_str(); 100]).expect("some fit");
        assert!(script.len() <= Script::LIMIT_BYTES && script.matches(&command).count() > 60);
        assert_eq!(extended(&"y".repeat(Script::LIMIT_BYTES), &["x"]), None);
    }

    fn runs() -> impl Strategy<Value = Vec<CommandExecution>> {
        let commands = vec![
            "npm ci",
            "cd web && npm ci",
            "apt-get update && apt-get install -y jq",
            "pip install x | tail",
            "cd 'a b'; uv sync",
        ];
        let run = |command: &str| CommandExecution {
            command: command.to_owned(),
            aggregated_output: String::new(),
            exit_code: Some(0),
            status: ItemStatus::Completed,
        };
        vec(select(commands).prop_map(run), 0..5)
    }

    proptest! {
        #[test]
        fn what_was_added_is_not_added_again(script in prop_oneof![any::<String>(), "(npm ci|cd web|\n|set -e|'| && ){0,5}"], runs in runs()) {
            let mut installs = Installs::default();
            for run in &runs {
                installs.observe(RunNumber::FIRST, run);
            }
            if let Some(extended) = with_commands(&described(&script), &missing_installs(&script, &installs.commands)) {
                let run = extended.setup.expect("a setup").run;
                prop_assert_eq!(missing_installs(run.as_str(), &installs.commands), Vec::<&str>::new());
            }
        }

        #[test]
        fn the_result_is_a_valid_description(script in any::<String>(), command in "[ -~]{1,40}") {
            if let Some(extended) = with_commands(&described(&script), &[command.as_str()]) {
                prop_assert_eq!(parse(&format(&extended)), Ok(extended.clone()));
                let run = extended.setup.expect("a setup").run;
                prop_assert!(run.as_str().trim_end().ends_with(command.trim_end()));
            }
        }
    }
}
