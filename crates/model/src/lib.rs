//! The pure core of Codex Orchestrator: the state of tasks and runs, and the decisions about what happens next.
//!
//! This crate does not start programs, and does not access files, the clock, environment variables or the network. Time is an
//! argument, the state of the machine is an [`Observation`](task::Observation), and the caller performs the returned effects.

pub mod address;
pub mod allow_list;
pub mod artifact;
pub mod bundle;
pub mod codex;
pub mod commit;
pub mod container;
pub mod damaged;
pub mod decision;
pub mod diff;
pub mod environment;
pub mod error_code;
pub mod forge;
pub mod ids;
pub mod image;
pub mod lfs;
pub mod merge;
pub mod names;
pub mod near;
pub mod notice;
mod notice_kind;
pub mod policy;
pub mod prepared;
pub mod problem;
mod problem_kind;
pub mod publication;
pub mod queue;
pub mod report;
pub mod run;
pub mod run_times;
pub mod schema;
pub mod secret;
pub mod settings;
pub mod setup;
pub mod size;
pub mod sources;
pub mod sparse;
pub mod subdirectory;
pub mod submodule;
pub mod task;
pub mod tries;
pub mod untrusted;
pub mod visible;

pub use error_code::{AnyCode, ErrorCode};
pub use report::Report;

/// The pinned version of the Codex CLI. This is the only place that defines it: `demo` installs this version, images contain it,
/// `doctor` recommends it, and the tests run it.
pub const CODEX_VERSION: &str = "0.171.0";

/// The oldest version of the Codex CLI whose output and sessions are supported.
pub const OLDEST_CODEX_VERSION: &str = "0.75.0";

/// The exit code of a worker whose run was interrupted from outside, for example because its container is gone or the container
/// engine was restarted. It has the value and the meaning of `EX_TEMPFAIL` in sysexits(3): try again later.
pub const WORKER_CUT_OFF: u8 = 75;

/// What a message of `codex-docker` on stderr starts with if it quotes the log of a service that is not ready: this text, the service's
/// name between backticks, a colon, and a line of the log.
pub const SERVICE_SAID: &str = "the service ";

/// What the message of `codex-docker` on stderr starts with if the container engine cannot limit disk space. The rest is its error.
pub const NO_DISK_LIMIT: &str = "warning: the container engine cannot limit the disk space of the container: ";

/// The schema number in every state file. A file with a higher number is rejected and left unchanged.
pub const SCHEMA: u32 = 1;
