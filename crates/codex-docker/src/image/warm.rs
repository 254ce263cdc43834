//! Starts a container from a new image once, so that the first run finds the image's files in the memory of the machine.
//!
//! The container has no network and no capabilities, and the engine removes it when it ends, even if this process was killed.
//! Invariant: a failure is reported and changes nothing else.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::models::{ContainerCreateBody, HostConfig, HostConfigLogConfig};
use bollard::query_parameters::{
    CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions, WaitContainerOptionsBuilder,
};
use futures_util::StreamExt as _;

use super::trouble::words_of;
use crate::connect::status_of;

/// The time limit. Without it, a program in somebody's image could keep a build from ending.
const LIMIT: Duration = Duration::from_mins(1);

/// What the container does: it runs the programs that every run needs.
const SCRIPT: &str = "codex --version; git --version; exec socat -V";

/// Creates, starts and removes a container of this image. Reports a failure to the user.
pub(super) async fn start_once(docker: &Docker, image: &str) {
    let name = format!("codex-docker-warm-{}", uuid::Uuid::now_v7().simple());
    let started = tokio::time::timeout(LIMIT, run(docker, &name, image)).await;
    let problem = match started {
        Ok(Ok(())) => return,
        Ok(Err(error)) => words_of(&error),
        Err(_) => format!("it took more than {} s", LIMIT.as_secs()),
    };
    crate::say(&format!("the image was built, but a container of it could not run: {problem}"));
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(&name, Some(options)).await {
        // The engine may have removed it, or not even created it.
        Ok(()) => {}
        Err(error) if matches!(status_of(&error), Some(404 | 409)) => {}
        Err(error) => crate::say(&format!("could not remove the container `{name}`: {}", words_of(&error))),
    }
}

async fn run(docker: &Docker, name: &str, image: &str) -> Result<(), Error> {
    let options = CreateContainerOptionsBuilder::new().name(name).build();
    docker.create_container(Some(options), body(image)).await?;
    docker.start_container(name, None::<StartContainerOptions>).await?;
    let gone = WaitContainerOptionsBuilder::new().condition("removed").build();
    match docker.wait_container(name, Some(gone)).next().await {
        Some(Err(error)) if !has_ended(&error) => Err(error),
        Some(Ok(_) | Err(_)) | None => Ok(()),
    }
}

/// Whether the container ended. Its exit code does not matter, because the build has checked the programs.
fn has_ended(error: &Error) -> bool {
    matches!(error, Error::DockerContainerWaitError { .. }) || status_of(error) == Some(404)
}

fn body(image: &str) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec!["/bin/sh".to_owned(), "-c".to_owned(), SCRIPT.to_owned()]),
        env: Some(vec!["CODEX_HOME=/none".to_owned()]),
        host_config: Some(HostConfig {
            auto_remove: Some(true),
            init: Some(true),
            network_mode: Some("none".to_owned()),
            cap_drop: Some(vec!["ALL".to_owned()]),
            security_opt: Some(vec!["no-new-privileges".to_owned()]),
            log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
            ..HostConfig::default()
        }),
        ..ContainerCreateBody::default()
    }
}
