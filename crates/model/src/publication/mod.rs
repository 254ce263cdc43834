//! Publishing: what was asked, how far it is, and what the forge says of it since.
//!
//! * [`text`]: what a pull request says of the task.
//! * [`follow`]: what is asked of a forge next.
//! * [`feedback`]: what reviewers and checks said, as a prompt.
//!
//! Pure. What may happen next is decided in [`crate::task`].

pub mod feedback;
pub mod follow;
pub mod text;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::ids::ObjectId;
use crate::names::{BranchName, shown};
use crate::problem::{Problem, ProblemKind};
use crate::run::RunError;

/// The most bytes of a body that is taken: GitHub takes 65,536 characters.
pub const BODY_LIMIT_CHARS: usize = 65_536;

/// The most characters of a title.
pub const TITLE_LIMIT_CHARS: usize = 256;

/// What is asked of a publication.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Publish {
    /// Whether a pull request is wanted besides the push.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pull_request: bool,
    /// Its title; what the task says where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its body; what the task says where it is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whether it is opened as a draft.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub draft: bool,
    /// The commit of the remote's branch that may be replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub replace: Option<ObjectId>,
}

impl Publish {
    /// Makes a title one line, and refuses what no forge takes.
    pub fn checked(mut self) -> Result<Self, Problem> {
        let refused = |code: &'static str, detail: String| Problem::new(ProblemKind::Unusable, code, detail);
        if let Some(title) = &self.title {
            let line = text::one_line(title);
            if line.is_empty() || line.chars().count() > TITLE_LIMIT_CHARS {
                let detail = format!("`{}` cannot be a title: 1 to {TITLE_LIMIT_CHARS} characters are taken", shown(title));
                return Err(refused("title_refused", detail));
            }
            self.title = Some(line);
        }
        if let Some(body) = &self.body {
            let length = body.chars().count();
            if length > BODY_LIMIT_CHARS {
                let detail = format!("the body has {length} characters; a forge takes {BODY_LIMIT_CHARS}");
                return Err(Problem::new(ProblemKind::TooLarge, "body_too_large", detail).hint("put the rest into a comment"));
            }
            if body.contains('\0') {
                return Err(refused("body_refused", "the body contains a NUL character".to_owned()));
            }
        }
        let wants_text = self.title.is_some() || self.body.is_some() || self.draft;
        if wants_text && !self.pull_request {
            return Err(refused(
                "no_pull_request",
                "title, body and draft are of a pull request, and none is asked for".to_owned(),
            )
            .hint("ask for a pull request too"));
        }
        Ok(self)
    }
}

/// How far a publication is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PublicationStatus {
    /// The branch is on its way to the remote.
    Pushing,
    /// The branch is there, and the pull request is being found or made.
    Opening,
    /// All that was asked for is done.
    Done,
    /// It went wrong; `error` says why. Asking again goes on where it stopped.
    Failed,
}

impl PublicationStatus {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pushing => "pushing",
            Self::Opening => "opening",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Whether the server is at it.
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Pushing | Self::Opening)
    }
}

/// A task's publication.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Publication {
    /// How often it was asked for.
    pub attempt: u32,
    /// How far the last one is.
    pub status: PublicationStatus,
    /// What was asked last.
    pub asked: Publish,
    /// When that was.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    /// What a person should know: why there is no pull request although the push is fine, and the like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The commit that the remote's branch has from us.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub pushed_sha: Option<ObjectId>,
    /// When it came there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub pushed_at: Option<Timestamp>,
    /// The commit that somebody else put on the remote's branch, which was in the way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub remote_sha: Option<ObjectId>,
    /// Where a person opens a pull request by hand, on a forge that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare_url: Option<String>,
    /// The pull request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
}

/// Whether a pull request is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PullRequestState {
    /// It waits for people.
    Open,
    /// It was taken in.
    Merged,
    /// It was closed without that.
    Closed,
}

impl PullRequestState {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Merged => "merged",
            Self::Closed => "closed",
        }
    }
}

/// A pull request, or what its forge calls one, as it was last seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PullRequest {
    /// Its number in the repository.
    pub number: u64,
    /// Where people read it.
    pub url: String,
    /// Its title.
    pub title: String,
    /// Whether it is open.
    pub state: PullRequestState,
    /// Whether it is a draft.
    pub draft: bool,
    /// The branch that it wants to go into.
    pub base: BranchName,
    /// The commit that the forge has for it.
    #[schema(value_type = Option<String>)]
    pub head_sha: Option<ObjectId>,
    /// When it was opened.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Whether it can be merged without conflicts; null while the forge does not know.
    pub mergeable: Option<bool>,
    /// Its checks, once they were asked for.
    pub checks: Option<Checks>,
    /// Its reviews, once they were asked for.
    pub reviews: Option<Reviews>,
}

