//! The services of a run, such as a database: containers that start before Codex's container and share its network.
//!
//! A small container, the holder, owns the network. Each of these containers has its own folder with a marker, so that `reap` finds it.
//! Invariant: no service outlives its run, unless this process is killed; then `reap` removes it.

mod log;
mod ready;

use std::path::PathBuf;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, Mount, MountType, MountVolumeOptions};
use bollard::query_parameters::{CreateContainerOptionsBuilder, StartContainerOptions};
use model::{ErrorCode, SERVICE_SAID};

use self::log::ServiceLog;
use crate::connect::refused;
use crate::failure::Failure;
use crate::folder::RunFolder;
use crate::ledger::Marker;
use crate::remains::inspect;
use crate::run::check_image;
use crate::settings::{ContainerUser, Network, ServiceWish, Settings};
use crate::spec::{Machine, NETWORK, bind_read_only, holder_of, isolated};
use crate::{housekeeping, inside, labels, remains};

/// The number of lines of a service's log that a failure shows.
const LAST_LINES: usize = 20;

/// A container of a run next to Codex's container.
struct Helper {
    name: String,
    folder: RunFolder,
}

/// The services of a run. They must be ended explicitly.
pub(crate) struct Services {
    docker: Docker,
    machine: Machine,
    holder: Option<Helper>,
    started: Vec<(Helper, ServiceLog)>,
}

fn name_of(container: &str, service: &str) -> String {
    format!("{container}-svc-{service}")
}

/// Returns the file with the log of a service.
fn log_of(settings: &Settings, service: &str) -> PathBuf {
    let folder = settings.service_logs.clone().unwrap_or_else(|| settings.state.join("services"));
    folder.join(format!("{service}.log"))
}

impl Services {
    /// Returns no services.
    pub(crate) fn none(docker: &Docker, machine: &Machine) -> Self {
        Self { docker: docker.clone(), machine: *machine, holder: None, started: vec![] }
    }

    /// Starts all services and waits until they are ready. If this fails, `end` removes those that have started.
    pub(crate) async fn start(&mut self, settings: &Settings) -> Result<(), Failure> {
        for wish in &settings.services {
            check_image(&self.docker, &wish.image).await.map_err(|failure| not_started(wish, &failure.message))?;
        }
        let (name, folder) = (holder_of(&settings.name), new_folder(settings, &holder_of(&settings.name), &settings.image)?);
        self.holder = Some(Helper { name: name.clone(), folder });
        let failed = |failure: Failure| {
            Failure::new(ErrorCode::ServiceFailed, format!("could not start the services: {}", failure.message))
        };
        let body = self.holder_body(settings);
        self.launch(&name, body).await.map_err(failed)?;
        for wish in &settings.services {
            let name = name_of(&settings.name, &wish.name);
            let folder = new_folder(settings, &name, &wish.image)?;
            let body = self.body(settings, wish, &folder);
            let log = ServiceLog::new(log_of(settings, &wish.name)).map_err(|error| not_started(wish, &error))?;
            self.started.push((Helper { name: name.clone(), folder }, log));
            self.create(&name, body).await.map_err(|failure| not_started(wish, &failure.message))?;
            if let Some((_, log)) = self.started.last_mut() {
                log.follow(&self.docker, &name).await.map_err(|error| not_started(wish, &error))?;
            }
            self.start_container(&name).await.map_err(|failure| not_started(wish, &failure.message))?;
        }
        let holder = holder_of(&settings.name);
        for (wish, (helper, log)) in settings.services.iter().zip(&self.started) {
            if let Err(failure) = ready::wait(&self.docker, &holder, &helper.name, wish).await {
                for line in log.last_lines(LAST_LINES) {
                    crate::say(&format!("{SERVICE_SAID}`{}`: {}", wish.name, line.escape_debug()));
                }
                return Err(failure);
            }
        }
        Ok(())
    }

    /// Continues with the services of a container that an earlier codex-docker created.
    pub(crate) async fn go_on(&mut self, settings: &Settings) -> Result<(), Failure> {
        let name = holder_of(&settings.name);
        self.holder = Some(Helper { folder: hold(settings, &name, &settings.image)?, name });
        for wish in &settings.services {
            let name = name_of(&settings.name, &wish.name);
            let folder = hold(settings, &name, &wish.image)?;
            let mut log = ServiceLog::new(log_of(settings, &wish.name)).map_err(|error| not_started(wish, &error))?;
            if let Err(error) = log.follow(&self.docker, &name).await {
                crate::say(&format!("warning: cannot follow the service `{}`: {error}", wish.name));
            }
            self.started.push((Helper { name, folder }, log));
        }
        Ok(())
    }

