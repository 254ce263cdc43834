//! Checks the dependencies between crates, and that every crate uses the workspace's lints.
//!
//! The dependencies come from cargo, so that renamed and optional ones are included. Development dependencies are not
//! restricted.

use std::path::Path;

use serde_json::Value;

use super::TidyError;
use crate::tools::cargo;

/// Dependencies that a crate must not have, because a different crate is responsible for them.
const WALLS: &[(&str, &[&str])] = &[
    (
        "model",
        &[
            "axum",
            "bollard",
            "clap",
            "fs-err",
            "notify",
            "process",
            "protocol",
            "reqwest",
            "rustix",
            "scripted-model",
            "tempfile",
            "tokio",
        ],
    ),
    ("highlight", &["fs-err", "maud", "model", "rustix", "tokio"]),
    ("printable", &["fs-err", "model", "rustix", "tokio"]),
    ("markup", &["axum", "engine", "fs-err", "rustix", "tokio"]),
    ("environment-file", &["engine", "fs-err", "process", "protocol", "rustix", "store", "tokio"]),
    ("request-headers", &["axum", "hyper", "model", "rustix", "tokio"]),
    ("durable", &["model", "process", "reqwest"]),
    ("process", &["durable", "model", "reqwest", "store"]),
    ("git", &["config", "forge", "reqwest", "runner", "store"]),
    ("socket-path", &["fs-err", "model", "reqwest", "rustix"]),
    ("client", &["clap", "config", "durable", "forge", "fs-err", "git", "process", "runner", "rustix", "store"]),
    ("protocol", &["client", "fs-err", "process", "reqwest", "rustix", "store", "tokio"]),
    ("store", &["config", "forge", "git", "protocol", "reqwest", "runner"]),
    ("sign-in", &["axum", "engine", "git", "protocol", "reqwest", "runner"]),
    ("run-logs", &["axum", "durable", "engine", "git", "protocol", "reqwest", "runner", "store"]),
    ("artifacts", &["axum", "engine", "git", "process", "protocol", "reqwest", "runner", "store", "tokio"]),
    ("forge", &["config", "durable", "fs-err", "git", "process", "rustix", "store", "tokio"]),
    ("notifications", &["config", "forge", "git", "process", "protocol", "runner"]),
    ("config", &["durable", "forge", "git", "reqwest", "store", "tokio"]),
    ("runner", &["axum", "bollard", "forge", "notifications", "reqwest"]),
    ("setups", &["axum", "bollard", "engine", "reqwest", "rustix", "store", "tokio"]),
    ("spine", &["axum", "forge", "git", "notifications", "process", "reqwest", "runner", "rustix"]),
    ("environments", &["axum", "bollard", "clap", "hyper", "maud", "notify", "reqwest", "rustix", "scripted-model", "sign-in"]),
    ("doctor", &["engine", "forge", "notifications", "reqwest"]),
    ("engine", &["axum", "bollard", "clap", "hyper", "maud", "notify", "reqwest", "rustix", "scripted-model"]),
    ("web", &["bollard", "clap", "fs-err", "runner", "rustix", "scripted-model", "store"]),
    ("codex-docker", &["axum", "durable", "git", "maud", "process", "runner", "scripted-model", "store"]),
    ("scripted-model", &["bollard", "model"]),
];

/// The crates that may use each of these. All other crates of the product must not.
const TOPS: &[(&str, &[&str])] = &[
    ("codex-orchestrator", &[]),
    ("client", &["codex-orchestrator"]),
    ("web", &["codex-orchestrator"]),
    ("codex-docker", &["codex-orchestrator"]),
    ("engine", &["codex-orchestrator", "web"]),
    ("environments", &["engine"]),
    ("spine", &["engine", "environments"]),
];

/// Returns complaints about forbidden dependencies, and about crates that do not use the workspace's lints.
pub(super) fn complaints(root: &Path) -> Result<Vec<String>, TidyError> {
    let metadata = metadata(root)?;
    let mut complaints = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        complaints.extend(broken_walls(package));
        let manifest = Path::new(package["manifest_path"].as_str().unwrap_or_default());
        if !super::read(manifest)?.contains("[lints]\nworkspace = true") {
            let name = manifest.strip_prefix(root).unwrap_or(manifest).display();
            complaints.push(format!("{name}: must have `[lints]` with `workspace = true`"));
        }
    }
    Ok(complaints)
}

fn broken_walls(package: &Value) -> Vec<String> {
    let name = package["name"].as_str().unwrap_or_default();
    let walls = WALLS.iter().filter(|(wall, _)| *wall == name).flat_map(|(_, forbidden)| forbidden.iter().copied());
    let tops = TOPS.iter().filter(|(_, users)| !users.contains(&name)).map(|(top, _)| *top);
    let forbidden: Vec<&str> = walls.chain(tops).collect();
    let dependencies = package["dependencies"].as_array().into_iter().flatten();
    dependencies
        .filter(|dependency| dependency["kind"] != "dev")
        .filter_map(|dependency| dependency["name"].as_str())
        .filter(|dependency| forbidden.contains(dependency))
        .map(|dependency| format!("crate {name}: must not depend on {dependency}"))
        .collect()
}

fn metadata(root: &Path) -> Result<Value, TidyError> {
    let arguments = ["metadata", "--format-version", "1", "--no-deps"];
    let output = cargo(root).args(arguments).output().map_err(|error| TidyError::Metadata(error.to_string()))?;
    if !output.status.success() {
        return Err(TidyError::Metadata(String::from_utf8_lossy(&output.stderr).trim().to_owned()));
    }
    serde_json::from_slice(&output.stdout).map_err(|error| TidyError::Metadata(error.to_string()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn package(name: &str, dependency: &str, kind: &str) -> Value {
        json!({"name": name, "dependencies": [{"name": dependency, "kind": (kind != "normal").then_some(kind)}]})
    }

    #[test]
    fn a_crate_that_reaches_through_a_wall_is_named() {
        let check = |name, dependency, kind, expect: &[&str]| {
            assert_eq!(broken_walls(&package(name, dependency, kind)), expect);
        };
        check("model", "tokio", "normal", &["crate model: must not depend on tokio"]);
        check("model", "tokio", "build", &["crate model: must not depend on tokio"]);
        check("model", "tokio", "dev", &[]);
        check("engine", "tokio", "normal", &[]);
        check("engine", "web", "normal", &["crate engine: must not depend on web"]);
        check("engine", "bollard", "normal", &["crate engine: must not depend on bollard"]);
        check("codex-docker", "engine", "normal", &["crate codex-docker: must not depend on engine"]);
    }

    #[test]
    fn walls_stand_between_crates_that_exist() {
        let metadata = metadata(crate::root()).expect("cargo can read this workspace");
        let packages = metadata["packages"].as_array().expect("the metadata lists the crates");
        let names: Vec<_> = packages.iter().filter_map(|package| package["name"].as_str()).collect();
        for name in WALLS.iter().chain(TOPS).map(|(name, _)| name) {
            assert!(names.contains(name), "{name} is not among {names:?}");
        }
    }
}
