//! Keeps what a run installed: commits the changes of a container's root file system as an image, before the container is removed.
//!
//! The image has the configuration of the image that the container was created from. Invariant: nothing is lost if this process is
//! killed at any time, because the container is removed last, and the same commit can be repeated.

mod changes;
mod flatten;
mod list;

use std::collections::HashMap;
use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerConfig, ContainerInspectResponse, ImageConfig, ImageInspect};
use bollard::query_parameters::{CommitContainerOptionsBuilder, InspectContainerOptionsBuilder};
use tokio::time::{Instant, sleep};

pub(crate) use self::list::{KeptCommand, run};
use crate::connect::{is_silence, status_of};
use crate::folder::RunFolder;
use crate::image::remove_unused;
use crate::settings::split_image_name;

/// The label with the ID of the image that the first container was created from.
pub(crate) const BASE: &str = "codex-docker.kept.base";

/// How long to wait for an engine that does not answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// How soon the engine is asked again.
const AGAIN: Duration = Duration::from_millis(300);

/// How long the engine may take to compare or commit files.
const SLOW_REQUEST: Duration = Duration::from_mins(15);

/// The number of layers above which an image is flattened. Engines support about 125.
const MANY_LAYERS: usize = 60;

/// How long a run must take, so that all of its changes are found.
const LONG_RUN: Duration = Duration::from_secs(10);

/// How changes are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChangeSearch {
    /// All changes are found. The engine compares all files, which takes up to a second.
    Complete,
    /// Only changes that add bytes are found, in milliseconds. For example, a run that only deletes files seems to change nothing.
    Quick,
}

impl ChangeSearch {
    /// Returns the search for a run that took this long. A short run must not become noticeably slower.
    pub(crate) fn after(run: Duration) -> Self {
        if run < LONG_RUN { Self::Quick } else { Self::Complete }
    }
}

/// A container whose changes may be kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeepOrder<'a> {
    /// The folder of the container's run.
    pub(crate) folder: &'a RunFolder,
    /// The name or ID of the container.
    pub(crate) container: &'a str,
    /// The name of the image.
    pub(crate) name: &'a str,
    /// How changes are looked for.
    pub(crate) search: ChangeSearch,
}

