//! The output of `codex-docker check --json`: whether runs can start in containers.
//! `codex-docker` writes this output, the engine reads it, and the API repeats parts of it.

use serde::{Deserialize, Serialize};

use crate::error_code::AnyCode;
use crate::report::Report;

/// The container engine and the image of a container worker.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContainerStatus {
    /// The container engine, if it responds.
    #[serde(default)]
    pub engine: Option<ContainerEngine>,
    /// The image, if it exists.
    #[serde(default)]
    pub image: Option<ContainerImage>,
}

/// A container engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContainerEngine {
    /// The version that the container engine reports.
    pub version: String,
    /// Whether containers survive a restart of the container engine.
    #[serde(default)]
    pub live_restore: bool,
    /// Whether the container engine runs without root privileges.
    #[serde(default)]
    pub rootless: bool,
    /// The memory of the container engine's machine in bytes, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
}

/// A container image for runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContainerImage {
    /// The name of the image.
    pub name: String,
    /// The version of the Codex CLI in the image, if known.
    #[serde(default)]
    pub codex_version: Option<String>,
    /// The version of Codex Orchestrator that the image was built for, if known.
    #[serde(default)]
    pub built_for: Option<String>,
    /// Whether the image is outdated and should be rebuilt.
    #[serde(default)]
    pub stale: bool,
}

/// The complete output of `codex-docker check --json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerCheck {
    /// Whether a run can start now.
    pub usable: bool,
    /// The container engine and the image.
    #[serde(flatten)]
    pub status: ContainerStatus,
    /// Why no run can start.
    #[serde(default)]
    pub problem: Option<ContainerProblem>,
    /// How tasks get the folders of a snapshot, if this was checked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<LayerCheck>,
}

/// How tasks get the folders of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerCheck {
    /// Whether the container engine can mount overlays.
    pub overlay: bool,
    /// Why it cannot.
    #[serde(default)]
    pub reason: Option<String>,
    /// What happens instead of mounting an overlay.
    pub fallback: LayerFallback,
}

/// How the folders of a snapshot are copied where overlays do not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LayerFallback {
    /// The copy shares the blocks of the original, so it is fast and small.
    Reflink,
    /// The copy takes time and disk space.
    Copy,
}

/// Why no run can start in a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerProblem {
    /// Stable error code for scripts.
    pub code: AnyCode,
    /// Error message.
    pub detail: String,
    /// Steps that may fix the problem.
    #[serde(default)]
    pub hints: Vec<String>,
}

impl From<Report> for ContainerProblem {
    fn from(report: Report) -> Self {
        Self { code: report.code, detail: report.message, hints: report.hints }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_format_is_stable() {
        let text = r#"{"usable":false,"engine":{"version":"20.10.24","live_restore":true,"rootless":false},"image":null,"problem":{"code":"image_missing","detail":"no image","hints":["build it"]}}"#;
        let check: ContainerCheck = serde_json::from_str(text).expect("the output is valid");
        assert_eq!(serde_json::to_string(&check).expect("the check can be serialized"), text);
        assert!(check.status.image.is_none() && check.status.engine.is_some());
        let least: ContainerCheck = serde_json::from_str(r#"{"usable":true}"#).expect("the output is valid");
        assert!(least.usable && least.problem.is_none());
    }
}
