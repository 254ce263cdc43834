//! What a run leaves behind: its container and its folder.

use std::time::Duration;

use bollard::Docker;
use bollard::models::ContainerInspectResponse;
use bollard::query_parameters::{InspectContainerOptions, RemoveContainerOptionsBuilder, WaitContainerOptionsBuilder};
use futures_util::StreamExt as _;
use model::ErrorCode;

use crate::connect::{refused, status_of};
use crate::failure::Failure;
use crate::folder::RunFolder;
use crate::ledger::{Marker, folder_of};

/// The number of attempts to remove a container.
const REMOVALS: u32 = 4;

/// How long to wait for another removal of the same container before the next attempt.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(3);

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

/// Removes a container, with several attempts. A killed codex-docker may have started the removal already, and a busy engine
/// sometimes does not complete one.
pub(crate) async fn remove(docker: &Docker, id: &str) -> Result<(), Failure> {
    let failed = |error| refused(ErrorCode::EngineFailed, &format!("could not remove the container `{id}`"), error);
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
        // The result does not matter: the next attempt shows whether the container is gone.
        drop(tokio::time::timeout(REMOVAL_PATIENCE, removed.next()).await);
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::tests::{Answer, ScriptedEngine, container, found, missing, refusal, supervised};

    #[tokio::test]
    async fn only_the_engine_can_confirm_that_a_container_is_gone() {
        let root = tempfile::tempdir().expect("a folder");
        let folder = supervised(root.path(), "run", &[]);
        for (answer, expected) in [
            (missing(), true),
            (found(&container("1", folder.path(), "exited")), false),
            (found(&container("1", Path::new("/elsewhere/run"), "running")), true),
            (refusal(500, "x"), false),
            (refusal(400, "x"), false),
            (Answer::Silence, false),
            (Answer::Said(200, "not JSON".to_owned()), false),
        ] {
            let story = format!("{answer:?}");
            let engine = ScriptedEngine::start(move |_| answer.clone());
            assert_eq!(is_gone(&engine.docker, &folder).await, expected, "{story}");
        }
        fs_err::remove_file(folder.path().join("run.json")).expect("the marker exists");
        let engine = ScriptedEngine::start(|_| refusal(500, "x"));
        assert!(is_gone(&engine.docker, &folder).await, "without a marker, there never was a container");
    }

    #[tokio::test]
    async fn a_container_that_does_not_exist_is_no_error() {
        let engine = ScriptedEngine::start(|_| missing());
        assert_eq!(inspect(&engine.docker, "run").await, Ok(None));
        let engine = ScriptedEngine::start(|_| refusal(500, "the daemon\nis ill  "));
        let failure = inspect(&engine.docker, "run").await.expect_err("the engine refuses");
        assert_eq!(failure.message, "could not inspect the container `run`: the daemon\nis ill");
    }
}
