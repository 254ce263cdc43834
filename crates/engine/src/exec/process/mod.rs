//! Processes of this machine, told apart beyond their numbers, signalled without mistakes, ended with all their offspring.
//!
//! Nothing in here starts a process or knows what one is for. Everything but the waiting is synchronous.
//! Invariant: a signal reaches the process that was meant, or none; a number that was given to another process is not it.

mod identity;
mod limit;
mod open;
mod stat;
mod tree;

pub use identity::{ProcessIdentity, SignalOutcome, signal_group};
pub(super) use identity::{open_pidfd, watch_pidfd};
pub(super) use limit::limit_memory;
pub use open::is_open;
pub use rustix::process::Signal;
pub(crate) use stat::{boot_id, pretend_boot, pretended_boot};
pub use tree::{
    KillError, descendants_of, ended_children_of, kill_all, kill_tree, members_of_group, members_of_session,
    processes_with_environment,
};
