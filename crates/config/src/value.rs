//! The value of a setting, and how it is read: as a TOML value, or as the text of a variable or a flag.
//!
//! Every reader returns [`Invalid`] for a value of another form. The caller adds the name of the setting.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use jiff::fmt::friendly::SpanParser;
use model::ErrorCode;
use model::problem::Problem;
use model::size::parse_size;

/// The maximum number of characters of an invalid value that an error shows.
const SHOWN: usize = 60;

/// A value as it was given.
#[derive(Debug, Clone)]
pub(super) enum RawValue {
    /// From `config.toml`.
    File(toml::Value),
    /// From a variable or a flag.
    Text(OsString),
}

/// The form of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ValueForm {
    /// An IP address and a port, or `off`.
    Address,
    /// `true` or `false`.
    Boolean,
    /// A number of days.
    Days,
    /// A duration, e.g. `30s`, `5m` or `2h`.
    Duration,
    /// A list of strings.
    List,
    /// A whole number.
    Number,
    /// The path of a file or folder.
    Path,
    /// A string that is never shown.
    Secret,
    /// A number of bytes, e.g. `512m` or `4g`.
    Size,
    /// Any string.
    Text,
    /// A time of day, e.g. `22:30`.
    Time,
    /// An `http` or `https` URL.
    Url,
}

impl ValueForm {
    /// The name of the form in errors and in the reference.
    pub fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::Boolean => "boolean",
            Self::Days => "number of days",
            Self::Duration => "duration",
            Self::List => "list of strings",
            Self::Number => "number",
            Self::Path => "path",
            Self::Secret => "secret",
            Self::Size => "size",
            Self::Text => "string",
            Self::Time => "time of day",
            Self::Url => "URL",
        }
    }

    /// How to write a value of this form, as a hint.
    pub(super) fn hint(self) -> &'static str {
        match self {
            Self::Address => "use an IP address and a port, e.g. 127.0.0.1:8080, or `off`",
            Self::Boolean => "use true or false, without quotes",
            Self::Days | Self::Number => "use a whole number, e.g. 30",
            Self::Duration => "use a form like 30s, 5m or 2h",
            Self::List => "use a list of strings, e.g. [\"one\", \"two\"]",
            Self::Path => "use a path in quotes, e.g. \"/srv/codex\"",
            Self::Secret | Self::Text => "use a string in quotes",
            Self::Size => "use a form like 512m or 4g",
            Self::Time => "use a time of day in quotes, e.g. \"22:30\"",
            Self::Url => "use a URL in quotes, e.g. \"https://example.org\"",
        }
    }
}

/// Why a value cannot be used.
#[derive(Debug)]
pub(super) enum Invalid {
    /// The value does not have the form of the setting.
    Form,
    /// The value has the right form but breaks another rule. The text is a hint.
    Rule(String),
    /// The value has its own error, which does not name the setting.
    Problem(Problem),
}

impl From<Problem> for Invalid {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl Invalid {
    /// Returns the error for a value of a setting. `name` is what the user wrote: a key, a variable or a flag.
    pub(super) fn into_problem(self, form: ValueForm, name: &str, given: &RawValue) -> Problem {
        let shown = if form == ValueForm::Secret { String::new() } else { format!(" `{}`", given.shown()) };
        let problem = |hint: String| unusable(format!("invalid {}{shown} for `{name}`", form.name())).hint(hint);
        match self {
            Self::Rule(hint) if form != ValueForm::Secret => problem(hint),
            Self::Form | Self::Rule(_) => problem(form.hint().to_owned()),
            Self::Problem(problem) => problem,
        }
    }
}

/// Returns an error about the settings.
pub(super) fn unusable(detail: String) -> Problem {
    Problem::new(ErrorCode::ConfigUnusable, detail)
}

impl RawValue {
    /// Returns whether the value is an empty string, which means that the setting is not set.
    pub(super) fn is_empty(&self) -> bool {
        match self {
            Self::File(value) => value.as_str() == Some(""),
            Self::Text(text) => text.is_empty(),
        }
    }

