//! The sample `config.toml` and the reference of the settings, both made from [`SETTINGS`].
//!
//! `docs/config.toml` and `docs/settings.md` contain this text. Tests compare the files with it.

use std::fmt::Write as _;

use super::{SETTINGS, Section, Setting};

/// The maximum length of a comment line in the sample, in characters.
const WIDTH: usize = 100;

const INTRODUCTION: &str = "\
Settings of the Codex Orchestrator server, with their defaults.

Save this file as config.toml in the home directory (~/.codex-orchestrator, unless ORCH_HOME is set). Uncomment the settings that you \
want to change, then restart the server. A setting that is \"\" is not set. Environment variables override this file, and flags \
override environment variables.";

/// Returns a sample `config.toml`. It contains every setting with its default, commented out.
pub fn sample() -> String {
    let mut text = String::new();
    comment(&mut text, INTRODUCTION);
    for section in SETTINGS {
        let mut settings = section.settings.iter().filter_map(|setting| Some((setting.key?, setting))).peekable();
        let Some((first, _)) = settings.peek() else { continue };
        let table = first.rsplit_once('.').map(|(table, _)| table);
        let _ = write!(text, "\n# {}\n\n", heading(section));
        if let Some(table) = table {
            text.extend(["#[", table, "]\n\n"]);
        }
        for (key, setting) in settings {
            comment(&mut text, &about(setting));
            let name = key.rsplit('.').next().unwrap_or(key);
            let _ = writeln!(text, "#{name} = {}\n", setting.default);
        }
        text.pop();
    }
    text
}

fn heading(section: &Section) -> String {
    format!("---- {} ----", section.title)
}

/// The comment above a setting.
fn about(setting: &Setting) -> String {
    let mut text = setting.help.to_owned();
    for (label, value) in [
        ("Default", setting.unset.map(|text| text.replace(['`', '*'], ""))),
        ("Example", setting.example.map(str::to_owned)),
        ("Variable", setting.variable.map(str::to_owned)),
        ("Flag", setting.flag.map(str::to_owned)),
    ] {
        if let Some(value) = value {
            text.extend(["\n", label, ": ", &value]);
        }
    }
    text
}

/// Appends a comment, wrapped at [`WIDTH`].
fn comment(text: &mut String, words: &str) {
    for line in words.lines() {
        let mut length = 0;
        text.push('#');
        for word in line.split_whitespace() {
            if length > 0 && length + word.len() + 2 > WIDTH {
                text.push_str("\n#");
                length = 0;
            }
            text.extend([" ", word]);
            length += word.len() + 1;
        }
        text.push('\n');
    }
}

/// Returns the reference of the server's settings as Markdown, starting with a second-level heading.
pub fn reference() -> String {
    let mut text = "\
## Server settings

You can set most settings in `config.toml` in the home, and some with an environment variable or a flag. Flags override environment
variables, and those override the file. The server reads its settings when it starts, so restart it after a change.

[`config.toml`](config.toml) in this folder is a sample with every setting, commented out. `codex-orchestrator config sample` prints it.
An empty string means that a setting is not set. Durations are written as `30s`, `5m` or `2h`, and sizes as `512m` or `4g`.
"
    .to_owned();
    for section in SETTINGS {
        let _ = write!(text, "\n### {}\n\n| Setting | Type | Default | Description |\n|---|---|---|---|\n", section.title);
        for setting in section.settings {
            let names = [setting.key, setting.variable, setting.flag];
            let names: Vec<_> = names.into_iter().flatten().map(|name| format!("`{name}`")).collect();
            let default = setting.unset.map_or_else(|| format!("`{}`", setting.default), str::to_owned);
            let example = setting.example.map(|example| format!(" Example: `{example}`.")).unwrap_or_default();
            let _ =
                writeln!(text, "| {} | {} | {default} | {}{example} |", names.join("<br>"), setting.form.name(), setting.help);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::settings::keyed;
    use super::super::{Config, Overrides};
    use super::*;

    fn load(toml: &str) -> Config {
        let folder = tempfile::tempdir().expect("a folder");
        fs_err::write(folder.path().join("config.toml"), toml).expect("written");
        let variables = [("ORCH_HOME".into(), folder.path().into())].into_iter().collect();
        let config = Config::from_environment(&Overrides::default(), variables).expect(toml);
        Config { home: "/home".into(), environment: std::collections::BTreeMap::default(), ..config }
    }

    #[test]
    fn the_sample_with_every_setting_uncommented_is_the_defaults() {
        let settings: String = sample()
            .lines()
            .filter_map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ') && !rest.is_empty()))
            .fold(String::new(), |text, line| text + line + "\n");
        assert!(settings.lines().filter(|line| line.contains(" = ")).count() == keyed().count(), "{settings}");
        assert_eq!(format!("{:?}", load(&settings)), format!("{:?}", load("")));
    }

    #[test]
    fn the_sample_changes_nothing_as_long_as_it_is_commented_out() {
        assert_eq!(format!("{:?}", load(&sample())), format!("{:?}", load("")));
    }

    #[test]
    fn every_example_is_valid() {
        let mut table = toml::Table::new();
        for (key, _, setting) in keyed() {
            let Some(example) = setting.example else { continue };
            let mut parts: Vec<_> = key.split('.').collect();
            let name = parts.pop().expect("a key has a part");
            let inner = parts.into_iter().fold(&mut table, |table, part| {
                let inner = table.entry(part).or_insert_with(|| toml::Table::new().into());
                inner.as_table_mut().expect("a table")
            });
            inner.insert(name.to_owned(), example.parse().expect(example));
        }
        load(&table.to_string());
    }

    #[test]
    fn no_text_is_too_wide_and_every_help_is_a_sentence() {
        assert!(sample().lines().all(|line| line.chars().count() <= WIDTH), "{}", sample());
        for setting in SETTINGS.iter().flat_map(|section| section.settings) {
            assert!(setting.help.ends_with('.') && !setting.help.contains('|'), "{}", setting.name());
        }
    }

    #[test]
    fn the_committed_sample_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/config.toml");
        let committed = fs_err::read_to_string(path).unwrap_or_default();
        assert!(committed == sample(), "docs/config.toml is out of date: run `cargo xtask docs`");
    }
}
