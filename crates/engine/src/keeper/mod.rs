//! The keeper: one small process per run, which holds the worker and does not depend on the server.
//!
//! * [`RunFiles`]: what a run has on disk beside its journal.
//! * `launch`, [`observe()`], [`request_stop`], [`until_gone`], [`end_leftovers`]: the server's side.
//! * [`main`]: the keeper's own side: start the worker with the journal as its stdout, stop it when asked or when its time is
//!   over, leave nothing of it behind, and write down how it ended.
//!
//! Invariant: a run is held by at most one keeper, and its exit record is written once, after everything of it has ended.

mod cleanup;
mod files;
mod held;
mod hold;
mod launch;
mod observe;
mod on_disk;
mod record;
mod turn;

pub use files::RunFiles;
pub use hold::main;
pub use launch::LaunchError;
pub(crate) use launch::launch;
pub use observe::{KeeperState, end_leftovers, observe, request_stop, until_gone};
pub(crate) use observe::{is_of_another_boot, notes_on_worker, was_contained};
pub use record::{Ending, ExitRecord, KeeperRecord, Order};
