//! Calls workers: the command line and the environment of a run, and the additional settings of the built-in worker.
//!
//! A worker is a program that follows one contract (`exec --json … -`, the prompt on stdin, JSONL on stdout). Only listed
//! variables of the server's environment reach it. The built-in worker is this program, started as `codex-docker`. This module
//! knows the contract, but nothing about Docker.

mod call;
mod check;
mod container;
mod find;
mod harvest;
mod login;
mod sandbox;
mod script;
mod session;

pub use call::{Cleanup, RunCall, WorkerCall, engine_environment};
pub(crate) use call::{RUN_MARK, run_mark};
pub use check::check;
pub(crate) use check::{ContainerChecks, check_for_harvest, problem, told};
pub use container::{ContainerFolders, ContainerRun, ToRead};
pub(crate) use container::{LOGIN_FOLDER, home_label, task_labels, unreachable_model};
pub use find::{Worker, WorkerKind, WorkerProblem};
pub(crate) use harvest::{Harvest, HarvestError, HarvestMode, Housekeeping, emptied, own_image};
pub use login::Login;
pub(crate) use login::{Due, Refused};
pub(crate) use sandbox::was_read_only;
pub use script::{Script, ScriptHome};
pub(crate) use script::{cannot_mount, open_network_only};
pub use session::{Session, SessionFolder};
