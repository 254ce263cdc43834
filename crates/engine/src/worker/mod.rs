//! How a worker is called: the command line and the environment of one run, and of what the built-in worker does besides.
//!
//! A worker is a program that honours one contract (`exec --json … -`, the prompt on stdin, JSONL on stdout). Nothing of the
//! server's environment reaches it but what is listed here. The built-in one is this program again, as `codex-docker`: only the
//! contract is known here, and nothing of Docker. Invariant: no worker is chosen that was not asked for, but the built-in one.

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
