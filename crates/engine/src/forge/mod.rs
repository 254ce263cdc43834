//! Forges: one trait for what is asked of them, and a thin typed client for each make.
//!
//! Nothing in here decides what is asked; see `task::publish` and `follow`. Invariant: a token leaves this process in one header,
//! to the address that it belongs to, and is in no URL, error or log.

mod api;
mod error;
mod follow;
mod forgejo;
mod github;
mod gitlab;
mod table;

use futures_util::future::BoxFuture;
use model::forge::{ForgeKind, ForgePlace};
use model::ids::ObjectId;
use model::names::BranchName;
use model::publication::feedback::Feedback;
use model::publication::{Checks, PullRequest, Reviews};
use model::secret::Secret;

pub(crate) use error::ForgeError;
pub(crate) use follow::Following;
pub(crate) use table::{Forges, place_of};

/// A pull request to open.
#[derive(Debug, Clone)]
pub(crate) struct NewPullRequest {
    pub(crate) head: BranchName,
    pub(crate) base: BranchName,
    pub(crate) title: String,
    pub(crate) body: String,
    pub(crate) draft: bool,
}

/// What to change of one that is open.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct EditPullRequest {
    pub(crate) title: Option<String>,
    pub(crate) body: Option<String>,
    /// Whether it is a draft and stays one: some forges say so in the title.
    pub(crate) is_draft: bool,
}

impl EditPullRequest {
    /// As JSON, in a forge's own words.
    fn with_names(&self, body_name: &str, draft_prefix: &str) -> serde_json::Map<String, serde_json::Value> {
        let prefix = if self.is_draft { draft_prefix } else { "" };
        let title = self.title.as_ref().map(|title| ("title", format!("{prefix}{title}")));
        let body = self.body.as_ref().map(|body| (body_name, body.clone()));
        title.into_iter().chain(body).map(|(name, value)| (name.to_owned(), value.into())).collect()
    }
}

/// One that was found, with the text that people may have edited.
#[derive(Debug, Clone)]
pub(crate) struct FoundPullRequest {
    pub(crate) pull_request: PullRequest,
    pub(crate) body: String,
}

type Answer<'a, T> = BoxFuture<'a, Result<T, ForgeError>>;

/// What is asked of a forge, about one repository. Where an answer is optional, none means that nothing changed since last time.
pub(crate) trait Forge: Send + Sync {
    /// The open pull request from this branch.
    fn find<'a>(&'a self, head: &'a BranchName) -> Answer<'a, Option<FoundPullRequest>>;
    /// Opens one.
    fn open<'a>(&'a self, new: &'a NewPullRequest) -> Answer<'a, PullRequest>;
    /// Changes its text.
    fn edit<'a>(&'a self, number: u64, edit: &'a EditPullRequest) -> Answer<'a, PullRequest>;
    /// The pull requests that changed last, open or not.
    fn newest(&self) -> Answer<'_, Option<Vec<PullRequest>>>;
    /// One of them, with whether it can be merged.
    fn details(&self, number: u64) -> Answer<'_, Option<PullRequest>>;
    /// The checks of its commit.
    fn checks<'a>(&'a self, number: u64, sha: &'a ObjectId) -> Answer<'a, Option<Checks>>;
    /// Its reviews.
    fn reviews(&self, number: u64) -> Answer<'_, Option<Reviews>>;
    /// What reviewers said that is not resolved, and what failed checks printed.
    fn feedback<'a>(&'a self, pull_request: &'a PullRequest) -> Answer<'a, Feedback>;
}

/// The client for a place.
fn connect(place: &ForgePlace, token: &Secret) -> Result<Box<dyn Forge>, ForgeError> {
    Ok(match place.kind {
        ForgeKind::GitHub => Box::new(github::GitHub::new(place, token)?),
        ForgeKind::GitLab => Box::new(gitlab::GitLab::new(place, token)?),
        ForgeKind::Forgejo => Box::new(forgejo::Forgejo::new(place, token)?),
    })
}
