//! What `doctor` finds on a machine: the same words for the API, the command line and the pages.
//! It only says what was found. Looking is the engine's work.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// All is well.
    Ok,
    /// Something may go wrong.
    Warning,
    /// No task can run.
    Failure,
}

/// What was found of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Finding {
    /// What was checked, such as `git` or `login`.
    #[schema(value_type = String)]
    pub check: Cow<'static, str>,
    /// How bad it is.
    pub level: Level,
    /// What was found, in a line.
    pub found: String,
    /// What to do about it.
    pub hints: Vec<String>,
}

impl Finding {
    /// A finding without a remedy.
    pub fn new(check: &'static str, level: Level, found: impl Into<String>) -> Self {
        Self { check: Cow::Borrowed(check), level, found: found.into(), hints: vec![] }
    }

    /// Adds what to do next.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// Adds what to do next, unless there is nothing to do.
    pub fn hint_unless_ok(self, hint: &str) -> Self {
        if self.level == Level::Ok { self } else { self.hint(hint) }
    }
}
