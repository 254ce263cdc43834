//! Forms that are shown again with the entered values and an error message next to each invalid field.
//!
//! An empty field means the default. Invariant: password fields are never filled in.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use axum::response::Response;
use maud::{Markup, html};
use model::problem::Problem;
use serde::{Deserialize, Serialize};

use super::answer::html_response;

/// The entered values by field name.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(transparent)]
pub(super) struct FormValues(BTreeMap<String, String>);

impl FormValues {
    /// Returns a field's trimmed text, or an empty text if the field is missing.
    pub(super) fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", |text| text.trim())
    }

    /// Returns a field's trimmed text if it is not empty.
    pub(super) fn given(&self, name: &str) -> Option<String> {
        Some(self.text(name)).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    /// Returns a field's text unchanged, except that line ends become `\n`.
    pub(super) fn exact(&self, name: &str) -> String {
        self.0.get(name).map(|text| text.replace("\r\n", "\n")).unwrap_or_default()
    }

    /// Returns whether a checkbox is checked.
    pub(super) fn ticked(&self, name: &str) -> bool {
        !self.text(name).is_empty()
    }

    /// Returns the names of checked boxes that start with a prefix, without the prefix.
    pub(super) fn ticked_behind<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(|(_, value)| !value.is_empty()).filter_map(move |(name, _)| name.strip_prefix(prefix))
    }

    /// Sets the value of a field.
    pub(super) fn set(&mut self, name: &str, text: impl Into<String>) {
        self.0.insert(name.to_owned(), text.into());
    }
}

/// Returns a new value for a form's hidden field `key`.
pub(super) fn new_key() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// Returns the idempotency key of a form's request, derived from the form's key and its values. The same form sent twice is one
/// request. A form that was changed after going back is another request.
pub(super) fn request_key(form_key: &str, asked: &impl Serialize) -> Result<Option<String>, Problem> {
    if form_key.is_empty() {
        return Ok(None);
    }
    let asked = serde_json::to_vec(&(form_key, asked)).map_err(Problem::internal)?;
    Ok(Some(hex::encode(ring::digest::digest(&ring::digest::SHA256, &asked))))
}

