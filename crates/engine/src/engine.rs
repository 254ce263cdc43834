//! The facade of the engine: its start and end, and what a caller without authentication may ask.
//!
//! Everything else is an operation of a [`User`].

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config::Config;
use model::problem::Problem;
use model::secret::Secret;
use runner::Runner;

use crate::caller::Caller;
use crate::server::{ChosenRunner, Server};
use crate::user::User;
use sign_in::Browser;

/// How long to wait for running work at shutdown. Interrupted work can be repeated safely, and the next server does so.
const SHUTDOWN_PATIENCE: Duration = Duration::from_secs(10);

/// A running engine. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    server: Arc<Server>,
}

/// Why an engine did not start.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct StartError {
    /// The problem, with hints.
    pub problem: Problem,
}

impl Engine {
    /// Locks the home, reads all records, and reconciles them with the actual state of files and processes.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::start_at(config, ChosenRunner::Local).await
    }

    /// Starts like [`Engine::start`], but runs execute at this runner instead of on this machine.
    pub async fn start_with(config: Config, runner: Arc<dyn Runner>) -> Result<Self, StartError> {
        Self::start_at(config, ChosenRunner::Other(runner)).await
    }

    async fn start_at(config: Config, runner: ChosenRunner) -> Result<Self, StartError> {
        let server = Server::start(config, runner).await.map_err(|problem| StartError { problem })?;
        Ok(Self { server })
    }

    /// Stops accepting work and waits for pending writes. Runs continue under their keepers.
    pub async fn shutdown(&self) {
        self.server.common.cancel.cancel();
        self.server.common.tracker.close();
        if tokio::time::timeout(SHUTDOWN_PATIENCE, self.server.common.tracker.wait()).await.is_err() {
            tracing::warn!("background work did not finish in time; the next server continues it");
        }
        let server = Arc::clone(&self.server);
        durable::blocking(move || server.end_boot()).await;
    }

    /// Returns the token that TCP clients must send.
    pub fn token(&self) -> &str {
        &self.server.common.home.token
    }

    /// Returns the path of `ORCH_HOME/orchestrator.sock`.
    pub fn socket_path(&self) -> PathBuf {
        self.server.common.home.layout.socket()
    }

    /// Sets the TCP address of the API, for `status`.
    pub fn set_listen(&self, address: std::net::SocketAddr) {
        self.server.set_listen(address);
    }

    /// Whether this code would sign in a browser. The code stays valid.
    pub fn is_sign_in_code(&self, code: &str) -> bool {
        self.server.sessions.is_code(code)
    }

    /// Signs in a browser with the name `label` at the host name `host`, and returns its session secret if the code is valid.
    /// The session is only valid at that host name.
    pub fn sign_in(&self, code: &str, label: &str, host: &str) -> Result<Option<String>, Problem> {
        let browser = Browser { label, host, now: jiff::Timestamp::now() };
        Ok(self.server.sessions.redeem(&self.server.common.home, code, &browser)?)
    }

    /// Whether this is the sign-in password.
    pub async fn is_password(&self, password: Secret) -> Result<bool, Problem> {
        self.server.password.is(password).await
    }

    /// Signs in a browser that has authenticated in another way, like [`Engine::sign_in`].
    pub fn begin_session(&self, label: &str, host: &str) -> Result<String, Problem> {
        let browser = Browser { label, host, now: jiff::Timestamp::now() };
        Ok(self.server.sessions.open_one(&self.server.common.home, &browser)?)
    }

    /// Returns the host name of the pages on this machine, which only the owner of the home knows.
    pub fn pages_host(&self) -> &str {
        &self.server.common.home.pages_host
    }

    /// Whether a sign-in password is set.
    pub async fn has_password(&self) -> bool {
        self.server.password.is_set().await
    }

    /// Whether a browser with this secret is signed in at this host name.
    pub fn is_signed_in(&self, secret: &str, host: &str) -> bool {
        self.server.sessions.is_open(secret, host, jiff::Timestamp::now())
    }

    /// Returns the ID of the session with this secret, as listed by [`User::sessions`].
    pub fn session_id(&self, secret: &str) -> String {
        sign_in::Sessions::id_of(secret)
    }

    /// Returns the public URL of the pages, if one is set.
    pub fn public_url(&self) -> Option<String> {
        self.server.notifications.public_url()
    }

    /// Returns the operations that this caller may use. The caller must be authenticated.
    #[must_use]
    pub fn as_user(&self, caller: Caller) -> User {
        User::new(Arc::clone(&self.server), caller)
    }
}
