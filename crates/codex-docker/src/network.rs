//! The bridge network that all containers with an open network share. They cannot connect to each other.
//! The network is created once and never removed, because other containers may use it at any time.

use std::collections::HashMap;
use std::path::Path;

use bollard::Docker;
use bollard::models::NetworkCreateRequest;
use bollard::query_parameters::InspectNetworkOptions;

use crate::connect::{refused, status_of};
use crate::failure::Failure;
use crate::slots;
use crate::spec::NETWORK;
use model::ErrorCode;

/// Creates the network unless it exists. Only one process may do this at a time: older engines would create two networks with the
/// same name.
pub(crate) async fn ensure(docker: &Docker, locks: &Path) -> Result<(), Failure> {
    if exists(docker).await? {
        return Ok(());
    }
    let _turn = slots::alone(locks, "network").await.map_err(|error| {
        Failure::new(ErrorCode::StateFolder, format!("cannot write to `{}`: {error}", locks.display()))
            .hint("make sure that you own the folder")
    })?;
    if exists(docker).await? {
        return Ok(());
    }
    let request = NetworkCreateRequest {
        name: NETWORK.to_owned(),
        driver: Some("bridge".to_owned()),
        options: Some(HashMap::from([("com.docker.network.bridge.enable_icc".to_owned(), "false".to_owned())])),
        labels: Some(HashMap::from([(crate::labels::MANAGED.to_owned(), "true".to_owned())])),
        ..NetworkCreateRequest::default()
    };
    match docker.create_network(request).await {
        Ok(_) => Ok(()),
        Err(error) if status_of(&error) == Some(409) => Ok(()),
        Err(error) => Err(refused(ErrorCode::NetworkFailed, "could not create the network for containers", &error)
            .hint("list the networks with `docker network ls`; remove unused ones with `docker network prune`")),
    }
}

async fn exists(docker: &Docker) -> Result<bool, Failure> {
    match docker.inspect_network(NETWORK, None::<InspectNetworkOptions>).await {
        Ok(_) => Ok(true),
        Err(error) if status_of(&error) == Some(404) => Ok(false),
        Err(error) => Err(refused(ErrorCode::NetworkFailed, "could not inspect the network for containers", &error)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use serde_json::json;

    use super::*;
    use crate::tests::{Answer, ScriptedEngine, found, missing, refusal};

    const INSPECT: &str = "GET /networks/codex-docker";
    const CREATE: &str = "POST /networks/create";

    #[tokio::test]
    async fn the_network_is_created_unless_it_exists() {
        for (inspected, created, expected, creations) in [
            (found(&json!({ "Name": NETWORK })), refusal(500, "x"), Ok(()), 0),
            (missing(), Answer::Said(201, json!({ "Id": "1", "Warning": "" }).to_string()), Ok(()), 1),
            // Another user's process created it in the meantime.
            (missing(), refusal(409, "already exists"), Ok(()), 1),
            (missing(), refusal(403, "no free subnet\n"), Err("could not create the network for containers: no free subnet"), 1),
            (refusal(500, "x"), refusal(500, "y"), Err("could not inspect the network for containers: x"), 0),
        ] {
            let story = format!("{inspected:?} {created:?}");
            let folder = tempfile::tempdir().expect("a folder");
            let engine = ScriptedEngine::start(move |asked| match asked.line.as_str() {
                INSPECT => inspected.clone(),
                _ => created.clone(),
            });
            let made = ensure(&engine.docker, &folder.path().join("locks")).await;
            let expected = expected.map_err(|message| (Some(ErrorCode::NetworkFailed), message.to_owned()));
            assert_eq!(made.map_err(|failure| (failure.code.known(), failure.message)), expected, "{story}");
            let requests = engine.asked(CREATE);
            assert_eq!(requests.len(), creations, "{story}");
            for request in requests {
                assert_eq!(request.body["Driver"], "bridge");
                let apart = &request.body["Options"]["com.docker.network.bridge.enable_icc"];
                assert_eq!(apart, "false", "containers cannot connect to each other");
            }
        }
    }

    #[tokio::test]
    async fn twenty_runs_at_once_create_it_once() {
        let folder = tempfile::tempdir().expect("a folder");
        let exists = AtomicBool::new(false);
        let engine = ScriptedEngine::start(move |asked| match asked.line.as_str() {
            INSPECT if exists.load(Ordering::SeqCst) => found(&json!({ "Name": NETWORK })),
            CREATE => {
                exists.store(true, Ordering::SeqCst);
                Answer::Said(201, json!({ "Id": "1", "Warning": "" }).to_string())
            }
            _ => missing(),
        });
        let locks = folder.path().join("locks");
        let made = futures_util::future::join_all((0..20).map(|_| ensure(&engine.docker, &locks))).await;
        assert!(made.iter().all(Result::is_ok), "{made:?}");
        assert_eq!(engine.changes(), [CREATE]);
    }

    #[tokio::test]
    async fn without_a_lock_nothing_is_created() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let engine = ScriptedEngine::start(|_| missing());
        let failure = ensure(&engine.docker, &file.path().join("locks")).await.expect_err("a file contains no folder");
        assert!(failure.code == ErrorCode::StateFolder && failure.hints == ["make sure that you own the folder"], "{failure:?}");
        assert_eq!(engine.changes(), [""; 0]);
    }
}
