//! Records how a version of Codex behaves in the scripted scenarios, and compares two versions.
//!
//! A survey only records facts. The contract tests decide whether a version works.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use scripted_model::{CodexConfig, Script, ScriptedModel};
use serde_json::Value;
use tokio::process::Command;

use super::{CodexCli, CodexHome, Outcome};

/// The scenarios of the scripted model that a survey runs.
const SCENARIOS: &[&str] = &[
    "plain",
    "reason",
    "twomsg",
    "web",
    "cmd_ok",
    "cmd_fail",
    "parallel",
    "bg_nohup",
    "unknown_tool",
    "patch",
    "patch_bad",
    "plan",
    "multi",
    "e400",
    "e401",
    "e404",
    "e429quota",
    "e429usage",
    "e500x2",
    "failed_ctx",
    "incomplete",
    "cut",
    "cut1",
];

/// The commands whose flags a survey lists.
const COMMANDS: &[&[&str]] = &[&["exec"], &["exec", "resume"], &["login"]];

/// Fields with a fixed set of values. A survey records their values as part of the structure of an event.
const WORDS: &[&str] = &["status", "kind"];

/// The recorded behavior of one version of Codex.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Survey {
    version: String,
    flags: BTreeSet<String>,
    fields: BTreeSet<String>,
    endings: BTreeMap<String, String>,
}

impl Survey {
    /// Runs every scenario with this Codex.
    ///
    /// # Panics
    /// If Codex cannot be started or prints nothing for too long.
    pub async fn of(codex: &CodexCli) -> Self {
        let mut survey = Self { version: codex.version_number().to_owned(), ..Self::default() };
        for command in COMMANDS {
            let help = Command::new(codex.program()).args(*command).arg("--help").output().await.expect("Codex starts");
            survey.add_flags(&command.join(" "), &String::from_utf8_lossy(&help.stdout));
        }
        let model = ScriptedModel::start(Script::new()).expect("a free port");
        let home = CodexHome::with_config(&CodexConfig::new(model.url()).retries(1));
        let worktree = || tempfile::tempdir().expect("a temporary folder");
        for scenario in SCENARIOS {
            let outcome = codex.exec(&home, worktree().path(), &format!("SCENARIO:{scenario}")).await;
            survey.add_outcome(scenario, &outcome);
        }
        let folder = worktree();
        let first = codex.exec(&home, folder.path(), "SCENARIO:plain").await;
        let thread_id = first.thread_id().unwrap_or_default();
        survey.add_outcome("resume", &codex.resume(&home, folder.path(), &thread_id, "SCENARIO:plain").await);
        let unknown = "0199aaaa-bbbb-7ccc-8ddd-eeeeeeeeeeee";
        survey.add_outcome("resume of an unknown thread", &codex.resume(&home, folder.path(), unknown, "SCENARIO:plain").await);
        survey
    }

    fn add_flags(&mut self, command: &str, help: &str) {
        let flags = help.lines().map(str::trim_start).filter(|line| line.starts_with('-'));
        let words = flags.flat_map(|line| line.split(|c: char| !(c == '-' || c.is_ascii_alphanumeric())));
        let names = words.filter(|word| word.starts_with("--") && word.len() > 2);
        self.flags.extend(names.map(|name| format!("codex {command} {name}")));
    }

    fn add_outcome(&mut self, scenario: &str, outcome: &Outcome) {
        let events = outcome.events();
        for event in &events {
            let kind = event["type"].as_str().unwrap_or("(no type)");
            let item = event["item"]["type"].as_str().map(|item| format!(" {item}")).unwrap_or_default();
            self.add_fields(&format!("{kind}{item}:"), "", event);
        }
        let code = outcome.exit_code.map_or_else(|| "ended by a signal".to_owned(), |code| format!("exit code {code}"));
        let last = events.last().and_then(|event| event["type"].as_str()).unwrap_or("no event");
        self.endings.insert(scenario.to_owned(), format!("{code}, {last}"));
    }

