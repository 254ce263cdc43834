//! Finds out what uses an image, and removes unused images.
//!
//! Invariant: an image is removed by its ID, without force, and only if the caller lists all of its names.

use std::collections::{HashMap, HashSet};

use bollard::Docker;
use bollard::models::ImageInspect;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveImageOptions, RemoveImageOptionsBuilder};
use model::ErrorCode;
use model::container::ImageUsage;

use crate::connect::{refused, status_of};
use crate::failure::Failure;

/// Returns what uses these images. Images that the engine does not have are omitted.
pub async fn usage(docker: &Docker, ids: &[String]) -> Result<Vec<ImageUsage>, Failure> {
    let used = with_containers(docker).await?;
    let mut found = Vec::new();
    for id in ids {
        let Some(image) = inspect(docker, id).await? else { continue };
        let size = u64::try_from(image.size.unwrap_or_default()).unwrap_or_default();
        found.push(ImageUsage { id: id.clone(), size, names: names_of(image), containers: used.contains(id) });
    }
    Ok(found)
}

/// Removes an image by its ID, unless a container or another image needs it, or it has a name that is not listed. Returns whether
/// the image is gone, even if it did not exist before.
pub async fn remove_unused(docker: &Docker, id: &str, names: &[String]) -> Result<bool, Failure> {
    let Some(image) = inspect(docker, id).await? else { return Ok(true) };
    let found = names_of(image);
    if found.iter().any(|name| !names.contains(name)) || with_containers(docker).await?.contains(id) {
        return Ok(false);
    }
    // The engine does not remove an image with several names by its ID. So all names except one are checked and removed first.
    for name in found.iter().skip(1) {
        let is_it = inspect(docker, name).await?.is_some_and(|image| image.id.as_deref() == Some(id));
        // The layers stay until the last name is removed.
        let options = RemoveImageOptionsBuilder::new().noprune(true).build();
        if !is_it || !remove(docker, name, options).await? {
            return Ok(false);
        }
    }
    remove(docker, id, RemoveImageOptionsBuilder::new().build()).await
}

async fn remove(docker: &Docker, name: &str, options: RemoveImageOptions) -> Result<bool, Failure> {
    match docker.remove_image(name, Some(options), None).await {
        Ok(_) => Ok(true),
        Err(error) if status_of(&error) == Some(404) => Ok(true),
        // In the meantime, a container was created from the image, or another image was built on it.
        Err(error) if status_of(&error) == Some(409) => Ok(false),
        Err(error) => Err(refused(ErrorCode::EngineFailed, &format!("could not remove the image `{name}`"), &error)),
    }
}

async fn inspect(docker: &Docker, name: &str) -> Result<Option<ImageInspect>, Failure> {
    match docker.inspect_image(name).await {
        Ok(image) => Ok(Some(image)),
        Err(error) if status_of(&error) == Some(404) => Ok(None),
        Err(error) => Err(refused(ErrorCode::EngineFailed, &format!("could not inspect the image `{name}`"), &error)),
    }
}

fn names_of(image: ImageInspect) -> Vec<String> {
    image.repo_tags.unwrap_or_default().into_iter().filter(|name| name != "<none>:<none>").collect()
}

/// Returns the IDs of all images with containers, running or not.
async fn with_containers(docker: &Docker) -> Result<HashSet<String>, Failure> {
    let options = ListContainersOptionsBuilder::new().all(true).filters(&HashMap::<String, Vec<String>>::new()).build();
    let found = docker.list_containers(Some(options)).await;
    let found = found.map_err(|error| refused(ErrorCode::EngineFailed, "could not list the containers", &error))?;
    Ok(found.into_iter().filter_map(|container| container.image_id).collect())
}
