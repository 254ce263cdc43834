//! Whether containers can be made: what `codex-docker check --json` answers, and what of it the API repeats.
//! Shared by the program that answers and the one that asks, so that they cannot disagree.

use serde::{Deserialize, Serialize};

use crate::error_code::AnyCode;
use crate::report::Report;

/// What a container worker works with, as `codex-docker check --json` says it and the API repeats it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContainerStatus {
    /// The container engine, if it answers.
    #[serde(default)]
    pub engine: Option<ContainerEngine>,
    /// The image, if it is there.
    #[serde(default)]
    pub image: Option<ContainerImage>,
}

/// A container engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContainerEngine {
    /// What it calls its version.
    pub version: String,
    /// Whether containers survive a restart of it.
    #[serde(default)]
    pub live_restore: bool,
    /// Whether it runs as a plain user.
    #[serde(default)]
    pub rootless: bool,
}

/// An image that runs are made from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct ContainerImage {
    /// Its name.
    pub name: String,
    /// The Codex CLI in it, where it says so.
    #[serde(default)]
    pub codex_version: Option<String>,
    /// The version of this program that it was built for, where it says so.
    #[serde(default)]
    pub built_for: Option<String>,
    /// Whether another one should be built.
    #[serde(default)]
    pub stale: bool,
}

/// The whole answer of `codex-docker check --json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerCheck {
    /// Whether a run could be started now.
    pub usable: bool,
    /// What there is to work with.
    #[serde(flatten)]
    pub status: ContainerStatus,
    /// Why no run could be started.
    #[serde(default)]
    pub problem: Option<ContainerProblem>,
}

/// Why no container could be started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerProblem {
    /// Stable, for scripts.
    pub code: AnyCode,
    /// One sentence.
    pub detail: String,
    /// What to do next.
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
    fn the_form_of_the_answer_stays_what_it_is() {
        let text = r#"{"usable":false,"engine":{"version":"20.10.24","live_restore":true,"rootless":false},"image":null,"problem":{"code":"image_missing","detail":"no image","hints":["build it"]}}"#;
        let check: ContainerCheck = serde_json::from_str(text).expect("an answer");
        assert_eq!(serde_json::to_string(&check).expect("JSON"), text);
        assert!(check.status.image.is_none() && check.status.engine.is_some());
        let least: ContainerCheck = serde_json::from_str(r#"{"usable":true}"#).expect("an answer");
        assert!(least.usable && least.problem.is_none());
    }
}