    fn add_fields(&mut self, event: &str, path: &str, value: &Value) {
        let kind = match value {
            Value::Object(fields) => {
                for (name, field) in fields {
                    let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    match field {
                        Value::String(word) if WORDS.contains(&name.as_str()) => {
                            self.fields.insert(format!("{event} {below} = \"{word}\""));
                        }
                        other => self.add_fields(event, &below, other),
                    }
                }
                return;
            }
            Value::Array(values) => {
                for value in values {
                    self.add_fields(event, &format!("{path}[]"), value);
                }
                "array"
            }
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "number",
            Value::String(_) => "string",
        };
        self.fields.insert(format!("{event} {path} ({kind})"));
    }

    /// Compares this version with another one.
    pub fn against<'a>(&'a self, pinned: &'a Self) -> Comparison<'a> {
        Comparison { pinned, other: self }
    }
}

/// The differences between a version and the pinned one. `Display` formats them as a report.
#[derive(Debug)]
pub struct Comparison<'a> {
    pinned: &'a Survey,
    other: &'a Survey,
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Codex {} compared with {}", self.other.version, self.pinned.version)?;
        let endings = |survey: &Survey| survey.endings.iter().map(|(name, ending)| format!("{name}: {ending}")).collect();
        section(f, "endings of scenarios", &endings(self.pinned), &endings(self.other))?;
        section(f, "fields of events", &self.pinned.fields, &self.other.fields)?;
        section(f, "command-line flags", &self.pinned.flags, &self.other.flags)
    }
}

fn section(f: &mut fmt::Formatter<'_>, name: &str, pinned: &BTreeSet<String>, other: &BTreeSet<String>) -> fmt::Result {
    writeln!(f, "  {name}: {} the same", pinned.intersection(other).count())?;
    for missing in pinned.difference(other) {
        writeln!(f, "    missing  {missing}")?;
    }
    for new in other.difference(pinned) {
        writeln!(f, "    new      {new}")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn survey(version: &str, stdout: &str, help: &str) -> Survey {
        let mut survey = Survey { version: version.to_owned(), ..Survey::default() };
        let outcome = Outcome { exit_code: Some(0), stdout: stdout.to_owned(), stderr: String::new() };
        survey.add_outcome("plain", &outcome);
        survey.add_flags("exec", help);
        survey
    }

    #[test]
    fn the_same_behaviour_has_no_differences() {
        let one = survey("1.0.0", "{\"type\":\"turn.started\"}\n", "      --json\n");
        assert_eq!(
            one.against(&one).to_string(),
            "Codex 1.0.0 compared with 1.0.0\n  endings of scenarios: 1 the same\n  fields of events: 1 the same\n  \
             command-line flags: 1 the same\n"
        );
    }

    #[test]
    fn new_and_missing_fields_flags_and_words_are_named() {
        let old =
            "{\"type\":\"item.completed\",\"item\":{\"type\":\"file_change\",\"status\":\"completed\",\"paths\":[\"a\"]}}\n";
        let new = "{\"type\":\"item.completed\",\"item\":{\"type\":\"file_change\",\"status\":\"done\",\"size\":1}}\n";
        let (old, new) = (survey("1.0.0", old, "  -m, --model <MODEL>\n"), survey("2.0.0", new, "  -i, --image <FILE>...\n"));
        let report = new.against(&old).to_string();
        for line in [
            "missing  item.completed file_change: item.status = \"completed\"\n",
            "new      item.completed file_change: item.status = \"done\"\n",
            "missing  item.completed file_change: item.paths[] (string)\n",
            "new      item.completed file_change: item.size (number)\n",
            "missing  codex exec --model\n",
            "new      codex exec --image\n",
        ] {
            assert!(report.contains(line), "{line}\n{report}");
        }
    }

    #[test]
    fn a_scenario_that_ends_differently_is_named() {
        let good = survey("1.0.0", "{\"type\":\"turn.completed\"}\n", "");
        let bad = survey("2.0.0", "{\"type\":\"turn.failed\"}\n", "");
        let report = bad.against(&good).to_string();
        assert!(report.contains("missing  plain: exit code 0, turn.completed\n"), "{report}");
        assert!(report.contains("new      plain: exit code 0, turn.failed\n"), "{report}");
    }
}
