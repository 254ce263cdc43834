//! Builds an image with the engine's classic builder.
//!
//! Labels describe the image. The name moves to the new image at the end, so it never refers to an incomplete image. Invariant: a
//! build that fails or is stopped leaves no image without a name.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::models::BuildInfo;
use bollard::query_parameters::{BuildImageOptions, BuildImageOptionsBuilder, RemoveImageOptions, RemoveImageOptionsBuilder};
use futures_util::StreamExt as _;
use tokio_util::io::ReaderStream;

use super::context::{CHECK, DOCKERFILE, DOCKERFILE_PATH, OwnFiles, fingerprint, fingerprint_with_tools};
use super::names::{CODEX_VERSION, DEFAULT_BASE, DEFAULT_IMAGE, DEFAULT_PYPI_INDEX, DEFAULT_REGISTRY, image_of};
use super::progress::Progress;
use super::repository::RepositoryFiles;
use super::status::{BASE, BUILT_FOR, CODEX, CUSTOM, DOCKERFILE_HASH, ImageStatus, TOOLS, status};
use super::tools::{self, Sources, Tools};
use super::trouble::{BuildOutput, explain, words_of};
use super::{registry, warm};
use crate::connect::status_of;
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
    /// The files of a repository that a custom Dockerfile may copy.
    pub files: Option<RepositoryFiles>,
    /// The versions of language tools. They are installed after the steps of the Dockerfile, or on our image.
    pub tools: Tools,
    /// Where tools are downloaded from.
    pub sources: Sources,
    /// The index to install Python packages from.
    pub pypi_index: String,
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
            files: None,
            tools: Tools::new(),
            sources: Sources::default(),
            pypi_index: DEFAULT_PYPI_INDEX.to_owned(),
            no_cache: false,
        }
    }
}

impl Build {
    /// Returns the build arguments. A custom Dockerfile also gets the name of our image.
    fn arguments(&self) -> HashMap<String, String> {
        let mut arguments = vec![
            ("CODEX_VERSION", self.codex_version.clone()),
            ("NPM_REGISTRY", self.registry.clone()),
            ("PYPI_INDEX", self.pypi_index.clone()),
        ];
        if !self.is_plain() {
            arguments.push((OUR_IMAGE, image_of(&self.codex_version)));
        }
        // A custom Dockerfile can set its own base, which is used unless the caller names another one.
        if self.is_plain() || self.base != DEFAULT_BASE {
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
                (DOCKERFILE_HASH, if self.is_plain() { fingerprint(DOCKERFILE) } else { fingerprint_with_tools() }),
            ]),
            Some(text) => labels.push((DOCKERFILE_HASH, format!("{CUSTOM}{}", fingerprint(text)))),
        }
        if !self.tools.is_empty() {
            labels.push((TOOLS, tools::described(&self.tools)));
        }
        labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    /// Whether this is our image, without tools.
    fn is_plain(&self) -> bool {
        self.dockerfile.is_none() && self.tools.is_empty()
    }

    /// Returns the build of our image, if the custom Dockerfile or the tools extend it.
    pub(super) fn needs_first(&self) -> Option<Self> {
        let extends = self.dockerfile.as_ref().map_or(!self.tools.is_empty(), |text| text.contains(OUR_IMAGE));
        let ours =
            Self { tag: image_of(&self.codex_version), dockerfile: None, files: None, tools: Tools::new(), ..self.clone() };
        extends.then_some(ours)
    }

    /// Whether our image must also be up to date, because the scripts that install tools need its programs.
    pub(super) fn needs_current_image(&self) -> bool {
        !self.tools.is_empty()
    }

    fn text(&self) -> String {
        if self.is_plain() {
            return DOCKERFILE.to_owned();
        }
        let start = self.dockerfile.clone().unwrap_or_else(|| format!("ARG {OUR_IMAGE}\nFROM ${{{OUR_IMAGE}}}\n"));
        format!("{}\n{}{CHECK}\n", start.trim_end(), tools::lines(&self.tools, &self.sources))
    }

    /// Returns our own files in the build context.
    fn own_files(&self) -> OwnFiles {
        // Only the built-in Dockerfile copies the certificates.
        let certificates = self.is_plain().then(|| self.certificates.clone());
        OwnFiles { dockerfile: self.text(), scripts: tools::scripts(&self.tools), certificates }
    }

    /// Returns the build context as a tar archive.
    async fn context(&self) -> Result<Archive, Failure> {
        let failed =
            |error: std::io::Error| Failure::new(ErrorCode::Internal, format!("could not build `{}`: {error}", self.tag));
        let Some(files) = self.files.clone() else {
            return self.own_files().archive().map(Archive::InMemory).map_err(failed);
        };
        let own = self.own_files();
        let packed = tokio::task::spawn_blocking(move || files.pack(&own)).await;
        Ok(Archive::OnDisk(packed.map_err(|error| failed(error.into()))??))
    }

    fn options(&self) -> BuildImageOptions {
        BuildImageOptionsBuilder::new()
            .dockerfile(DOCKERFILE_PATH)
            .t(&self.tag)
            .buildargs(&self.arguments())
            .labels(&self.labels())
            .nocache(self.no_cache)
            .rm(true)
            .forcerm(true)
            .build()
    }
}

/// A build context.
enum Archive {
    InMemory(Vec<u8>),
    /// A temporary file without a name.
    OnDisk(std::fs::File),
}

