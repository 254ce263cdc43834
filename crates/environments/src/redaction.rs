//! Masks secrets for readers: those of the server, of the Codex login, and of a repository.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use model::ids::EnvironmentId;
use process::Redactor;
use runner::worker::Login;
use store::CodexHome;

use crate::environments::Environments;

/// The maximum number of cached redactors.
const MOST_REDACTORS: usize = 16;

/// The secrets that no reader may see.
pub struct Redaction {
    /// Values that no reader of any repository may see.
    secrets: Vec<String>,
    codex_home: CodexHome,
    environments: Arc<Environments>,
    /// Cached redactors, each for these values. Creating a redactor is slow if there are many values.
    known: Mutex<VecDeque<(Vec<String>, Redactor)>>,
}

impl Redaction {
    /// Creates the redaction of a server that has these secrets.
    pub fn new(secrets: Vec<String>, codex_home: CodexHome, environments: Arc<Environments>) -> Self {
        Self { secrets, codex_home, environments, known: Mutex::default() }
    }

    /// Returns the redactor for readers of a repository's runs.
    pub fn redactor(&self, env_id: EnvironmentId) -> Redactor {
        let mut secrets = self.secrets.clone();
        match Login::stored(&self.codex_home) {
            Ok(login) => secrets.extend(login.iter().flat_map(Login::secrets).map(|secret| secret.expose().to_owned())),
            Err(error) => tracing::warn!(%error, "could not read the Codex login"),
        }
        if let Some(environment) = self.environments.get(env_id) {
            secrets.extend(environment.record().secret_values().map(str::to_owned));
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, redactor)) = known.iter().find(|(of, _)| *of == secrets) {
            return redactor.clone();
        }
        let redactor = Redactor::new(secrets.iter().cloned());
        if known.len() >= MOST_REDACTORS {
            known.pop_front();
        }
        known.push_back((secrets, redactor.clone()));
        redactor
    }
}
