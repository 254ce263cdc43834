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
