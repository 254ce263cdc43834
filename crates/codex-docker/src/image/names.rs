//! The names of images, and the defaults for building them.
//!
//! The version of Codex is pinned in the crate `model`.

/// The default version of Codex.
pub const CODEX_VERSION: &str = model::CODEX_VERSION;

/// The default image: `codex-docker:<version of Codex>`.
pub const DEFAULT_IMAGE: &str = match std::str::from_utf8(&DEFAULT_IMAGE_BYTES) {
    Ok(name) => name,
    Err(_) => panic!("the name is valid UTF-8"),
};

/// The default base image, as in the Dockerfile.
pub const DEFAULT_BASE: &str = "debian:bookworm-slim";

/// The default npm registry, as in the Dockerfile.
pub const DEFAULT_REGISTRY: &str = "https://registry.npmjs.org";

/// The default index of Python packages, as in the Dockerfile.
pub const DEFAULT_PYPI_INDEX: &str = "https://pypi.org/simple";

/// The part of [`DEFAULT_IMAGE`] before the version.
const REPOSITORY: &str = "codex-docker:";

/// The bytes of [`DEFAULT_IMAGE`]. They are concatenated by hand, because `concat!` does not accept constants.
const DEFAULT_IMAGE_BYTES: [u8; REPOSITORY.len() + CODEX_VERSION.len()] = {
    let mut bytes = [0; REPOSITORY.len() + CODEX_VERSION.len()];
    let (first, second) = bytes.split_at_mut(REPOSITORY.len());
    first.copy_from_slice(REPOSITORY.as_bytes());
    second.copy_from_slice(CODEX_VERSION.as_bytes());
    bytes
};

/// Returns the name of our image with this version of Codex.
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
        assert!(DOCKERFILE.contains(&format!("ARG PYPI_INDEX={DEFAULT_PYPI_INDEX}\n")));
    }
}
