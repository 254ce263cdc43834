//! What can be set, and where each setting came from: flags over environment variables over `config.toml` over defaults.
//!
//! The only room that reads this process's environment. Invariant: a [`Config`] is complete and was validated as a whole.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::exec::BaseEnvironment;

/// Everything that can be set.
#[derive(Debug, Clone)]
pub struct Config {
    /// `ORCH_HOME`: where all state lies. Absolute.
    pub home: PathBuf,
    /// `ORCH_LISTEN`: the TCP address of the API; none switches TCP off.
    pub listen: Option<SocketAddr>,
    /// More names under which the API may be reached over TCP.
    pub allowed_hosts: Vec<String>,
    /// `ORCH_WORKER`: `codex-docker`, `host`, or the path of a program.
    pub worker: Option<String>,
    /// `CODEX_HOME`: Codex's own folder, with its login; Codex's default where it is not set.
    pub codex_home: Option<PathBuf>,
    /// More names of variables that a worker gets from the server's environment.
    pub pass_environment: Vec<String>,
    /// The longest that one run may take.
    pub run_time_limit: Duration,
    /// How long a worker may linger after its turn has ended.
    pub turn_end_grace: Duration,
    /// How long a stopped worker may take after SIGINT, and again after SIGTERM.
    pub stop_grace: Duration,
    /// The longest that a clone may take.
    pub clone_time_limit: Duration,
    /// The longest that a fetch may take.
    pub fetch_time_limit: Duration,
    /// The program that is started as a keeper: this one.
    pub keeper_program: PathBuf,
    /// What children may see of this process's environment.
    pub base_environment: BaseEnvironment,
    /// This process's environment as it was at the start, for the worker's list.
    pub environment: BTreeMap<OsString, OsString>,
}

/// This process's environment, for a keeper that hands on its own.
pub(crate) fn process_environment() -> Vec<(OsString, OsString)> {
    std::env::vars_os().collect()
}

impl Config {
    /// Values that must not be shown.
    pub fn secret_values(&self) -> Vec<String> {
        ["CODEX_API_KEY", "CODEX_ACCESS_TOKEN", "OPENAI_API_KEY"]
            .iter()
            .map(|name| OsString::from(*name))
            .chain(self.pass_environment.iter().map(OsString::from))
            .filter_map(|name| self.environment.get(&name)?.to_str().map(str::to_owned))
            .collect()
    }
}
