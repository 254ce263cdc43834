//! How a worker is called: the command line and the environment of one run.
//!
//! A worker is a program that honours one contract (`exec --json … -`, the prompt on stdin, JSONL on stdout). Nothing of the
//! server's environment reaches it but what is listed here. Invariant: no worker is chosen that was not asked for, but
//! `codex-docker`.

mod call;
mod find;

pub(crate) use call::{RUN_MARK, run_mark};
pub use call::{RunCall, WorkerCall};
pub use find::{Worker, WorkerKind, WorkerProblem};
