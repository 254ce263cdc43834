//! Short-lived containers without a network, each of which runs one script that we wrote.

use std::collections::HashMap;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig};
use bollard::query_parameters::{CreateContainerOptionsBuilder, RemoveContainerOptionsBuilder, StartContainerOptions};
use model::ErrorCode;
use rustix::fs::OFlags;

use crate::connect::{refused, status_of};
use crate::failure::Failure;
use crate::inside;
use crate::run::{End, Watch};
use crate::settings::{ContainerUser, Limits};
use crate::spec::{Machine, isolated};

/// The name of the file with the output of the script.
const SAID: &str = "said";

/// The maximum number of bytes of the output that are printed.
const SAID_LIMIT: u64 = 16 * 1024;

/// The time limit for a container. Without it, files that an agent left behind could make a script run forever.
const LIMIT: Duration = Duration::from_mins(5);

/// The error code for an exceeded time limit.
pub(crate) const TIME_LIMIT: ErrorCode = ErrorCode::HarvestTimeLimit;

/// The limits of the container.
const LIMITS: Limits = Limits { memory: None, cpus: None, pids: 1024, free_disk: 0 };

/// Returns the configuration of a container that runs the script in its input folder as root.
pub(crate) fn script_body(image: &str) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(image.to_owned()),
        entrypoint: Some(vec![
            "/bin/sh".to_owned(),
            "-c".to_owned(),
            format!("exec /bin/sh {}/script >> {}/{SAID} 2>&1", inside::IN, inside::OUT),
        ]),
        user: Some("0:0".to_owned()),
        working_dir: Some("/".to_owned()),
        ..ContainerCreateBody::default()
    }
}

/// Returns the configuration of a short-lived container: no network, and only its mounts are writable.
pub(crate) fn one_shot(machine: &Machine, folder: &Path) -> HostConfig {
    HostConfig {
        network_mode: Some("none".to_owned()),
        readonly_rootfs: Some(true),
        tmpfs: Some(HashMap::from([("/tmp".to_owned(), "rw,nosuid,nodev,size=1g,mode=1777".to_owned())])),
        ..isolated(&LIMITS, ContainerUser::Root, machine, folder)
    }
}

/// Prints the output of the script, which can explain a failure.
pub(crate) fn say_what_it_said(out: &Path) {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let Ok(file) = std::fs::File::options().read(true).custom_flags(flags).open(out.join(SAID)) else { return };
    let mut said = Vec::new();
    if let Err(error) = file.take(SAID_LIMIT).read_to_end(&mut said) {
        crate::say(&format!("could not read the output of the container: {error}"));
    }
    for line in String::from_utf8_lossy(&said).lines().filter(|line| !line.trim().is_empty()) {
        crate::say(&line.escape_debug().to_string());
    }
}

/// Runs a container until it exits, exceeds the time limit, or `asked` completes. Removes it and returns its exit code.
pub(crate) async fn run_to_end(
    docker: &Docker,
    name: &str,
    body: ContainerCreateBody,
    asked: impl Future<Output = Failure>,
) -> Result<u8, Failure> {
    let failed = |error: &bollard::errors::Error| {
        refused(ErrorCode::ContainerFailed, &format!("could not run the container `{name}`"), error)
    };
    let run = async {
        let options = CreateContainerOptionsBuilder::new().name(name).build();
        docker.create_container(Some(options), body).await.map_err(|error| failed(&error))?;
        docker.start_container(name, None::<StartContainerOptions>).await.map_err(|error| failed(&error))?;
        tokio::time::timeout(LIMIT, end_of(docker, name)).await.map_err(|_| {
            Failure::new(TIME_LIMIT, format!("the container `{name}` took more than {} minutes", LIMIT.as_secs() / 60))
                .hint("the agent may have left a program that never ends; the work is still in the worktree")
        })
    };
    let ended = tokio::select! {
        ended = run => ended,
        why = asked => Err(why),
    };
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(name, Some(options)).await {
        Err(error) if status_of(&error) != Some(404) => {
            crate::say(&format!("could not remove the container `{name}`: {error}; to try again, run `codex-docker reap`"));
        }
        Ok(()) | Err(_) => {}
    }
    ended
}

async fn end_of(docker: &Docker, name: &str) -> u8 {
    let mut watch = Watch::new(docker, name);
    loop {
        match watch.step().await {
            Some(End::Exited { code, .. }) => return u8::try_from(code).unwrap_or(1),
            Some(End::Gone) => return model::WORKER_CUT_OFF,
            None => {}
        }
    }
}
