//! The operations of a user on refs of a repository, default settings of runs, and the state of this machine. IDs are parsed
//! here; `environment` does the work.

use doctor::Finding;
use model::problem::Problem;
use protocol::{EnvironmentView, RefsQuery, RefsView};

use super::User;

/// The server's settings for runs whose repository does not override them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDefaults {
    /// The container image, or `None` for the pinned image.
    pub image: Option<String>,
    /// The maximum number of parallel runs on this server, across all repositories.
    pub max_parallel_runs: usize,
    /// Whether interrupted runs are resumed automatically.
    pub resume_interrupted: bool,
}

impl User {
    /// Fetches from a repository's remote and waits for the result. The fetch continues even if the caller stops waiting.
    pub async fn fetch_environment(&self, id: &str) -> Result<EnvironmentView, Problem> {
        let slot = self.environment_slot(id)?;
        self.server.environments.fetch_environment(&slot).await?;
        Ok(self.server.environment_view(&slot))
    }

    /// Retries a failed clone of a repository. Repeating the request is harmless.
    pub async fn retry_environment(&self, id: &str) -> Result<EnvironmentView, Problem> {
        let slot = self.environment_slot(id)?;
        self.server.environments.retry_clone(&slot).await?;
        Ok(self.server.environment_view(&slot))
    }

    /// Returns the branches and tags that a task can start from, as of the last fetch.
    pub async fn refs(&self, id: &str, query: &RefsQuery) -> Result<RefsView, Problem> {
        self.server.environments.refs(self.environment_slot(id)?.as_ref(), query).await
    }

    /// Rejects a name that is not a branch, tag or commit of the repository, with suggestions.
    pub async fn check_ref(&self, id: &str, name: &str) -> Result<(), Problem> {
        self.server.environments.check_ref(&self.environment_slot(id)?, name).await
    }

    /// Returns the server's settings for runs whose repository does not override them.
    pub fn run_defaults(&self) -> RunDefaults {
        let config = &self.server.common.config;
        RunDefaults {
            image: config.image.clone(),
            max_parallel_runs: config.max_parallel_runs,
            resume_interrupted: config.resume_interrupted,
        }
    }

    /// Checks everything that tasks need, like `doctor`. Takes up to about a minute.
    pub async fn doctor(&self) -> Vec<Finding> {
        let mut findings = doctor::findings(&self.server.common.config).await;
        findings.push(doctor::running(&self.fresh_status().await));
        findings
    }
}