/// Builds an image and returns its status. Removes the image that had the name before, unless it is in use.
pub async fn build(docker: &Docker, wanted: &Build, show: impl FnMut(Progress<'_>) + Send) -> Result<ImageStatus, Failure> {
    build_until(docker, wanted, std::future::pending(), show).await
}

/// Builds an image like [`build`], until `stop` completes.
pub(super) async fn build_until(
    docker: &Docker,
    wanted: &Build,
    stop: impl Future<Output = Failure>,
    mut show: impl FnMut(Progress<'_>) + Send,
) -> Result<ImageStatus, Failure> {
    registry::check_address(&wanted.registry)?;
    registry::check_address(&wanted.pypi_index)?;
    if wanted.is_plain() {
        registry::check_version(&wanted.registry, &wanted.codex_version, &wanted.certificates).await?;
    }
    let doing = format!("build `{}`", wanted.tag);
    let before = status(docker, &wanted.tag).await?;
    let body = match wanted.context().await? {
        Archive::InMemory(bytes) => bollard::body_full(bytes.into()),
        Archive::OnDisk(file) => bollard::body_try_stream(ReaderStream::new(tokio::fs::File::from_std(file))),
    };
    let mut stream = docker.build_image(wanted.options(), None, Some(body));
    let mut listener = Listener::default();
    let ended = tokio::select! {
        ended = async {
            while let Some(said) = stream.next().await {
                match said {
                    Ok(said) => listener.hear(said, &mut show),
                    Err(error) => return Err(explain(&doing, &words_of(&error), &listener.heard)),
                }
            }
            Ok(())
        } => ended.map_err(|failure| (failure, Duration::ZERO)),
        why = stop => Err((why, STOP_LIMIT)),
    };
    // The engine stops a build whose connection is closed.
    drop(stream);
    if let Err((failure, patience)) = ended {
        forget_unfinished(docker, &listener.images, patience).await;
        return Err(failure);
    }
    let built = status(docker, &wanted.tag)
        .await?
        .ok_or_else(|| explain(&doing, "the engine finished without an image", &listener.heard))?;
    if before.as_ref().is_none_or(|old| old.id != built.id) {
        warm::start_once(docker, &built.id).await;
    }
    if let Some(old) = before.filter(|old| old.id != built.id) {
        forget(docker, &old.id).await;
    }
    Ok(built)
}

/// How long the engine may take to end the current step of a build that was stopped.
const STOP_LIMIT: Duration = Duration::from_secs(10);

/// How often the engine is asked in the meantime. It reports nothing that could be awaited.
const STOP_LOOK: Duration = Duration::from_millis(200);

/// Removes the images of the completed steps of a build that failed, from the last one to the first one. Stops at an image that has a
/// name, or that something else still uses after the time limit.
async fn forget_unfinished(docker: &Docker, images: &[String], limit: Duration) {
    let until = Instant::now() + limit;
    for id in images.iter().rev() {
        loop {
            let options = RemoveImageOptionsBuilder::new().noprune(true).build();
            match forget_nameless(docker, id, options).await {
                Forgotten::Gone => break,
                // The container of the current step uses the image until the engine has ended it.
                Forgotten::Used if Instant::now() < until => tokio::time::sleep(STOP_LOOK).await,
                Forgotten::Used | Forgotten::Kept => return,
            }
        }
    }
}

/// Removes an image that no longer has a name, unless a container or another image needs it.
async fn forget(docker: &Docker, id: &str) {
    forget_nameless(docker, id, RemoveImageOptions::default()).await;
}

/// What became of an image without a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Forgotten {
    /// It does not exist anymore.
    Gone,
    /// A container or another image uses it.
    Used,
    /// It has a name, or the engine did not remove it.
    Kept,
}

/// Removes an image if it has no name.
async fn forget_nameless(docker: &Docker, id: &str, options: RemoveImageOptions) -> Forgotten {
    let is_empty = |names: &Option<Vec<String>>| names.as_ref().is_none_or(Vec::is_empty);
    let removed = match docker.inspect_image(id).await {
        Ok(image) if is_empty(&image.repo_tags) && is_empty(&image.repo_digests) => {
            docker.remove_image(id, Some(options), None).await.map(|_| Forgotten::Gone)
        }
        Ok(_) => Ok(Forgotten::Kept),
        Err(error) => Err(error),
    };
    removed.unwrap_or_else(|error| match status_of(&error) {
        Some(404) => Forgotten::Gone,
        status => {
            tracing::debug!(%error, id, "kept an image without a name");
            if status == Some(409) { Forgotten::Used } else { Forgotten::Kept }
        }
    })
}

/// The prefixes of lines in which the builder describes its own work.
const ABOUT_ITSELF: &[&str] = &[" --->", "Removing intermediate container", "[Warning] One or more build-args", "Successfully "];

/// Splits the output of the builder into steps and lines.
#[derive(Debug, Default)]
struct Listener {
    heard: BuildOutput,
    rest: String,
    /// Whether the current step only starts from an existing image.
    starts: bool,
    /// The images of the completed steps.
    images: Vec<String>,
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
            self.starts = instruction.get(..5).is_some_and(|word| word.eq_ignore_ascii_case("FROM "));
            self.heard.step(instruction);
            show(Progress::Step { number, total, instruction });
        } else if let Some(id) = image_of_step(line).filter(|_| !self.starts) {
            self.images.push(id.to_owned());
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

/// Parses ` ---> 0123abcd`, the image of a completed step.
fn image_of_step(line: &str) -> Option<&str> {
    let id = line.strip_prefix(" ---> ")?;
    (id.len() >= 12 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
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
