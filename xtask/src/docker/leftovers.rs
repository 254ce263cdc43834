//! Removes the images that earlier tests left in the container engine. Tests keep them, because removing them takes time.
//!
//! Every image that tests build inherits a label from the base image. The images that `cargo xtask test` prepared stay.

use std::process::Stdio;

use super::{DockerError, docker};
use crate::console::{self, StepError};

/// The label of the base image.
const LABEL: &str = "label=codex-docker.test=base";

/// Removes images of repositories and tasks whose server was a test, and images without a name.
pub(crate) fn remove() -> Result<(), DockerError> {
    let start = |source| DockerError::Start { program: "docker", source };
    let listed = docker(&["image", "ls", "--filter", LABEL, "--format", "{{.Repository}}:{{.Tag}}"]).output().map_err(start)?;
    if !listed.status.success() {
        return Err(StepError::Failed { program: "docker image ls".to_owned(), status: listed.status }.into());
    }
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let left = of_tests(&listed);
    if !left.is_empty() {
        console::run(docker(&["image", "rm", "--force"]).args(left).stdout(Stdio::null()))?;
    }
    Ok(console::run(docker(&["image", "prune", "--force", "--filter", LABEL]).stdout(Stdio::null()))?)
}

/// Returns the names of the images that a server created.
fn of_tests(listed: &str) -> Vec<&str> {
    listed.lines().filter(|name| name.starts_with("codex-orchestrator-") && !name.ends_with(":<none>")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_images_of_servers_are_removed() {
        let listed = "codex-docker-test/base:1\ncodex-orchestrator-task:01a2\n<none>:<none>\ncodex-orchestrator-env:<none>\n";
        assert_eq!(of_tests(listed), ["codex-orchestrator-task:01a2"]);
    }
}
