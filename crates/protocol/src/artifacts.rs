//! The artifacts of a run: files that the agent left for people.
//!
//! The list never contains their content, which is downloaded file by file.

use model::artifact::{Artifact, LeftOut};
use serde::{Deserialize, Serialize};

/// The artifacts of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Artifacts)]
pub struct ArtifactsView {
    /// The artifacts, in the order of their paths. Empty while the run is active.
    pub artifacts: Vec<Artifact>,
    /// Files that were not kept, with the reason.
    pub left_out: Vec<LeftOut>,
    /// The number of further files that were not kept. There may be even more.
    pub more_left_out: u64,
}
