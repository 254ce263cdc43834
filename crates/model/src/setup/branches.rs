//! Patterns of branches, such as `release/*`.
//!
//! Invariant: a pattern never matches the branch of a task, because agents write to it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::error_code::ErrorCode;
use crate::names::{is_branch_name, shown};
use crate::problem::Problem;

/// The start of the names of tasks' branches, on which agents work.
const OF_TASKS: &str = "codex/";

/// A branch, or a pattern of branches: `*` stands for any characters except `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct BranchPattern(String);

impl BranchPattern {
    /// Parses a pattern such as `release/*`. Branches of tasks cannot be matched.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        let is_valid = is_branch_name(&text.replace('*', "x")) && !text.starts_with(OF_TASKS) && !text.starts_with('*');
        if is_valid {
            return Ok(Self(text.to_owned()));
        }
        Err(Problem::new(ErrorCode::BranchNameRefused, format!("invalid branch or pattern `{}`", shown(text)))
            .hint("use a form like develop or release/*; it cannot start with `*` or name a task's branch"))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a branch matches.
    pub fn matches(&self, branch: &str) -> bool {
        if branch.starts_with(OF_TASKS) {
            return false;
        }
        let (mut patterns, mut parts) = (self.0.split('/'), branch.split('/'));
        loop {
            match (patterns.next(), parts.next()) {
                (None, None) => return true,
                (Some(pattern), Some(part)) if part_matches(pattern, part) => {}
                (Some(_) | None, Some(_) | None) => return false,
            }
        }
    }
}

/// Whether a part of a name without `/` matches.
fn part_matches(pattern: &str, part: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else { return pattern == part };
    let Some(part) = part.strip_prefix(start) else { return false };
    // The first match of each middle piece leaves the most room for the rest.
    let mut pieces = rest.split('*');
    let end = pieces.next_back().unwrap_or_default();
    let left = pieces.try_fold(part, |left, piece| left.find(piece).map(|at| &left[at + piece.len()..]));
    left.is_some_and(|left| left.ends_with(end))
}

impl fmt::Display for BranchPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for BranchPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_within_a_part_of_a_name() {
        let check = |pattern: &str, branch: &str, expect: bool| {
            assert_eq!(BranchPattern::parse(pattern).expect(pattern).matches(branch), expect, "{pattern} {branch}");
        };
        check("develop", "develop", true);
        check("develop", "develop2", false);
        check("release/*", "release/1.2", true);
        check("release/*", "release/1/2", false);
        check("release/*", "release", false);
        check("release/*/x", "release/1/x", true);
        check("v*.*-rc*", "v1.2-rc3", true);
        check("v*.*-rc*", "v1-rc3", false);
        check("a*b*c", "abbc", true);
        check("a*c", "ac", true);
        check("ab*bc", "abc", false);
        check("code*/x", "codex/x", false);
    }

    #[test]
    fn a_pattern_never_names_branches_of_tasks_or_all_branches() {
        for text in ["", "codex/*", "codex/1", "*", "*/x", "a//b", "-x", "a..b", "a b", "HEAD"] {
            let problem = BranchPattern::parse(text).expect_err(text);
            assert_eq!(problem.report.code, ErrorCode::BranchNameRefused, "{text}");
        }
        for text in ["main", "release/*", "a*"] {
            let pattern = BranchPattern::parse(text).expect(text);
            let json = serde_json::to_string(&pattern).expect("text");
            assert_eq!(serde_json::from_str::<BranchPattern>(&json).expect("it can be read"), pattern);
        }
        assert!(serde_json::from_str::<BranchPattern>("\"codex/*\"").is_err());
    }
}
