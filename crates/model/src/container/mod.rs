//! Container settings, and the formats that `codex-docker` and the engine share.
//! This module does not use a container engine.

mod check;
mod host;
mod image;
mod refused;
mod settings;

/// The folder in a container with the files of other repositories.
pub const CONTEXT_INSIDE: &str = "/context";

pub use check::{ContainerCheck, ContainerEngine, ContainerImage, ContainerProblem, ContainerStatus, LayerCheck, LayerFallback};
pub use host::HostPattern;
pub(crate) use host::ends_like_address;
pub use image::{ImageUsage, pinned_image, universal_image};
pub use settings::SETTINGS;
pub use settings::{ContainerNetwork, ContainerSettings, ContainerUser, EditContainer, HostedTools, image_name};
