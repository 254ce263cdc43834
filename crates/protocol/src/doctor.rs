//! The findings of `doctor`, shared by the API, the command line and the pages.
//!
//! The engine does the checks.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Severity of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// There is nothing to fix.
    Ok,
    /// Some tasks could fail.
    Warning,
    /// No task can run.
    Failure,
}

/// The result of one check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Finding {
    /// Name of the check, e.g. `git` or `login`.
    #[schema(value_type = String)]
    pub check: Cow<'static, str>,
    /// Severity of the finding.
    pub level: Level,
    /// What the check found, in one line.
    pub found: String,
    /// How to fix the problem.
    pub hints: Vec<String>,
}

impl Finding {
    /// Returns a finding without hints.
    pub fn new(check: &'static str, level: Level, found: impl Into<String>) -> Self {
        Self { check: Cow::Borrowed(check), level, found: found.into(), hints: vec![] }
    }

    /// Adds a hint.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds a hint unless the level is [`Level::Ok`].
    pub fn hint_unless_ok(self, hint: &str) -> Self {
        if self.level == Level::Ok { self } else { self.hint(hint) }
    }
}
