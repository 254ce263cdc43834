//! Starts and ends programs, and identifies processes beyond their numbers. Only this crate starts programs.
//!
//! This crate knows nothing about git, Docker or Codex: a program has arguments, a working directory, a listed environment, an
//! owned stdin, bounded output and a deadline. It never reads this process's own environment and never uses a shell. Invariant:
//! every program that is started in its own process group is reaped, and if it is cut short, the whole group is ended.

mod calls;
mod capture;
mod command;
mod environment;
mod finished;
mod living;
mod redact;
mod run;
mod running;
mod streamed;
mod tool;

pub use calls::{Call, calls};
pub use command::{CommandSpec, OnLine, OnProgress, Stderr, Stdin, Stdout};
pub use environment::BaseEnvironment;
pub use finished::{Finished, RunProgramError};
pub use living::{
    KillError, ProcessIdentity, Signal, SignalOutcome, boot_id, descendants_of, ended_children_of, is_open, kill_all, kill_tree,
    members_of_group, members_of_session, pretend_boot, pretended_boot, processes_with_environment, signal_group,
};
pub use redact::{Redactor, redact_credentials};
pub use running::RunningProgram;
pub use tool::{Tool, ToolNotFound};
