//! `env config`: lists, shows and changes the settings of a repository by their keys.
//! The keys, defaults and descriptions come from the table in [`protocol::settings`].

use client::Client;
use model::ErrorCode;
use model::near::near;
use model::problem::Problem;
use model::visible::is_invisible;
use protocol::settings::{self, Group, Required, Setting};
use protocol::{EditEnvironment, EnvironmentView};
use serde::Serialize;
use serde_json::Value;

use super::env_values;
use crate::args::ConfigArguments;
use crate::output::OutputFormat;
use crate::{ids, printer};

/// A setting as this command prints it in JSON.
#[derive(Debug, Serialize)]
struct SettingView {
    key: &'static str,
    flag: String,
    group: &'static str,
    description: String,
    default: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    choices: Vec<&'static str>,
    is_set: bool,
    /// The value as in the API. It is null if the default applies, and for the token of the Git host.
    value: Value,
}

pub(super) async fn run(client: &Client, arguments: &ConfigArguments, format: OutputFormat) -> Result<(), Problem> {
    let setting = arguments.key.as_deref().map(find).transpose()?;
    let id = ids::environment(client, &arguments.env.env).await?;
    let change = if arguments.unset || !arguments.values.is_empty() { setting } else { None };
    if let Some(setting) = change {
        let mut edit = EditEnvironment::default();
        env_values::change(&mut edit, setting, &arguments.values)?;
        let view = client.edit_environment(id, &edit).await?;
        if format.is_json() {
            return printer::json(&view);
        }
        list(&view, [setting]).iter().for_each(printer::line);
        return Ok(());
    }
    let view = client.show_environment(id).await?;
    match setting {
        Some(setting) if format.is_json() => printer::json(&described(&view, setting)?),
        Some(setting) => {
            let values = setting.current(&view);
            for value in &values {
                printer::line(visible(value));
            }
            if values.is_empty() {
                printer::remark(format!("`{}` is not set. Default: {}", setting.key, setting.default));
            }
            Ok(())
        }
        None if format.is_json() => {
            printer::json(&settings::all().map(|setting| described(&view, setting)).collect::<Result<Vec<_>, _>>()?)
        }
        None => {
            groups(&view).iter().for_each(printer::line);
            Ok(())
        }
    }
}

fn find(key: &str) -> Result<&'static Setting, Problem> {
    settings::find(key).ok_or_else(|| {
        let keys = settings::all().map(|setting| setting.key);
        let problem = Problem::new(ErrorCode::Usage, format!("no setting named `{key}`"));
        let suggestions = near(key, keys, 1).into_iter().map(|near| format!("did you mean `{near}`?"));
        suggestions.fold(problem, Problem::hint).hint("list all settings: codex-orchestrator env config ENV")
    })
}

fn described(view: &EnvironmentView, setting: &Setting) -> Result<SettingView, Problem> {
    let json = serde_json::to_value(view).map_err(Problem::internal)?;
    let current = setting.current(view);
    let value = json.pointer(&format!("/{}", setting.field.replace('.', "/"))).cloned().unwrap_or_default();
    Ok(SettingView {
        key: setting.key,
        flag: format!("--{}", setting.flag),
        group: setting.group.title(),
        description: description(setting),
        default: setting.default,
        choices: setting.choices().iter().map(|choice| choice.value).collect(),
        is_set: !current.is_empty(),
        value,
    })
}

fn description(setting: &Setting) -> String {
    let text = format!("{}. {}", setting.summary(), setting.details());
    text.trim_end().to_owned()
}

/// Lists every setting under the heading of its group.
fn groups(view: &EnvironmentView) -> Vec<String> {
    let mut lines = vec![];
    for group in Group::ALL {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.push(group.title().to_owned());
        for line in list(view, settings::of(group)) {
            lines.push(format!("  {line}"));
        }
    }
    lines
}

/// Returns two lines for each setting: its key and value, and its description.
fn list<'a>(view: &EnvironmentView, settings: impl IntoIterator<Item = &'a Setting>) -> Vec<String> {
    let mut lines = vec![];
    for setting in settings {
        let values: Vec<_> = setting.current(view).iter().map(|value| visible(value)).collect();
        let value = if values.is_empty() { format!("(default: {})", setting.default) } else { values.join(", ") };
        lines.push(format!("{} = {value}", setting.key));
        let choices: Vec<_> = setting.choices().iter().map(|choice| choice.value).collect();
        let choices = if choices.is_empty() { String::new() } else { format!(": {}", choices.join(", ")) };
        let shows_default = !values.is_empty() && setting.required == Required::No;
        let default = if shows_default { format!(" [default: {}]", setting.default) } else { String::new() };
        lines.push(format!("    {}{choices}{default}", setting.summary()));
    }
    lines
}

