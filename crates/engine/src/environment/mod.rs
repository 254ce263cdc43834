//! Environments: a record, a mirror, and the clone that creates it. One mailbox each.
//!
//! * [`table`]: the environments in memory.
//! * [`mailbox`]: create, edit and remove. The record is written before anything follows from it.
//! * [`values`]: parses user input.
//! * [`fresh`]: fetching on request, listing branches and tags, and checking that a ref exists.
//! * [`cloning`]: the clone, with its progress. A failed or cancelled one leaves nothing on disk.

mod cloning;
mod fresh;
mod mailbox;
mod table;
mod values;

pub(crate) use cloning::fetch_failed;
pub(crate) use mailbox::not_ready;
pub(crate) use table::{EnvironmentSlot, EnvironmentTable};
