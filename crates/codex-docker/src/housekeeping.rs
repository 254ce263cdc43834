//! Lists and stops the containers of codex-docker, and cleans up after a process that was killed.
//!
//! The markers in the state folder decide what is cleaned up (see [`crate::ledger`]). A run is an orphan if no process holds the
//! lock in its folder. Every function is idempotent: a container that is already gone is not an error.

use std::collections::{BTreeMap, HashMap};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerInspectResponse, ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptionsBuilder, ListContainersOptionsBuilder, ListVolumesOptionsBuilder,
    RemoveVolumeOptions, StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use serde::Serialize;

use crate::connect::{refused, status_of};
use crate::failure::Failure;
use crate::folder::RunFolder;
use crate::keep::{self, ChangeSearch, KeepError, KeepOrder};
use crate::ledger::{self, Marker, folder_of, marked};
use crate::remains::{inspect, is_gone, remove, remove_files, say_left};
use crate::run::machine;
use crate::spec::Machine;
use crate::{give_back, labels, settings};
use model::ErrorCode;

/// How long a container may take to stop after SIGINT, in seconds.
const STOP_SECONDS: i32 = 8;

/// How long a container that another program created may take to stop after SIGINT.
const STOP_PATIENCE: Duration = Duration::from_secs(8);

/// The variable with the folder in which older servers kept the files of runs.
const FORMER_STATE: &str = "CODEX_DOCKER_FORMER_STATE";

/// A container with the labels of codex-docker, as `list --json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ListedContainer {
    /// The container's name.
    pub(crate) name: String,
    /// The container's ID in the container engine.
    pub(crate) id: String,
    /// The container's state in the container engine: created, running, exited, …
    pub(crate) state: String,
    /// The container's image.
    pub(crate) image: String,
    /// When the container was created, in seconds since 1970.
    pub(crate) created: i64,
    /// Whether the container belongs to this state folder. Other containers have the labels from their image, or belong to another
    /// state folder.
    pub(crate) ours: bool,
    /// Whether the container is ours and no process supervises it.
    pub(crate) orphaned: bool,
    /// The caller's labels.
    pub(crate) labels: BTreeMap<String, String>,
    /// The folder with the container's files, if the container is ours.
    pub(crate) folder: Option<PathBuf>,
}

impl ListedContainer {
    /// Returns the last column of `list`.
    pub(crate) fn holder(&self) -> &'static str {
        match (self.ours, self.orphaned) {
            (false, _) => "elsewhere",
            (true, false) => "held",
            (true, true) => "orphaned",
        }
    }
}

/// Lists the containers with the labels of codex-docker and the wanted labels.
pub(crate) async fn list(
    docker: &Docker,
    root: &Path,
    wanted: &BTreeMap<String, String>,
) -> Result<Vec<ListedContainer>, Failure> {
    let marked = marked(root).map_err(|error| unreadable(root, &error))?;
    let mut listed = Vec::new();
    for summary in labelled(docker, wanted).await? {
        let folder = inspect(docker, summary.id.as_deref().unwrap_or_default()).await?.as_ref().and_then(folder_of);
        listed.push(describe(summary, folder.filter(|folder| marked.iter().any(|(path, _)| path == folder))));
    }
    Ok(listed)
}

fn describe(summary: ContainerSummary, folder: Option<PathBuf>) -> ListedContainer {
    ListedContainer {
        name: name_of(&summary),
        id: summary.id.unwrap_or_default(),
        state: summary.state.unwrap_or(ContainerSummaryStateEnum::EMPTY).to_string(),
        image: summary.image.unwrap_or_default(),
        created: summary.created.unwrap_or_default(),
        ours: folder.is_some(),
        orphaned: folder.as_deref().is_some_and(|folder| !RunFolder::is_held(folder)),
        labels: labels::callers(&summary.labels.unwrap_or_default()),
        folder,
    }
}

fn name_of(summary: &ContainerSummary) -> String {
    summary.names.iter().flatten().next().map_or_else(String::new, |name| name.trim_start_matches('/').to_owned())
}

fn unreadable(root: &Path, error: &std::io::Error) -> Failure {
    Failure::new(ErrorCode::StateFolder, format!("cannot read the state folder `{}`: {error}", root.display()))
        .hint("check its permissions, or set CODEX_DOCKER_STATE to another folder")
}

/// Returns the containers with these labels. A container may also have them from its image.
async fn labelled(docker: &Docker, wanted: &BTreeMap<String, String>) -> Result<Vec<ContainerSummary>, Failure> {
    let filters: HashMap<_, _> = labels::filter(wanted);
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let found = docker.list_containers(Some(options)).await;
    found.map_err(|error| refused(ErrorCode::EngineFailed, "could not list the containers", &error))
}

