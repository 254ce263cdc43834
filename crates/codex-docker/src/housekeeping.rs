//! What is there, ending it, and sweeping up what a killed codex-docker left behind.
//!
//! A container is an orphan when nobody holds the lock in its folder. Everything here is idempotent: what is gone is fine.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use bollard::query_parameters::{
    InspectContainerOptions, KillContainerOptionsBuilder, ListContainersOptionsBuilder, RemoveContainerOptionsBuilder,
    StopContainerOptionsBuilder, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt as _;
use serde::Serialize;

use crate::connect::{refused, status_of};
use crate::failure::Failure;
use crate::folder::RunFolder;
use crate::labels;

/// How long a container may take to end after SIGINT, in seconds.
const STOP_SECONDS: i32 = 8;

/// How long a container that another program made may take to end after SIGINT.
const STOP_PATIENCE: Duration = Duration::from_secs(8);

/// How often a container's removal is asked for.
const REMOVALS: u32 = 4;

/// How long another removal of the same container is waited for before the next try.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(3);

/// A container of ours, as `list --json` shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Listed {
    /// Its name.
    pub(crate) name: String,
    /// The engine's id.
    pub(crate) id: String,
    /// The engine's word: created, running, exited, …
    pub(crate) state: String,
    /// Its image.
    pub(crate) image: String,
    /// When it was made, in seconds since 1970.
    pub(crate) created: i64,
    /// Whether nobody holds it.
    pub(crate) orphaned: bool,
    /// What its caller finds it by.
    pub(crate) labels: BTreeMap<String, String>,
    /// Where its files are.
    pub(crate) folder: Option<PathBuf>,
}

/// All of ours that have these labels.
pub(crate) async fn list(docker: &Docker, wanted: &BTreeMap<String, String>) -> Result<Vec<Listed>, Failure> {
    let options = ListContainersOptionsBuilder::new().all(true).filters(&labels::filter(wanted)).build();
    let found = docker.list_containers(Some(options)).await;
    let found = found.map_err(|error| refused("engine_failed", "the containers could not be listed", &error))?;
    Ok(found.into_iter().map(listed).collect())
}

fn listed(summary: ContainerSummary) -> Listed {
    let all: HashMap<String, String> = summary.labels.unwrap_or_default();
    let folder = all.get(labels::STATE).map(PathBuf::from);
    let name = summary.names.unwrap_or_default().into_iter().next().unwrap_or_default();
    Listed {
        name: name.trim_start_matches('/').to_owned(),
        id: summary.id.unwrap_or_default(),
        state: summary.state.unwrap_or(ContainerSummaryStateEnum::EMPTY).to_string(),
        image: summary.image.unwrap_or_default(),
        created: summary.created.unwrap_or_default(),
        orphaned: folder.as_deref().is_none_or(RunFolder::is_orphaned),
        labels: labels::callers(&all),
        folder,
    }
}

/// Ends a container of ours: SIGINT, then SIGKILL. Returns whether there was one.
pub(crate) async fn stop(docker: &Docker, name: &str) -> Result<bool, Failure> {
    let found = match docker.inspect_container(name, None::<InspectContainerOptions>).await {
        Ok(found) => found,
        Err(error) if status_of(&error) == Some(404) => return Ok(false),
        Err(error) => return Err(refused("engine_failed", &format!("the container `{name}` could not be looked at"), &error)),
    };
    let ours = found.config.and_then(|config| config.labels).is_some_and(|labels| labels.contains_key(labels::MANAGED));
    if !ours {
        return Err(Failure::new("not_ours", format!("the container `{name}` was not made by codex-docker"))
            .hint("`codex-docker list` shows those that were; `docker stop` ends any other"));
    }
    let options = StopContainerOptionsBuilder::new().t(STOP_SECONDS).build();
    match docker.stop_container(name, Some(options)).await {
        Ok(()) => Ok(true),
        Err(error) if matches!(status_of(&error), Some(304 | 404)) => Ok(true),
        Err(error) => Err(refused("engine_failed", &format!("the container `{name}` could not be ended"), &error)),
    }
}

