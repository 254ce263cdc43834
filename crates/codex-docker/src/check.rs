//! Whether containers can be run here: an engine that answers, and an image with Codex in it.
//! It looks and starts nothing, so it can be asked at any time.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::connect::{connect, refused};
use crate::failure::Failure;
use crate::image::{self, ImageStatus};

/// The answer, as `check --json` prints it.
#[derive(Debug, Serialize)]
pub(crate) struct Checked {
    /// Whether a run can start.
    pub(crate) usable: bool,
    /// The engine, if one answers.
    pub(crate) engine: Option<EngineStatus>,
    /// The image, if it is there.
    pub(crate) image: Option<ImageStatus>,
    /// What is wrong, and what to do.
    pub(crate) problem: Option<ProblemStatus>,
}

/// The engine.
#[derive(Debug, Serialize)]
pub(crate) struct EngineStatus {
    /// Its own version.
    pub(crate) version: String,
    /// Whether containers survive a restart of it.
    pub(crate) live_restore: bool,
    /// Whether it runs as a plain user.
    pub(crate) rootless: bool,
}

/// A [`Failure`], for scripts.
#[derive(Debug, Serialize)]
pub(crate) struct ProblemStatus {
    /// Stable, for scripts.
    pub(crate) code: &'static str,
    /// What is wrong.
    pub(crate) detail: String,
    /// What to do next.
    pub(crate) hints: Vec<String>,
}

impl From<Failure> for ProblemStatus {
    fn from(failure: Failure) -> Self {
        Self { code: failure.code, detail: failure.message, hints: failure.hints }
    }
}

/// Looks at the engine and the image. Starts nothing.
pub(crate) async fn check(environment: &BTreeMap<String, String>, image: &str) -> Checked {
    let mut checked = Checked { usable: false, engine: None, image: None, problem: None };
    match look(environment, image, &mut checked).await {
        Ok(()) => checked.usable = true,
        Err(failure) => checked.problem = Some(failure.into()),
    }
    checked
}

async fn look(environment: &BTreeMap<String, String>, image: &str, checked: &mut Checked) -> Result<(), Failure> {
    let docker = connect(environment).await?;
    let info = docker.info().await.map_err(|error| refused("engine_failed", "the engine does not say what it is", &error))?;
    let options = info.security_options.unwrap_or_default();
    checked.engine = Some(EngineStatus {
        version: info.server_version.unwrap_or_default(),
        live_restore: info.live_restore_enabled.unwrap_or(false),
        rootless: options.iter().any(|option| option.contains("name=rootless")),
    });
    checked.image = image::status(&docker, image).await?;
    match &checked.image {
        Some(_) => Ok(()),
        None => Err(image::missing(image)),
    }
}
