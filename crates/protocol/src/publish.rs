//! Requests and responses of the HTTP API for pushes and pull requests.
//!
//! The state itself is [`model::publication::Publication`].

use serde::{Deserialize, Serialize};

use model::forge::ForgeKind;
use model::names::BranchName;
use model::publication::{Publication, PullRequestBody, PullRequestTitle};

/// Body of `POST /api/v1/tasks/{task_id}/push`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishTask {
    /// Also create a pull request, or update the open one.
    #[serde(default)]
    pub pull_request: bool,
    /// Title of the pull request. Default: generated from the task, but an open pull request keeps its title.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PullRequestTitle>)]
    pub title: Option<String>,
    /// Description of the pull request. Default: generated from the task. In an open pull request, only the generated part is updated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<PullRequestBody>)]
    pub body: Option<String>,
    /// Create the pull request as a draft.
    #[serde(default)]
    pub draft: bool,
    /// Replace the commits that the last push found on the remote branch (`git push --force-with-lease`).
    #[serde(default)]
    pub force_with_lease: bool,
}

/// The pull request of a task, and a preview of the next one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PublicationView {
    /// State of the last push and of the pull request. Null if the task was never pushed.
    pub publication: Option<Publication>,
    /// Git host. Null if it is not known.
    pub forge: Option<ForgeView>,
    /// Why the server cannot create a pull request. A push can still work.
    pub by_hand: Option<String>,
    /// Base branch of the pull request.
    pub base: BranchName,
    /// Branch of the task.
    pub head: BranchName,
    /// Title of the next pull request.
    pub title: String,
    /// Description of the next pull request.
    pub body: String,
}

/// A repository on a Git host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ForgeView {
    /// Kind of Git host.
    pub kind: ForgeKind,
    /// Owner and name of the repository, e.g. `owner/name`.
    pub project: String,
    /// URL where you can create the pull request yourself.
    pub compare_url: String,
}