/// Stops a container of codex-docker with its own stop signal, then SIGKILL. Returns whether it existed.
pub(crate) async fn stop(docker: &Docker, name: &str) -> Result<bool, Failure> {
    let Some(found) = inspect(docker, name).await? else { return Ok(false) };
    if folder_of(&found).is_none() {
        return Err(Failure::new(ErrorCode::NotOurs, format!("the container `{name}` was not created by codex-docker"))
            .hint("list the containers of codex-docker with `codex-docker list`; stop other containers with `docker stop`"));
    }
    end(docker, name).await?;
    Ok(true)
}

async fn end(docker: &Docker, name: &str) -> Result<(), Failure> {
    let options = StopContainerOptionsBuilder::new().t(STOP_SECONDS).build();
    match docker.stop_container(name, Some(options)).await {
        Ok(()) => Ok(()),
        Err(error) if matches!(status_of(&error), Some(304 | 404)) => Ok(()),
        Err(error) => Err(refused(ErrorCode::EngineFailed, &format!("could not stop the container `{name}`"), &error)),
    }
}

/// Stops and removes a container that another program created for a run. Returns whether it existed.
///
/// Fails if the container does not have the run's variable: the name does not prove that the container belongs to the run.
pub(crate) async fn end_by_variable(docker: &Docker, name: &str, variable: &str) -> Result<bool, Failure> {
    let found = match docker.inspect_container(name, None::<InspectContainerOptions>).await {
        Ok(found) => found,
        Err(error) if status_of(&error) == Some(404) => return Ok(false),
        Err(error) => {
            return Err(refused(ErrorCode::EngineFailed, &format!("could not inspect the container `{name}`"), &error));
        }
    };
    let has = found.config.and_then(|config| config.env).is_some_and(|all| all.iter().any(|one| one == variable));
    let Some(id) = found.id.filter(|_| has) else {
        return Err(Failure::new(ErrorCode::NotOurs, format!("the container `{name}` does not have the specified variable"))
            .hint("show the variables of a container with `docker inspect`"));
    };
    // Codex gets SIGINT first, because only this signal lets it complete its session.
    let options = KillContainerOptionsBuilder::new().signal("SIGINT").build();
    match docker.kill_container(&id, Some(options)).await {
        Ok(()) => {
            let mut ended = docker.wait_container(&id, Some(WaitContainerOptionsBuilder::new().condition("not-running").build()));
            // The container is removed next, whether or not it stops in time.
            drop(tokio::time::timeout(STOP_PATIENCE, ended.next()).await);
        }
        Err(error) if matches!(status_of(&error), Some(404 | 409)) => {}
        Err(error) => crate::say(&format!("could not send SIGINT to the container `{name}`: {error}")),
    }
    remove(docker, &id).await?;
    Ok(true)
}

/// Stops and removes every orphan with these labels and its files, and prints the names.
///
/// If an orphan cannot be removed, the others still are. Returns the first failure and prints the rest.
pub(crate) async fn reap(
    docker: &Docker,
    environment: &BTreeMap<String, String>,
    wanted: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    let root = settings::state_root(environment)?;
    let machine = machine(docker, environment).await?;
    let mut failed = None;
    for (path, marker) in marked(&root).map_err(|error| unreadable(&root, &error))? {
        if !marker.has(wanted) {
            continue;
        }
        match reap_one(docker, &machine, &path).await {
            Ok(true) => crate::answer(&marker.container),
            Ok(false) => {}
            Err(failure) => keep_first(&mut failed, failure),
        }
    }
    let former = former_folders(&root, environment).map_err(|error| unreadable(&root, &error))?;
    for summary in labelled(docker, wanted).await? {
        match reap_unmarked(docker, summary.id.as_deref().unwrap_or_default(), &former).await {
            Ok(true) => crate::answer(&name_of(&summary)),
            Ok(false) => {}
            Err(failure) => keep_first(&mut failed, failure),
        }
    }
    remove_volumes(docker, &root).await;
    failed.map_or(Ok(()), Err)
}

/// Removes volumes of runs that no container uses. Docker before version 26 keeps the volumes of a container that was running while the
/// engine restarted, and can remove them only after the next restart.
async fn remove_volumes(docker: &Docker, root: &Path) {
    let Ok(Some(root)) = ledger::real(root) else { return };
    let options = ListVolumesOptionsBuilder::new().filters(&labels::unused_volumes(&root)).build();
    let found = match docker.list_volumes(Some(options)).await {
        Ok(found) => found.volumes.unwrap_or_default(),
        Err(error) => {
            tracing::debug!(%error, "could not list the volumes of runs");
            return;
        }
    };
    for volume in found {
        if let Err(error) = docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>).await {
            tracing::debug!(%error, "could not remove a volume of a run");
        }
    }
}

