//! Builds an image with the engine's classic builder.
//!
//! Labels describe the image. The name moves to the new image at the end, so it never refers to an incomplete image.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{BuildInfo, ImageInspect};
use bollard::query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, RemoveImageOptions};
use futures_util::StreamExt as _;

use super::context::{self, CHECK, DOCKERFILE, fingerprint};
use super::names::{CODEX_VERSION, DEFAULT_BASE, DEFAULT_IMAGE, DEFAULT_REGISTRY, image_of};
use super::progress::Progress;
use super::registry;
use super::status::{BASE, BUILT_FOR, CODEX, CUSTOM, DOCKERFILE_HASH, ImageStatus, status};
use super::trouble::{BuildOutput, explain, words_of};
use crate::failure::Failure;
use model::ErrorCode;

/// The build argument with the name of our image, for a custom Dockerfile that extends it.
const OUR_IMAGE: &str = "CODEX_DOCKER_IMAGE";

/// The settings of a build.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Build {
    /// The name of the image.
    pub tag: String,
    /// The base image.
    pub base: String,
    /// The version of Codex.
    pub codex_version: String,
    /// The npm registry to download Codex from.
    pub registry: String,
    /// Additional certificates to trust, one PEM block each.
    pub certificates: Vec<String>,
    /// The text of a custom Dockerfile, instead of the built-in one.
    pub dockerfile: Option<String>,
    /// Whether to build without the cache.
    pub no_cache: bool,
}

impl Default for Build {
    fn default() -> Self {
        Self {
            tag: DEFAULT_IMAGE.to_owned(),
            base: DEFAULT_BASE.to_owned(),
            codex_version: CODEX_VERSION.to_owned(),
            registry: DEFAULT_REGISTRY.to_owned(),
            certificates: Vec::new(),
            dockerfile: None,
            no_cache: false,
        }
    }
}

