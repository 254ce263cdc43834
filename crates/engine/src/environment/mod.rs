//! Repositories, which the code calls environments. Each has a record and a mirror.
//!
//! * [`environments`]: all repositories, and the effects of decisions about them.
//! * [`live`]: the state that exists only in memory.
//! * [`requests`]: create, edit and remove.
//! * [`cloning`]: the clone, with its progress. A failed or cancelled clone leaves nothing on disk.
//! * [`mirrors`]: opens mirrors, and repairs what a killed server or a power cut left.
//! * [`fresh`]: fetching on request, listing branches and tags, and checking that a ref exists.
//! * [`notify`]: sends the notification that a setup failed.
//! * [`failures`]: errors with hints.

mod cloning;
mod environments;
mod failures;
mod fresh;
mod live;
mod mirrors;
mod notify;
mod requests;

pub(crate) use environments::{EnvironmentSlot, Environments, Tenants, follow_settings};
pub(crate) use failures::{missing_history, not_ready};
