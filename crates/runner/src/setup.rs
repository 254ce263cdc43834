//! The description of a setup that a server gives to a runner. Like the description of a run, it contains no path of the server's
//! machine and no secret.

use std::collections::{BTreeMap, BTreeSet};

use git::Worktree;
use model::container::{ContainerNetwork, HostPattern};
use model::ids::{EnvironmentId, ObjectId};
use model::names::VariableName;
use model::setup::{LayerTarget, Script, SnapshotKey};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::spec::{ContainerSandbox, SecretRef};

/// A setup of a repository, as described to a runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetupSpec {
    /// The repository.
    pub repository: EnvironmentId,
    /// The number of the setup within the repository.
    pub number: u32,
    /// The key of the snapshot.
    pub key: SnapshotKey,
    /// The commit of the default branch that the setup runs in.
    pub commit: ObjectId,
    /// The URL that the setup sees as its remote repository.
    pub origin: String,
    /// The script.
    pub script: Script,
    /// The folders that become part of the snapshot.
    pub folders: BTreeSet<LayerTarget>,
    /// The container. Its network is not used.
    pub container: ContainerSandbox,
    /// The network.
    pub network: ContainerNetwork,
    /// The hosts that the setup can reach with the network `allow`.
    pub allow_hosts: Vec<HostPattern>,
    /// The repository's variables.
    pub variables: BTreeMap<VariableName, String>,
    /// The secrets of the setup.
    pub secrets: BTreeMap<VariableName, SecretRef>,
    /// The time limit in seconds.
    pub seconds: u64,
}

/// A request to run a setup.
#[derive(Clone, Copy)]
pub struct SetupRequest<'a> {
    /// The setup.
    pub spec: &'a SetupSpec,
    /// A worktree of the commit on the server's machine, in the folder of the new snapshot.
    pub worktree: &'a Worktree,
    /// Ends the setup early.
    pub cancel: &'a CancellationToken,
}
