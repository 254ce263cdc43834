//! The facade's part about what is in a repository, what an environment that sets nothing gets, and how this machine is.
//! Ids are parsed here as in the rest of the facade; what is done is in `environment`.

use model::api::{EnvironmentView, RefsQuery, RefsView};
use model::problem::Problem;

use super::Engine;
use crate::doctor::{self, Finding};

/// What runs get where their environment does not say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunDefaults {
    /// The image of their container; none is the pinned one.
    pub image: Option<String>,
    /// The most runs at once on this server, of all environments.
    pub max_parallel_runs: usize,
    /// Whether a run that was cut off is resumed by itself.
    pub resume_interrupted: bool,
}

impl Engine {
    /// Asks an environment's remote for what is new, and waits for it. It goes on when nobody waits any more.
    pub async fn fetch_environment(&self, id: &str) -> Result<EnvironmentView, Problem> {
        let slot = self.environment_slot(id)?;
        self.inner.fetch_environment(&slot).await?;
        Ok(self.inner.environment_view(&slot))
    }

    /// Clones an environment again whose clone failed. Asking twice is fine.
    pub async fn retry_environment(&self, id: &str) -> Result<EnvironmentView, Problem> {
        let slot = self.environment_slot(id)?;
        self.inner.retry_clone(&slot).await?;
        Ok(self.inner.environment_view(&slot))
    }

    /// The branches and tags that a task can start from, as of the last fetch.
    pub async fn refs(&self, id: &str, query: &RefsQuery) -> Result<RefsView, Problem> {
        self.inner.refs(self.environment_slot(id)?.as_ref(), query).await
    }

    /// Refuses a name that is no branch, tag or commit of the environment, with what may have been meant.
    pub async fn check_ref(&self, id: &str, name: &str) -> Result<(), Problem> {
        self.inner.check_ref(&self.environment_slot(id)?, name).await
    }

    /// What runs get where their environment does not say.
    pub fn run_defaults(&self) -> RunDefaults {
        let config = &self.inner.config;
        RunDefaults {
            image: config.image.clone(),
            max_parallel_runs: config.max_parallel_runs,
            resume_interrupted: config.resume_interrupted,
        }
    }

    /// Looks at everything that tasks need, as `doctor` does. Takes a while, and no longer than a minute or so.
    pub async fn doctor(&self) -> Vec<Finding> {
        let mut findings = doctor::findings(&self.inner.config).await;
        findings.push(doctor::running(&self.fresh_status().await));
        findings
    }
}
