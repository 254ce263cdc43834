//! Publishing a task: the request, its progress, and the state of the pull request.
//!
//! * [`text`]: the title and body of a pull request.
//! * [`follow`]: the next request to a Git host.
//! * [`feedback`]: review comments and failed checks as a prompt.
//!
//! [`crate::task`] decides what happens next.

pub mod feedback;
pub mod follow;
pub mod text;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error_code::ErrorCode;
use crate::ids::ObjectId;
use crate::names::{BranchName, shown};
use crate::problem::Problem;
use crate::run::RunError;
use crate::schema::{CONTROL, SPACE, text as schema, text_in_requests};

/// The maximum length of a body in characters. This is GitHub's limit.
pub const BODY_LIMIT_CHARS: usize = 65_536;

/// The maximum length of a title in characters.
pub const TITLE_LIMIT_CHARS: usize = 256;

text_in_requests!(
    /// The title of a pull request: at most 256 characters. White space and control characters are replaced with single spaces.
    pub PullRequestTitle,
    |description| {
        let (gap, letter) = (format!("[{CONTROL}{SPACE}]"), format!("[^{CONTROL}{SPACE}]"));
        // A gap between two letters counts as one character.
        let rest = TITLE_LIMIT_CHARS - 1;
        schema(description, format!("^{gap}*{letter}(?:{letter}|{gap}+(?={letter})){{0,{rest}}}{gap}*$"))
    }
);

text_in_requests!(
    /// The description of a pull request: at most 65,536 characters without NUL characters.
    pub PullRequestBody,
    // A longer body is too large instead of invalid.
    |description| schema(description, r"^[^\x00]*$")
);

/// A request to publish a task.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(default)]
pub struct Publish {
    /// Whether to create or update a pull request after the push.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pull_request: bool,
    /// The title. Defaults to the title of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// The body. Defaults to a summary of the task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whether to open the pull request as a draft.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub draft: bool,
    /// The commit of the remote branch that may be replaced.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub replace: Option<ObjectId>,
}

impl Publish {
    /// Normalizes the title to one line, and rejects values that Git hosts do not accept.
    pub fn checked(mut self) -> Result<Self, Problem> {
        let refused = |code: ErrorCode, detail: String| Problem::new(code, detail);
        if let Some(title) = &self.title {
            let line = text::one_line(title);
            if line.is_empty() || line.chars().count() > TITLE_LIMIT_CHARS {
                let detail = format!("invalid title `{}`: use 1 to {TITLE_LIMIT_CHARS} characters", shown(title));
                return Err(refused(ErrorCode::TitleRefused, detail));
            }
            self.title = Some(line);
        }
        if let Some(body) = &self.body {
            let length = body.chars().count();
            if length > BODY_LIMIT_CHARS {
                let detail = format!("the body has {length} characters; the limit is {BODY_LIMIT_CHARS}");
                return Err(Problem::new(ErrorCode::BodyTooLarge, detail).hint("move some of the text to a comment"));
            }
            if body.contains('\0') {
                return Err(refused(ErrorCode::BodyRefused, "the body contains a NUL character".to_owned()));
            }
        }
        let wants_text = self.title.is_some() || self.body.is_some() || self.draft;
        if wants_text && !self.pull_request {
            return Err(refused(ErrorCode::NoPullRequest, "a title, a body or a draft requires a pull request".to_owned())
                .hint("also request a pull request"));
        }
        Ok(self)
    }
}

/// The progress of a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PublicationStatus {
    /// The branch is being pushed.
    Pushing,
    /// The branch is pushed, and the pull request is being found or created.
    Opening,
    /// Everything that was requested is done.
    Done,
    /// Publishing failed; `error` says why. A new request continues where it stopped.
    Failed,
}

impl PublicationStatus {
    /// Returns the status as it appears in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pushing => "pushing",
            Self::Opening => "opening",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Whether the publication is in progress.
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::Pushing | Self::Opening)
    }
}

/// The publication of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Publication {
    /// The number of requests to publish the task so far.
    pub attempt: u32,
    /// The progress of the latest request.
    pub status: PublicationStatus,
    /// The latest request.
    pub asked: Publish,
    /// When the latest request was made.
    #[schema(value_type = String, format = DateTime)]
    pub asked_at: Timestamp,
    /// Why the latest request failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<RunError>,
    /// A note for people, for example why there is no pull request although the push succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The commit that the server pushed to the remote branch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub pushed_sha: Option<ObjectId>,
    /// When the commit was pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub pushed_at: Option<Timestamp>,
    /// A commit by somebody else that was found on the remote branch and blocked the push.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub remote_sha: Option<ObjectId>,
    /// The page for opening a pull request manually, if the Git host is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compare_url: Option<String>,
    /// The pull request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull_request: Option<PullRequest>,
}

