//! The image that containers are made from: built here from a Dockerfile that this program carries, fetched, or looked at.
//!
//! What an image is, its labels say: nothing is started to find out. The Dockerfile takes no secret, and no file of the caller's
//! but the certificates that were named.

mod build;
mod command;
mod context;
mod names;
mod progress;
mod pull;
mod registry;
mod status;
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
