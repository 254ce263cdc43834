//! Runs a repository's setup with `codex-docker setup`, which leaves its result in a folder.
//!
//! The call gets no login of Codex and no secret of a run, only those that the setup names.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::container::{ContainerNetwork, ContainerSettings, HostPattern};
use model::names::VariableName;
use model::secret::Secret;
use model::setup::{FolderContent, LayerTarget, Service, ServiceName, Snapshot, SnapshotFolder};
use process::{CommandSpec, RunProgramError, Stdout};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::container::services_json;
use super::harvest::Housekeeping;
use super::request::PlacedFile;
use crate::memory;
use crate::setup::SetupSpec;

/// The variable that identifies the processes of a setup: the ID of its repository.
pub(crate) const SETUP_MARK: &str = "ORCH_SETUP";

/// The name of the result in the folder of the new snapshot.
const RESULT: &str = "result.json";

/// How much longer than its script a setup may take: its folders are moved and searched for secrets, and its image is saved.
const AFTER_SCRIPT: Duration = Duration::from_mins(30);

/// The exit code of `codex-docker` for its own failures. Any other code is that of the script.
const OWN_FAILURE: i32 = 125;

/// A setup to run.
pub(crate) struct SetUp<'a> {
    /// The ID of the repository.
    pub(crate) mark: String,
    /// The description of the setup.
    pub(crate) spec: &'a SetupSpec,
    /// The name of the container.
    pub(crate) container: String,
    /// The name of the image with the result.
    pub(crate) keep_as: String,
    /// The folder of the new snapshot.
    pub(crate) staging: &'a Path,
    /// The worktree, in the folder of the new snapshot.
    pub(crate) checkout: &'a Path,
    /// The agent repository, and the folder with the mirror's objects.
    pub(crate) git: (&'a Path, &'a Path),
    /// The file with the script.
    pub(crate) script: &'a Path,
    /// The snapshot that the script updates.
    pub(crate) earlier: Option<Earlier<'a>>,
    /// The folders that become part of the snapshot.
    pub(crate) folders: Vec<LayerTarget>,
    /// The image, or `None` for the pinned image.
    pub(crate) image: Option<&'a str>,
    /// The container settings of the repository.
    pub(crate) settings: &'a ContainerSettings,
    /// The memory limit in bytes, or `None` for the default of `codex-docker`.
    pub(crate) memory: Option<u64>,
    /// The server's other limits, as variables. Those of the repository take precedence.
    pub(crate) limits: Vec<(OsString, OsString)>,
    /// The network.
    pub(crate) network: ContainerNetwork,
    /// The hosts that can be reached with the network `allow`.
    pub(crate) allow_hosts: &'a [HostPattern],
    /// The repository's variables.
    pub(crate) variables: &'a BTreeMap<VariableName, String>,
    /// The secrets of the setup.
    pub(crate) secrets: &'a BTreeMap<VariableName, Secret>,
    /// Files with secrets that the script sees.
    pub(crate) files: Vec<PlacedFile>,
    /// The services that run next to the script.
    pub(crate) services: &'a BTreeMap<ServiceName, Service>,
    /// The time limit of the script.
    pub(crate) limit: Duration,
    /// The labels of the container, as `name=value`.
    pub(crate) labels: Vec<String>,
    /// The file for the output of the script.
    pub(crate) log: File,
}

/// A snapshot that a setup updates. It does not change.
pub(crate) struct Earlier<'a> {
    /// Its folder.
    pub(crate) folder: PathBuf,
    /// The ID of its image.
    pub(crate) image: Option<&'a str>,
}

