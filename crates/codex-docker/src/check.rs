//! The command `check`: whether a container engine responds and has the image.
//! Without `--layers-in`, the check starts nothing, so it can run at any time.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::connect::{connect, refused};
use crate::failure::Failure;
use crate::image::{self, ImageStatus};
use crate::layers::{self, LayerSupport};
use crate::run::{check_users, machine};
use crate::settings::state_root;
use model::ErrorCode;
use model::container::{ContainerProblem, LayerFallback};

/// The result, as `check --json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct CheckReport {
    /// Whether a run could start.
    pub(crate) usable: bool,
    /// The container engine, if it responds.
    pub(crate) engine: Option<EngineStatus>,
    /// The image, if the container engine has it.
    pub(crate) image: Option<ImageStatus>,
    /// Why no run can start.
    pub(crate) problem: Option<ContainerProblem>,
    /// Whether layers work in the specified folder, if the container engine and the image are usable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) layers: Option<LayerSupport>,
}

/// The container engine.
#[derive(Debug, Serialize)]
pub(crate) struct EngineStatus {
    /// The engine's version.
    pub(crate) version: String,
    /// Whether containers keep running while the engine restarts.
    pub(crate) live_restore: bool,
    /// Whether the engine runs without root privileges.
    pub(crate) rootless: bool,
    /// The memory of the container engine's machine in bytes, if known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) memory_bytes: Option<u64>,
}

impl CheckReport {
    /// Returns lines of text that describe the container engine and the image.
    pub(crate) fn lines(&self, image: &str) -> Vec<String> {
        let engine = self.engine.as_ref().map(|engine| {
            format!("container engine: {}{}", engine.version, if engine.live_restore { ", live-restore" } else { "" })
        });
        let image = self
            .image
            .as_ref()
            .map(|found| format!("image: {image}, Codex {}", found.codex_version.as_deref().unwrap_or("unknown")));
        let layers = self.layers.iter().map(|support| {
            let folder = support.folder.display();
            let reason = support.reason.as_deref().unwrap_or("the container engine cannot mount them");
            if support.overlay {
                format!("layers in {folder}: overlays")
            } else {
                let fallback = match support.fallback {
                    LayerFallback::Reflink => "copies that share blocks",
                    LayerFallback::Copy => "copies",
                };
                format!("layers in {folder}: {fallback} instead of overlays, because {reason}")
            }
        });
        engine.into_iter().chain(image).chain(layers).collect()
    }

    /// Returns lines of text that describe the problem.
    pub(crate) fn problem_lines(&self) -> Vec<String> {
        let problem = self.problem.iter();
        problem
            .flat_map(|problem| {
                [problem.detail.clone()].into_iter().chain(problem.hints.iter().map(|hint| format!("hint: {hint}")))
            })
            .collect()
    }
}

/// Checks the container engine and the image, and whether layers work in a folder. Starts a container only for the layers.
pub(crate) async fn check(environment: &BTreeMap<String, String>, image: &str, layers_in: Option<&Path>) -> CheckReport {
    let mut checked = CheckReport { usable: false, engine: None, image: None, problem: None, layers: None };
    match look(environment, image, layers_in, &mut checked).await {
        Ok(()) => checked.usable = true,
        Err(failure) => checked.problem = Some(failure.into()),
    }
    checked
}

