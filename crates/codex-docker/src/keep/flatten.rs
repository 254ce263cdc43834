//! Flattens a container into an image with one layer, because engines limit the number of layers.
//!
//! The files are exported and imported again. The image has no configuration, so a container is created from it, which never starts,
//! and which is then committed like any other.

use bollard::Docker;
use bollard::body_try_stream;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptionsBuilder, CreateImageOptionsBuilder};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::{KeepError, words};
use crate::folder::RunFolder;
use crate::image::remove_unused;
use crate::inside;
use crate::ledger::Marker;
use crate::remains;
use crate::spec::bind_read_only;

/// The ending of the name of the container that is created from the flat image.
const SUFFIX: &str = "-flat";

/// Returns the name of the container that is created from the flat image of a run.
pub(crate) fn name_of(folder: &RunFolder) -> Option<String> {
    let marker = Marker::read(folder.path()).ok().flatten()?;
    Some(format!("{}{SUFFIX}", marker.container))
}

/// Creates a container with one layer that has all files of a container, and returns its name.
pub(super) async fn flat_container(docker: &Docker, folder: &RunFolder, container: &str) -> Result<String, KeepError> {
    let name = name_of(folder).ok_or_else(|| KeepError::Flatten("the folder of the run has no marker".to_owned()))?;
    // An earlier process may have been killed here.
    remove(docker, folder, &name).await;
    let exported = docker.export_container(container).map_err(std::io::Error::other);
    let options = CreateImageOptionsBuilder::new().from_src("-").build();
    let mut imported = docker.create_image(Some(options), Some(body_try_stream(exported)), None);
    let mut image = None;
    while let Some(message) = imported.next().await {
        image = match message {
            Ok(message) => message.status.or(image),
            // An error of the export looks like one of the connection.
            Err(error) if docker.ping().await.is_ok() => return Err(KeepError::Flatten(words(&error))),
            Err(error) => return Err(error.into()),
        };
    }
    let image = image.filter(|image| image.starts_with("sha256:"));
    let image = image.ok_or_else(|| KeepError::Flatten("the container engine did not name the imported image".to_owned()))?;
    // The mount marks the container as one of this run. It is never mounted.
    let mounts = vec![bind_read_only(&folder.path().join("in"), inside::IN)];
    let body = ContainerCreateBody {
        image: Some(image),
        cmd: Some(vec!["/bin/sh".to_owned()]),
        host_config: Some(HostConfig { network_mode: Some("none".to_owned()), mounts: Some(mounts), ..HostConfig::default() }),
        ..ContainerCreateBody::default()
    };
    docker.create_container(Some(CreateContainerOptionsBuilder::new().name(&name).build()), body).await?;
    Ok(name)
}

/// Removes the container of the flat image, and its image if no other image is based on it.
pub(crate) async fn remove(docker: &Docker, folder: &RunFolder, container: &str) {
    if name_of(folder).is_none_or(|name| name != container) {
        return;
    }
    let found = docker.inspect_container(container, None).await.ok().and_then(|found| Some((found.id?, found.image?)));
    let Some((id, image)) = found else { return };
    if let Err(failure) = remains::remove(docker, &id).await {
        return crate::say(&failure.to_string());
    }
    if let Err(failure) = remove_unused(docker, &image, &[]).await {
        tracing::debug!(error = %failure, "could not remove the image of a flat container");
    }
}
