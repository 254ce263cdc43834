//! The images of `codex-docker`, and the output of `codex-docker image usage`: what uses a container image.
//! `codex-docker` writes this output, and the engine reads it.

use serde::{Deserialize, Serialize};

/// Returns the name of the image of `codex-docker` that this version uses if nobody chooses another one.
pub fn pinned_image() -> String {
    format!("codex-docker:{}", crate::CODEX_VERSION)
}

/// Returns the name of the image of `codex-docker` that also contains languages.
pub fn universal_image() -> String {
    format!("{}-universal", pinned_image())
}

/// A container image and its users.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUsage {
    /// The image ID in the container engine.
    pub id: String,
    /// Size in bytes, including layers that are shared with other images.
    pub size: u64,
    /// All names of the image.
    pub names: Vec<String>,
    /// Whether any container, running or stopped, uses the image.
    pub containers: bool,
}
