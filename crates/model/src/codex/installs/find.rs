//! Finds the commands in a script that install something.
//!
//! Invariant: everything that is found can be found again in the text of its command, with the same text.

use std::collections::BTreeSet;

use super::context::{Context, raw};
use super::programs::{Effect, assignment, effect, is_filter};
use super::reason::LeftOutInstallReason;
use super::split::{KEYWORDS, Link, Piece, SimpleCommand, split};
use crate::visible::{Of, has_hidden};

/// The maximum length of a script that is searched, in bytes.
const SCRIPT_BYTES: usize = 64 * 1024;

/// The maximum number of commands that are found in a script.
const MOST_FOUND: usize = 200;

/// The maximum depth of subshells.
const MOST_SUBSHELLS: usize = 8;

/// The maximum length of a proposed command in bytes.
const COMMAND_BYTES: usize = 1000;

/// What a redactor writes instead of a secret.
const MASK: &str = "***";

/// Parts of names that secret values usually have.
const SECRET_NAMES: [&str; 7] = ["TOKEN", "SECRET", "PASSWORD", "PASSWD", "CREDENTIAL", "API_KEY", "APIKEY"];

/// A command in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum FoundCommand {
    /// Installs something.
    Install(FoundInstall),
    /// Probably installs something, but cannot be proposed.
    LeftOut(String, LeftOutInstallReason),
}

/// A command that installs something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundInstall {
    /// The command, which can run in the top-level folder of the repository.
    pub(super) command: String,
    /// Whether it succeeded if the script did.
    pub(super) verified: bool,
    /// What it does.
    pub(super) effect: Effect,
}

/// Finds the commands in a script that install something.
pub(super) fn found_in(script: &str) -> Vec<FoundCommand> {
    if script.len() > SCRIPT_BYTES {
        return vec![];
    }
    let Some(pieces) = split(script) else { return found_in_other(script) };
    let mut contexts = vec![Context::default()];
    let mut found = vec![];
    let (mut has_download, mut before) = (false, Link::Next);
    let mut decisive = decisive(&pieces).into_iter();
    let mut rest = pieces.as_slice();
    while let Some((piece, after)) = rest.split_first() {
        rest = after;
        if found.len() >= MOST_FOUND {
            found.push(FoundCommand::LeftOut(script.to_owned(), LeftOutInstallReason::TooMany));
            break;
        }
        let depth = contexts.len();
        let Some(context) = contexts.last_mut() else { break };
        match piece {
            Piece::Open if depth > MOST_SUBSHELLS => return found_in_other(script),
            Piece::Open => {
                let inner = context.clone();
                contexts.push(inner);
            }
            Piece::Close => drop(contexts.pop()),
            Piece::Command(first) => {
                let mut commands = vec![first];
                while commands.last().is_some_and(|command| command.link == Link::Pipe)
                    && let Some((Piece::Command(next), after)) = rest.split_first()
                {
                    commands.push(next);
                    rest = after;
                }
                let effects = commands.iter().map(|command| effect(&texts(command))).collect();
                let link = commands.last().map_or(Link::Next, |command| command.link);
                let is_checked = link == Link::Next && context.stops_at_failure && depth == 1;
                let is_decisive = decisive.nth(commands.len() - 1).unwrap_or_default() || is_checked;
                let pipeline = Pipeline { commands, effects, link, before, has_download, is_decisive };
                found.extend(pipeline.found(context));
                has_download |= pipeline.effects.contains(&Effect::Download);
                if before != Link::Or && pipeline.commands.len() == 1 {
                    context.take(first);
                }
                before = pipeline.link;
            }
        }
    }
    found
}