/// Why a setup has no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SetUpError {
    /// The script failed.
    #[error("the setup script exited with code {0}")]
    Script(i32),
    /// The setup could not be run, or its result could not be used.
    #[error("{0}")]
    Unusable(String),
    /// The program could not be started, or took too long.
    #[error(transparent)]
    Program(#[from] RunProgramError),
    /// The result could not be read.
    #[error("could not read the result of the setup: {0}")]
    Result(#[from] std::io::Error),
}

/// The format of `result.json`.
#[derive(Deserialize)]
struct ResultFile {
    image: Option<String>,
    keep: Vec<Option<ResultFolder>>,
    cache: Vec<Option<ResultFolder>>,
    seconds: f64,
}

#[derive(Deserialize)]
struct ResultFolder {
    files: u64,
    bytes: u64,
}

impl SetUp<'_> {
    fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut environment: BTreeMap<OsString, OsString> = self.limits.iter().cloned().collect();
        let mut set = |name: &str, value: OsString| environment.insert(name.into(), value);
        set(SETUP_MARK, (&self.mark).into());
        set("CONTAINER_NAME", (&self.container).into());
        set("CODEX_DOCKER_LABELS", self.labels.join(",").into());
        set("CODEX_DOCKER_USER", self.settings.user.as_str().into());
        set("CODEX_DOCKER_NETWORK", self.network.as_str().into());
        set("CODEX_DOCKER_GIT_DIR", self.git.0.into());
        set("CODEX_DOCKER_GIT_OBJECTS", self.git.1.into());
        if self.network == ContainerNetwork::Allow {
            let hosts: Vec<_> = self.allow_hosts.iter().map(HostPattern::as_str).collect();
            set("CODEX_DOCKER_ALLOW_HOSTS", hosts.join(",").into());
        }
        for (name, value) in [
            ("IMAGE_NAME", self.image.map(str::to_owned)),
            (memory::VARIABLE, self.memory.map(|bytes| bytes.to_string())),
            ("CODEX_DOCKER_DISK", self.settings.disk.clone()),
            ("CODEX_DOCKER_CPUS", self.settings.cpus.map(|cpus| cpus.to_string())),
            ("CODEX_DOCKER_PIDS", self.settings.pids.map(|pids| pids.to_string())),
        ] {
            if let Some(value) = value {
                set(name, value.into());
            }
        }
        if !self.services.is_empty() {
            set("CODEX_DOCKER_SERVICES", services_json(self.services).into());
        }
        for (name, value) in self.variables {
            set(&format!("CODEX_CONTAINER_ENV_{name}"), value.into());
        }
        for (name, secret) in self.secrets {
            set(&format!("CODEX_CONTAINER_ENV_{name}"), secret.expose().into());
        }
        for (name, value) in PlacedFile::variables(&self.files) {
            set(&name, value.into());
        }
        let names: Vec<_> = self.secrets.keys().map(VariableName::as_str).collect();
        set("CODEX_DOCKER_SETUP_SECRETS", names.join(",").into());
        environment.into_iter().collect()
    }

    /// Returns the folders of a kind, in the order in which the result lists them.
    fn folders_of(&self, kind: &str) -> impl Iterator<Item = &LayerTarget> {
        self.folders.iter().filter(move |target| target.kind() == kind)
    }

    fn command(&self, command: CommandSpec<'static>) -> CommandSpec<'static> {
        let command = command.arg("setup").arg("--checkout").arg(self.checkout).arg("--staging").arg(self.staging);
        let command = command.arg("--script").arg(self.script).args(["--keep-as", &self.keep_as]);
        let command = command.args(["--time-limit", &self.limit.as_secs().to_string()]);
        let from = self.earlier.iter().flat_map(|earlier| [OsStr::new("--from"), earlier.folder.as_os_str()]);
        let command = command.args(from);
        let command = command.args(self.folders_of("keep").flat_map(|target| ["--keep", target.path()]));
        let command = command.args(self.folders_of("cache").flat_map(|target| ["--cache", target.path()]));
        command.envs(self.environment()).deadline(self.limit + AFTER_SCRIPT)
    }

    /// Reads the result, and completes it with what the caller knows.
    fn snapshot(&self, text: &[u8]) -> Result<Snapshot, std::io::Error> {
        let result: ResultFile = serde_json::from_slice(text)?;
        let (mut keep, mut cache) = (result.keep.into_iter().enumerate(), result.cache.into_iter().enumerate());
        let folders = self.folders.iter().map(|target| {
            let found = match target {
                LayerTarget::Keep(_) => keep.next(),
                LayerTarget::Cache(_) => cache.next(),
            };
            let content = found
                .and_then(|(number, folder)| folder.map(|ResultFolder { files, bytes }| FolderContent { number, files, bytes }));
            SnapshotFolder { target: target.clone(), content }
        });
        let SetupSpec { key, family, update, commit, .. } = self.spec;
        Ok(Snapshot {
            key: key.clone(),
            commit: commit.clone(),
            // An update that installs nothing outside of the folders shares the earlier image.
            image: result.image.or_else(|| self.earlier.as_ref()?.image.map(str::to_owned)),
            base: None,
            folders: folders.collect(),
            family: Some(family.clone()),
            updated_from: update.as_ref().map(|update| update.from.clone()),
            updates: update.as_ref().map_or(0, |update| update.updates),
            created_at: jiff::Timestamp::now(),
            seconds: result.seconds,
        })
    }
}

impl Housekeeping {
    /// Runs a setup. Its result is on disk, in the folder of the new snapshot.
    pub(crate) async fn set_up(&self, call: &SetUp<'_>, cancel: CancellationToken) -> Result<Snapshot, SetUpError> {
        let log = call.log.try_clone()?;
        let command = call.command(self.command()).stdout(Stdout::File(log)).cancel(cancel);
        match command.run_ok().await {
            Ok(_) => {
                let result = call.staging.join(RESULT);
                let text = durable::blocking(move || fs_err::read(result)).await?;
                Ok(call.snapshot(&text)?)
            }
            Err(RunProgramError::Failed { status, stderr_tail, program }) => match status.code() {
                Some(OWN_FAILURE) => {
                    // These messages include the last lines of a service that is not ready.
                    let (mut log, messages) = (call.log.try_clone()?, stderr_tail.clone());
                    durable::blocking(move || log.write_all(messages.as_bytes())).await?;
                    Err(SetUpError::Unusable(first_line(&stderr_tail)))
                }
                Some(code) => Err(SetUpError::Script(code)),
                None => Err(RunProgramError::Failed { status, stderr_tail, program }.into()),
            },
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the message of `codex-docker` without its prefix.
fn first_line(stderr: &str) -> String {
    let mut lines = stderr.lines().map(str::trim).filter(|line| !line.is_empty());
    let error = lines.clone().find_map(|line| line.strip_prefix("error: "));
    error.or_else(|| lines.next_back()).unwrap_or("codex-docker gave no reason").to_owned()
}
