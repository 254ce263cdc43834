//! The form for a repository's settings, derived from the table in [`protocol::settings`].
//!
//! Each value is checked by its own setting, so an error is shown next to its field. Invariant: no page contains the value of a
//! secret, neither a stored one nor one that a user just entered.

use std::collections::BTreeMap;

use engine::RunDefaults;
use maud::{Markup, html};
use model::ErrorCode;
use model::names::VariableName;
use model::problem::Problem;
use model::secret::Secret;
use protocol::settings::{self, Group, Input, Required, Setting};
use protocol::{EditEnvironment, EnvironmentView, ServerStatus};

use super::form::{Field, FormErrors, FormState, FormValues, TextKind};

/// The prefix of the checkboxes that delete a secret.
const FORGET: &str = "forget:";

/// Returns the form filled in with the current settings.
pub(super) fn filled(one: &EnvironmentView) -> FormValues {
    let mut typed = FormValues::default();
    for setting in editable() {
        typed.set(setting.key, current(setting, one));
    }
    typed
}

/// Returns the settings that the form can show. Secrets have separate fields.
fn editable() -> impl Iterator<Item = &'static Setting> {
    settings::all().filter(|setting| setting.input != Input::Secret)
}

/// Returns the current value as the text of a field.
fn current(setting: &Setting, one: &EnvironmentView) -> String {
    let values = setting.current(one);
    let is_choice = setting.choices().iter().any(|choice| choice.value == setting.default);
    if values.is_empty() && is_choice { setting.default.to_owned() } else { values.join("\n") }
}

/// The defaults that depend on the server.
pub(super) struct Defaults {
    image: String,
    parallel_runs: String,
    resume: String,
}

impl Defaults {
    pub(super) fn new(defaults: &RunDefaults, status: &ServerStatus) -> Self {
        let known = status.worker.container.as_ref().and_then(|container| container.image.as_ref());
        let image = defaults.image.clone().or_else(|| known.map(|image| image.name.clone()));
        Self {
            image: image.unwrap_or_else(|| format!("the image with Codex {}", model::CODEX_VERSION)),
            parallel_runs: format!("{} (the server's limit)", defaults.max_parallel_runs),
            resume: format!("{} (the server's setting)", if defaults.resume_interrupted { "on" } else { "off" }),
        }
    }

    fn of(&self, setting: &Setting) -> &str {
        match setting.key {
            "image" => &self.image,
            "max_parallel_runs" => &self.parallel_runs,
            "resume_interrupted" => &self.resume,
            _ => setting.default,
        }
    }
}

/// Renders all fields in groups. `proposals` is a list of branches with the ID `refs`.
pub(super) fn fields(form: FormState<'_>, one: &EnvironmentView, defaults: &Defaults, proposals: &Markup) -> Markup {
    html! {
        (form.wrong.summary())
        @for group in Group::ALL {
            @if group == Group::General {
                (group_fields(form, group, one, defaults))
                (proposals)
            } @else {
                details.group open[is_wrong(form, group)] {
                    summary { h2 { (group.title()) } }
                    @if !group.note().is_empty() { p.quiet { (group.note()) } }
                    (group_fields(form, group, one, defaults))
                }
            }
        }
    }
}

fn group_fields(form: FormState<'_>, group: Group, one: &EnvironmentView, defaults: &Defaults) -> Markup {
    html! {
        @for setting in settings::of(group) {
            @match setting.key {
                "secrets" => { (secrets(form, one)) }
                "forge_token" => { (forge_token(form, setting, one)) }
                key => {
                    @let required = setting.required == Required::Yes && !setting.current(one).is_empty();
                    @let list = (key == "default_branch").then_some("refs");
                    (field(form, setting, defaults.of(setting), FieldOptions { required, list }))
                }
            }
        }
    }
}

/// Returns whether a field of the group has an error.
fn is_wrong(form: FormState<'_>, group: Group) -> bool {
    let extra: &[&str] = if group == Group::Variables { &["secret_name", "secret_value"] } else { &[] };
    settings::of(group).any(|setting| form.wrong.any(&[setting.key])) || form.wrong.any(extra)
}

