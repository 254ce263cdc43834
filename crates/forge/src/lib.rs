//! Git hosts: one trait for all requests, and a thin typed client for each kind.
//!
//! This crate does not decide what to request; the engine does. Invariant: a token leaves this process only
//! in one header, to the URL that it belongs to, and never appears in a URL, an error or a log.

mod api;
mod calls;
mod error;
mod following;
mod forgejo;
mod github;
mod gitlab;
mod table;

use std::sync::Arc;

use calls::Calls;
use futures_util::future::BoxFuture;
use model::forge::{ForgeKind, ForgePlace};
use model::ids::ObjectId;
use model::names::BranchName;
use model::publication::feedback::Feedback;
use model::publication::{Checks, PullRequest, Reviews};
use model::secret::Secret;

pub use calls::Call;
pub use error::ForgeError;
pub use following::Following;
pub use table::Forges;

/// A pull request to open.
#[derive(Debug, Clone)]
pub struct NewPullRequest {
    /// The branch with the changes.
    pub head: BranchName,
    /// The branch to merge into.
    pub base: BranchName,
    /// The title.
    pub title: String,
    /// The description, in Markdown.
    pub body: String,
    /// Whether to open it as a draft.
    pub draft: bool,
}

/// Changes to an open pull request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EditPullRequest {
    /// The new title.
    pub title: Option<String>,
    /// The new description, in Markdown.
    pub body: Option<String>,
    /// Whether the pull request is a draft. An edit keeps this state: some Git hosts mark drafts in the title.
    pub is_draft: bool,
}

impl EditPullRequest {
    /// Returns the request as JSON, with the Git host's field names.
    fn with_names(&self, body_name: &str, draft_prefix: &str) -> serde_json::Map<String, serde_json::Value> {
        let prefix = if self.is_draft { draft_prefix } else { "" };
        let title = self.title.as_ref().map(|title| ("title", format!("{prefix}{title}")));
        let body = self.body.as_ref().map(|body| (body_name, body.clone()));
        title.into_iter().chain(body).map(|(name, value)| (name.to_owned(), value.into())).collect()
    }
}

/// An existing pull request, with its text, which people may have edited.
#[derive(Debug, Clone)]
pub struct FoundPullRequest {
    /// The pull request.
    pub pull_request: PullRequest,
    /// The description of the pull request, in Markdown.
    pub body: String,
}

type Answer<'a, T> = BoxFuture<'a, Result<T, ForgeError>>;

/// Requests to a Git host, about one repository. `None` means that nothing has changed since the last request.
pub trait Forge: Send + Sync {
    /// Finds the open pull request of this branch.
    fn find<'a>(&'a self, head: &'a BranchName) -> Answer<'a, Option<FoundPullRequest>>;
    /// Opens a pull request.
    fn open<'a>(&'a self, new: &'a NewPullRequest) -> Answer<'a, PullRequest>;
    /// Changes the text of a pull request.
    fn edit<'a>(&'a self, number: u64, edit: &'a EditPullRequest) -> Answer<'a, PullRequest>;
    /// Lists the most recently changed pull requests, open or not.
    fn newest(&self) -> Answer<'_, Option<Vec<PullRequest>>>;
    /// Returns a pull request, including whether it can be merged.
    fn details(&self, number: u64) -> Answer<'_, Option<PullRequest>>;
    /// Returns the checks of a pull request's commit.
    fn checks<'a>(&'a self, number: u64, sha: &'a ObjectId) -> Answer<'a, Option<Checks>>;
    /// Returns the reviews of a pull request.
    fn reviews(&self, number: u64) -> Answer<'_, Option<Reviews>>;
    /// Returns unresolved review comments, and the logs of failed checks.
    fn feedback<'a>(&'a self, pull_request: &'a PullRequest) -> Answer<'a, Feedback>;
}

/// Creates the client for a repository.
fn connect(place: &ForgePlace, token: &Secret, calls: &Arc<Calls>) -> Result<Box<dyn Forge>, ForgeError> {
    Ok(match place.kind {
        ForgeKind::GitHub => Box::new(github::GitHub::new(place, token, calls)?),
        ForgeKind::GitLab => Box::new(gitlab::GitLab::new(place, token, calls)?),
        ForgeKind::Forgejo => Box::new(forgejo::Forgejo::new(place, token, calls)?),
    })
}