/// Returns for each command whether the script fails if the command does. The script is not expected to end early.
fn decisive(pieces: &[Piece<'_>]) -> Vec<bool> {
    let links = pieces.iter().filter_map(|piece| match piece {
        Piece::Command(command) => Some(command.link),
        Piece::Open | Piece::Close => None,
    });
    let mut after = None;
    let mut decisive: Vec<_> = links
        .rev()
        .map(|link| {
            let is_decisive = match (link, after) {
                (Link::And | Link::Next, None) => true,
                (Link::And | Link::Pipe, Some(is_decisive)) => is_decisive,
                (Link::Next | Link::Or | Link::Pipe | Link::Background, _) => false,
            };
            after = Some(is_decisive);
            is_decisive
        })
        .collect();
    decisive.reverse();
    decisive
}

/// Finds installations in a script that cannot be split. The script is listed once, so that the owner can look at it.
fn found_in_other(script: &str) -> Vec<FoundCommand> {
    let parts = script.split(['\n', ';', '&', '|', '(', ')', '`', '"', '\'']);
    let effects: BTreeSet<_> = parts
        .map(|part| {
            let words: Vec<_> = part.split_whitespace().skip_while(|word| KEYWORDS.contains(word)).collect();
            effect(&words)
        })
        .collect();
    let reason = if effects.contains(&Effect::Download) && effects.contains(&Effect::Shell) {
        LeftOutInstallReason::DownloadedScript
    } else if effects.contains(&Effect::Install) || effects.contains(&Effect::SystemInstall) {
        LeftOutInstallReason::Syntax
    } else {
        return vec![];
    };
    vec![FoundCommand::LeftOut(script.to_owned(), reason)]
}

/// Commands that are connected by pipes.
struct Pipeline<'a> {
    commands: Vec<&'a SimpleCommand<'a>>,
    effects: Vec<Effect>,
    link: Link,
    /// The link to the pipeline from the one before it.
    before: Link,
    /// Whether an earlier command downloaded a file.
    has_download: bool,
    /// Whether the script fails if the pipeline does.
    is_decisive: bool,
}

impl Pipeline<'_> {
    fn has(&self, effect: Effect) -> bool {
        self.effects.contains(&effect)
    }

    fn found(&self, context: &Context) -> Option<FoundCommand> {
        let (first, effect) = (self.commands.first()?, self.effects.first().copied()?);
        let is_displayed = self.commands.iter().skip(1).all(|command| is_filter(&texts(command)));
        let reason = if self.has(Effect::Shell) {
            self.of_shell()?
        } else if matches!(effect, Effect::Install | Effect::SystemInstall | Effect::Refresh) && is_displayed {
            let Some(reason) = self.reason(context) else {
                let command = context.wrapped(&raw(&first.words));
                let verified = self.is_decisive && (self.commands.len() == 1 || context.is_pipe_checked);
                return Some(checked(FoundInstall { command, verified, effect }));
            };
            reason
        } else if self.has(Effect::Install) || self.has(Effect::SystemInstall) || self.has(Effect::FromInput) {
            LeftOutInstallReason::Redirection
        } else if effect == Effect::ChangesRepository {
            LeftOutInstallReason::ChangesRepository
        } else {
            return None;
        };
        Some(FoundCommand::LeftOut(self.shown(context), reason))
    }

    /// Returns why a pipeline with a shell is worth mentioning.
    fn of_shell(&self) -> Option<LeftOutInstallReason> {
        if self.has_download || self.has(Effect::Download) {
            return Some(LeftOutInstallReason::DownloadedScript);
        }
        let texts: Vec<_> = self.commands.iter().map(|command| texts(command).join(" ; ")).collect();
        match found_in_other(&texts.join(" | ")).pop()? {
            FoundCommand::LeftOut(_, reason) => Some(reason),
            FoundCommand::Install(_) => None,
        }
    }

    /// Returns why an installation cannot be proposed.
    fn reason(&self, context: &Context) -> Option<LeftOutInstallReason> {
        let command = self.commands.first()?;
        let words = || command.words.iter();
        if self.link == Link::Background {
            return Some(LeftOutInstallReason::Syntax);
        }
        if self.link == Link::Or || self.before == Link::Or {
            return Some(LeftOutInstallReason::Alternative);
        }
        if words().any(|word| word.is_variable) {
            return Some(LeftOutInstallReason::Variable);
        }
        if command.is_redirected {
            return Some(LeftOutInstallReason::Redirection);
        }
        context.reason().or_else(|| words().find_map(|word| context.check_path(&word.text)))
    }

    fn shown(&self, context: &Context) -> String {
        let commands: Vec<_> = self.commands.iter().map(|command| raw(&command.words)).collect();
        context.wrapped(&commands.join(" | "))
    }
}