/// Renders the field of the setting `key` in the form for a new repository.
pub(super) fn new_field(form: FormState<'_>, key: &str) -> Markup {
    let setting = settings::find(key);
    html! { @if let Some(setting) = setting { (field(form, setting, setting.default, FieldOptions::default())) } }
}

/// How the field of a setting differs between forms.
#[derive(Debug, Clone, Copy, Default)]
struct FieldOptions<'a> {
    required: bool,
    /// The `datalist` with proposals.
    list: Option<&'a str>,
}

fn field(form: FormState<'_>, setting: &'static Setting, default: &str, options: FieldOptions<'_>) -> Markup {
    let FieldOptions { required, list } = options;
    let help = help(setting);
    let default = format!("Default: {default}");
    let kind = match setting.input {
        Input::Switch => {
            return form.tick(setting.key, &html! { (setting.label) " " span.quiet { (help) } });
        }
        Input::Choice(choices) => {
            let has_default = choices.iter().any(|choice| choice.value == setting.default);
            let default = (!has_default).then(|| (String::new(), quoted(&default)));
            let choices = choices.iter().map(|choice| (choice.value.to_owned(), choice_text(choice)));
            let options: Vec<(String, String)> = default.into_iter().chain(choices).collect();
            let options: Vec<(&str, &str)> = options.iter().map(|(value, text)| (value.as_str(), text.as_str())).collect();
            return form.choice(setting.key, setting.label, &help, &options);
        }
        Input::Words(_) => TextKind::Words,
        Input::Text(_) | Input::Path => TextKind::Code,
        Input::Number => TextKind::Number,
        Input::Lines(_) | Input::List(_) => TextKind::Lines,
        Input::Secret => TextKind::Password,
    };
    let placeholder = if setting.input.is_list() { setting.example } else { &default };
    form.field(Field { required, list, ..Field::new(setting.key, setting.label, kind).empty(placeholder).help(&help) })
}

fn choice_text(choice: &settings::Choice) -> String {
    if choice.value.eq_ignore_ascii_case(choice.meaning) {
        choice.meaning.to_owned()
    } else {
        format!("{}: {}", choice.value, choice.meaning)
    }
}

/// Returns the help of a setting in complete sentences.
fn help(setting: &Setting) -> String {
    let mut help = format!("{}.", setting.summary());
    for text in [setting.details().as_str(), if setting.input.is_list() { "One per line." } else { "" }] {
        if !text.is_empty() {
            help = format!("{help} {text}");
        }
    }
    quoted(&help)
}

/// Replaces the backticks around values by quotation marks.
fn quoted(text: &str) -> String {
    let pieces = text.split('`').enumerate();
    pieces.map(|(at, piece)| if at % 2 == 1 { format!("“{piece}”") } else { piece.to_owned() }).collect()
}

fn secrets(form: FormState<'_>, one: &EnvironmentView) -> Markup {
    html! {
        @if !one.secrets.is_empty() {
            p { "Secrets (their values are never shown):" }
            @for name in &one.secrets { (form.tick(&format!("{FORGET}{name}"), &html! { "Delete " code { (name) } })) }
        }
        (form.field(Field::new("secret_name", "New secret", TextKind::Code).empty("NAME").help("To replace a secret, enter its name and the new value.")))
        (form.field(Field::new("secret_value", "Value of the secret", TextKind::Password)
            .help("Codex gets the secret as an environment variable. It is masked in transcripts, errors and commit messages, but not in the raw log.")))
    }
}

fn forge_token(form: FormState<'_>, setting: &'static Setting, one: &EnvironmentView) -> Markup {
    let state = if one.has_forge_token { "A token is set. Leave this empty to keep it." } else { "No token is set." };
    html! {
        (form.field(Field::new(setting.key, setting.label, TextKind::Password).help(&format!("{}. {state}", setting.summary()))))
        @if one.has_forge_token { (form.tick("forget_token", &html! { "Delete the token" })) }
    }
}

fn refused(detail: impl Into<String>) -> Problem {
    Problem::new(ErrorCode::FormRefused, detail)
}

