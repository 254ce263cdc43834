//! The words of the HTTP API about publishing: what is asked, and what a person sees before asking.
//! The state itself is [`crate::publication::Publication`].

use serde::{Deserialize, Serialize};

use crate::forge::ForgeKind;
use crate::names::BranchName;
use crate::publication::Publication;

/// `POST /api/v1/tasks/{task_id}/push`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PublishTask {
    /// Whether a pull request is wanted besides the push.
    #[serde(default)]
    pub pull_request: bool,
    /// Its title; what the task says where it is left out. Of one that is open, the title stays where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its body; what the task says where it is left out. Of one that is open, only our own part is renewed then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// Whether it is opened as a draft.
    #[serde(default)]
    pub draft: bool,
    /// Whether the commit that was found in the way at the last try may be replaced (`git push --force-with-lease`).
    #[serde(default)]
    pub force_with_lease: bool,
}

/// `GET /api/v1/tasks/{task_id}/publication`: how it stands, and what a pull request would say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PublicationView {
    /// How the last publication stands.
    pub publication: Option<Publication>,
    /// The forge, where it is known.
    pub forge: Option<ForgeView>,
    /// Why no pull request can be opened from here, although a push may be fine.
    pub by_hand: Option<String>,
    /// The branch that a pull request would go into.
    pub base: BranchName,
    /// The task's branch.
    pub head: BranchName,
    /// The title that it would have.
    pub title: String,
    /// The body that it would have.
    pub body: String,
}

/// A forge, and the repository on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ForgeView {
    /// Its make.
    pub kind: ForgeKind,
    /// `owner/name`.
    pub project: String,
    /// Where a person opens a pull request by hand.
    pub compare_url: String,
}
