//! Waits until a service is ready: until a command in its container succeeds, or until it listens on its ports.

use std::time::Duration;

use bollard::Docker;
use bollard::errors::Error;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::{ContainerStateStatusEnum, ExecConfig};
use futures_util::StreamExt as _;
use model::ErrorCode;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::connect::refused;
use crate::failure::Failure;
use crate::remains::inspect;
use crate::settings::ServiceWish;

/// How soon a service that is not ready is asked again.
const AGAIN: Duration = Duration::from_millis(250);

/// How long one command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(10);

/// Waits until the service is ready. Fails after its time limit, or if its container ends.
pub(super) async fn wait(docker: &Docker, holder: &str, container: &str, wish: &ServiceWish) -> Result<(), Failure> {
    let until = Instant::now() + Duration::from_secs(wish.ready_seconds);
    let (asked, command) = match &wish.ready {
        Some(command) => (container, command.clone()),
        None => (holder, listening(&wish.ports)),
    };
    loop {
        check_running(docker, container, wish).await?;
        // A command that hangs may succeed the next time.
        match timeout_at(until, timeout(COMMAND_LIMIT, succeeds(docker, asked, &command))).await {
            Ok(Ok(Ok(true))) => return check_running(docker, container, wish).await,
            Ok(Ok(Ok(false)) | Err(_)) => {}
            Ok(Ok(Err(error))) => {
                check_running(docker, container, wish).await?;
                let what = format!("could not ask the service `{}` whether it is ready", wish.name);
                return Err(refused(ErrorCode::ServiceFailed, &what, &error));
            }
            Err(_) => return Err(not_ready(wish)),
        }
        if Instant::now() + AGAIN >= until {
            return Err(not_ready(wish));
        }
        sleep(AGAIN).await;
    }
}

fn not_ready(wish: &ServiceWish) -> Failure {
    let message = format!("the service `{}` was not ready after {} seconds", wish.name, wish.ready_seconds);
    Failure::new(ErrorCode::ServiceNotReady, message).hint("check its image, its variables and its `ready` command")
}

async fn check_running(docker: &Docker, container: &str, wish: &ServiceWish) -> Result<(), Failure> {
    let state = inspect(docker, container).await?.and_then(|found| found.state);
    let ended = [ContainerStateStatusEnum::EXITED, ContainerStateStatusEnum::DEAD];
    let message = match state {
        None => format!("the container of the service `{}` was removed", wish.name),
        Some(state) if state.status.is_some_and(|status| ended.contains(&status)) => {
            format!("the service `{}` ended with exit code {}", wish.name, state.exit_code.unwrap_or(-1))
        }
        Some(_) => return Ok(()),
    };
    Err(Failure::new(ErrorCode::ServiceFailed, message).hint("check its image and its variables"))
}

/// Returns a command that succeeds if something listens on all of these ports of its network.
fn listening(ports: &[u16]) -> String {
    let tests = ports
        .iter()
        .map(|port| format!("cat /proc/net/tcp /proc/net/tcp6 | grep -q '^ *[0-9]*: [0-9A-F]*:{port:04X} [0-9A-F]*:0000 0A'"));
    std::iter::once("true".to_owned()).chain(tests).collect::<Vec<_>>().join(" && ")
}

/// Runs a command in a container, and returns whether it succeeded.
async fn succeeds(docker: &Docker, container: &str, command: &str) -> Result<bool, Error> {
    let config = ExecConfig {
        cmd: Some(["/bin/sh", "-c", command].map(str::to_owned).to_vec()),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        ..ExecConfig::default()
    };
    let exec = docker.create_exec(container, config).await?.id;
    if let StartExecResults::Attached { mut output, .. } = docker.start_exec(&exec, None::<StartExecOptions>).await? {
        // The output ends with the command.
        while output.next().await.is_some() {}
    }
    Ok(docker.inspect_exec(&exec).await?.exit_code == Some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_without_a_command_is_ready_when_it_listens_on_its_ports() {
        assert_eq!(listening(&[]), "true");
        let command = listening(&[5432, 6379]);
        assert!(command.contains(":1538 ") && command.contains(":18EB "), "{command}");
    }
}
