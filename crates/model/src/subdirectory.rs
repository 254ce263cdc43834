//! The folder of a repository in which its agents start.
//!
//! Whether a branch has the folder is known only once its worktree exists. Invariant: the path names no parent folder, and no part of
//! it can be an option or a folder of Git.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::names::shown;
use crate::problem::Problem;
use crate::schema::{CONTROL, SPACE, described, text};
use crate::settings::text_by_as_str;

/// The maximum length of a path in bytes.
const LIMIT_BYTES: usize = 250;

/// Characters that have a meaning in the options of programs, or in their configuration.
const ODD: [char; 6] = ['\\', '"', '\'', ':', ',', '='];

/// A folder of a repository, relative to its top-level folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subdirectory(String);

described!(Subdirectory, {
    let (first, inner) = (format!(r#"[^{CONTROL}{SPACE}/.\-\\"':,=]"#), format!(r#"[^{CONTROL}/\\"':,=]"#));
    let part = format!(r#"{first}(?:{inner}*[^{CONTROL}{SPACE}/\\"':,=])?"#);
    text(
        "A folder in the repository, e.g. `services/api`. No part of it starts with a dot or a dash. At most 250 bytes.",
        format!("^{part}(?:/{part})*/?$"),
    )
});

impl Subdirectory {
    /// Parses a relative path. A final `/` is ignored.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let is_part = |part: &str| !part.is_empty() && !part.starts_with(['.', '-']) && part.trim() == part;
        let is_odd = |c: char| c.is_control() || ODD.contains(&c);
        if path.len() <= LIMIT_BYTES && path.split('/').all(is_part) && !path.contains(is_odd) {
            return Ok(Self(path.to_owned()));
        }
        let detail = format!("invalid folder `{}`", shown(text));
        Err(Problem::new(ErrorCode::RunsRefused, detail).hint("use a path in the repository, e.g. services/api"))
    }

    /// Returns the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_by_as_str!(Subdirectory);

impl fmt::Display for Subdirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for Subdirectory {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|problem| problem.report.message)
    }
}

impl From<Subdirectory> for String {
    fn from(folder: Subdirectory) -> Self {
        folder.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::tests::agree;

    #[test]
    fn a_folder_is_inside_of_the_repository() {
        for (text, expect) in [("app", "app"), ("services/api/", "services/api"), ("a b/c.d/e-f", "a b/c.d/e-f"), ("ä", "ä")] {
            assert_eq!(Subdirectory::parse(text).expect("valid").as_str(), expect);
        }
        for text in [
            "", "/", "/etc", "a//b", ".", "..", "a/../b", ".git", "a/.git", "-x", "a/-b", " a", "a /b", "a:b", "a=b", "a\nb",
            "a\\b",
        ] {
            let problem = Subdirectory::parse(text).expect_err(text);
            assert_eq!(problem.report.code, ErrorCode::RunsRefused, "{text}");
        }
        assert!(Subdirectory::parse(&"a".repeat(251)).is_err());
    }

    #[test]
    fn the_schema_agrees_with_the_parser() {
        agree::<Subdirectory>(
            |text| Subdirectory::parse(text).is_ok(),
            &["app", "services/api/", "..", "a/.b", "a b", "a ", "-a", "a:b", "", "/", "a//b", "ä/b"],
            &["a", "ä", "/", ".", "-", " ", "\\", ":", "=", ",", "'", "\"", "\n", ".git"],
        );
    }
}
