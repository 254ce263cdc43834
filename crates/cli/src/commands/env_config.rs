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
}
