//! The folders of a repository whose files are written into worktrees, as in the cone mode of `git sparse-checkout`.
//!
//! A worktree then contains the files of these folders, and the files that are directly in a folder above them. All other files stay in
//! the repository's commits. Invariant: a path names no parent folder and no folder of Git, and has no meaning as a pattern or an option.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::names::shown;
use crate::problem::Problem;
use crate::schema::{CONTROL, SPACE, described, text};
use crate::settings::text_by_as_str;

/// The maximum length of a path in bytes.
const LIMIT_BYTES: usize = 250;

/// Characters with a meaning in patterns or in options.
const ODD: [char; 8] = ['\\', '"', '\'', ':', '*', '?', '[', ']'];

/// Characters with a meaning in an extended regular expression, except those in [`ODD`].
const SPECIAL: [char; 9] = ['.', '^', '$', '+', '(', ')', '{', '}', '|'];

/// A folder of a repository, relative to its top-level folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SparsePath(String);

described!(SparsePath, {
    let odd = r#"\\"':*?\[\]"#;
    let (inner, last) = (format!("[^{CONTROL}/{odd}]"), format!("[^{CONTROL}{SPACE}/{odd}]"));
    let part = format!(r"(?!\.{{1,2}}(?:/|$)|\.[gG][iI][tT](?:/|$))[^{CONTROL}{SPACE}/\-{odd}](?:{inner}*{last})?");
    text(
        "A folder in the repository, e.g. `services/api`. No part of it starts with a dash. At most 250 bytes.",
        format!("^{part}(?:/{part})*/?$"),
    )
});

impl SparsePath {
    /// Parses a relative path. A final `/` is ignored.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let path = text.strip_suffix('/').unwrap_or(text);
        let is_part = |part: &str| {
            !matches!(part, "" | "." | "..")
                && !part.eq_ignore_ascii_case(".git")
                && !part.starts_with('-')
                && part.trim() == part
        };
        let is_odd = |c: char| c.is_control() || ODD.contains(&c);
        if path.len() <= LIMIT_BYTES && path.split('/').all(is_part) && !path.contains(is_odd) {
            return Ok(Self(path.to_owned()));
        }
        let detail = format!("invalid folder `{}`", shown(text));
        Err(Problem::new(ErrorCode::SourcesRefused, detail).hint("use a path in the repository, e.g. services/api"))
    }

    /// Returns the path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the folders above this one, the topmost first.
    fn above(&self) -> impl Iterator<Item = &str> {
        self.0.match_indices('/').map(|(end, _)| &self.0[..end])
    }
}

text_by_as_str!(SparsePath);

impl fmt::Display for SparsePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SparsePath {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).map_err(|problem| problem.report.message)
    }
}

impl From<SparsePath> for String {
    fn from(path: SparsePath) -> Self {
        path.0
    }
}

/// The folders whose files a worktree contains.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cone {
    /// None of them is in another one.
    folders: BTreeSet<SparsePath>,
    above: BTreeSet<String>,
}

impl Cone {
    /// Returns the cone of these folders. Without a folder, a worktree contains all files.
    pub fn of(folders: impl IntoIterator<Item = SparsePath>) -> Self {
        let all: BTreeSet<SparsePath> = folders.into_iter().collect();
        let is_outermost = |folder: &&SparsePath| !folder.above().any(|above| all.iter().any(|other| other.as_str() == above));
        let folders: BTreeSet<_> = all.iter().filter(is_outermost).cloned().collect();
        let above = folders.iter().flat_map(SparsePath::above).map(str::to_owned).collect();
        Self { folders, above }
    }

    /// Returns the folders, in alphabetical order.
    pub fn folders(&self) -> impl Iterator<Item = &SparsePath> {
        self.folders.iter()
    }

    /// Whether a worktree contains all files.
    pub fn is_everything(&self) -> bool {
        self.folders.is_empty()
    }

