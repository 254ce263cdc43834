//! Decides what the host fetches and writes into worktrees: how much history of a repository, which of its folders, and which submodules
//! without asking. These are those of branches and URLs that the owner trusts, in addition to the default branch. Invariant: no pattern matches the branch of a task.

use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::names::{RepositoryUrl, branch_pattern, is_branch_name};
use crate::problem::Problem;
use crate::schema::{described, text};
use crate::settings::{Group, Input, settings, text_by_as_str};
use crate::sparse::SparsePath;
use crate::submodule::canonical;

/// The maximum number of branch patterns.
const MAX_PATTERNS: usize = 50;

/// The maximum number of remembered URLs.
const MAX_URLS: usize = 500;

/// The maximum number of folders of a sparse worktree.
const MAX_FOLDERS: usize = 100;

/// The maximum depth of a shallow clone.
const MAX_DEPTH: u32 = 1_000_000;

/// A branch name in which `*` matches any characters except `/`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BranchPattern(String);

described!(
    BranchPattern,
    text("A branch name in which `*` matches any characters except `/`. At most 250 bytes.", branch_pattern(r"\*"))
);

impl BranchPattern {
    /// Parses a branch name that may contain `*`.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        let name = text.strip_prefix("refs/heads/").unwrap_or(text);
        if !is_branch_name(&name.replace('*', "x")) {
            let shown = printable::printable_line(text, 100);
            let detail = format!("invalid branch pattern `{shown}`");
            return Err(Problem::new(ErrorCode::BranchPatternRefused, detail).hint("use a form like release or release/*"));
        }
        Ok(Self(name.to_owned()))
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the pattern matches `branch`. Branches of tasks never match.
    pub fn matches(&self, branch: &str) -> bool {
        if branch == "codex" || branch.starts_with("codex/") {
            return false;
        }
        let (pattern, branch) = (self.0.split('/'), branch.split('/'));
        pattern.clone().count() == branch.clone().count()
            && pattern.zip(branch).all(|(pattern, part)| part_matches(pattern, part))
    }
}

text_by_as_str!(BranchPattern);

/// Returns whether a pattern matches one part of a name, between slashes.
fn part_matches(pattern: &str, part: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = pieces.next().and_then(|first| part.strip_prefix(first)) else { return false };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        let Some(at) = rest.find(piece) else { return false };
        rest = &rest[at + piece.len()..];
    }
    true
}

impl TryFrom<String> for BranchPattern {
    type Error = Problem;

    fn try_from(text: String) -> Result<Self, Problem> {
        Self::parse(&text)
    }
}

impl From<BranchPattern> for String {
    fn from(pattern: BranchPattern) -> Self {
        pattern.0
    }
}

settings! {
    /// How much history is fetched, and which submodules are fetched without asking, in addition to those of the default branch.
    #[derive(Eq)]
    pub struct SourceSettings;

    /// Changes to [`SourceSettings`]. Omitted settings keep their values, and null restores the default.
    #[derive(Eq)]
    pub struct EditSources {}

    sources in Group::Submodules, or refused;

    /// Number of commits of each branch to fetch, from 1 to 1000000 (a shallow clone)
    ///
    /// This makes the clone of a repository with a long history faster and smaller. Later fetches add the commits that are new. If you
    /// increase the number or restore the default, the next fetch gets the missing history. Git commands that need older commits, such as
    /// `git log`, `git blame` and `git merge-base`, see only those that were fetched.
    #[schema(minimum = 1, maximum = 1_000_000)]
    depth: Option<u32> = u32 as u32 => |depth| checked_depth(depth).map(Some), {
        flag: "depth",
        group: Group::General,
        label: "History",
        default: "all commits",
    }

    /// Whether to fetch the contents of files only for the commits that tasks start from (a partial clone)
    ///
    /// This makes the clone of a repository with a long history smaller, without hiding commits. The remote must support it, as GitHub,
    /// GitLab and Forgejo do. Set this when you add the repository: an existing clone keeps all contents. If you turn it off, the next fetch
    /// gets all contents. In a task, Git commands that need the contents of other commits, such as `git log -p`, `git blame` and `git
    /// checkout OTHER-BRANCH`, fail.
    partial_clone: bool = bool as bool => Ok, {
        flag: "partial-clone",
        group: Group::General,
        label: "Partial clone",
        default: "off",
        input: Input::Switch,
    }

    /// Folders of the repository that worktrees contain, e.g. `services/api` (a sparse checkout)
    ///
    /// This makes worktrees of a large repository faster and smaller. A worktree also contains the files that are directly in a folder
    /// above one of these, such as the top-level folder, and the folder that agents start in. All other files stay as they are in the
    /// commits. An agent can add a folder with `git sparse-checkout add FOLDER`. The setting applies to new tasks.
    #[schema(max_items = 100)]
    sparse_paths: Vec<SparsePath> = Vec<String> as Vec<SparsePath> => |texts| sparse_paths(&texts), {
        flag: "sparse-path",
        group: Group::General,
        label: "Folders in worktrees",
        default: "all folders",
        example: "services/api",
        input: Input::List("FOLDER"),
    }

    /// Branches whose submodules are fetched without asking, e.g. `release/*`
    ///
    /// `*` matches any characters except a slash.
    #[schema(max_items = 50)]
    trusted_branches: Vec<BranchPattern> = Vec<String> as Vec<BranchPattern> => |texts| branch_patterns(&texts), {
        flag: "trust-branch",
        label: "Trusted branches",
        default: "only the default branch",
        example: "release/*",
        input: Input::List("PATTERN"),
    }

    /// URLs that submodules are fetched from without asking, on any branch
    ///
    /// If you let a task fetch submodules from other URLs, these URLs are added to the list.
    #[schema(max_items = 500)]
    allowed_urls: Vec<RepositoryUrl> = Vec<String> as Vec<RepositoryUrl> => |texts| urls(&texts), {
        flag: "allow-submodule",
        label: "Allowed submodule URLs",
        default: "none",
        example: "https://example.com/owner/library.git",
        input: Input::Lines("URL"),
    }
}

