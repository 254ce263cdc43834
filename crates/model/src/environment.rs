//! An environment: a repository that tasks are cut from.
//!
//! On disk its URL and its default branch are files of their own, as the strategy wants them; the rest is `env.json`
//! ([`EnvironmentFile`]), and secret values are in a file of their own. A clone that failed is remembered only in memory: on disk it leaves nothing behind.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::container::ContainerSettings;
use crate::forge::ForgeSettings;
use crate::ids::EnvironmentId;
use crate::names::{BranchName, RepositoryUrl, Title, VariableName};
use crate::policy::RunPolicy;
use crate::run::RunError;
use crate::secret::Secret;
use crate::sources::SourceSettings;

/// Where an environment is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnvironmentStatus {
    /// Its mirror is being made.
    Cloning,
    /// Tasks can be cut from it.
    Ready,
    /// Its mirror could not be made.
    Failed,
    /// It is on its way out, after its tasks.
    Removing,
}

impl EnvironmentStatus {
    /// The word of the contract.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cloning => "cloning",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Removing => "removing",
        }
    }
}

/// An environment as it is known in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct EnvironmentRecord {
    /// Its id.
    pub env_id: EnvironmentId,
    /// Its name for people.
    pub name: Title,
    /// Where it is cloned from.
    pub repo_url: RepositoryUrl,
    /// What tasks start from; unknown until the remote told it.
    pub default_branch: Option<BranchName>,
    /// Where it is in its life.
    pub status: EnvironmentStatus,
    /// Why it failed.
    pub error: Option<RunError>,
    /// Variables for the agent's process.
    pub variables: BTreeMap<VariableName, String>,
    /// Variables that nobody may see. They lie in a file of their own.
    pub secrets: BTreeMap<VariableName, Secret>,
    /// Values that were secrets before, and are masked like those there are.
    pub former_secrets: Vec<Secret>,
    /// How the container of its runs is made.
    pub container: ContainerSettings,
    /// How its runs go: how many at once, and what follows one that did not end well.
    pub runs: RunPolicy,
    /// How its forge is reached, where the URL does not say it.
    pub forge: ForgeSettings,
    /// Which submodules the host fetches without asking, besides those of the default branch.
    pub sources: SourceSettings,
    /// The token for its forge. It lies with the secrets.
    pub forge_token: Option<Secret>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Fields that another version wrote.
    pub extra: Map<String, Value>,
}

/// `env.json`: what is known of an environment besides its URL and its default branch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentFile {
    /// The version of this file's form.
    pub schema: u32,
    /// The environment's id.
    pub env_id: EnvironmentId,
    /// Its name for people.
    pub name: Title,
    /// Where it is in its life.
    pub status: EnvironmentStatus,
    /// Variables for the agent's process.
    #[serde(default)]
    pub variables: BTreeMap<VariableName, String>,
    /// How the container of its runs is made.
    #[serde(default)]
    pub container: ContainerSettings,
    /// How its runs go.
    #[serde(default)]
    pub runs: RunPolicy,
    /// How its forge is reached, where the URL does not say it.
    #[serde(default)]
    pub forge: ForgeSettings,
    /// Which submodules the host fetches without asking, besides those of the default branch.
    #[serde(default)]
    pub sources: SourceSettings,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
    /// Fields that another version wrote.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl From<&EnvironmentRecord> for EnvironmentFile {
    fn from(record: &EnvironmentRecord) -> Self {
        Self {
            schema: crate::SCHEMA,
            env_id: record.env_id,
            name: record.name.clone(),
            status: record.status,
            variables: record.variables.clone(),
            container: record.container.clone(),
            runs: record.runs.clone(),
            forge: record.forge.clone(),
            sources: record.sources.clone(),
            created_at: record.created_at,
            updated_at: record.updated_at,
            extra: record.extra.clone(),
        }
    }
}

impl EnvironmentFile {
    /// Joins the file with what the two files beside it say. Its secrets are in a third.
    pub fn with(self, repo_url: RepositoryUrl, default_branch: Option<BranchName>) -> EnvironmentRecord {
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
            sources: self.sources,
            forge_token: None,
            created_at: self.created_at,
            updated_at: self.updated_at,
            extra: self.extra,
        }
    }
}

impl EnvironmentRecord {
    /// Every value that readers must not see: the secrets, and what was one before.
    pub fn secret_values(&self) -> impl Iterator<Item = &str> {
        self.secrets.values().chain(&self.former_secrets).chain(&self.forge_token).map(Secret::expose)
    }
}
