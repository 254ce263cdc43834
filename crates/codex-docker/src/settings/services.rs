//! Parses the services of a run, such as a database. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::layers::inside_path;
use super::values::{is_variable_name, unusable};
use crate::failure::Failure;

/// The variable with the services.
const SERVICES: &str = "CODEX_DOCKER_SERVICES";

/// The default time limit until a service is ready, in seconds.
const READY_SECONDS: u64 = 60;

/// The longest time limit until a service is ready, in seconds.
const MOST_READY_SECONDS: u64 = 3600;

/// A service that runs next to Codex.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceWish {
    /// The name, under which Codex reaches the service.
    pub name: String,
    /// The image.
    pub image: String,
    /// The variables of the container. They are not secret.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// The shell command in the container that succeeds if the service is ready.
    #[serde(default)]
    pub ready: Option<String>,
    /// The time limit until the service is ready, in seconds.
    #[serde(default = "ready_seconds")]
    pub ready_seconds: u64,
    /// The ports on which the service listens. Without a command, the service is ready when it listens on all of them.
    #[serde(default)]
    pub ports: Vec<u16>,
    /// Folders in the container for which the engine creates volumes that are removed with the run.
    #[serde(default)]
    pub volumes: Vec<String>,
}

fn ready_seconds() -> u64 {
    READY_SECONDS
}

/// Parses the services.
pub(super) fn services<'a>(get: &impl Fn(&str) -> Option<&'a str>) -> Result<Vec<ServiceWish>, Failure> {
    let Some(text) = get(SERVICES) else { return Ok(vec![]) };
    let form = r#"a JSON array such as [{"name": "db", "image": "postgres:16", "ready": "pg_isready", "ports": [5432]}]"#;
    let services: Vec<ServiceWish> = serde_json::from_str(text).map_err(|_| unusable(SERVICES, text, form))?;
    let mut names = BTreeSet::new();
    let mut ports = BTreeSet::new();
    for service in &services {
        let refuse = |value: &str, form: &str| Err(unusable(SERVICES, value, form));
        if !is_host_name(&service.name) || !names.insert(&service.name) {
            return refuse(&service.name, "a different name for each service, of lower-case letters, digits and `-`");
        }
        if service.image.trim().is_empty() {
            return refuse(&service.image, "the name of an image");
        }
        if let Some((name, _)) = service.env.iter().find(|(name, value)| !is_variable_name(name) || value.contains('\0')) {
            return refuse(name, "names of variables with letters, digits and `_`");
        }
        if !(1..=MOST_READY_SECONDS).contains(&service.ready_seconds) {
            return refuse(&service.ready_seconds.to_string(), "a time limit of 1 to 3600 seconds");
        }
        if let Some(port) = service.ports.iter().find(|port| **port == 0 || !ports.insert(**port)) {
            return refuse(&port.to_string(), "different ports, because all services share one network");
        }
        let is_folder = |path: &&String| path.starts_with('/') && path.len() > 1 && inside_path(path, "/").is_some();
        if let Some(path) = service.volumes.iter().find(|path| !is_folder(path)) {
            return refuse(path, "absolute paths in the container");
        }
    }
    Ok(services)
}

fn is_host_name(name: &str) -> bool {
    let in_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let is_valid = !name.is_empty() && name.len() <= 40 && name.bytes().all(in_name);
    is_valid && !name.starts_with('-') && !name.ends_with('-') && name != "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<ServiceWish>, Failure> {
        services(&|name| (name == SERVICES).then_some(text))
    }

    #[test]
    fn a_service_needs_only_a_name_and_an_image() {
        let found = read(r#"[{"name": "db", "image": "postgres:16"}, {"name": "cache", "image": "redis", "ports": [6379]}]"#);
        let found = found.expect("valid");
        assert_eq!((found[0].ready_seconds, found[0].ready.as_deref(), found[1].ports.as_slice()), (60, None, &[6379][..]));
        assert_eq!(services(&|_| None), Ok(vec![]));
    }

    #[test]
    fn services_that_cannot_work_are_refused() {
        for text in [
            "{}",
            r#"[{"name": "db"}]"#,
            r#"[{"name": "DB", "image": "x"}]"#,
            r#"[{"name": "a b", "image": "x"}]"#,
            r#"[{"name": "-a", "image": "x"}]"#,
            r#"[{"name": "localhost", "image": "x"}]"#,
            r#"[{"name": "db", "image": " "}]"#,
            r#"[{"name": "db", "image": "x"}, {"name": "db", "image": "x"}]"#,
            r#"[{"name": "db", "image": "x", "ports": [0]}]"#,
            r#"[{"name": "db", "image": "x", "ports": [80]}, {"name": "web", "image": "x", "ports": [80]}]"#,
            r#"[{"name": "db", "image": "x", "env": {"A B": "x"}}]"#,
            r#"[{"name": "db", "image": "x", "ready_seconds": 0}]"#,
            r#"[{"name": "db", "image": "x", "volumes": ["data"]}]"#,
            r#"[{"name": "db", "image": "x", "volumes": ["/"]}]"#,
            r#"[{"name": "db", "image": "x", "privileged": true}]"#,
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}