fn keep_first(failed: &mut Option<Failure>, failure: Failure) {
    if failed.is_some() {
        crate::say(&failure.to_string());
    } else {
        *failed = Some(failure);
    }
}

/// Removes the container and the files of an orphan. Returns whether it did. The lock keeps other processes from starting
/// the run at the same time.
async fn reap_one(docker: &Docker, machine: &Machine, path: &Path) -> Result<bool, Failure> {
    let unusable = |error: std::io::Error| unreadable(path, &error);
    let Some(held) = RunFolder::take(path).map_err(unusable)? else { return Ok(false) };
    let Some(marker) = Marker::read(path).map_err(unusable)? else { return Ok(false) };
    // A container with this name and another folder does not belong to the run.
    let container =
        inspect(docker, &marker.container).await?.filter(|found| folder_of(found).is_some_and(|folder| folder == path));
    if let Some(container) = container {
        end_running(docker, &container).await;
        let id = container.id.as_deref().unwrap_or_default();
        if let Some(name) = &marker.keep_as {
            keep_changes(docker, &held, id, name).await?;
        }
        remove(docker, id).await?;
    }
    clear(docker, machine, &held).await;
    Ok(true)
}

/// Returns the folders in which versions without markers kept the files of runs: the state folder, and a server's `tasks` folder.
fn former_folders(root: &Path, environment: &BTreeMap<String, String>) -> std::io::Result<Vec<PathBuf>> {
    let named = environment.get(FORMER_STATE).filter(|path| !path.is_empty()).map(Path::new);
    [Some(root), named].into_iter().flatten().filter_map(|folder| ledger::real(folder).transpose()).collect()
}

/// Removes an orphaned container that a version without markers created. Returns whether it did. The folder stays, because its
/// content is unknown.
async fn reap_unmarked(docker: &Docker, id: &str, former: &[PathBuf]) -> Result<bool, Failure> {
    let Some(container) = inspect(docker, id).await? else { return Ok(false) };
    let Some(folder) = folder_of(&container) else { return Ok(false) };
    // A folder outside of the former folders, or one that this user cannot read, belongs to another home directory.
    if !ledger::real(&folder).unwrap_or_default().is_some_and(|real| former.iter().any(|former| real.starts_with(former))) {
        return Ok(false);
    }
    // A folder with a marker, or one that this user cannot read, belongs to another state folder.
    if !matches!(Marker::read(&folder), Ok(None)) || ledger::has_any(&folder) || RunFolder::is_held(&folder) {
        return Ok(false);
    }
    end_and_remove(docker, &container).await?;
    if folder.is_dir() {
        crate::say(&format!(
            "`{}` was not deleted, because an older codex-docker created it; if you do not need its content, delete it yourself",
            folder.display()
        ));
    }
    Ok(true)
}

/// Keeps what the run of an orphan installed. Fails if the engine does not answer, so that the container stays.
async fn keep_changes(docker: &Docker, folder: &RunFolder, id: &str, name: &str) -> Result<(), Failure> {
    match keep::keep(docker, KeepOrder { folder, container: id, name, search: ChangeSearch::Complete }).await {
        Ok(_) => Ok(()),
        Err(KeepError::Silent(error)) => Err(refused(ErrorCode::EngineFailed, "could not keep what a run installed", &error)),
        Err(error) => {
            crate::say(&format!("warning: what the run installed could not be kept: {error}"));
            Ok(())
        }
    }
}

async fn end_and_remove(docker: &Docker, container: &ContainerInspectResponse) -> Result<(), Failure> {
    end_running(docker, container).await;
    remove(docker, container.id.as_deref().unwrap_or_default()).await
}

async fn end_running(docker: &Docker, container: &ContainerInspectResponse) {
    let id = container.id.as_deref().unwrap_or_default();
    let is_running = container.state.as_ref().is_some_and(|state| state.running == Some(true));
    // The container's own stop signal comes first, so that Codex can complete its session.
    if is_running && let Err(failure) = end(docker, id).await {
        crate::say(&failure.to_string());
    }
}

/// Removes the files of a run, including those that root created in the container. Reports files that cannot be removed.
///
/// If the container may still exist, the files stay: without the marker, `reap` would never find the container.
pub(crate) async fn clear(docker: &Docker, machine: &Machine, folder: &RunFolder) {
    if !is_gone(docker, folder).await {
        return crate::say(&format!("`{}` stays until `codex-docker reap` removes its container", folder.path().display()));
    }
    match folder.remove() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            if let Err(failure) = give_back::outputs(docker, machine, folder).await {
                crate::say(&failure.to_string());
            }
            remove_files(folder);
        }
        Err(error) => say_left(folder, &error),
        Ok(()) => {}
    }
}

#[cfg(test)]
mod tests;