/// How the checks of a commit stand.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Checks {
    /// So many are fine, skipped ones among them.
    pub passed: u32,
    /// The names of those that failed.
    pub failed: Vec<String>,
    /// So many are under way.
    pub pending: u32,
}

impl Checks {
    /// `2 failed, 1 pending, 5 passed`.
    pub fn words(&self) -> String {
        let mut parts = vec![];
        for (count, word) in [(self.failed.len(), "failed"), (self.pending as usize, "pending"), (self.passed as usize, "passed")]
        {
            if count > 0 {
                parts.push(format!("{count} {word}"));
            }
        }
        if parts.is_empty() { "none".to_owned() } else { parts.join(", ") }
    }
}

/// What reviewers concluded: the last word of each.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Reviews {
    /// Who approves.
    pub approved: Vec<String>,
    /// Who wants changes.
    pub changes_requested: Vec<String>,
}

impl PullRequest {
    /// What is newer in `seen`, with what `seen` does not know kept.
    pub fn updated(&self, seen: PullRequest) -> PullRequest {
        let same_commit = self.head_sha == seen.head_sha;
        PullRequest {
            mergeable: seen.mergeable.or(self.mergeable.filter(|_| same_commit)),
            checks: seen.checks.or_else(|| self.checks.clone().filter(|_| same_commit)),
            reviews: seen.reviews.or_else(|| self.reviews.clone()),
            ..seen
        }
    }
}

#[cfg(test)]
pub(crate) mod samples {
    use super::*;

    pub(crate) fn pull_request() -> PullRequest {
        PullRequest {
            number: 7,
            url: "https://github.com/me/repo/pull/7".to_owned(),
            title: "Fix it".to_owned(),
            state: PullRequestState::Open,
            draft: false,
            base: BranchName::parse("main").expect("a branch"),
            head_sha: "b".repeat(40).parse().ok(),
            created_at: "2026-01-02T03:04:05Z".parse().expect("a time"),
            mergeable: Some(true),
            checks: Some(Checks { passed: 1, failed: vec!["lint".to_owned()], pending: 2 }),
            reviews: Some(Reviews { approved: vec!["ann".to_owned()], changes_requested: vec![] }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_is_one_line_and_a_body_fits_the_forge() {
        let asked = |title: &str, body: &str| Publish {
            pull_request: true,
            title: Some(title.to_owned()),
            body: Some(body.to_owned()),
            ..Publish::default()
        };
        let checked = asked(" Fix 🦀\nthe\tparser \u{7}", "any\nthing").checked().expect("sound");
        assert_eq!(checked.title.as_deref(), Some("Fix 🦀 the parser"));
        assert_eq!(asked("x", &"ä".repeat(70_000)).checked().expect_err("too long").code, "body_too_large");
        assert!(asked("x", &"ä".repeat(BODY_LIMIT_CHARS)).checked().is_ok());
        assert!(asked("\n ", "").checked().is_err() && asked(&"x".repeat(300), "").checked().is_err());
        assert!(asked("x", "\0").checked().is_err());
    }

    #[test]
    fn what_belongs_to_a_pull_request_is_refused_without_one() {
        let draft = Publish { draft: true, ..Publish::default() };
        assert_eq!(draft.checked().expect_err("no pull request").code, "no_pull_request");
        assert!(Publish::default().checked().is_ok());
    }

    #[test]
    fn what_is_not_known_anew_is_kept_for_the_same_commit_only() {
        let before = samples::pull_request();
        let bare = PullRequest { mergeable: None, checks: None, reviews: None, title: "New".to_owned(), ..before.clone() };
        let same = before.updated(bare.clone());
        assert_eq!((same.title.as_str(), same.checks.is_some(), same.mergeable), ("New", true, Some(true)));
        let moved = before.updated(PullRequest { head_sha: "c".repeat(40).parse().ok(), ..bare });
        assert_eq!((moved.checks, moved.mergeable, moved.reviews.is_some()), (None, None, true));
    }

    #[test]
    fn checks_are_said_in_words() {
        assert_eq!(samples::pull_request().checks.expect("some").words(), "1 failed, 2 pending, 1 passed");
        assert_eq!(Checks::default().words(), "none");
    }
}