/// The state of a pull request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PullRequestState {
    /// Waiting for review or merge.
    Open,
    /// Merged.
    Merged,
    /// Closed without a merge.
    Closed,
}

impl PullRequestState {
    /// Returns the state as it appears in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Merged => "merged",
            Self::Closed => "closed",
        }
    }
}

/// A pull request (on GitLab: a merge request), as last seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PullRequest {
    /// The number of the pull request in the repository.
    pub number: u64,
    /// The web page of the pull request.
    pub url: String,
    /// The title.
    pub title: String,
    /// The state.
    pub state: PullRequestState,
    /// Whether the pull request is a draft.
    pub draft: bool,
    /// The target branch.
    pub base: BranchName,
    /// The head commit that the Git host knows.
    #[schema(value_type = Option<String>)]
    pub head_sha: Option<ObjectId>,
    /// When the pull request was opened.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Whether the pull request can be merged without conflicts. Null while the Git host has not determined it.
    pub mergeable: Option<bool>,
    /// The checks, if they were requested.
    pub checks: Option<Checks>,
    /// The reviews, if they were requested.
    pub reviews: Option<Reviews>,
}

/// The checks of a commit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Checks {
    /// The number of checks that passed or were skipped.
    pub passed: u32,
    /// The names of the failed checks.
    pub failed: Vec<String>,
    /// The number of running checks.
    pub pending: u32,
}

impl Checks {
    /// Returns a summary such as `2 failed, 1 pending, 5 passed`.
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

/// The latest verdict of each reviewer.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Reviews {
    /// Reviewers who approved.
    pub approved: Vec<String>,
    /// Reviewers who requested changes.
    pub changes_requested: Vec<String>,
}

impl PullRequest {
    /// Returns the newer state `seen`, completed with known values that `seen` does not contain.
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
            base: BranchName::parse("main").expect("the name is valid"),
            head_sha: "b".repeat(40).parse().ok(),
            created_at: "2026-01-02T03:04:05Z".parse().expect("the time is valid"),
            mergeable: Some(true),
            checks: Some(Checks { passed: 1, failed: vec!["lint".to_owned()], pending: 2 }),
            reviews: Some(Reviews { approved: vec!["ann".to_owned()], changes_requested: vec![] }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::tests::agree;

    #[test]
    fn the_schemas_describe_what_the_parser_accepts() {
        const PIECES: &[&str] = &["a", "ü", "\0", "\n", " ", "\u{a0}", "\u{85}", "\u{3000}"];
        let accepts = |title: Option<&str>, body: Option<&str>| {
            let (title, body) = (title.map(str::to_owned), body.map(str::to_owned));
            Publish { pull_request: true, title, body, ..Publish::default() }.checked().is_ok()
        };
        let letters = [256, 257].map(|length| "a".repeat(length));
        let words = [128, 129].map(|count| "a \n".repeat(count));
        let samples = ["", " ", "Fix it", &letters[0], &letters[1], &words[0], &words[1]];
        agree::<PullRequestTitle>(|text| accepts(Some(text), None), &samples, PIECES);
        agree::<PullRequestBody>(|text| accepts(None, Some(text)), &["", "a\nb", "a\0"], PIECES);
    }

    #[test]
    fn a_title_is_one_line_and_a_body_fits_the_forge() {
        let asked = |title: &str, body: &str| Publish {
            pull_request: true,
            title: Some(title.to_owned()),
            body: Some(body.to_owned()),
            ..Publish::default()
        };
        let checked = asked(" Fix 🦀\nthe\tparser \u{7}", "any\nthing").checked().expect("the request is valid");
        assert_eq!(checked.title.as_deref(), Some("Fix 🦀 the parser"));
        assert_eq!(
            asked("x", &"ä".repeat(70_000)).checked().expect_err("the body is too long").report.code,
            ErrorCode::BodyTooLarge
        );
        assert!(asked("x", &"ä".repeat(BODY_LIMIT_CHARS)).checked().is_ok());
        assert!(asked("\n ", "").checked().is_err() && asked(&"x".repeat(300), "").checked().is_err());
        assert!(asked("x", "\0").checked().is_err());
    }

    #[test]
    fn what_belongs_to_a_pull_request_is_refused_without_one() {
        let draft = Publish { draft: true, ..Publish::default() };
        assert_eq!(draft.checked().expect_err("a draft requires a pull request").report.code, ErrorCode::NoPullRequest);
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
        assert_eq!(samples::pull_request().checks.expect("the sample has checks").words(), "1 failed, 2 pending, 1 passed");
        assert_eq!(Checks::default().words(), "none");
    }
}