    /// Whether a worktree contains the file at this path.
    pub fn contains(&self, path: &[u8]) -> bool {
        let Some(end) = path.iter().rposition(|&byte| byte == b'/') else { return true };
        let folder = &path[..end];
        self.is_everything()
            || self.above.iter().any(|above| above.as_bytes() == folder)
            || self.folders.iter().any(|known| {
                let rest = folder.strip_prefix(known.as_str().as_bytes());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            })
    }

    /// Returns the patterns for Git's file `info/sparse-checkout`.
    pub fn patterns(&self) -> String {
        let above = self.above.iter().map(|folder| format!("/{folder}/\n!/{folder}/*/\n"));
        let folders = self.folders.iter().map(|folder| format!("/{folder}/\n"));
        std::iter::once("/*\n!/*/\n".to_owned()).chain(above).chain(folders).collect()
    }

    /// Returns extended regular expressions for the paths that a worktree contains, one per line, each without an anchor at the start.
    pub fn expressions(&self) -> Vec<String> {
        let escaped = |folder: &str| {
            let mut escaped = String::new();
            for character in folder.chars() {
                if SPECIAL.contains(&character) {
                    escaped.push('\\');
                }
                escaped.push(character);
            }
            escaped
        };
        let above = self.above.iter().map(|folder| format!("{}/[^/]*$", escaped(folder)));
        let folders = self.folders.iter().map(|folder| format!("{}/", escaped(folder.as_str())));
        std::iter::once("[^/]*$".to_owned()).chain(above).chain(folders).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::tests::agree;

    fn cone(folders: &[&str]) -> Cone {
        Cone::of(folders.iter().map(|folder| SparsePath::parse(folder).expect(folder)))
    }

    #[test]
    fn a_folder_is_inside_of_the_repository() {
        for (text, expect) in [("app/", "app"), (".github/workflows", ".github/workflows"), ("a b/c+d", "a b/c+d")] {
            assert_eq!(SparsePath::parse(text).expect("valid").as_str(), expect);
        }
        for text in ["", "/", "/a", "a//b", ".", "..", "a/../b", ".git", "a/.GIT", "-x", "a/-b", " a", "a ", "a*", "a\nb", "a\\b"]
        {
            assert_eq!(SparsePath::parse(text).expect_err(text).report.code, ErrorCode::SourcesRefused, "{text}");
        }
        assert!(SparsePath::parse(&"a".repeat(251)).is_err());
    }

    #[test]
    fn the_schema_agrees_with_the_parser() {
        agree::<SparsePath>(
            |text| SparsePath::parse(text).is_ok(),
            &["app", ".github/a", "..", "a/.git", "a/.gitx", "a b", "a ", "-a", "a*", "", "/", "a//b", "ä/b"],
            &["a", "ä", "/", ".", "-", " ", "\\", ":", "*", "?", "[", "]", "'", "\"", "\n", ".git", ".GIT"],
        );
    }

    #[test]
    fn a_cone_contains_its_folders_and_the_files_directly_above_them() {
        let cone = cone(&["services/api", "docs", "docs/old"]);
        for path in ["README", "services/README", "services/api/a", "services/api/b/c", "docs/a", "docs/old/a"] {
            assert!(cone.contains(path.as_bytes()), "{path}");
        }
        for path in ["other/a", "services/api2/a", "services/web/a", "doc/a"] {
            assert!(!cone.contains(path.as_bytes()), "{path}");
        }
        assert_eq!(cone.patterns(), "/*\n!/*/\n/services/\n!/services/*/\n/docs/\n/services/api/\n");
        assert_eq!(cone.folders().map(SparsePath::as_str).collect::<Vec<_>>(), ["docs", "services/api"]);
        assert!(Cone::default().contains(b"any/file") && Cone::default().is_everything());
    }

    #[test]
    fn expressions_are_escaped() {
        assert_eq!(cone(&["a.b/c(d"]).expressions(), ["[^/]*$", r"a\.b/[^/]*$", r"a\.b/c\(d/"]);
    }
}