/// Reads the form and returns the settings that changed. Errors are added to `wrong`.
pub(super) fn read(typed: &FormValues, one: &EnvironmentView, wrong: &mut FormErrors) -> EditEnvironment {
    let (mut edit, mut whole) = (EditEnvironment::default(), EditEnvironment::default());
    for setting in editable() {
        let values = values(setting, typed);
        let result = setting.change(&mut whole, &values);
        if values != setting.input.split(&current(setting, one)) && wrong.check(setting.key, result).is_some() {
            wrong.check(setting.key, setting.change(&mut edit, &values));
        }
    }
    if let Some((key, problem)) = settings::conflict(one, &whole) {
        wrong.add(key, problem);
    }
    edit.secrets = read_secrets(typed, wrong);
    let token = typed.given("forge_token").map(|token| Some(Secret::new(token)));
    if let Some(token) = token.or_else(|| typed.ticked("forget_token").then_some(None)) {
        edit.forge.get_or_insert_default().token = Some(token);
    }
    edit
}

/// Reads the fields of the settings `keys` for a new repository. Empty fields are skipped.
pub(super) fn read_new(typed: &FormValues, keys: &[&str], wrong: &mut FormErrors) -> EditEnvironment {
    let mut edit = EditEnvironment::default();
    for setting in keys.iter().filter_map(|key| settings::find(key)) {
        let values = values(setting, typed);
        if !values.is_empty() {
            wrong.check(setting.key, setting.change(&mut edit, &values));
        }
    }
    edit
}

fn values(setting: &Setting, typed: &FormValues) -> Vec<String> {
    match setting.input {
        Input::Switch if typed.ticked(setting.key) => vec!["on".to_owned()],
        Input::Switch => vec![],
        input => input.split(&typed.exact(setting.key)),
    }
}

fn read_secrets(typed: &FormValues, wrong: &mut FormErrors) -> BTreeMap<String, Option<Secret>> {
    let mut secrets: BTreeMap<_, _> = typed.ticked_behind(FORGET).map(|name| (name.to_owned(), None)).collect();
    let (name, value) = (typed.text("secret_name"), typed.exact("secret_value"));
    match (name.is_empty(), value.is_empty()) {
        (true, true) => {}
        (true, false) => wrong.add("secret_name", refused("the secret needs a name; enter its value again, too")),
        (false, true) => wrong.add("secret_value", refused("the secret needs a value")),
        (false, false) => {
            if let Some(parsed) = wrong.check("secret_name", VariableName::parse(name)) {
                wrong.check("secret_value", Secret::new(value.clone()).checked(&parsed));
            }
            secrets.insert(name.to_owned(), Some(Secret::new(value)));
        }
    }
    secrets
}

