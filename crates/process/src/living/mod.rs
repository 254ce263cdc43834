//! Identifies processes of this machine beyond their numbers, sends signals to them safely, and ends them with all their
//! descendants.
//!
//! This module starts no process and does not know what a process does. Everything except waiting is synchronous. Invariant: a
//! signal reaches the intended process or none, never a different process that reuses its number.

mod identity;
mod limit;
mod open;
mod stat;
mod tree;

pub use identity::{ProcessIdentity, SignalOutcome, signal_group};
pub(crate) use identity::{open_pidfd, watch_pidfd};
pub(crate) use limit::limit_memory;
pub use open::is_open;
pub use rustix::process::Signal;
pub use stat::{boot_id, pretend_boot, pretended_boot};
pub use tree::{
    KillError, descendants_of, ended_children_of, kill_all, kill_tree, members_of_group, members_of_session,
    processes_with_environment,
};