/// Replaces characters that a terminal could interpret or hide.
pub(super) fn visible(text: &str) -> String {
    text.chars().map(|c| if is_invisible(c) { format!("<U+{:04X}>", u32::from(c)) } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn view() -> EnvironmentView {
        serde_json::from_value(json!({
            "env_id": "0199a0f0-0000-7000-8000-000000000001", "name": "app", "repo_url": "https://github.com/me/app.git",
            "default_branch": "main", "status": "ready", "error": null, "progress": null, "tasks": 2,
            "variables": { "CI": "1", "MODE": "a=b" }, "secrets": ["TOKEN"], "has_forge_token": true,
            "container": { "network": "allow", "allow_hosts": ["a.com", "*.b.com"], "cpus": 1.5 }, "runs": { "paused": true },
            "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z",
        }))
        .expect("a view")
    }

    #[test]
    fn the_list_shows_values_defaults_and_descriptions() {
        insta::assert_snapshot!(groups(&view()).join("\n"));
    }

    #[test]
    fn json_has_the_values_of_the_api() {
        let shown: Vec<_> = ["cpus", "allow-host", "memory", "forge_token", "secrets"]
            .iter()
            .map(|key| described(&view(), find(key).expect(key)).expect("JSON"))
            .map(|shown| (shown.key, shown.is_set, shown.value))
            .collect();
        assert_eq!(
            shown,
            [
                ("cpus", true, json!(1.5)),
                ("allow_hosts", true, json!(["a.com", "*.b.com"])),
                ("memory", false, Value::Null),
                ("forge_token", true, Value::Null),
                ("secrets", true, json!(["TOKEN"])),
            ]
        );
        insta::assert_json_snapshot!(described(&view(), find("network").expect("a setting")).expect("JSON"));
    }

    #[test]
    fn a_misspelled_key_is_a_usage_error_with_a_suggestion() {
        let problem = find("memroy").expect_err("misspelled");
        assert!(problem.report.code == ErrorCode::Usage && problem.report.hints.len() == 2, "{problem:?}");
        assert!(problem.report.hints[0].contains("`memory`"));
    }

    #[test]
    fn invisible_characters_are_shown() {
        assert_eq!(visible("a\u{202e}b\u{1b}"), "a<U+202E>b<U+001B>");
    }

    #[test]
    fn every_setting_is_listed_once_with_its_description() {
        let lines = groups(&view());
        for setting in settings::all() {
            let start = format!("  {} = ", setting.key);
            let found: Vec<_> = lines.iter().enumerate().filter(|(_, line)| line.starts_with(&start)).collect();
            let [(at, _)] = found.as_slice() else { panic!("{}: {found:?}", setting.key) };
            assert!(lines[at + 1].trim_start().starts_with(&setting.summary()), "{}: {}", setting.key, lines[at + 1]);
        }
        let headings: Vec<_> = lines.iter().filter(|line| !line.starts_with(' ') && !line.is_empty()).collect();
        assert_eq!(headings.len(), Group::ALL.into_iter().count());
    }

    #[test]
    fn a_key_is_found_in_its_spellings_and_a_flag_names_the_same_setting() {
        for setting in settings::all() {
            let shown = described(&view(), setting).expect("JSON");
            assert_eq!(find(setting.key).expect("the key exists").key, setting.key);
            assert_eq!((shown.flag.as_str(), shown.group), (format!("--{}", setting.flag).as_str(), setting.group.title()));
            assert!(
                !shown.description.is_empty() && !shown.description.ends_with(' '),
                "{}: {:?}",
                setting.key,
                shown.description
            );
        }
        assert!(find("").is_err() && find("no such setting at all").is_err_and(|problem| problem.report.hints.len() == 1));
    }

    #[test]
    fn secrets_are_listed_by_name_only() {
        let lines = groups(&view()).join("\n");
        assert!(lines.contains("secrets = TOKEN"), "{lines}");
        let token = described(&view(), find("forge_token").expect("a setting")).expect("JSON");
        assert_eq!((token.is_set, token.value), (true, Value::Null), "the API never returns a token");
    }

    #[test]
    fn a_value_cannot_hide_or_forge_anything() {
        let mut hostile = view();
        hostile.variables = serde_json::from_value(json!({ "MODE": "a\nmemory = 1g\u{202e}\u{200b}" })).expect("variables");
        let line = list(&hostile, [find("variables").expect("a setting")]).remove(0);
        assert_eq!(line, "variables = MODE=a<U+000A>memory = 1g<U+202E><U+200B>");
        assert_eq!(visible("plain é 日本"), "plain é 日本");
    }
}