fn refused(detail: String) -> Problem {
    Problem::new(ErrorCode::SourcesRefused, detail)
}

fn checked_depth(depth: u32) -> Result<u32, Problem> {
    if (1..=MAX_DEPTH).contains(&depth) {
        return Ok(depth);
    }
    Err(refused(format!("invalid number of commits: {depth}"))
        .hint(format!("use a number from 1 to {MAX_DEPTH}, or the default for all commits")))
}

fn sparse_paths(texts: &[String]) -> Result<Vec<SparsePath>, Problem> {
    if texts.len() > MAX_FOLDERS {
        return Err(refused(format!("too many folders in worktrees: at most {MAX_FOLDERS} are accepted")));
    }
    texts.iter().map(|text| SparsePath::parse(text)).collect()
}

fn branch_patterns(texts: &[String]) -> Result<Vec<BranchPattern>, Problem> {
    if texts.len() > MAX_PATTERNS {
        return Err(refused(format!("too many trusted branches: at most {MAX_PATTERNS} are accepted")));
    }
    texts.iter().map(|text| BranchPattern::parse(text)).collect()
}

fn urls(texts: &[String]) -> Result<Vec<RepositoryUrl>, Problem> {
    if texts.len() > MAX_URLS {
        return Err(refused(format!("too many submodule URLs: at most {MAX_URLS} are accepted")));
    }
    texts.iter().map(|text| RepositoryUrl::parse(text)).collect()
}

impl SourceSettings {
    /// Applies `edit` to these settings.
    pub fn edited(self, edit: &EditSources) -> Result<Self, Problem> {
        self.with_each(edit)
    }

    /// Remembers URLs that somebody allowed. Forgets the oldest ones if there are too many.
    pub fn allow(&mut self, urls: &[RepositoryUrl]) {
        for url in urls {
            if !self.allowed_urls.iter().any(|known| canonical(known) == canonical(url)) {
                self.allowed_urls.push(url.clone());
            }
        }
        let surplus = self.allowed_urls.len().saturating_sub(MAX_URLS);
        self.allowed_urls.drain(..surplus);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::tests::agree;

    #[test]
    fn a_pattern_matches_within_a_part_of_a_name_and_no_branch_of_a_task() {
        let matches = |pattern: &str, branch: &str| BranchPattern::parse(pattern).expect(pattern).matches(branch);
        for (pattern, branch) in [
            ("release", "release"),
            ("release/*", "release/1.2"),
            ("*", "main"),
            ("v*.x", "v1.x"),
            ("v*.*", "v1.2"),
            ("a*b*c", "a--b--c"),
        ] {
            assert!(matches(pattern, branch), "{pattern} {branch}");
        }
        for (pattern, branch) in [
            ("release", "release/1"),
            ("release", "release2"),
            ("release/*", "release"),
            ("release/*", "release/1/evil"),
            ("release/*", "x/release/1"),
            ("*", "a/b"),
            ("codex/*", "codex/01a2"),
            ("*/*", "codex/01a2"),
            ("*", "codex"),
            ("a*a", "a"),
        ] {
            assert!(!matches(pattern, branch), "{pattern} {branch}");
        }
        for text in ["", "a b", "-x", "a..b", "a~1", "refs/heads/", "a?", "a[", "refs/heads/refs/heads/a"] {
            assert!(BranchPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn the_schema_describes_what_the_parser_accepts() {
        const PIECES: &[&str] = &["refs/heads/", "*", "HEAD", "@", "{", "/", ".", ".lock", "-", "a", "\u{a0}", " ", "~"];
        agree::<BranchPattern>(|text| BranchPattern::parse(text).is_ok(), &["release/*", "*", "refs/heads/v*.x"], PIECES);
    }

    #[test]
    fn urls_are_remembered_once_and_can_be_forgotten() {
        let url = |text: &str| RepositoryUrl::parse(text).expect("the URL is valid");
        let mut settings = SourceSettings::default();
        settings.allow(&[url("https://x.org/a.git"), url("https://X.org/a/"), url("https://x.org/b")]);
        assert_eq!(settings.allowed_urls, [url("https://x.org/a.git"), url("https://x.org/b")]);
        let edit = EditSources {
            allowed_urls: Some(None),
            trusted_branches: Some(Some(vec!["release/*".to_owned()])),
            ..EditSources::default()
        };
        let settings = settings.edited(&edit).expect("the settings are valid");
        assert_eq!((settings.allowed_urls.len(), settings.trusted_branches[0].as_str()), (0, "release/*"));
        let refused = EditSources { allowed_urls: Some(Some(vec!["ext::sh".to_owned()])), ..EditSources::default() };
        assert!(settings.edited(&refused).is_err());
        assert_eq!(serde_json::to_string(&SourceSettings::default()).expect("the settings can be serialized"), "{}");
    }
}
