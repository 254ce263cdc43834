//! Which branches decide about the environment of tasks, besides the default branch.
//!
//! Invariant: what is on a branch has no effect on the environment of any task before the owner trusts the branch or accepts its
//! description. An accepted description has an effect only on tasks of its branch.

use super::description::DescriptionHash;
use super::key::SnapshotKey;
use super::state::{SetupGoal, SetupSettings};
use crate::error_code::ErrorCode;
use crate::ids::ObjectId;
use crate::names::{BranchName, branch_pattern_except};
use crate::problem::Problem;
use crate::schema::{described, text};
use crate::sources::BranchPattern;

/// Why a branch decides about the environment of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BranchTrust {
    /// It is the default branch, or the owner trusts it. All such branches can share snapshots, and their setups get secrets.
    Trusted,
    /// The owner accepted its description, and nothing else of it. Its setup gets no secrets, and its snapshots depend on the commit, so
    /// that no other branch uses them.
    Accepted,
}

/// The commit whose description and files decide about the environment of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetupBasis {
    /// The commit.
    pub commit: ObjectId,
    /// Its branch, or `None` for the default branch.
    pub branch: Option<BranchName>,
    /// Why the branch decides.
    pub trust: BranchTrust,
}

impl SetupBasis {
    /// Returns the basis for a commit of a trusted branch.
    pub fn trusted(commit: ObjectId, branch: Option<BranchName>) -> Self {
        Self { commit, branch, trust: BranchTrust::Trusted }
    }

    /// Returns what a setup with this key is for.
    pub fn goal(&self, key: SnapshotKey) -> SetupGoal {
        SetupGoal { key, commit: self.commit.clone(), branch: self.branch.clone() }
    }
}

/// The text of a pattern that [`trusted_pattern`] accepts, for its schema.
#[derive(Debug)]
pub struct TrustedPattern;

described!(
    TrustedPattern,
    text(
        "A branch name in which `*` matches any characters except `/`. It cannot start with `*` or name a task's branch. At most 250 bytes.",
        branch_pattern_except(r"(?!\*|codex/)", r"\*")
    )
);

/// Parses a pattern of branches to trust. A pattern for all branches, or for those of tasks, is rejected.
pub fn trusted_pattern(text: &str) -> Result<BranchPattern, Problem> {
    let pattern = BranchPattern::parse(text)?;
    if pattern.as_str().starts_with('*') || pattern.as_str().starts_with("codex/") {
        let detail = format!("the branch pattern `{}` cannot be trusted", pattern.as_str());
        return Err(Problem::new(ErrorCode::BranchPatternRefused, detail)
            .hint("use a form like develop or release/*; it cannot start with `*` or name a task's branch"));
    }
    Ok(pattern)
}

impl SetupSettings {
    /// Whether the owner trusts a branch.
    pub fn trusts(&self, branch: &BranchName) -> bool {
        self.trusted.iter().any(|pattern| pattern.matches(branch.as_str()))
    }

    /// Whether the owner accepted this description for a branch.
    pub fn accepts(&self, branch: &BranchName, hash: &DescriptionHash) -> bool {
        self.accepted.get(branch) == Some(hash)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::tests::agree;

    #[test]
    fn nobody_can_trust_all_branches_or_those_of_tasks() {
        for text in ["", "codex/*", "codex/1", "*", "*/x", "a b"] {
            assert_eq!(trusted_pattern(text).expect_err(text).report.code, ErrorCode::BranchPatternRefused, "{text}");
        }
        for text in ["main", "release/*", "a*"] {
            assert_eq!(trusted_pattern(text).expect(text).as_str(), text);
        }
        let code = trusted_pattern("code*/x").expect("it could match other branches");
        assert!(!code.matches("codex/x"));
    }

    #[test]
    fn the_schema_describes_what_the_parser_accepts() {
        const PIECES: &[&str] = &["refs/heads/", "*", "HEAD", "codex", "/", ".", "-", "a", " ", "@", "{"];
        agree::<TrustedPattern>(|text| trusted_pattern(text).is_ok(), &["release/*", "a*", "codex", "refs/heads/v*.x"], PIECES);
    }

    #[test]
    fn an_accepted_description_is_accepted_for_its_branch_only() {
        let branch = |name: &str| BranchName::parse(name).expect(name);
        let hash = |digit: &str| DescriptionHash::parse(&digit.repeat(64)).expect("a hash");
        let mut settings = SetupSettings::default();
        settings.accepted.insert(branch("idea"), hash("a"));
        settings.trusted.insert(BranchPattern::parse("release/*").expect("a pattern"));
        assert!(settings.accepts(&branch("idea"), &hash("a")) && settings.trusts(&branch("release/1")));
        assert!(!settings.accepts(&branch("idea"), &hash("b")) && !settings.accepts(&branch("other"), &hash("a")));
        assert!(!settings.trusts(&branch("idea")) && !settings.is_default());
        let text = serde_json::to_string(&settings).expect("it can be serialized");
        assert_eq!(serde_json::from_str::<SetupSettings>(&text).expect("it can be read"), settings);
    }
}
