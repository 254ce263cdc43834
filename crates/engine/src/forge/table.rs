//! Finds the Git host of a repository, and keeps one client for each repository and token, so that rate limits and known
//! responses are shared. This module opens no connections itself.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use model::environment::EnvironmentRecord;
use model::forge::{ForgePlace, GitHubDefaults};
use model::secret::Secret;

use super::{Forge, ForgeError, connect};
use crate::config::Config;

/// All clients.
#[derive(Default)]
pub(crate) struct Forges {
    clients: Mutex<HashMap<(ForgePlace, String), Arc<dyn Forge>>>,
}

impl Forges {
    /// Returns the client for this repository and token.
    pub(crate) fn client(&self, place: &ForgePlace, token: &Secret) -> Result<Arc<dyn Forge>, ForgeError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (place.clone(), token.expose().to_owned());
        if let Some(client) = clients.get(&key) {
            return Ok(Arc::clone(client));
        }
        // A token that was replaced is not used again.
        clients.retain(|(known, _), _| known != place);
        let client: Arc<dyn Forge> = Arc::from(connect(place, token)?);
        clients.insert(key, Arc::clone(&client));
        Ok(client)
    }
}

/// Returns the repository on its Git host and the token for it, if there are any.
pub(crate) fn place_of(config: &Config, environment: &EnvironmentRecord) -> Option<(ForgePlace, Option<Secret>)> {
    let defaults = GitHubDefaults { project: config.github_project.clone(), api_url: config.github_api_url.clone() };
    let place = ForgePlace::find(&environment.repo_url, &environment.forge, &defaults)?;
    let token = environment.forge_token.clone().or_else(|| config.github_token.clone().filter(|_| place.is_default_github));
    Some((place, token))
}
