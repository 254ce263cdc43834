//! The pure core of Codex Orchestrator: what is true, and what may happen next.
//!
//! Nothing in here reads a file, a clock, the environment or the network, and nothing starts a program: time is a value, the
//! world is an [`Observation`](task::Observation), and what should be done about it is a list of effects for somebody else.

pub mod address;
pub mod api;
pub mod bundle;
pub mod code;
pub mod codex;
pub mod container;
pub mod diff;
pub mod environment;
pub mod forge;
pub mod ids;
pub mod image;
pub mod lfs;
pub mod merge;
pub mod names;
pub mod near;
pub mod notice;
pub mod policy;
pub mod problem;
pub mod publication;
pub mod queue;
pub mod run;
pub mod secret;
pub mod size;
pub mod sources;
pub mod submodule;
pub mod task;
pub mod tries;
pub mod untrusted;
pub mod visible;

/// The pinned version of the Codex CLI. This is the only place that names it: `demo` installs it, images contain it, `doctor`
/// recommends it, and the tests run it.
pub const CODEX_VERSION: &str = "0.171.0";

/// The oldest version of the Codex CLI whose output and sessions are understood.
pub const OLDEST_CODEX_VERSION: &str = "0.75.0";

/// The exit code of a worker whose run was cut off from outside: its container is gone, or its engine was restarted. As
/// `EX_TEMPFAIL` of sysexits(3): try again.
pub const WORKER_CUT_OFF: u8 = 75;

/// The schema number written into every state file. A file with a newer one is refused and left as it is.
pub const SCHEMA: u32 = 1;
