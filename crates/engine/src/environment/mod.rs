//! Repositories, which the code calls environments. Each has a record, a mirror, a clone that creates the mirror, and a mailbox.
//!
//! * [`table`]: the repositories in memory.
//! * [`mailbox`]: create, edit and remove. The record is written before any effect of it starts.
//! * [`values`]: parses user input.
//! * [`fresh`]: fetching on request, listing branches and tags, and checking that a ref exists.
//! * [`cloning`]: the clone, with its progress. A failed or cancelled clone leaves nothing on disk.

mod cloning;
mod fresh;
mod mailbox;
mod table;
mod values;

pub(crate) use cloning::fetch_failed;
pub(crate) use mailbox::not_ready;
pub(crate) use table::{EnvironmentSlot, EnvironmentTable};
