//! The words about a repository's branches and tags, and about when they were last fetched.
//! Names are the remote's own: whoever shows one treats it as a stranger's text.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::names::BranchName;
use crate::run::RunError;

/// What a name in a repository names.
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
    /// Its name, without `refs/heads/` or `refs/tags/`.
    pub name: String,
    /// What it is.
    pub kind: RefKind,
}

/// `GET /api/v1/envs/{env_id}/refs`: what a task can start from, as of the last fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Refs)]
pub struct RefsView {
    /// Branches and tags, the one with the newest commit first.
    pub items: Vec<RefItem>,
    /// Whether there are more, which are left out.
    pub truncated: bool,
    /// What tasks start from where nothing is said.
    #[schema(value_type = Option<String>)]
    pub default_branch: Option<BranchName>,
}

/// How fresh what is known of the remote is. Forgotten when the server ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Fetch)]
pub struct FetchView {
    /// Whether one is under way.
    pub running: bool,
    /// When the last one ended that this server made.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// Why that one failed.
    pub error: Option<RunError>,
}
