//! One mailbox per environment: its record, its mirror, and the clone that makes it.
//!
//! * [`table`]: the environments in memory.
//! * [`mailbox`]: create, edit, remove; the record is written before anything follows from it.
//! * [`values`]: what a person gave, parsed.
//! * [`fresh`]: what the remote has: fetched when asked for, its branches and tags, and whether one of them is there.
//! * [`cloning`]: the clone, with its progress; a failed or cancelled one leaves nothing on disk.

mod cloning;
mod fresh;
mod mailbox;
mod table;
mod values;

pub(crate) use cloning::fetch_failed;
pub(crate) use mailbox::not_ready;
pub(crate) use table::{EnvironmentSlot, EnvironmentTable};
