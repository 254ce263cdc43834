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
const LIMITS: Limits = Limits { memory: None, disk: None, cpus: None, pids: 1024, free_disk: 0 };

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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::seccomp::{EngineKind, Seccomp};
    use crate::tests::{Answer, ScriptedEngine, done, found, missing, refusal};

    const CREATE: &str = "POST /containers/create?name=run";
    const START: &str = "POST /containers/run/start";
    const DELETE: &str = "DELETE /containers/run?v=true&force=true";
    const MACHINE: Machine = Machine {
        memory: 16 << 30,
        open_files: 1024,
        processes: Some(512),
        rootless: false,
        kind: EngineKind::Docker,
        seccomp: Seccomp::Inline,
    };

    /// Starts an engine that gives these answers, and success otherwise.
    fn engine(answers: Vec<(&'static str, Answer)>) -> ScriptedEngine {
        ScriptedEngine::start(move |asked| {
            let given = answers.iter().find(|(line, _)| *line == asked.line).map(|(_, answer)| answer.clone());
            given.unwrap_or_else(|| match asked.line.as_str() {
                CREATE => Answer::Said(201, json!({ "Id": "1", "Warnings": [] }).to_string()),
                "GET /containers/run/json" => found(&json!({ "State": { "Status": "exited", "ExitCode": 0 } })),
                _ => done(),
            })
        })
    }

    fn ended(code: i64) -> Answer {
        found(&json!({ "State": { "Status": "exited", "ExitCode": code } }))
    }

    async fn run(engine: &ScriptedEngine) -> Result<u8, Failure> {
        run_to_end(&engine.docker, "run", script_body("i:1"), std::future::pending()).await
    }

    #[tokio::test]
    async fn a_container_is_removed_however_it_ends() {
        const INSPECT: &str = "GET /containers/run/json";
        for (answers, expected) in [
            (vec![], Ok(0)),
            (vec![(INSPECT, ended(3))], Ok(3)),
            (vec![(INSPECT, ended(-1))], Ok(1)),
            (vec![(INSPECT, ended(256))], Ok(1)),
            (vec![(INSPECT, missing())], Ok(model::WORKER_CUT_OFF)),
            (vec![(START, refusal(400, "no /bin/sh"))], Err("could not run the container `run`: no /bin/sh")),
            (vec![(CREATE, refusal(409, "name in use"))], Err("could not run the container `run`: name in use")),
            (vec![(DELETE, missing())], Ok(0)),
            // The result counts even if the container cannot be removed.
            (vec![(INSPECT, ended(7)), (DELETE, refusal(500, "busy"))], Ok(7)),
        ] {
            let story = format!("{answers:?}");
            let engine = engine(answers);
            let ended = run(&engine).await.map_err(|failure| (failure.code.known(), failure.message));
            let expected = expected.map_err(|message| (Some(ErrorCode::ContainerFailed), message.to_owned()));
            assert_eq!(ended, expected, "{story}");
            assert_eq!(engine.changes().last().map(String::as_str), Some(DELETE), "{story}");
        }
    }

    #[tokio::test]
    async fn a_container_that_is_no_longer_wanted_is_removed_at_once() {
        let running = found(&json!({ "State": { "Status": "running" } }));
        let engine = engine(vec![("GET /containers/run/json", running)]);
        let asked = async {
            // The container has started when it is inspected for the first time.
            while engine.asked("GET /containers/run/json").is_empty() {
                tokio::task::yield_now().await;
            }
            Failure::new(ErrorCode::HarvestStopped, "stopped")
        };
        let ended = run_to_end(&engine.docker, "run", script_body("i:1"), asked).await;
        assert_eq!(ended.expect_err("it was stopped").code, ErrorCode::HarvestStopped);
        assert_eq!(engine.changes(), [CREATE, START, DELETE]);
    }

    #[test]
    fn a_script_has_no_network_and_writes_only_where_something_is_mounted() {
        let host = one_shot(&MACHINE, Path::new("/state/run"));
        assert_eq!((host.network_mode.as_deref(), host.readonly_rootfs), (Some("none"), Some(true)));
        assert_eq!(host.tmpfs.expect("temporary files").keys().collect::<Vec<_>>(), ["/tmp"]);
        assert_eq!(host.mounts, None, "the caller chooses the mounts");
        assert_eq!((host.pids_limit, host.cap_drop), (Some(1024), Some(vec!["ALL".to_owned()])));
        let limits: Vec<_> = host.ulimits.expect("limits").into_iter().map(|one| (one.name, one.hard)).collect();
        let expected = [("core", 0), ("nofile", 1024), ("nproc", 512)];
        assert_eq!(limits, expected.map(|(name, most)| (Some(name.to_owned()), Some(most))));
        let body = script_body("i:1");
        assert_eq!((body.user.as_deref(), body.env, body.open_stdin), (Some("0:0"), None, None));
        let words = body.entrypoint.expect("a script").join(" ");
        assert_eq!(words, "/bin/sh -c exec /bin/sh /codex-docker/in/script >> /codex-docker/out/said 2>&1");
    }
}
