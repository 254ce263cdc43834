//! The reference of a repository's settings, as Markdown for `docs/settings.md`.

use std::fmt::Write as _;

use super::{Group, Input, Setting};

/// Returns the section on a repository's settings: one table per group.
pub fn reference() -> String {
    let mut text = String::from(
        "## Repository settings\n\n\
         Each repository has its own settings. Change them on the repository's page, with `env add` and `env edit` (*flag*), with \
         `env config ENV KEY VALUE` (*key*), or with the API (`PATCH /api/v1/envs/{env_id}`, *API field*). \
         `env config ENV` lists the settings of a repository, and `env config ENV KEY --unset` restores a default. With `env edit`, the \
         value `default` restores the default. Flags and keys for lists replace the whole list.\n",
    );
    for group in Group::ALL {
        let _ = write!(text, "\n### {}\n\n", group.title());
        if !group.note().is_empty() {
            let _ = write!(text, "{}\n\n", group.note());
        }
        text.push_str("| key | flag | API field | default | description |\n|---|---|---|---|---|\n");
        for setting in super::of(group) {
            let _ = writeln!(
                text,
                "| `{}` | `{}` | `{}` | {} | {} |",
                setting.key,
                flag(setting),
                setting.field,
                default(setting),
                description(setting)
            );
        }
    }
    text
}

fn flag(setting: &Setting) -> String {
    let value = match setting.choices() {
        [] if setting.key == "secrets" => "NAME".to_owned(),
        [] if setting.key == "forge_token" => "FILE".to_owned(),
        [] => setting.input.value_name().to_owned(),
        choices => choices.iter().map(|choice| choice.value).collect::<Vec<_>>().join("\\|"),
    };
    format!("--{} {value}", setting.flag)
}

fn default(setting: &Setting) -> String {
    let is_value = setting.choices().iter().any(|choice| choice.value == setting.default)
        || setting.input == Input::Switch
        || setting.default.chars().all(|c| c.is_ascii_digit());
    if is_value { format!("`{}`", setting.default) } else { setting.default.to_owned() }
}

fn description(setting: &Setting) -> String {
    let mut text = format!("{}.", setting.summary());
    if setting.input.is_list() {
        text.push_str(" Accepts several values.");
    }
    if !setting.choices().is_empty() {
        let choices = setting.choices().iter().map(|choice| format!("`{}`: {}", choice.value, choice.meaning));
        let _ = write!(text, " {}.", choices.collect::<Vec<_>>().join("; "));
    }
    let details = setting.details();
    if !details.is_empty() {
        let _ = write!(text, " {details}");
    }
    text.replace('|', "\\|")
}
