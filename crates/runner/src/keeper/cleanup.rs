//! Runs the cleanup program of an order, which ends what no signal reaches, such as a container.
//!
//! The keeper runs it after the worker has ended, and the server runs it if the keeper was killed. The cleanup has a time
//! limit, and a failure is only logged, because the run has already ended. Invariant: the cleanup gets no secret of the run.

use std::ffi::{OsStr, OsString};
use std::time::Duration;

use process::{BaseEnvironment, CommandSpec, Tool};

use crate::worker::Cleanup;

/// The time limit: longer than a container engine needs to end a container.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs the cleanup program and waits until it ends.
pub(super) async fn clean_up(cleanup: &Cleanup, environment: impl IntoIterator<Item = (OsString, OsString)>) {
    let command = CommandSpec::new(&Tool::at(&cleanup.program), &BaseEnvironment::default(), "/")
        .args(&cleanup.args)
        .envs(environment.into_iter().filter(|(name, _)| !is_for_the_agent(name)))
        .deadline(LIMIT);
    if let Err(error) = command.run_ok().await {
        tracing::warn!(%error, "could not clean up after a run; retrying at the next check");
    }
}

/// Whether this is a variable or a login of the agent.
fn is_for_the_agent(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(b"CODEX_CONTAINER_ENV_") || [&b"CODEX_API_KEY"[..], b"CODEX_ACCESS_TOKEN"].contains(&name)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn it_is_run_with_its_arguments_and_without_what_is_the_agents() {
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("cleanup");
        let script = format!("#!/bin/sh\nenv > {0}/environment; echo \"$@\" > {0}/arguments; exit 3\n", folder.path().display());
        fs_err::write(&program, script).expect("written");
        fs_err::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("ours");
        let environment =
            [("PATH", "/usr/bin:/bin"), ("CODEX_API_KEY", "k"), ("CODEX_CONTAINER_ENV_TOKEN", "t"), ("DOCKER_HOST", "d")];
        let environment = environment.map(|(name, value)| (OsString::from(name), OsString::from(value)));
        clean_up(&Cleanup { program, args: vec!["reap".to_owned(), "a b".to_owned()] }, environment).await;
        let read = |name: &str| fs_err::read_to_string(folder.path().join(name)).expect("the cleanup program has run");
        assert_eq!(read("arguments"), "reap a b\n");
        let environment = read("environment");
        assert!(environment.contains("DOCKER_HOST=d") && !environment.contains("CODEX_"), "{environment}");
    }

    #[tokio::test]
    async fn one_that_is_not_there_is_passed_over() {
        clean_up(&Cleanup { program: "/no/such/program".into(), args: vec![] }, []).await;
    }
}
