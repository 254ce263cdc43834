//! What a task takes from the environment of its repository.
//!
//! Invariant: it comes from the default branch or from the owner's settings, never from the branch of the task.

use std::collections::BTreeMap;

use super::description::{Service, ServiceName};
use super::key::SnapshotKey;

/// What a task took from the environment of its repository when it started, and keeps for all of its runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenEnvironment {
    /// The snapshot, if there is one.
    pub snapshot: Option<SnapshotKey>,
    /// The services that run next to the agent.
    pub services: BTreeMap<ServiceName, Service>,
}
