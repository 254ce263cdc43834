//! What uses an image, and removing one that nothing uses.
//!
//! Invariant: an image is removed by its ID, never by force, and only if every name it has is among those that the caller gave it.

use std::collections::{HashMap, HashSet};

use bollard::Docker;
use bollard::models::ImageInspect;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveImageOptions, RemoveImageOptionsBuilder};
use model::container::ImageUsage;

use crate::connect::{refused, status_of};
use crate::failure::Failure;

/// What uses these images. Those that the engine does not have are left out.
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

/// Removes an image by its ID, unless a container or another image needs it, or it has a name that is not listed. Returns whether it
/// is gone; one that was gone before is fine.
pub async fn remove_unused(docker: &Docker, id: &str, names: &[String]) -> Result<bool, Failure> {
    let Some(image) = inspect(docker, id).await? else { return Ok(true) };
    let found = names_of(image);
    if found.iter().any(|name| !names.contains(name)) || with_containers(docker).await?.contains(id) {
        return Ok(false);
    }
    // The engine does not remove an image with several names by its ID. Each of them leads to this image: that was just asked.
    for name in found.iter().skip(1) {
        let is_it = inspect(docker, name).await?.is_some_and(|image| image.id.as_deref() == Some(id));
        // Its layers are for the last name.
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
        // A container was made from it meanwhile, or another image is built on it.
        Err(error) if status_of(&error) == Some(409) => Ok(false),
        Err(error) => Err(refused("engine_failed", &format!("could not remove the image `{name}`"), &error)),
    }
}

async fn inspect(docker: &Docker, name: &str) -> Result<Option<ImageInspect>, Failure> {
    match docker.inspect_image(name).await {
        Ok(image) => Ok(Some(image)),
        Err(error) if status_of(&error) == Some(404) => Ok(None),
        Err(error) => Err(refused("engine_failed", &format!("could not inspect the image `{name}`"), &error)),
    }
}

fn names_of(image: ImageInspect) -> Vec<String> {
    image.repo_tags.unwrap_or_default().into_iter().filter(|name| name != "<none>:<none>").collect()
}

/// The IDs of all images that a container was made from, running or not.
async fn with_containers(docker: &Docker) -> Result<HashSet<String>, Failure> {
    let options = ListContainersOptionsBuilder::new().all(true).filters(&HashMap::<String, Vec<String>>::new()).build();
    let found = docker.list_containers(Some(options)).await;
    let found = found.map_err(|error| refused("engine_failed", "could not list the containers", &error))?;
    Ok(found.into_iter().filter_map(|container| container.image_id).collect())
}
