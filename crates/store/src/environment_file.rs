//! The form of a repository's record on disk, `env.json`.
//!
//! The URL, the default branch and secret values each have their own file.

use std::collections::BTreeMap;

use jiff::Timestamp;
use model::commit::CommitSettings;
use model::container::ContainerSettings;
use model::environment::{EnvironmentRecord, EnvironmentStatus};
use model::forge::ForgeSettings;
use model::ids::EnvironmentId;
use model::names::{BranchName, RepositoryUrl, Title, VariableName};
use model::policy::RunPolicy;
use model::setup::{SetupSettings, SetupState};
use model::sources::SourceSettings;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The content of `env.json`: everything except for the URL, the default branch and secrets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct EnvironmentFile {
    /// The version of the file format.
    pub(crate) schema: u32,
    /// The ID of the repository.
    pub(crate) env_id: EnvironmentId,
    /// The display name.
    pub(crate) name: Title,
    /// The status.
    pub(crate) status: EnvironmentStatus,
    /// Environment variables for Codex.
    #[serde(default)]
    pub(crate) variables: BTreeMap<VariableName, String>,
    /// How the containers of runs are created.
    #[serde(default)]
    pub(crate) container: ContainerSettings,
    /// How runs are started and retried.
    #[serde(default)]
    pub(crate) runs: RunPolicy,
    /// The Git host settings that are not detected from the URL.
    #[serde(default)]
    pub(crate) forge: ForgeSettings,
    /// What the commits of runs contain, and who makes them.
    #[serde(default)]
    pub(crate) commits: CommitSettings,
    /// Which submodules are fetched without asking, in addition to those of the default branch.
    #[serde(default)]
    pub(crate) sources: SourceSettings,
    /// What the owner decided about the setup.
    #[serde(default, skip_serializing_if = "SetupSettings::is_default")]
    pub(crate) setup: SetupSettings,
    /// The last setup.
    #[serde(default, skip_serializing_if = "SetupState::is_empty")]
    pub(crate) setup_state: SetupState,
    /// When the repository was added.
    pub(crate) created_at: Timestamp,
    /// When the record last changed.
    pub(crate) updated_at: Timestamp,
    /// Unknown fields, written by another version.
    #[serde(flatten)]
    pub(crate) extra: Map<String, Value>,
}

impl From<&EnvironmentRecord> for EnvironmentFile {
    fn from(record: &EnvironmentRecord) -> Self {
        Self {
            schema: model::SCHEMA,
            env_id: record.env_id,
            name: record.name.clone(),
            status: record.status,
            variables: record.variables.clone(),
            container: record.container.clone(),
            runs: record.runs.clone(),
            forge: record.forge.clone(),
            commits: record.commits.clone(),
            sources: record.sources.clone(),
            setup: record.setup.clone(),
            setup_state: record.setup_state.clone(),
            created_at: record.created_at,
            updated_at: record.updated_at,
            extra: record.extra.clone(),
        }
    }
}

impl EnvironmentFile {
    /// Creates the record from this file, the URL and the default branch. The record does not contain the secrets yet.
    pub(crate) fn with(self, repo_url: RepositoryUrl, default_branch: Option<BranchName>) -> EnvironmentRecord {
        EnvironmentRecord {
            env_id: self.env_id,
            name: self.name,
            repo_url,
            default_branch,
            status: self.status,
            error: None,
            variables: self.variables,
            secrets: BTreeMap::new(),
            former_secrets: Vec::new(),
            container: self.container,
            runs: self.runs,
            forge: self.forge,
            commits: self.commits,
            sources: self.sources,
            setup: self.setup,
            setup_state: self.setup_state,
            forge_token: None,
            created_at: self.created_at,
            updated_at: self.updated_at,
            extra: self.extra,
        }
    }
}
