//! The keeper: a small supervisor process for each run, like containerd-shim. It does not depend on the server.
//!
//! * [`RunFiles`]: the files of a run, next to its log.
//! * `launch`, [`observe()`], [`request_stop`], [`until_gone`], [`end_leftovers`]: used by the server.
//! * [`main`]: the keeper itself. It starts the worker with the log as its stdout, stops it on request or at the time limit,
//!   leaves none of its processes behind, and records how it ended.
//! * `app_server`: the conversation with Codex's app server, if that is the worker. `completion` and `compaction` finish its files.
//!
//! Invariant: at most one keeper supervises a run, and its exit record is written once, after all its processes have ended.

mod app_server;
mod cleanup;
mod compaction;
mod completion;
mod files;
mod held;
mod hold;
mod launch;
mod observe;
mod on_disk;
mod record;
mod turn;

pub use compaction::compact_messages;
pub use completion::complete_log;
pub use files::RunFiles;
pub use hold::main;
pub use launch::LaunchError;
pub use launch::launch;
pub use observe::{KeeperState, end_leftovers, observe, request_stop, until_gone};
pub use observe::{is_of_another_boot, notes_on_worker, was_contained};
pub use record::{ExitRecord, KeeperOrder, KeeperRecord, WorkerEnd};