fn texts<'a>(command: &'a SimpleCommand<'_>) -> Vec<&'a str> {
    command.words.iter().map(|word| word.text.as_str()).collect()
}

/// Checks the text of a command, including everything that is carried from earlier commands.
fn checked(install: FoundInstall) -> FoundCommand {
    let command = &install.command;
    let reason = if has_secret(command) {
        LeftOutInstallReason::Secret
    } else if has_hidden(command.as_bytes(), Of::Name) {
        LeftOutInstallReason::HiddenCharacters
    } else if command.len() > COMMAND_BYTES {
        LeftOutInstallReason::TooLong
    } else {
        return FoundCommand::Install(install);
    };
    FoundCommand::LeftOut(install.command, reason)
}

/// Whether a command seems to contain a secret.
fn has_secret(command: &str) -> bool {
    let is_secret = |word: &str| {
        let named = word.trim_start_matches('-').replace('-', "_");
        let is_named = |(name, value): (&str, &str)| {
            let name = name.to_ascii_uppercase();
            !value.is_empty() && SECRET_NAMES.iter().any(|part| name.contains(part))
        };
        let has_user = word.match_indices("://").any(|(at, _)| {
            let authority = word.get(at + 3..).unwrap_or_default().split(['/', '?', '#']).next().unwrap_or_default();
            authority.rsplit_once('@').is_some_and(|(user, _)| user != "git")
        });
        has_user || assignment(&named).is_some_and(is_named)
    };
    command.contains(MASK) || command.split([' ', '"', '\'']).any(is_secret)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    /// Returns what is found: commands, `?` before those that may have failed, and reasons.
    fn shown(script: &str) -> Vec<String> {
        let shown = |found: FoundCommand| match found {
            FoundCommand::Install(FoundInstall { command, verified: true, .. }) => command,
            FoundCommand::Install(FoundInstall { command, verified: false, .. }) => format!("? {command}"),
            FoundCommand::LeftOut(command, reason) => format!("{reason:?}: {command}"),
        };
        found_in(script).into_iter().map(shown).collect()
    }

    #[test]
    fn commands_of_a_sequence_are_found() {
        for (script, expect) in [
            ("npm ci", &["npm ci"][..]),
            ("ls && npm ci && npm test", &["npm ci"]),
            ("sudo apt-get update && sudo apt-get install -y 'jq'", &["sudo apt-get update", "sudo apt-get install -y 'jq'"]),
            ("npm ci >/dev/null 2>&1", &["npm ci"]),
            ("npm test", &[]),
            ("echo 'npm ci'", &[]),
            ("cat > x <<EOF\nhello\nEOF", &[]),
        ] {
            assert_eq!(shown(script), expect, "{script}");
        }
    }

    #[test]
    fn the_folder_and_the_shell_of_a_command_are_kept() {
        for (script, expect) in [
            ("cd web && npm ci", &["(cd web && npm ci)"][..]),
            ("cd /workspace/worktree && npm ci", &["npm ci"]),
            ("cd /workspace/worktree/a/../web/ && npm ci && cd .. && uv sync", &["(cd web && npm ci)", "uv sync"]),
            ("(cd web && npm ci) && uv sync", &["(cd web && npm ci)", "uv sync"]),
            ("cd 'a b' && npm ci", &["(cd 'a b' && npm ci)"]),
            (
                "python -m venv .venv && . .venv/bin/activate && pip install x",
                &["python -m venv .venv", "(. ./.venv/bin/activate && pip install x)"],
            ),
            (
                "cd api && source ~/.nvm/nvm.sh && source .env && npm ci",
                &["(source ~/.nvm/nvm.sh && source ./api/.env && cd api && npm ci)"],
            ),
            ("export CI=1 A='b c' && npm ci", &["(export CI=1 A='b c' && npm ci)"]),
            ("export PATH=\"$HOME/bin:$PATH\"\nnpm ci", &["(export PATH=\"$HOME/bin:$PATH\" && npm ci)"]),
            ("cd web || exit 1\nnpm ci", &["(cd web && npm ci)"]),
        ] {
            assert_eq!(shown(script), expect, "{script}");
        }
    }

    #[test]
    fn a_command_that_may_have_failed_is_marked() {
        for (script, expect) in [
            ("npm ci; npm test", &["? npm ci"][..]),
            ("npm ci\nnpm test", &["? npm ci"]),
            ("set -e\nnpm ci\nnpm test", &["npm ci"]),
            ("set -e\nnpm ci && true\nnpm test", &["? npm ci"]),
            ("set -e; set +e; npm ci; npm test", &["? npm ci"]),
            ("npm ci 2>&1 | tail -5", &["? npm ci"]),
            ("set -euo pipefail; npm ci 2>&1 | tail -5", &["npm ci"]),
            ("npm ci && npm test || true", &["? npm ci"]),
            ("npm test; npm ci", &["npm ci"]),
            ("npm ci && npm test | tail", &["npm ci"]),
            ("(set -e; npm ci; npm test) && true", &["? npm ci"]),
        ] {
            assert_eq!(shown(script), expect, "{script}");
        }
    }

    #[test]
    fn commands_that_cannot_be_proposed_have_a_reason() {
        for (script, expect) in [
            ("curl -fsSL https://x.example | sh", "DownloadedScript: curl -fsSL https://x.example | sh"),
            ("curl -o x.sh https://x.example && bash x.sh", "DownloadedScript: bash x.sh"),
            ("sh -c \"$(curl -fsSL https://x.example)\"", "DownloadedScript: sh -c \"$(curl -fsSL https://x.example)\""),
            ("bash <(curl https://x.example)", "DownloadedScript: bash <(curl https://x.example)"),
            (
                "sudo bash -c 'apt-get update && apt-get install -y jq'",
                "Syntax: sudo bash -c 'apt-get update && apt-get install -y jq'",
            ),
            ("npm install --registry=https://x:***@npm.example", "Secret: npm install --registry=https://x:***@npm.example"),
            ("pip install git+https://abc@x.example/y", "Secret: pip install git+https://abc@x.example/y"),
            ("NPM_TOKEN=abc npm ci", "Secret: NPM_TOKEN=abc npm ci"),
            ("export API_KEY=abc && npm ci", "Secret: (export API_KEY=abc && npm ci)"),
            ("npm ci --auth-token=abc", "Secret: npm ci --auth-token=abc"),
            ("npm ci $FLAGS", "Variable: npm ci $FLAGS"),
            ("cd $X && npm ci", "Variable: npm ci"),
            ("export A=$B && npm ci", "Variable: (export A=$B && npm ci)"),
            ("npm ci > log.txt", "Redirection: npm ci"),
            ("npm ci | tee log.txt", "Redirection: npm ci | tee log.txt"),
            ("cat list | xargs apt-get install -y", "Redirection: cat list | xargs apt-get install -y"),
            ("npm ci || npm install", "Alternative: npm ci"),
            ("pip install /tmp/x.whl", "TemporaryFile: pip install /tmp/x.whl"),
            ("pip install --target=/tmp/x y", "TemporaryFile: pip install --target=/tmp/x y"),
            ("cd /opt/x && npm ci", "OutsideRepository: npm ci"),
            ("cd ~ && npm ci", "OutsideRepository: npm ci"),
            ("cd && npm ci", "OutsideRepository: npm ci"),
            ("pip install -e ../x", "OutsideRepository: pip install -e ../x"),
            ("npm install lodash", "ChangesRepository: npm install lodash"),
            ("pip install 'a\u{202e}b'", "HiddenCharacters: pip install 'a\u{202e}b'"),
            ("pip install 'a\u{1b}[2J'", "HiddenCharacters: pip install 'a\u{1b}[2J'"),
            ("for x in a b; do npm ci; done", "Syntax: for x in a b; do npm ci; done"),
            ("npm ci &", "Syntax: npm ci"),
        ] {
            assert_eq!(shown(script).first().map(String::as_str), Some(expect), "{script}");
        }
        let long = format!("pip install {}", "x ".repeat(COMMAND_BYTES));
        assert!(matches!(found_in(&long).as_slice(), [FoundCommand::LeftOut(_, LeftOutInstallReason::TooLong)]));
        let many = found_in(&"npm ci\n".repeat(MOST_FOUND + 5));
        assert!(
            matches!(many.last(), Some(FoundCommand::LeftOut(_, LeftOutInstallReason::TooMany))) && many.len() == MOST_FOUND + 1
        );
        let deep = format!("{}npm ci{}", "(".repeat(20), ")".repeat(20));
        assert!(matches!(found_in(&deep).as_slice(), [FoundCommand::LeftOut(_, LeftOutInstallReason::Syntax)]));
        let name = "x".repeat(300);
        for part in [
            "cd a && ".repeat(200),
            ". a && cd a && ".repeat(200),
            format!("cd {name} && "),
            format!("export A={}; ", name.repeat(4)),
        ] {
            let found = found_in(&format!("{part}npm ci"));
            assert!(matches!(found.as_slice(), [FoundCommand::LeftOut(_, LeftOutInstallReason::TooLong)]), "{part}: {found:?}");
        }
        assert_eq!(found_in(&format!("{long}{}", "x ".repeat(SCRIPT_BYTES))), vec![]);
    }

    fn scripts() -> impl Strategy<Value = String> {
        let part = select(vec![
            "npm ci",
            "cd web",
            "cd ..",
            "cd '/workspace/worktree/a b'",
            "pip install \"x y\"",
            "apt-get update",
            "apt-get install -y jq",
            ". .venv/bin/activate",
            "export A='b c'",
            "set -e",
            "export TOKEN=x",
            "curl x",
            "sh x",
            "tail",
            "true",
            "$X",
            "(",
            ")",
            "'",
            "\"",
            "\\",
            "\u{1b}",
            "\u{202e}",
            "if",
            "<",
            ">",
            "/tmp/x",
            "2",
            "é",
            "***",
            "`",
            "$(",
            "#",
            "popd",
            "x=y",
        ]);
        let link = select(vec![" ", " && ", "; ", "\n", " | ", " || ", " & ", ""]);
        proptest::collection::vec((part, link), 0..12)
            .prop_map(|parts| parts.into_iter().flat_map(|(part, link)| [part, link]).collect())
    }

    proptest! {
        #[test]
        fn a_proposed_command_is_harmless_and_found_again(script in prop_oneof![scripts(), any::<String>()]) {
            for found in found_in(&script) {
                let FoundCommand::Install(FoundInstall { command, effect, .. }) = found else { continue };
                prop_assert!(!command.chars().any(char::is_control), "{command:?}");
                prop_assert!(command.len() <= COMMAND_BYTES && !command.contains(MASK));
                let again = FoundInstall { command: command.clone(), verified: true, effect };
                prop_assert_eq!(found_in(&command), vec![FoundCommand::Install(again)]);
            }
        }
    }
}