async fn look(
    environment: &BTreeMap<String, String>,
    image: &str,
    layers_in: Option<&Path>,
    checked: &mut CheckReport,
) -> Result<(), Failure> {
    let docker = connect(environment).await?;
    let info = docker
        .info()
        .await
        .map_err(|error| refused(ErrorCode::EngineFailed, "could not get information about the container engine", &error))?;
    let options = info.security_options.unwrap_or_default();
    checked.engine = Some(EngineStatus {
        version: info.server_version.unwrap_or_default(),
        live_restore: info.live_restore_enabled.unwrap_or(false),
        rootless: options.iter().any(|option| option.contains("name=rootless")),
        memory_bytes: info.mem_total.and_then(|bytes| u64::try_from(bytes).ok()),
    });
    check_users(&options)?;
    checked.image = image::status(&docker, image).await?;
    if checked.image.is_none() {
        return Err(image::missing(image));
    }
    if let Some(folder) = layers_in {
        let machine = machine(&docker, environment).await?;
        checked.layers = Some(layers::probe(&docker, &machine, &state_root(environment)?, image, folder).await);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_readable() {
        let engine =
            EngineStatus { version: "28.1.0".to_owned(), live_restore: true, rootless: false, memory_bytes: Some(8 << 30) };
        let problem = Some(image::missing("team/codex:1").into());
        let checked = CheckReport { usable: false, engine: Some(engine), image: None, problem, layers: None };
        let lines = [checked.lines("team/codex:1"), checked.problem_lines()].concat().join("\n");
        insta::assert_snapshot!(lines);
    }

    #[tokio::test]
    async fn each_thing_that_keeps_a_run_from_starting_is_named() {
        use serde_json::json;

        use crate::tests::{ScriptedEngine, found, missing, refusal};

        let version = || found(&json!({ "ApiVersion": "1.47" }));
        let remapping = || found(&json!({ "ServerVersion": "28.1.0", "SecurityOptions": ["name=seccomp", "name=userns"] }));
        let info =
            || found(&json!({ "ServerVersion": "28.1.0", "LiveRestoreEnabled": true, "SecurityOptions": ["name=rootless"] }));
        let present = || found(&json!({ "Id": "sha256:1", "Size": 1 }));
        for (info, image, expected, knows_engine) in [
            (info(), present(), None, true),
            (info(), missing(), Some(ErrorCode::ImageMissing), true),
            (remapping(), present(), Some(ErrorCode::EngineRemapsUsers), true),
            (info(), refusal(500, "no space left on device"), Some(ErrorCode::DiskFull), true),
            (refusal(500, "x"), present(), Some(ErrorCode::EngineFailed), false),
            (found(&json!({})), present(), None, true),
        ] {
            let story = format!("{info:?} {image:?}");
            let engine = ScriptedEngine::start(move |asked| match asked.line.as_str() {
                "GET /version" => version(),
                "GET /info" => info.clone(),
                _ => image.clone(),
            });
            let checked = check(&engine.environment(Path::new("/state")), "x:1", None).await;
            assert_eq!((checked.usable, checked.engine.is_some()), (expected.is_none(), knows_engine), "{story}");
            let problem = checked.problem.as_ref().and_then(|problem| problem.code.known());
            assert_eq!(problem, expected, "{story}");
            assert_eq!(checked.problem_lines().is_empty(), expected.is_none(), "{story}");
            assert_eq!(engine.changes(), [""; 0], "a check changes nothing: {story}");
        }
        let away = BTreeMap::from([("DOCKER_HOST".to_owned(), "unix:///nowhere/docker.sock".to_owned())]);
        let checked = check(&away, "x:1", None).await;
        assert!(!checked.usable && checked.lines("x:1").is_empty(), "{checked:?}");
        assert_eq!(checked.problem.and_then(|problem| problem.code.known()), Some(ErrorCode::EngineMissing));
    }

    #[test]
    fn lines_say_only_what_is_known() {
        let engine = |live_restore| EngineStatus { version: "5.0".to_owned(), live_restore, rootless: true, memory_bytes: None };
        let report = |live_restore| CheckReport {
            usable: true,
            engine: Some(engine(live_restore)),
            image: None,
            problem: None,
            layers: None,
        };
        assert_eq!(report(false).lines("x:1"), ["container engine: 5.0"]);
        assert_eq!(report(true).lines("x:1"), ["container engine: 5.0, live-restore"]);
        assert!(report(true).problem_lines().is_empty());
    }
}
