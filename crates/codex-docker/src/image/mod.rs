//! Builds, pulls and inspects the image for containers.
//!
//! An image's labels describe its content, so reading its status does not require a container. The built-in Dockerfile uses no
//! secrets, and no files of the caller except the certificates that the caller specifies. A custom Dockerfile can also use files of a
//! repository, which the caller provides as an archive.

mod build;
mod command;
mod context;
mod ignore;
mod names;
mod progress;
mod pull;
mod registry;
mod repository;
mod status;
#[cfg(test)]
mod tests;
mod tools;
mod trouble;
mod usage;
mod warm;

pub use build::{Build, build};
pub(crate) use command::missing;
pub use command::{ImageCommand, run};
pub use names::{CODEX_VERSION, DEFAULT_BASE, DEFAULT_IMAGE, DEFAULT_PYPI_INDEX, DEFAULT_REGISTRY};
pub use progress::{Printer, Progress};
pub use pull::pull;
pub use repository::RepositoryFiles;
pub use status::{ImageStatus, Origin, exists, status};
pub use tools::{Sources, Tool, ToolVersion, Tools, lines, universal};
pub use usage::{remove_unused, usage};