    fn shown(&self) -> String {
        let text = self.text().unwrap_or_else(|_| match self {
            Self::File(value) => value.to_string(),
            Self::Text(text) => text.to_string_lossy().into_owned(),
        });
        text.chars().filter(|c| !c.is_control()).take(SHOWN).collect()
    }

    pub(super) fn text(&self) -> Result<String, Invalid> {
        match self {
            Self::File(value) => value.as_str().map(str::to_owned).ok_or(Invalid::Form),
            Self::Text(text) => Ok(text.to_string_lossy().into_owned()),
        }
    }

    pub(super) fn path(&self) -> Result<PathBuf, Invalid> {
        match self {
            Self::File(_) => self.text().map(PathBuf::from),
            Self::Text(text) => Ok(PathBuf::from(text)),
        }
    }

    pub(super) fn boolean(&self) -> Result<bool, Invalid> {
        match self {
            Self::File(value) => value.as_bool().ok_or(Invalid::Form),
            Self::Text(_) => self.text()?.trim().parse().map_err(|_| Invalid::Form),
        }
    }

    pub(super) fn number<T: TryFrom<i64>>(&self) -> Result<T, Invalid> {
        let number = match self {
            Self::File(value) => value.as_integer(),
            Self::Text(_) => self.text()?.trim().parse().ok(),
        };
        number.and_then(|number| T::try_from(number).ok()).ok_or(Invalid::Form)
    }

    pub(super) fn list(&self) -> Result<Vec<String>, Invalid> {
        let Self::File(toml::Value::Array(items)) = self else { return Err(Invalid::Form) };
        items.iter().map(|item| item.as_str().map(str::to_owned).ok_or(Invalid::Form)).collect()
    }

    pub(super) fn duration(&self) -> Result<Duration, Invalid> {
        let parsed = SpanParser::new().parse_unsigned_duration(self.text()?.trim()).ok();
        parsed.filter(|duration| !duration.is_zero()).ok_or(Invalid::Form)
    }

    pub(super) fn size(&self) -> Result<u64, Invalid> {
        parse_size(&self.text()?).ok_or(Invalid::Form)
    }

    /// Returns the value as TOML, for settings that serde reads.
    pub(super) fn toml(&self) -> Result<toml::Value, Invalid> {
        match self {
            Self::File(value) => Ok(value.clone()),
            Self::Text(_) => self.text().map(toml::Value::String),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(toml: &str) -> RawValue {
        let table: toml::Table = toml::from_str(&format!("x = {toml}")).expect(toml);
        RawValue::File(table["x"].clone())
    }

    #[test]
    fn durations_have_a_unit() {
        for (text, milliseconds) in
            [("90s", 90_000), ("2h", 7_200_000), ("10m", 600_000), ("10 m", 600_000), ("250ms", 250), ("1h 30m", 5_400_000)]
        {
            assert_eq!(RawValue::Text(text.into()).duration().expect(text), Duration::from_millis(milliseconds), "{text}");
        }
        for text in ["", "10", "h", "-1s", "0s", "soon", "1 month", "99999999999999999999h"] {
            assert!(RawValue::Text(text.into()).duration().is_err(), "{text}");
        }
    }

    #[test]
    fn a_value_of_another_form_is_refused() {
        assert!(file("\"true\"").boolean().is_err());
        assert!(file("\"3\"").number::<u32>().is_err());
        assert!(file("-3").number::<u32>().is_err());
        assert!(file("[\"a\", 1]").list().is_err());
        assert!(file("3").text().is_err());
        assert_eq!(RawValue::Text(" 3 ".into()).number::<u32>().ok(), Some(3), "a number in a variable is parsed from text");
    }

    #[test]
    fn an_error_names_the_setting_and_the_form_but_never_a_secret() {
        let given = file("\"soon\"");
        let problem = Invalid::Form.into_problem(ValueForm::Duration, "stop_grace", &given);
        assert_eq!(problem.report.message, "invalid duration `soon` for `stop_grace`");
        assert_eq!(problem.report.hints, ["use a form like 30s, 5m or 2h"]);
        let problem = Invalid::Form.into_problem(ValueForm::Secret, "github_token", &file("12345"));
        assert_eq!(problem.report.message, "invalid secret for `github_token`");
    }
}