/// Why changes could not be kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    /// The engine did not answer, so it may be restarting.
    #[error("the container engine does not answer: {0}")]
    Silent(#[source] Error),
    /// The engine refused.
    #[error("{}", words(.0))]
    Refused(#[source] Error),
    /// The image could not be flattened.
    #[error("could not flatten the image: {0}")]
    Flatten(String),
}

impl From<Error> for KeepError {
    fn from(error: Error) -> Self {
        if is_silence(&error) { Self::Silent(error) } else { Self::Refused(error) }
    }
}

fn words(error: &Error) -> String {
    match error {
        Error::DockerResponseServerError { message, .. } => message.trim().to_owned(),
        other => other.to_string(),
    }
}

/// Returns whether the image `name` contains what earlier runs installed on top of the image `base`. If the base has changed since, the
/// image is not used.
pub(crate) async fn continues(docker: &Docker, name: &str, base: &str) -> Result<bool, Error> {
    let kept = match docker.inspect_image(name).await {
        Ok(kept) => kept,
        Err(error) if status_of(&error) == Some(404) => return Ok(false),
        Err(error) => return Err(error),
    };
    let base = docker.inspect_image(base).await?.id;
    let labels = kept.config.and_then(|config| config.labels).unwrap_or_default();
    Ok(base.is_some() && labels.get(BASE) == base.as_ref())
}

/// Commits the changes of a container as an image, and returns the image's ID. Returns `None` if nothing changed.
///
/// While the engine does not answer, it is asked again for some time.
pub(crate) async fn keep(docker: &Docker, order: KeepOrder<'_>) -> Result<Option<String>, KeepError> {
    keep_within(PATIENCE, docker, order).await
}

async fn keep_within(patience: Duration, docker: &Docker, order: KeepOrder<'_>) -> Result<Option<String>, KeepError> {
    let until = Instant::now() + patience;
    loop {
        match try_keep(docker, order).await {
            Err(KeepError::Silent(error)) if Instant::now() < until => {
                tracing::debug!(%error, "the container engine does not answer");
                sleep(AGAIN).await;
            }
            ended => return ended,
        }
    }
}

async fn try_keep(docker: &Docker, order: KeepOrder<'_>) -> Result<Option<String>, KeepError> {
    let KeepOrder { folder, container, name, search } = order;
    let options = InspectContainerOptionsBuilder::new().size(true).build();
    let found = match docker.inspect_container(container, Some(options)).await {
        Ok(found) => found,
        Err(error) if status_of(&error) == Some(404) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if found.host_config.as_ref().is_some_and(|host| host.readonly_rootfs == Some(true)) {
        return Ok(None);
    }
    if search == ChangeSearch::Quick && found.size_rw == Some(0) {
        return Ok(None);
    }
    let id = found.id.clone().unwrap_or_default();
    let patient = docker.clone().with_timeout(SLOW_REQUEST);
    let changes = patient.container_changes(&id).await?.unwrap_or_default();
    if !changes::is_worth_keeping(&changes, &mount_points(&found)) {
        return Ok(None);
    }
    let original = found.image.clone().unwrap_or_default();
    let image = docker.inspect_image(&original).await?;
    let before = match docker.inspect_image(name).await {
        Ok(before) => before.id,
        Err(error) if status_of(&error) == Some(404) => None,
        Err(error) => return Err(error.into()),
    };
    let config = config_of(&image, &found, &original, name);
    let layers = image.root_fs.as_ref().and_then(|root| root.layers.as_ref()).map_or(0, Vec::len);
    let source = if layers > MANY_LAYERS { flatten::flat_container(&patient, folder, &id).await? } else { id };
    let kept = commit(&patient, &source, name, config).await;
    flatten::remove(docker, folder, &source).await;
    let kept = kept?;
    if let Some(before) = before.filter(|before| *before != kept) {
        remove_previous(docker, &before).await;
    }
    Ok(Some(kept))
}

async fn commit(docker: &Docker, container: &str, name: &str, config: ContainerConfig) -> Result<String, KeepError> {
    let (repository, tag) = split_image_name(name).unwrap_or((name, "latest"));
    let options = CommitContainerOptionsBuilder::new().container(container).repo(repository).tag(tag).pause(false).build();
    Ok(docker.commit_container(options, config).await?.id)
}

/// Removes the image that had the name before, unless a container or another image needs it.
async fn remove_previous(docker: &Docker, id: &str) {
    if let Err(failure) = remove_unused(docker, id, &[]).await {
        tracing::debug!(error = %failure, "could not remove the previous image");
    }
}

/// Returns the paths of everything that is mounted in a container.
pub(crate) fn mount_points(container: &ContainerInspectResponse) -> Vec<String> {
    let mounts = container.mounts.iter().flatten().filter_map(|mount| mount.destination.clone());
    let tmpfs = container.host_config.iter().flat_map(|host| host.tmpfs.iter().flatten()).map(|(path, _)| path.clone());
    mounts.chain(tmpfs).collect()
}

/// Returns the configuration for the kept image: that of the original image, with the labels of the container.
///
/// The engine fills in each value that is missing here from the container, whose entry point and folder are not those of the image.
fn config_of(image: &ImageInspect, container: &ContainerInspectResponse, original: &str, name: &str) -> ContainerConfig {
    let ImageConfig {
        user,
        exposed_ports,
        env,
        cmd,
        healthcheck,
        volumes,
        working_dir,
        entrypoint,
        on_build,
        labels: image_labels,
        stop_signal,
        ..
    } = image.config.clone().unwrap_or_default();
    let text = |value: Option<String>, default: &str| value.filter(|text| !text.is_empty()).or_else(|| Some(default.to_owned()));
    let entrypoint = entrypoint.unwrap_or_default();
    let cmd = cmd.filter(|cmd| !cmd.is_empty() || !entrypoint.is_empty()).unwrap_or_else(|| vec!["/bin/sh".to_owned()]);
    // Only an image that an earlier run kept under this name is not a base itself.
    let is_kept = image.repo_tags.iter().flatten().any(|tag| tag == name || *tag == format!("{name}:latest"));
    let earlier = image_labels.as_ref().and_then(|labels| labels.get(BASE)).filter(|_| is_kept);
    let base = earlier.map_or(original, String::as_str).to_owned();
    let mut labels: HashMap<String, String> = image_labels.unwrap_or_default();
    labels.extend(container.config.iter().flat_map(|config| config.labels.clone().unwrap_or_default()));
    labels.insert(crate::labels::STATE.to_owned(), String::new());
    labels.insert(BASE.to_owned(), base);
    ContainerConfig {
        user: text(user, "0"),
        exposed_ports,
        env: Some(env.unwrap_or_default()),
        cmd: Some(cmd),
        healthcheck,
        volumes,
        working_dir: text(working_dir, "/"),
        entrypoint: Some(entrypoint),
        on_build,
        labels: Some(labels),
        stop_signal: text(stop_signal, "SIGTERM"),
        ..ContainerConfig::default()
    }
}

#[cfg(test)]
mod tests;
