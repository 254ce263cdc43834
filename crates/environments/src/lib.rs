//! Repositories, which the code calls environments. Each has a record and a mirror.
//!
//! * `environments`: all repositories, and the effects of decisions about them.
//! * `live`: the state that exists only in memory.
//! * `requests`: create, edit and remove.
//! * `cloning`: the clone, with its progress. A failed or cancelled clone leaves nothing on disk.
//! * `mirrors`: opens mirrors, and repairs what a killed server or a power cut left.
//! * `fresh`: fetching on request, listing branches and tags, and checking that a ref exists.
//! * `notify`: sends the notification that a setup failed.
//! * `failures`: errors with hints.
//! * `prepared`: keeps worktrees prepared for later tasks.
//! * `built_images`: the container images that were built for repositories.
//! * `publishing`: pushes branches to a repository's Git host, and opens pull requests there.
//! * `redaction`: masks the secrets of a repository for readers.
//!
//! This crate knows the tasks of a repository only as its [`Tenants`].

mod built_images;
mod cloning;
mod environments;
mod failures;
mod fresh;
mod live;
mod mirrors;
mod notify;
mod prepared;
mod publishing;
mod redaction;
mod requests;

pub use built_images::BuiltImages;
pub use environments::{EnvironmentSlot, Environments, Tenants, follow_settings};
pub use failures::{missing_history, not_ready};
pub use live::{EnvironmentLive, ImageBuild};
pub use prepared::PreparedWorktrees;
pub use publishing::{PublishError, Publishing, base_branch, by_hand};
pub use redaction::Redaction;