/// Ends and removes a container that another program made for a run, and that has the run's own variable. Returns whether there
/// was one. A name alone proves nothing: containers of that name without the variable are left as they are.
pub(crate) async fn end_by_variable(docker: &Docker, name: &str, variable: &str) -> Result<bool, Failure> {
    let found = match docker.inspect_container(name, None::<InspectContainerOptions>).await {
        Ok(found) => found,
        Err(error) if status_of(&error) == Some(404) => return Ok(false),
        Err(error) => return Err(refused("engine_failed", &format!("the container `{name}` could not be looked at"), &error)),
    };
    let has = found.config.and_then(|config| config.env).is_some_and(|all| all.iter().any(|one| one == variable));
    let Some(id) = found.id.filter(|_| has) else {
        return Err(Failure::new("not_ours", format!("the container `{name}` does not have this variable"))
            .hint("`docker inspect` shows the variables of a container"));
    };
    // Codex is asked first, so that its session is complete. It takes SIGINT as a request, and nothing else.
    let options = KillContainerOptionsBuilder::new().signal("SIGINT").build();
    match docker.kill_container(&id, Some(options)).await {
        Ok(()) => {
            let mut ended = docker.wait_container(&id, Some(WaitContainerOptionsBuilder::new().condition("not-running").build()));
            // Whatever it answers, and even if it does not, what is left is removed next.
            drop(tokio::time::timeout(STOP_PATIENCE, ended.next()).await);
        }
        Err(error) if matches!(status_of(&error), Some(404 | 409)) => {}
        Err(error) => crate::say(&format!("the container `{name}` could not be sent SIGINT: {error}")),
    }
    remove(docker, &id, name).await?;
    Ok(true)
}

/// Ends and removes every orphan with these labels, and its files. Returns their names.
pub(crate) async fn reap(docker: &Docker, wanted: &BTreeMap<String, String>) -> Result<Vec<String>, Failure> {
    let orphans = list(docker, wanted).await?.into_iter().filter(|listed| listed.orphaned);
    let mut reaped = Vec::new();
    for orphan in orphans {
        // Codex is asked first, so that what it keeps of its session is whole.
        if orphan.state == "running"
            && let Err(failure) = stop(docker, &orphan.id).await
        {
            crate::say(&failure.to_string());
        }
        remove(docker, &orphan.id, &orphan.name).await?;
        if let Some(folder) = orphan.folder.filter(|folder| folder.is_dir()) {
            match RunFolder::hold(&folder) {
                Ok(held) => clear(held),
                // Somebody began a run of this name in the meantime: it is theirs now.
                Err(failure) => tracing::debug!(%failure, "a folder was not cleared"),
            }
        }
        reaped.push(orphan.name);
    }
    Ok(reaped)
}

/// Removes a container for certain. A codex-docker that was just killed may have begun to, and an engine that is busy can leave a
/// container behind whose removal it has begun: then it is asked again.
async fn remove(docker: &Docker, id: &str, name: &str) -> Result<(), Failure> {
    let failed = |error| refused("engine_failed", &format!("`{name}` could not be removed"), error);
    for attempt in 1.. {
        let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match docker.remove_container(id, Some(options)).await {
            Ok(()) => return Ok(()),
            Err(error) if status_of(&error) == Some(404) => return Ok(()),
            Err(error) if attempt == REMOVALS => return Err(failed(&error)),
            Err(_) => {}
        }
        let options = WaitContainerOptionsBuilder::new().condition("removed").build();
        let mut removed = docker.wait_container(id, Some(options));
        // Whatever it answers, and even if it does not, the next try says whether the container is gone.
        drop(tokio::time::timeout(REMOVAL_PATIENCE, removed.next()).await);
    }
    Ok(())
}

/// Removes a run's files. What cannot be removed is said, and is in nobody's way.
pub(crate) fn clear(folder: RunFolder) {
    let path: PathBuf = folder.path().to_owned();
    if let Err(error) = folder.remove() {
        say_left(&path, &error);
    }
}

fn say_left(path: &Path, error: &std::io::Error) {
    crate::say(&format!("`{}` could not be removed: {error}", path.display()));
}
