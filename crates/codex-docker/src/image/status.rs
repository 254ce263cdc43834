//! Reads the labels of an image.
//!
//! An image is stale if this program would now build a different one. An image without our labels is foreign: its content is
//! unknown, so it never counts as stale.

use std::collections::HashMap;

use bollard::Docker;
use serde::Serialize;

use super::context::{DOCKERFILE, fingerprint, fingerprint_with_tools};
use super::names::CODEX_VERSION;
use super::trouble::{BuildOutput, explain, words_of};
use crate::connect::status_of;
use crate::failure::Failure;

/// The label with the version of Codex.
pub(super) const CODEX: &str = "codex-docker.codex-version";

/// The label with the hash of the Dockerfile. A custom Dockerfile has the prefix `custom:`.
pub(super) const DOCKERFILE_HASH: &str = "codex-docker.dockerfile";

/// The label with the base image.
pub(super) const BASE: &str = "codex-docker.base";

/// The label with the version of this program.
pub(super) const BUILT_FOR: &str = "codex-docker.version";

/// The label with the versions of language tools that were asked for.
pub(super) const TOOLS: &str = "codex-docker.tools";

/// The prefix of [`DOCKERFILE_HASH`] for a custom Dockerfile.
pub(super) const CUSTOM: &str = "custom:";

/// Who built an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// This program, from the built-in Dockerfile.
    Shipped,
    /// This program, from a custom Dockerfile.
    Custom,
    /// Another program built the image.
    Foreign,
}

/// The description of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageStatus {
    /// The name that was requested.
    pub name: String,
    /// The image's ID in the container engine.
    pub id: String,
    /// The image's size in bytes, including its base image.
    pub size: u64,
    /// Who built the image.
    pub origin: Origin,
    /// The version of Codex in the image, if known.
    pub codex_version: Option<String>,
    /// The base image, if known.
    pub base: Option<String>,
    /// The versions of language tools that were asked for, such as `node=22 rust=stable`.
    pub tools: Option<String>,
    /// The version of this program that built the image, if known.
    pub built_for: Option<String>,
    /// Whether this program would now build a different image.
    pub stale: bool,
}

/// Returns the image with this name, if the engine has it.
pub async fn status(docker: &Docker, name: &str) -> Result<Option<ImageStatus>, Failure> {
    let image = match docker.inspect_image(name).await {
        Ok(image) => image,
        Err(error) if status_of(&error) == Some(404) => return Ok(None),
        Err(error) => return Err(explain(&format!("inspect `{name}`"), &words_of(&error), &BuildOutput::default())),
    };
    let labels = image.config.and_then(|config| config.labels).unwrap_or_default();
    let size = u64::try_from(image.size.unwrap_or_default()).unwrap_or_default();
    Ok(Some(of_labels(name, image.id.unwrap_or_default(), size, &labels)))
}

/// Returns whether the engine has an image with this name.
pub async fn exists(docker: &Docker, name: &str) -> Result<bool, Failure> {
    Ok(status(docker, name).await?.is_some())
}

fn of_labels(name: &str, id: String, size: u64, labels: &HashMap<String, String>) -> ImageStatus {
    let label = |key: &str| labels.get(key).filter(|value| !value.is_empty()).cloned();
    let codex_version = label(CODEX);
    let (origin, same_dockerfile) = match label(DOCKERFILE_HASH) {
        Some(hash) if hash.starts_with(CUSTOM) => (Origin::Custom, true),
        Some(hash) => (Origin::Shipped, hash == fingerprint(DOCKERFILE) || hash == fingerprint_with_tools()),
        None => (Origin::Foreign, true),
    };
    let same_codex = codex_version.as_ref().is_none_or(|version| version == CODEX_VERSION);
    let stale = origin != Origin::Foreign && !(same_dockerfile && same_codex);
    ImageStatus {
        name: name.to_owned(),
        id,
        size,
        origin,
        codex_version,
        base: label(BASE),
        tools: label(TOOLS),
        built_for: label(BUILT_FOR),
        stale,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(labels: &[(&str, &str)]) -> ImageStatus {
        let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        of_labels("x:1", "sha256:0".to_owned(), 7, &labels)
    }

    #[test]
    fn an_image_is_stale_when_another_one_would_be_built_today() {
        let ours = fingerprint(DOCKERFILE);
        let check = |dockerfile: &str, codex: &str, origin, stale| {
            let status = seen(&[(DOCKERFILE_HASH, dockerfile), (CODEX, codex)]);
            assert_eq!((status.origin, status.stale), (origin, stale), "{dockerfile} {codex}");
        };
        check(&ours, CODEX_VERSION, Origin::Shipped, false);
        check(&fingerprint_with_tools(), CODEX_VERSION, Origin::Shipped, false);
        check(&ours, "0.1.0", Origin::Shipped, true);
        check("0123", CODEX_VERSION, Origin::Shipped, true);
        check("custom:0123", CODEX_VERSION, Origin::Custom, false);
        check("custom:0123", "0.1.0", Origin::Custom, true);
        check("custom:0123", "", Origin::Custom, false);
    }

    #[test]
    fn of_a_foreign_image_nothing_is_claimed() {
        let status = seen(&[("maintainer", "me")]);
        assert_eq!((status.origin, status.stale, status.codex_version), (Origin::Foreign, false, None));
        assert_eq!((status.name.as_str(), status.id.as_str(), status.size), ("x:1", "sha256:0", 7));
    }
}
