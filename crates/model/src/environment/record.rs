//! The record of a repository.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::commit::CommitSettings;
use crate::container::ContainerSettings;
use crate::forge::ForgeSettings;
use crate::ids::EnvironmentId;
use crate::names::{BranchName, RepositoryUrl, Title, VariableName};
use crate::policy::RunPolicy;
use crate::run::RunError;
use crate::secret::Secret;
use crate::setup::{SetupSettings, SetupState};
use crate::sources::SourceSettings;
use crate::sparse::{Cone, SparsePath};

/// The status of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentStatus {
    /// The repository is being cloned.
    Cloning,
    /// The repository is cloned, and tasks can start.
    Ready,
    /// The clone failed.
    Failed,
    /// The repository is being removed. Its tasks are removed first.
    Removing,
}

impl EnvironmentStatus {
    /// Returns the value in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cloning => "cloning",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Removing => "removing",
        }
    }
}

/// A repository in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentRecord {
    /// The ID of the repository.
    pub env_id: EnvironmentId,
    /// The display name.
    pub name: Title,
    /// The URL that the repository is cloned from.
    pub repo_url: RepositoryUrl,
    /// The branch that tasks start from. Unknown until the clone finishes, unless a user specified it.
    pub default_branch: Option<BranchName>,
    /// The status.
    pub status: EnvironmentStatus,
    /// Why the clone failed.
    pub error: Option<RunError>,
    /// Environment variables for Codex.
    pub variables: BTreeMap<VariableName, String>,
    /// Environment variables for Codex whose values are never shown. They are stored in a separate file.
    pub secrets: BTreeMap<VariableName, Secret>,
    /// Replaced and deleted secrets, which are still masked.
    pub former_secrets: Vec<Secret>,
    /// How the containers of runs are created.
    pub container: ContainerSettings,
    /// How runs are started and retried.
    pub runs: RunPolicy,
    /// The Git host settings that are not detected from the URL.
    pub forge: ForgeSettings,
    /// What the commits of runs contain, and who makes them.
    pub commits: CommitSettings,
    /// How much history is fetched, and which submodules are fetched without asking.
    pub sources: SourceSettings,
    /// What the owner decided about the setup.
    pub setup: SetupSettings,
    /// The last setup.
    pub setup_state: SetupState,
    /// The token for the Git host, stored with the secrets.
    pub forge_token: Option<Secret>,
    /// When the repository was added.
    pub created_at: Timestamp,
    /// When the record last changed.
    pub updated_at: Timestamp,
    /// Unknown fields, written by another version.
    pub extra: Map<String, Value>,
}

impl EnvironmentRecord {
    /// Returns the folders that new worktrees contain: those of the settings, and the folder that agents start in.
    pub fn cone(&self) -> Cone {
        let folders = &self.sources.sparse_paths;
        let start = self.runs.subdirectory.as_ref().filter(|_| !folders.is_empty());
        Cone::of(folders.iter().cloned().chain(start.and_then(|start| SparsePath::parse(start.as_str()).ok())))
    }

    /// Returns every value to mask: current and former secrets, and the token.
    pub fn secret_values(&self) -> impl Iterator<Item = &str> {
        self.secrets.values().chain(&self.former_secrets).chain(&self.forge_token).map(Secret::expose)
    }
}