/// The errors of a form by field name. The empty name is for errors that belong to no field.
#[derive(Debug, Default)]
pub(super) struct FormErrors(Vec<(&'static str, Problem)>);

impl FormErrors {
    /// Returns a parsed value, or adds the error to a field.
    pub(super) fn check<T>(&mut self, field: &'static str, parsed: Result<T, Problem>) -> Option<T> {
        parsed.map_err(|problem| self.add(field, problem)).ok()
    }

    /// Adds an error to a field. Only the first error of each field is kept.
    pub(super) fn add(&mut self, field: &'static str, problem: Problem) {
        if self.of(field).is_none() {
            self.0.push((field, problem));
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn of(&self, field: &str) -> Option<&Problem> {
        self.0.iter().find(|(name, _)| *name == field).map(|(_, problem)| problem)
    }

    /// Returns whether one of these fields has an error.
    pub(super) fn any(&self, fields: &[&str]) -> bool {
        fields.iter().any(|field| self.of(field).is_some())
    }

    /// Renders the list of errors above the form, with links to the fields.
    pub(super) fn summary(&self) -> Markup {
        html! {
            @if !self.is_empty() {
                div.error role="alert" {
                    p { "Please fix this first:" }
                    ul {
                        @for (field, problem) in &self.0 {
                            li {
                                @if field.is_empty() { (problem.report.message) } @else { a href={ "#" (field) } { (problem.report.message) } }
                                @if field.is_empty() { @for hint in &problem.report.hints { p.hint { "→ " (hint) } } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The kind of text that a field takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TextKind {
    /// Names, URLs and other text without automatic correction.
    Code,
    /// Plain text.
    Words,
    /// A whole number.
    Number,
    /// A secret that is never shown.
    Password,
    /// Several lines.
    Lines,
}

/// A form with its entered values and errors.
#[derive(Debug, Clone, Copy)]
pub(super) struct FormState<'a> {
    pub(super) typed: &'a FormValues,
    pub(super) wrong: &'a FormErrors,
}

/// A field with its label and texts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'a> {
    pub(super) name: &'static str,
    pub(super) label: &'a str,
    pub(super) kind: TextKind,
    /// The placeholder, which shows the default.
    pub(super) empty: &'a str,
    /// The help text below the field.
    pub(super) help: &'a str,
    pub(super) required: bool,
    /// The ID of a list of suggestions.
    pub(super) list: Option<&'a str>,
}

impl<'a> Field<'a> {
    pub(super) fn new(name: &'static str, label: &'a str, kind: TextKind) -> Self {
        Self { name, label, kind, empty: "", help: "", required: false, list: None }
    }

    pub(super) fn empty(self, empty: &'a str) -> Self {
        Self { empty, ..self }
    }

    pub(super) fn help(self, help: &'a str) -> Self {
        Self { help, ..self }
    }

    pub(super) fn required(self) -> Self {
        Self { required: true, ..self }
    }

    pub(super) fn list(self, list: &'a str) -> Self {
        Self { list: Some(list), ..self }
    }
}

impl FormState<'_> {
    /// Renders a field with its label, help and error.
    pub(super) fn field(&self, field: Field<'_>) -> Markup {
        let Field { name, label, kind, empty, help, required, list } = field;
        let invalid = self.wrong.of(name).map(|_| "true");
        let about = self.about(name, help);
        let plain = (kind == TextKind::Code || kind == TextKind::Password).then_some("off");
        html! {
            label for=(name) { (label) }
            @if kind == TextKind::Lines {
                textarea id=(name) name=(name) rows="3" data-grow spellcheck="false" autocapitalize="off" placeholder=(empty)
                    aria-invalid=[invalid] aria-describedby=[about] required[required] { (self.typed.exact(name)) }
            } @else {
                input id=(name) name=(name) type=(kind.word()) value=[(kind != TextKind::Password).then(|| self.typed.text(name))] placeholder=(empty)
                    inputmode=[(kind == TextKind::Number).then_some("numeric")] list=[list] autocapitalize=[plain] autocomplete=[plain.filter(|_| list.is_none())]
                    spellcheck=[plain.map(|_| "false")] aria-invalid=[invalid] aria-describedby=[about] required[required];
            }
            (self.beside(name, help))
        }
    }

    /// Renders a field with a few choices.
    pub(super) fn choice(&self, name: &'static str, label: &str, help: &str, choices: &[(&str, &str)]) -> Markup {
        html! {
            label for=(name) { (label) }
            select id=(name) name=(name) aria-invalid=[self.wrong.of(name).map(|_| "true")] aria-describedby=[self.about(name, help)] {
                @for (value, label) in choices { option value=(value) selected[self.typed.text(name) == *value] { (label) } }
            }
            (self.beside(name, help))
        }
    }

    /// Renders a checkbox.
    pub(super) fn tick(&self, name: &str, label: &Markup) -> Markup {
        html! { label { input type="checkbox" name=(name) value="yes" checked[self.typed.ticked(name)]; " " (label) } }
    }

    fn about(&self, name: &str, help: &str) -> Option<String> {
        let help = (!help.is_empty()).then(|| format!("{name}-help"));
        let wrong = self.wrong.of(name).map(|_| format!("{name}-wrong"));
        let ids: Vec<_> = wrong.into_iter().chain(help).collect();
        (!ids.is_empty()).then(|| ids.join(" "))
    }

    fn beside(&self, name: &str, help: &str) -> Markup {
        html! {
            @if let Some(problem) = self.wrong.of(name) {
                p.error id={ (name) "-wrong" } { (problem.report.message) @for hint in &problem.report.hints { br; "→ " (hint) } }
            }
            @if !help.is_empty() { p.quiet id={ (name) "-help" } { (help) } }
        }
    }
}

impl TextKind {
    fn word(self) -> &'static str {
        match self {
            Self::Password => "password",
            // With the type `number`, browsers drop invalid text before we can report it.
            Self::Code | Self::Words | Self::Number | Self::Lines => "text",
        }
    }
}

/// Responds with the page and its form, because of errors.
pub(super) fn again(page: Markup) -> Response {
    html_response(StatusCode::UNPROCESSABLE_ENTITY, page)
}

#[cfg(test)]
mod tests {

    use model::ErrorCode;

    use super::*;

    #[test]
    fn what_was_typed_is_kept_and_what_is_wrong_stands_beside_it() {
        let (mut typed, mut wrong) = (FormValues::default(), FormErrors::default());
        typed.set("memory", "\"><script>");
        wrong.add("memory", Problem::new(ErrorCode::ContainerRefused, "invalid size").hint("use a form like 4g"));
        let form = FormState { typed: &typed, wrong: &wrong };
        let html = form.field(Field::new("memory", "Memory", TextKind::Code).help("of the container")).into_string();
        assert!(html.contains(r#"value="&quot;&gt;&lt;script&gt;""#), "{html}");
        assert!(html.contains(r#"aria-describedby="memory-wrong memory-help""#) && html.contains("use a form like 4g"), "{html}");
        assert!(wrong.summary().into_string().contains("href=\"#memory\""));
    }

    #[test]
    fn a_password_is_never_filled_in() {
        let (mut typed, wrong) = (FormValues::default(), FormErrors::default());
        typed.set("secret_value", "hunter2");
        let form = FormState { typed: &typed, wrong: &wrong };
        let html = form.field(Field::new("secret_value", "Value", TextKind::Password)).into_string();
        assert!(!html.contains("hunter2"), "{html}");
    }

    #[test]
    fn empty_and_space_are_nothing_given() {
        let mut typed = FormValues::default();
        typed.set("a", "  ");
        typed.set("b", " x ");
        typed.set("forget:NAME", "yes");
        assert_eq!((typed.given("a"), typed.given("b").as_deref(), typed.given("c")), (None, Some("x"), None));
        assert_eq!(typed.ticked_behind("forget:").collect::<Vec<_>>(), ["NAME"]);
    }
}
