//! Starts the container of a run, after its services and with its layers.

use std::collections::BTreeMap;

use bollard::Docker;
use bollard::container::AttachContainerResults;
use bollard::models::{ContainerCreateBody, ContainerInspectResponse, ContainerStateStatusEnum, Mount};
use bollard::query_parameters::{AttachContainerOptionsBuilder, CreateContainerOptionsBuilder, StartContainerOptions};
use model::{ErrorCode, NO_DISK_LIMIT};

use super::hold::Stops;
use super::prepare::{PreparedRun, locks};
use crate::connect::{refused, status_of};
use crate::failure::Failure;
use crate::layers::{self, LayerMethod, Remedy};
pub(super) use crate::services::Services;
use crate::settings::{Network, Settings};
use crate::spec::{Machine, Talk};
use crate::{housekeeping, network, remains, slots};

/// What every message of the engine about an unsupported limit of the disk space contains.
const STORAGE_OPTION: &str = "storage-opt";

/// Removes everything of a run whose services could not be started.
pub(super) async fn not_started(docker: &Docker, machine: &Machine, services: Services, prepared: PreparedRun) {
    services.end().await;
    housekeeping::clear(docker, machine, &prepared.into_folder()).await;
}

/// Starts the services. Returns how the run ends if they cannot be started, or if it is stopped.
pub(super) async fn start_services(settings: &Settings, services: &mut Services) -> Option<Result<u8, Failure>> {
    if settings.services.is_empty() {
        return None;
    }
    let mut stops = match Stops::listen() {
        Ok(stops) => stops,
        Err(error) => return Some(Err(Failure::new(ErrorCode::NoSignals, format!("cannot receive signals: {error}")))),
    };
    tokio::select! {
        started = services.start(settings) => started.err().map(Err),
        number = stops.next() => Some(Ok(128 + number)),
    }
}

/// Removes a container that an earlier codex-docker created and did not start, if it has services: they may not be ready.
pub(super) async fn prepare_again(
    docker: &Docker,
    settings: &Settings,
    found: Option<ContainerInspectResponse>,
) -> Result<Option<ContainerInspectResponse>, Failure> {
    let status = found.as_ref().and_then(|found| found.state.as_ref()?.status);
    if settings.services.is_empty() || status != Some(ContainerStateStatusEnum::CREATED) {
        return Ok(found);
    }
    remains::remove(docker, &settings.name).await?;
    Ok(None)
}

/// Creates the network that the container of a run needs.
pub(crate) async fn network_for(
    docker: &Docker,
    settings: &Settings,
    environment: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    match settings.network {
        Network::Open => network::ensure(docker, &locks(settings, environment)).await,
        Network::None | Network::Allow(_) => Ok(()),
    }
}

/// Creates and starts the container of a run. If the engine cannot mount the layers, it is asked again in another way.
pub(crate) async fn launch(
    docker: &Docker,
    settings: &mut Settings,
    machine: &Machine,
    environment: &BTreeMap<String, String>,
    body: impl Fn(&Settings, &[Mount]) -> (ContainerCreateBody, Talk),
) -> Result<Option<AttachContainerResults>, Failure> {
    let mut method = LayerMethod::of(machine);
    loop {
        let layers = layers::prepare(docker, settings, machine, method).await?;
        let mounts: Vec<Mount> = layers.iter().map(|layer| layer.mount.clone()).collect();
        let (body, talk) = body(settings, &mounts);
        let failure = match create_and_start(docker, settings, environment, body, talk).await {
            Ok(attached) => return Ok(attached),
            Err(failure) => failure,
        };
        if settings.limits.disk.is_some() && failure.message.contains(STORAGE_OPTION) {
            crate::say(&format!("{NO_DISK_LIMIT}{}", failure.message));
            settings.limits.disk = None;
            remains::remove(docker, &settings.name).await?;
            continue;
        }
        match layers::remedy(&layers, &failure.message) {
            Remedy::None => return Err(failure),
            Remedy::UseFolders => {
                crate::say(&format!(
                    "the container engine cannot mount the layers; copying their files instead: {}",
                    failure.message
                ));
                method = LayerMethod::Folders;
            }
            Remedy::LeaveOut(targets) => {
                for target in &targets {
                    crate::say(&format!("warning: the layer at `{target}` is not mounted: {}", failure.message));
                }
                settings.layers.retain(|layer| !targets.contains(&layer.target));
            }
        }
        remains::remove(docker, &settings.name).await?;
    }
}

async fn create_and_start(
    docker: &Docker,
    settings: &Settings,
    environment: &BTreeMap<String, String>,
    body: ContainerCreateBody,
    talk: Talk,
) -> Result<Option<AttachContainerResults>, Failure> {
    let options = CreateContainerOptionsBuilder::new().name(&settings.name).build();
    docker.create_container(Some(options), body).await.map_err(|error| not_created(settings, &error))?;
    let attached = attach(docker, &settings.name, talk).await?;
    start(docker, settings, environment).await?;
    Ok(attached)
}

pub(super) fn not_created(settings: &Settings, error: &bollard::errors::Error) -> Failure {
    let failure = refused(ErrorCode::ContainerNotCreated, &format!("could not create the container `{}`", settings.name), error);
    match status_of(error) {
        Some(409) => failure.hint("try again: another program has just created a container with this name"),
        _ => failure.hint("check `docker info` and the free disk space"),
    }
}

/// Attaches to the container before it starts, so that nothing is missed. Output that goes to files is not attached.
pub(crate) async fn attach(docker: &Docker, container: &str, talk: Talk) -> Result<Option<AttachContainerResults>, Failure> {
    let (input, output) = match talk {
        Talk::Files => return Ok(None),
        Talk::Terminal(..) => (true, true),
        Talk::Stream => (true, false),
        Talk::Output => (false, true),
    };
    let options = AttachContainerOptionsBuilder::new().stdin(input).stdout(output).stderr(output).stream(true).build();
    let attached = docker.attach_container(container, Some(options)).await;
    attached.map(Some).map_err(|error| refused(ErrorCode::EngineFailed, "could not attach to the container", &error))
}

pub(super) async fn start(docker: &Docker, settings: &Settings, environment: &BTreeMap<String, String>) -> Result<(), Failure> {
    let locks = locks(settings, environment);
    let _turn = slots::to_start(&locks).await.map_err(|error| {
        Failure::new(ErrorCode::StateFolder, format!("cannot write to `{}`: {error}", locks.display()))
            .hint("make sure that you own the folder")
    })?;
    docker.start_container(&settings.name, None::<StartContainerOptions>).await.map_err(|error| {
        refused(ErrorCode::ContainerNotStarted, &format!("could not start the container `{}`", settings.name), &error)
            .hint("common reasons are a limit that the machine does not support, and an image without /bin/sh")
    })
}
