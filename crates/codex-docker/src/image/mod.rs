//! Builds, pulls and inspects the image for containers.
//!
//! An image's labels describe its content, so reading its status does not require a container. The built-in Dockerfile uses no
//! secrets, and no files of the caller except the certificates that the caller specifies.

mod build;
mod command;
mod context;
mod names;
mod progress;
mod pull;
mod registry;
mod status;
#[cfg(test)]
mod tests;
mod trouble;
mod usage;

pub use build::{Build, build};
pub(crate) use command::missing;
pub use command::{ImageCommand, run};
pub use names::{CODEX_VERSION, DEFAULT_BASE, DEFAULT_IMAGE, DEFAULT_REGISTRY};
pub use progress::{Printer, Progress};
pub use pull::pull;
pub use status::{ImageStatus, Origin, exists, status};
pub use usage::{remove_unused, usage};
