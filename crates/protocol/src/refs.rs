//! Responses of the HTTP API for branches, tags and fetches of a repository.
//!
//! Names come from the remote, so code that shows them must treat them as untrusted text.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use model::names::BranchName;
use model::run::RunError;

/// Kind of a ref.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RefKind {
    /// A branch.
    Branch,
    /// A tag.
    Tag,
}

/// A branch or a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct RefItem {
    /// Name without `refs/heads/` or `refs/tags/`.
    pub name: String,
    /// Kind of the ref.
    pub kind: RefKind,
}

/// Branches and tags of a repository, as of the last fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Refs)]
pub struct RefsView {
    /// Branches and tags. Those with the newest commits come first.
    pub items: Vec<RefItem>,
    /// Whether the list is incomplete.
    pub truncated: bool,
    /// Default branch of the repository.
    #[schema(value_type = Option<String>)]
    pub default_branch: Option<BranchName>,
}

/// The last fetch of a repository since the server started.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Fetch)]
pub struct FetchView {
    /// Whether a fetch is in progress.
    pub running: bool,
    /// Time at which the last fetch ended. Null if there was none since the server started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Why the last fetch failed. Null if it succeeded.
    pub error: Option<RunError>,
}
