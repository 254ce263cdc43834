//! What a task takes from the environment of its repository.
//!
//! Invariant: it comes from the default branch or from the owner's settings, never from the branch of the task.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::description::{Description, DescriptionHash, FilePhase, Service, ServiceName};
use super::key::SnapshotKey;
use super::paths::{CachePath, FilePath};
use super::trust::BranchTrust;
use crate::names::VariableName;

/// What a task took from the environment of its repository when it started, and keeps for all of its runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TakenEnvironment {
    /// The snapshot, if there is one.
    pub snapshot: Option<SnapshotKey>,
    /// The services that run next to the agent.
    pub services: BTreeMap<ServiceName, Service>,
    /// The files that are placed in the agent's container.
    pub files: Option<TakenFiles>,
    /// Folders that the task keeps between its runs, if its worker runs no setups. Otherwise, the snapshot has them.
    pub caches: BTreeSet<CachePath>,
}

/// Files that are placed in a container, if their description is approved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TakenFiles {
    /// The hash of the description, or `None` if it comes from a branch that gets no secrets.
    pub description: Option<DescriptionHash>,
    /// The names of the secrets that contain the files.
    pub secrets: BTreeMap<FilePath, VariableName>,
}

impl TakenFiles {
    /// Returns the files of runs with this description, if it has any.
    pub fn of(description: &Description, trust: BranchTrust) -> Option<Self> {
        let secrets: BTreeMap<_, _> =
            description.files_of(FilePhase::Run).map(|(path, secret)| (path.clone(), secret.clone())).collect();
        (!secrets.is_empty()).then(|| Self { description: (trust == BranchTrust::Trusted).then(|| description.hash()), secrets })
    }
}