impl Build {
    /// Returns the build arguments. A custom Dockerfile also gets the name of our image.
    fn arguments(&self) -> HashMap<String, String> {
        let mut arguments = vec![("CODEX_VERSION", self.codex_version.clone()), ("NPM_REGISTRY", self.registry.clone())];
        if self.dockerfile.is_some() {
            arguments.push((OUR_IMAGE, image_of(&self.codex_version)));
        }
        // A custom Dockerfile can set its own base, which is used unless the caller names another one.
        if self.dockerfile.is_none() || self.base != DEFAULT_BASE {
            arguments.push(("BASE", self.base.clone()));
        }
        arguments.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Returns the labels of the image. For a custom Dockerfile, the versions are unknown.
    fn labels(&self) -> HashMap<String, String> {
        let mut labels = vec![(BUILT_FOR, env!("CARGO_PKG_VERSION").to_owned())];
        match &self.dockerfile {
            None => labels.extend([
                (CODEX, self.codex_version.clone()),
                (BASE, self.base.clone()),
                (DOCKERFILE_HASH, fingerprint(DOCKERFILE)),
            ]),
            Some(text) => labels.push((DOCKERFILE_HASH, format!("{CUSTOM}{}", fingerprint(text)))),
        }
        labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Returns the build of our image, if the custom Dockerfile extends it.
    pub(super) fn needs_first(&self) -> Option<Self> {
        let text = self.dockerfile.as_ref()?;
        let ours = Self { tag: image_of(&self.codex_version), dockerfile: None, ..self.clone() };
        text.contains(OUR_IMAGE).then_some(ours)
    }

    fn text(&self) -> String {
        self.dockerfile.as_ref().map_or_else(|| DOCKERFILE.to_owned(), |text| format!("{}\n{CHECK}\n", text.trim_end()))
    }

    fn options(&self) -> BuildImageOptions {
        BuildImageOptionsBuilder::new()
            .dockerfile("Dockerfile")
            .t(&self.tag)
            .buildargs(&self.arguments())
            .labels(&self.labels())
            .nocache(self.no_cache)
            .rm(true)
            .forcerm(true)
            .build()
    }
}

/// Builds an image and returns its status. Removes the image that had the name before, unless it is in use.
pub async fn build(docker: &Docker, wanted: &Build, mut show: impl FnMut(Progress<'_>) + Send) -> Result<ImageStatus, Failure> {
    registry::check_address(&wanted.registry)?;
    if wanted.dockerfile.is_none() {
        registry::check_version(&wanted.registry, &wanted.codex_version, &wanted.certificates).await?;
    }
    let doing = format!("build `{}`", wanted.tag);
    let before = status(docker, &wanted.tag).await?;
    let archive = context::archive(&wanted.text(), &wanted.certificates)
        .map_err(|error| Failure::new(ErrorCode::Internal, format!("could not {doing}: {error}")))?;
    let mut stream = docker.build_image(wanted.options(), None, Some(bollard::body_full(archive.into())));
    let mut listener = Listener::default();
    while let Some(said) = stream.next().await {
        match said {
            Ok(said) => listener.hear(said, &mut show),
            Err(error) => return Err(explain(&doing, &words_of(&error), &listener.heard)),
        }
    }
    let built = status(docker, &wanted.tag)
        .await?
        .ok_or_else(|| explain(&doing, "the engine finished without an image", &listener.heard))?;
    if let Some(old) = before.filter(|old| old.id != built.id) {
        forget(docker, &old.id).await;
    }
    Ok(built)
}

/// Removes an image that no longer has a name, unless a container or another image needs it.
async fn forget(docker: &Docker, id: &str) {
    let nameless = |image: &ImageInspect| image.repo_tags.as_ref().is_none_or(Vec::is_empty);
    let removed = match docker.inspect_image(id).await {
        Ok(image) if nameless(&image) => docker.remove_image(id, None::<RemoveImageOptions>, None).await.map(drop),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    };
    if let Err(error) = removed {
        tracing::debug!(%error, id, "kept the previous image");
    }
}

/// The prefixes of lines in which the builder describes its own work.
const ABOUT_ITSELF: &[&str] = &[" --->", "Removing intermediate container", "[Warning] One or more build-args", "Successfully "];

/// Splits the output of the builder into steps and lines.
#[derive(Debug, Default)]
struct Listener {
    heard: BuildOutput,
    rest: String,
}

impl Listener {
    fn hear(&mut self, said: BuildInfo, show: &mut impl FnMut(Progress<'_>)) {
        if let Some(status) = said.status {
            let layer = said.id.map(|id| format!("{id} ")).unwrap_or_default();
            show(Progress::Line(&format!("{layer}{status}")));
        }
        self.rest.push_str(&said.stream.unwrap_or_default());
        while let Some(end) = self.rest.find(['\n', '\r']) {
            let line: String = self.rest.drain(..=end).collect();
            self.line(plain(&line).trim_end(), show);
        }
    }

    fn line(&mut self, line: &str, show: &mut impl FnMut(Progress<'_>)) {
        if let Some((number, total, instruction)) = step(line) {
            self.heard.step(instruction);
            show(Progress::Step { number, total, instruction });
        } else if !line.is_empty() && !ABOUT_ITSELF.iter().any(|start| line.starts_with(start)) {
            self.heard.line(line);
            show(Progress::Line(line));
        }
    }
}

/// Parses `Step 2/9 : RUN x`, or Podman's `STEP 2/9: RUN x`.
fn step(line: &str) -> Option<(u32, u32, &str)> {
    let rest = line.strip_prefix("Step ").or_else(|| line.strip_prefix("STEP "))?;
    let (count, instruction) = rest.split_once(':')?;
    let (number, total) = count.trim().split_once('/')?;
    Some((number.parse().ok()?, total.parse().ok()?, instruction.trim()))
}

/// Removes the color codes that the builder adds to stderr.
fn plain(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |plain, piece| {
        plain + piece.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';').get(1..).unwrap_or_default()
    })
}

#[cfg(test)]
#[path = "build_tests.rs"]
mod tests;
