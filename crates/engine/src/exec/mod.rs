//! Starts and ends programs. No other module does this.
//!
//! This module knows nothing about git, Docker or Codex: a program has arguments, a working directory, a listed environment, an
//! owned stdin, bounded output and a deadline. It never reads this process's own environment and never uses a shell. Invariant:
//! every program that is started in its own process group is reaped, and if it is cut short, the whole group is ended.

mod capture;
mod command;
mod environment;
mod finished;
pub mod process;
mod redact;
mod run;
mod running;
mod streamed;
mod tool;

pub use command::{CommandSpec, OnLine, OnProgress, Stderr, Stdin, Stdout};
pub use environment::BaseEnvironment;
pub use finished::{Finished, RunProgramError};
pub use redact::{Redactor, redact_credentials};
pub use running::RunningProgram;
pub use tool::{Tool, ToolNotFound};
