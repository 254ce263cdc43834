//! Joins commands to a script, and finds what a script of another tool needs.
//!
//! This is text only: no command is run, and no shell syntax is interpreted beyond words.

use std::collections::BTreeSet;

/// The maximum number of files that a script is searched for.
const LIMIT_FILES: usize = 16;

/// Joins commands to a script that ends at the first one that fails. A single command stays as it is.
pub(crate) fn joined(commands: &[String]) -> Option<String> {
    match commands {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(format!("set -e\n{}\n", several.join("\n"))),
    }
}

/// Returns a command that changes neither the folder nor the variables of the commands after it.
pub(super) fn isolated(command: &str) -> String {
    let command = command.trim_end();
    let is_harmless = |word: &str| !matches!(word, "cd" | "export" | "set" | "pushd" | "source" | "." | "exit");
    let is_isolated = !command.contains('\n') && words(command).all(is_harmless);
    if is_isolated { command.to_owned() } else { format!("(\n{command}\n)") }
}

/// Returns the scripts in the repository that a command starts, such as `scripts/setup.sh`.
pub(super) fn files(command: &str) -> Vec<&str> {
    let is_file = |word: &&str| {
        let is_path = word.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c)) && !word.starts_with(['/', '-']);
        is_path
            && (word.rsplit_once('.').is_some_and(|(_, extension)| extension == "sh") || word.starts_with("./"))
            && word.len() > 3
    };
    words(command).filter(is_file).take(LIMIT_FILES).collect()
}

/// Returns the variables in a command whose names start with one of these prefixes.
pub(super) fn variables<'a>(command: &'a str, prefixes: &[&str]) -> BTreeSet<&'a str> {
    let names = command.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    names.filter(|name| prefixes.iter().any(|prefix| name.starts_with(prefix))).collect()
}

/// Returns the words of a command, without operators and quotes.
pub(crate) fn words(command: &str) -> impl Iterator<Item = &str> {
    command.split(|c: char| c.is_whitespace() || ";&|()<>\"'`".contains(c)).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_commands_stop_at_the_first_that_fails() {
        let check = |commands: &[&str], expect: Option<&str>| {
            let commands: Vec<String> = commands.iter().map(|&command| command.to_owned()).collect();
            assert_eq!(joined(&commands).as_deref(), expect);
        };
        check(&[], None);
        check(&["npm ci"], Some("npm ci"));
        check(&["npm ci", "uv sync"], Some("set -e\nnpm ci\nuv sync\n"));
    }

    #[test]
    fn a_command_that_changes_the_shell_is_isolated() {
        assert_eq!(isolated("npm ci\n"), "npm ci");
        assert_eq!(isolated("npm ci --prefix cd.x"), "npm ci --prefix cd.x");
        assert_eq!(isolated("cd web && npm ci"), "(\ncd web && npm ci\n)");
        assert_eq!(isolated("a\nb # c\n"), "(\na\nb # c\n)");
    }

    #[test]
    fn scripts_of_the_repository_are_found() {
        let command =
            "bash .devcontainer/setup.sh && ./scripts/dev --all; \"./a.sh\" /usr/bin/x.sh -c.sh $HOME/b.sh ./ && cp .env x";
        assert_eq!(files(command), [".devcontainer/setup.sh", "./scripts/dev", "./a.sh"]);
    }

    #[test]
    fn variables_of_another_tool_are_found() {
        let command = "cp \"$CONDUCTOR_ROOT_PATH/.env\" . && echo ${CONDUCTOR_PORT} $HOME";
        let found: Vec<_> = variables(command, &["CONDUCTOR_"]).into_iter().collect();
        assert_eq!(found, ["CONDUCTOR_PORT", "CONDUCTOR_ROOT_PATH"]);
    }
}