/// Returns the field that an error from the engine belongs to.
pub(super) fn field_of(problem: &Problem) -> &'static str {
    match problem.report.code.known() {
        Some(ErrorCode::RepositoryUrlRefused | ErrorCode::UrlHasCredentials) => "repo_url",
        Some(ErrorCode::BranchNotFound | ErrorCode::BranchNameRefused) => "default_branch",
        Some(ErrorCode::TitleRefused) => "name",
        Some(ErrorCode::VariableRefused) => "variables",
        Some(ErrorCode::SecretRefused) => "secret_value",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view() -> EnvironmentView {
        serde_json::from_value(serde_json::json!({
            "env_id": "0199a0f0-0000-7000-8000-000000000001", "name": "app", "repo_url": "https://github.com/me/app.git",
            "default_branch": "main", "status": "ready", "error": null, "progress": null,
            "variables": { "CI": "1" }, "secrets": ["TOKEN"], "has_forge_token": true, "tasks": 2,
            "container": { "memory": "4g", "network": "allow", "allow_hosts": ["a.com"] }, "runs": { "retries": 2 },
            "created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z",
        }))
        .expect("a view")
    }

    /// Submits the form of [`view`] with other values in some fields.
    fn submitted(fields: &[(&str, &str)]) -> (EditEnvironment, String) {
        let (mut typed, mut wrong) = (filled(&view()), FormErrors::default());
        for (name, text) in fields {
            typed.set(name, *text);
        }
        let edit = read(&typed, &view(), &mut wrong);
        (edit, wrong.summary().into_string())
    }

    #[test]
    fn each_error_links_to_its_field() {
        for (field, text) in [
            ("name", ""),
            ("default_branch", "a..b"),
            ("default_branch", ""),
            ("variables", "no equals sign"),
            ("variables", "A=1\nA=2"),
            ("secret_name", "TOKEN"),
            ("image", "-v"),
            ("dockerfile", "relative"),
            ("user", "nobody"),
            ("network", "some"),
            ("allow_hosts", "https://x/"),
            ("hosted_tools", "some"),
            ("memory", "lots"),
            ("cpus", "two"),
            ("cpus", "0"),
            ("pids", "3"),
            ("token_budget", "0"),
            ("max_parallel_runs", "0"),
            ("retries", "99"),
            ("resume_interrupted", "perhaps"),
            ("model", "-m"),
            ("effort", "two words"),
            ("forge_kind", "sourceforge"),
            ("forge_project", "alone"),
            ("forge_api", "ftp://x"),
            ("trusted_branches", "a..b"),
            ("allowed_urls", "ext::sh"),
        ] {
            let (_, summary) = submitted(&[(field, text)]);
            let expect = if field == "secret_name" { "secret_value" } else { field };
            assert!(summary.contains(&format!("href=\"#{expect}\"")), "{field}={text}: {summary}");
        }
    }

    #[test]
    fn settings_that_conflict_are_an_error() {
        let (_, summary) = submitted(&[("network", "open")]);
        assert!(summary.contains("href=\"#allow_hosts\""), "{summary}");
        let (edit, summary) = submitted(&[("network", "open"), ("allow_hosts", "")]);
        assert_eq!((edit.container.expect("a change").allow_hosts, summary.as_str()), (Some(None), ""));
        let (_, summary) = submitted(&[("image", "mine:1"), ("dockerfile", "/srv/Dockerfile")]);
        assert!(summary.contains("href=\"#dockerfile\""), "{summary}");
    }

    #[test]
    fn only_changes_are_sent_and_empty_fields_restore_the_default() {
        assert_eq!(submitted(&[]), (EditEnvironment::default(), String::new()));
        let (edit, summary) = submitted(&[("memory", ""), ("retries", ""), ("paused", "yes"), ("cpus", "1.5")]);
        assert_eq!(summary, "");
        let container = edit.container.expect("a change");
        assert_eq!((container.memory, container.cpus, container.allow_hosts), (Some(None), Some(Some(1.5)), None));
        let runs = edit.runs.expect("a change");
        assert_eq!((runs.retries, runs.paused, runs.model), (Some(None), Some(Some(true)), None));
        assert_eq!((edit.name, edit.forge), (None, None), "an empty field keeps the token");
    }

    #[test]
    fn a_rejected_secret_is_not_repeated() {
        let (_, summary) = submitted(&[("secret_value", "hunter2")]);
        assert!(summary.contains("#secret_name") && !summary.contains("hunter2"), "{summary}");
    }

    /// Returns the words of a page: its text, and the name and placeholder of each field.
    fn words(html: &str) -> String {
        let mut lines: Vec<String> = vec![];
        for piece in html.split('<').skip(1) {
            let (tag, text) = piece.split_once('>').expect("a tag");
            let attribute = |name: &str| Some(tag.split_once(&format!(" {name}=\""))?.1.split('"').next()?.to_owned());
            if let Some(name) = attribute("name") {
                lines.push(format!("[{name}: {}]", attribute("placeholder").or_else(|| attribute("type")).unwrap_or_default()));
            }
            lines.push(text.trim().to_owned());
        }
        lines.retain(|line| !line.is_empty());
        lines.join("\n")
    }

    #[test]
    fn the_form_with_every_setting() {
        let defaults = Defaults {
            image: "codex-docker:1".to_owned(),
            parallel_runs: "4 (the server's limit)".to_owned(),
            resume: "off (the server's setting)".to_owned(),
        };
        let form = FormState { typed: &filled(&view()), wrong: &FormErrors::default() };
        insta::assert_snapshot!(words(&fields(form, &view(), &defaults, &html! {}).into_string()));
    }
}