    /// Removes all services with their volumes and files.
    pub(crate) async fn end(self) {
        let helpers = self.started.into_iter().map(|(helper, _)| helper).chain(self.holder);
        for helper in helpers {
            if let Err(failure) = remains::remove(&self.docker, &helper.name).await {
                crate::say(&format!("{failure}; to try again, run `codex-docker reap`"));
            }
            housekeeping::clear(&self.docker, &self.machine, &helper.folder).await;
        }
    }

    async fn launch(&self, name: &str, body: ContainerCreateBody) -> Result<(), Failure> {
        self.create(name, body).await?;
        self.start_container(name).await
    }

    async fn create(&self, name: &str, body: ContainerCreateBody) -> Result<(), Failure> {
        // Its folder is locked, so the container was left by a codex-docker that was killed.
        if inspect(&self.docker, name).await?.is_some() {
            remains::remove(&self.docker, name).await?;
        }
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        let failed = |error| refused(ErrorCode::ServiceFailed, &format!("could not create the container `{name}`"), &error);
        self.docker.create_container(Some(options), body).await.map(drop).map_err(failed)
    }

    async fn start_container(&self, name: &str) -> Result<(), Failure> {
        let failed = |error| refused(ErrorCode::ServiceFailed, &format!("could not start the container `{name}`"), &error);
        self.docker.start_container(name, None::<StartContainerOptions>).await.map_err(failed)
    }

    /// Returns the request for the holder, which only waits. All containers that share its network also share its `/etc/hosts`.
    fn holder_body(&self, settings: &Settings) -> ContainerCreateBody {
        let folder = self.holder.as_ref().map_or(settings.state.as_path(), |holder| holder.folder.path());
        let hosts = settings.services.iter().map(|wish| format!("{}:127.0.0.1", wish.name)).collect();
        let network = if settings.network == Network::Open { NETWORK } else { "none" };
        ContainerCreateBody {
            image: Some(settings.image.clone()),
            entrypoint: Some(["/bin/sh", "-c", "exec tail -f /dev/null"].map(str::to_owned).to_vec()),
            user: Some("0:0".to_owned()),
            working_dir: Some("/".to_owned()),
            stop_signal: Some("SIGKILL".to_owned()),
            labels: Some(labels::of_container(&folder.to_string_lossy(), &settings.labels)),
            host_config: Some(HostConfig {
                mounts: Some(vec![bind_read_only(&folder.join("in"), inside::IN)]),
                network_mode: Some(network.to_owned()),
                extra_hosts: Some(hosts),
                readonly_rootfs: Some(true),
                ..isolated(&settings.limits, ContainerUser::Caller, &self.machine, folder)
            }),
            ..ContainerCreateBody::default()
        }
    }

    fn body(&self, settings: &Settings, wish: &ServiceWish, folder: &RunFolder) -> ContainerCreateBody {
        let volume = |target: &String| Mount {
            typ: Some(MountType::VOLUME),
            target: Some(target.clone()),
            read_only: Some(false),
            volume_options: Some(MountVolumeOptions {
                labels: Some(labels::of_volume(&settings.state)),
                ..MountVolumeOptions::default()
            }),
            ..Mount::default()
        };
        let marker = bind_read_only(&folder.path().join("in"), inside::IN);
        ContainerCreateBody {
            image: Some(wish.image.clone()),
            env: Some(wish.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            labels: Some(labels::of_container(&folder.path().to_string_lossy(), &settings.labels)),
            host_config: Some(HostConfig {
                mounts: Some(std::iter::once(marker).chain(wish.volumes.iter().map(volume)).collect()),
                network_mode: Some(format!("container:{}", holder_of(&settings.name))),
                ..isolated(&settings.limits, ContainerUser::Root, &self.machine, folder.path())
            }),
            ..ContainerCreateBody::default()
        }
    }
}

fn hold(settings: &Settings, name: &str, image: &str) -> Result<RunFolder, Failure> {
    RunFolder::hold(&settings.root, &Marker::new(name, image, settings.labels.clone()))
}

/// Locks the folder of a new container.
fn new_folder(settings: &Settings, name: &str, image: &str) -> Result<RunFolder, Failure> {
    let folder = hold(settings, name, image)?;
    folder.clear()?;
    Ok(folder)
}

fn not_started(wish: &ServiceWish, why: &dyn std::fmt::Display) -> Failure {
    Failure::new(ErrorCode::ServiceFailed, format!("could not start the service `{}`: {why}", wish.name))
        .hint("check the image and the variables of the service")
}
