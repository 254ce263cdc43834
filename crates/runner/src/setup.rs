//! The description of a setup, and of the images of an environment, that a server gives to a runner. Like the description of a run, they
//! contain no path of the server's machine and no secret.

use std::collections::{BTreeMap, BTreeSet};

use git::Worktree;
use model::container::{ContainerNetwork, HostPattern};
use model::ids::{EnvironmentId, ObjectId};
use model::names::VariableName;
use model::setup::{FilePath, ImageChoice, LayerTarget, Script, Service, ServiceName, SnapshotKey, ToolName, ToolVersion};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::spec::{ContainerSandbox, RunKey, SecretRef};

/// Receives the steps of a build, such as `[3/9] RUN npm ci`.
pub type OnStep<'a> = Box<dyn FnMut(&str) + Send + 'a>;

/// The images of a repository's environment, as described to a runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EnvironmentImages {
    /// The repository.
    pub repository: EnvironmentId,
    /// The container of the repository's settings.
    pub container: ContainerSandbox,
    /// The image in the description, which is used instead of that of the settings.
    pub choice: Option<ImageChoice>,
    /// The commit of the default branch with the files of a build.
    pub commit: ObjectId,
    /// The Git objects that a build depends on.
    pub objects: Vec<ObjectId>,
    /// Tools that are added to the image.
    pub tools: BTreeMap<ToolName, ToolVersion>,
    /// The images of services.
    pub services: BTreeSet<String>,
}

impl EnvironmentImages {
    /// Whether the description decides about the image of runs.
    pub fn is_described(&self) -> bool {
        self.choice.is_some() || !self.tools.is_empty()
    }
}

/// The images of an environment that a runner has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FoundImages {
    /// The name of the image of runs, or `None` if the settings decide.
    pub name: Option<String>,
    /// The ID of this image, if it exists.
    pub id: Option<String>,
    /// The names of images that do not exist.
    pub missing: Vec<String>,
}

/// A request to create the images of an environment that do not exist.
pub struct ImagesRequest<'a> {
    /// The images.
    pub wanted: &'a EnvironmentImages,
    /// The number of the setup within the repository, whose log contains the output.
    pub number: u32,
    /// Receives each step.
    pub on_step: OnStep<'a>,
    /// Ends this early.
    pub cancel: &'a CancellationToken,
}

/// A setup of a repository, as described to a runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SetupSpec {
    /// The repository.
    pub repository: EnvironmentId,
    /// The number of the setup within the repository.
    pub number: u32,
    /// The key of the snapshot.
    pub key: SnapshotKey,
    /// The key of the snapshot's family.
    pub family: SnapshotKey,
    /// The snapshot that the script updates, or `None` if it starts from nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub update: Option<SnapshotUpdate>,
    /// Why an update failed that this setup replaces. Its output continues that of the update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
    /// The commit of the default branch that the setup runs in.
    pub commit: ObjectId,
    /// The URL that the setup sees as its remote repository.
    pub origin: String,
    /// The script, or `None` if only images are needed.
    pub script: Option<Script>,
    /// The folders that become part of the snapshot.
    pub folders: BTreeSet<LayerTarget>,
    /// The container. Its network is not used.
    pub container: ContainerSandbox,
    /// The image, or `None` for that of the container.
    pub image: Option<String>,
    /// The network.
    pub network: ContainerNetwork,
    /// The hosts that the setup can reach with the network `allow`.
    pub allow_hosts: Vec<HostPattern>,
    /// The repository's variables.
    pub variables: BTreeMap<VariableName, String>,
    /// The secrets of the setup.
    pub secrets: BTreeMap<VariableName, SecretRef>,
    /// Files with secrets that the script sees.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub files: BTreeMap<FilePath, SecretRef>,
    /// Services that run next to the script. Their data is not kept.
    pub services: BTreeMap<ServiceName, Service>,
    /// The time limit in seconds.
    pub seconds: u64,
}

/// A setup that runs on the runner's machine itself, without a container, in the worktree of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HostSetup {
    /// The run that waits for it.
    pub key: RunKey,
    /// The repository.
    pub repository: EnvironmentId,
    /// The script.
    pub script: Script,
    /// The repository's variables.
    pub variables: BTreeMap<VariableName, String>,
    /// The secrets of the setup.
    pub secrets: BTreeMap<VariableName, SecretRef>,
    /// The time limit in seconds.
    pub seconds: u64,
}

/// An update of a snapshot, whose folders and image the script starts with. The snapshot itself does not change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotUpdate {
    /// The snapshot.
    pub from: SnapshotKey,
    /// The number of updates since a setup started from nothing, including this one.
    pub updates: u32,
}

/// A request to run a setup.
#[derive(Clone, Copy)]
pub struct SetupRequest<'a> {
    /// The setup.
    pub spec: &'a SetupSpec,
    /// A worktree of the commit on the server's machine, in the folder of the new snapshot. Only a script needs it.
    pub worktree: Option<&'a Worktree>,
    /// Ends the setup early.
    pub cancel: &'a CancellationToken,
}
