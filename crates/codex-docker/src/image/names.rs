//! What images are called, and what goes into them unless somebody says otherwise.
//!
//! The version of Codex comes from the one place that pins it.

/// The version of Codex in an image of ours.
pub const CODEX_VERSION: &str = model::CODEX_VERSION;

/// The image that is used unless another one is named: `codex-docker:<version of Codex>`.
pub const DEFAULT_IMAGE: &str = match std::str::from_utf8(&DEFAULT_IMAGE_BYTES) {
    Ok(name) => name,
    Err(_) => panic!("both halves are text"),
};

/// What an image is built on. As in the Dockerfile.
pub const DEFAULT_BASE: &str = "debian:bookworm-slim";

/// Where Codex comes from. As in the Dockerfile.
pub const DEFAULT_REGISTRY: &str = "https://registry.npmjs.org";

/// The part of [`DEFAULT_IMAGE`] before the version.
const REPOSITORY: &str = "codex-docker:";

/// `concat!` takes no constants.
const DEFAULT_IMAGE_BYTES: [u8; REPOSITORY.len() + CODEX_VERSION.len()] = {
    let mut bytes = [0; REPOSITORY.len() + CODEX_VERSION.len()];
    let (first, second) = bytes.split_at_mut(REPOSITORY.len());
    first.copy_from_slice(REPOSITORY.as_bytes());
    second.copy_from_slice(CODEX_VERSION.as_bytes());
    bytes
};

/// The image of ours with this version of Codex.
pub(super) fn image_of(codex_version: &str) -> String {
    format!("{REPOSITORY}{codex_version}")
}

#[cfg(test)]
mod tests {
    use super::super::context::DOCKERFILE;
    use super::*;

    #[test]
    fn the_usual_image_is_named_by_the_pinned_version() {
        assert_eq!(DEFAULT_IMAGE, image_of(model::CODEX_VERSION));
    }

    #[test]
    fn the_dockerfile_has_the_same_defaults() {
        assert!(DOCKERFILE.contains(&format!("ARG BASE={DEFAULT_BASE}\n")));
        assert!(DOCKERFILE.contains(&format!("ARG NPM_REGISTRY={DEFAULT_REGISTRY}\n")));
    }
}
