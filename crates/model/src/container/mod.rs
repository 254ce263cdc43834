//! Containers, as far as they can be talked about without one: how an environment wants them, and whether they can be made.
//! Nothing in here knows an engine.

mod check;
mod host;
mod image;
mod settings;

pub use check::{ContainerCheck, ContainerEngine, ContainerImage, ContainerProblem, ContainerStatus};
pub use host::HostPattern;
pub use image::ImageUsage;
pub use settings::{ContainerNetwork, ContainerSettings, ContainerUser, EditContainer, HostedTools};
