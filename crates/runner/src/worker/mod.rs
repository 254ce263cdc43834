//! Calls workers: the command line and the environment of a run, and the additional settings of the built-in worker.
//!
//! A worker is a program that follows one contract (`exec --json … -`, the prompt on stdin, JSONL on stdout). Only listed
//! variables of the server's environment reach it. The built-in worker is this program, started as `codex-docker`. This module
//! knows the contract, but nothing about Docker. Invariant: only `kind` distinguishes the kinds of workers.

mod call;
mod check;
mod container;
mod find;
mod findings;
mod harvest;
mod image_log;
mod kind;
mod login;
mod request;
mod sandbox;
mod script;
mod session;
mod set_up;
mod variables;

pub use check::check;
pub(crate) use check::{ContainerChecks, told};
pub(crate) use container::{LOGIN_FOLDER, home_label, task_labels};
pub use find::{Worker, WorkerProblem};
pub(crate) use harvest::{Harvest, HarvestError, HarvestMode, Housekeeping, ImageBuild, ImageSource, Omission};
pub use harvest::{emptied, own_image};
pub use kind::LoginCommand;
pub(crate) use kind::{ImageRequest, PrepareRequest, Site, archive, image_of};
pub use login::Login;
pub(crate) use login::{Due, RefusedLogin};
pub use model::codex::app_server::SandboxMode;
pub use request::{AppServerCall, Cleanup, ContainerFolders, Otherwise};
pub(crate) use request::{ContainerRun, Layer, PlacedFile, RunCall, ToRead, WorkerCall};
pub use sandbox::was_read_only;
pub use script::cannot_mount;
pub use session::{Session, SessionFolder};
pub(crate) use set_up::{Earlier, SETUP_MARK, SetUp, SetUpError};
pub(crate) use variables::container_limits;
pub use variables::{RUN_MARK, engine_environment, run_mark};
