//! What a run leaves behind: its container and its folder.

use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::InspectContainerOptions;
use model::ErrorCode;

use crate::connect::{refused, status_of};
use crate::failure::Failure;
use crate::folder::RunFolder;
use crate::ledger::{Marker, folder_of};

/// Returns a container, or `None` if it does not exist.
pub(crate) async fn inspect(docker: &Docker, name: &str) -> Result<Option<ContainerInspectResponse>, Failure> {
    match docker.inspect_container(name, None::<InspectContainerOptions>).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if status_of(&error) == Some(404) => Ok(None),
        Err(error) => Err(refused(ErrorCode::EngineFailed, &format!("could not inspect the container `{name}`"), &error)),
    }
}

/// Returns whether the container engine confirms that the container of a run does not exist.
pub(crate) async fn is_gone(docker: &Docker, folder: &RunFolder) -> bool {
    let Ok(Some(marker)) = Marker::read(folder.path()) else { return true };
    match inspect(docker, &marker.container).await {
        // A container with this name and another folder does not belong to the run.
        Ok(found) => found.is_none_or(|found| folder_of(&found).is_none_or(|of_it| of_it != folder.path())),
        Err(failure) => {
            tracing::debug!(error = %failure, "could not check whether a container is gone");
            false
        }
    }
}

/// Removes the files of a run, without help from a container.
pub(crate) fn remove_files(folder: &RunFolder) {
    if let Err(error) = folder.remove() {
        say_left(folder, &error);
    }
}

/// Reports that a run's folder could not be removed.
pub(crate) fn say_left(folder: &RunFolder, error: &std::io::Error) {
    crate::say(&format!("could not remove `{}`: {error}", folder.path().display()));
}
