//! Finds the commands with which an agent installed things, so that a setup can run them too.
//!
//! Commands are untrusted text, and the result is only a proposal that the owner reviews. Invariant: a command that is proposed is a single
//! line of visible characters with a limited length. It contains no variable that a setup may not have, and it runs in a folder of the
//! repository. Codex's log does not contain the folder in which a command started, so a command without `cd` counts as run in the worktree.

mod collect;
mod context;
mod find;
mod programs;
mod reason;
mod split;

pub(in crate::codex) use collect::is_install;
pub use collect::{InstallCommand, Installs, LeftOutInstall, missing_installs};
pub use reason::LeftOutInstallReason;
