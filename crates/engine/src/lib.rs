//! The shell around the pure core: it stores records, performs effects, and observes files and processes.
//!
//! [`Engine`] is the only entry point. HTML, HTTP, the command line and Docker belong to other crates. Each module has one job: `task` contains the
//! mailboxes that make decisions about tasks, record them and carry them out. The crate `environments` does the same for repositories,
//! `store` reads and writes state files, `git` runs git, `runner` executes runs, and `forge` talks to Git hosts.

mod admission;
mod caller;
mod engine;
mod follow_pull_requests;
mod metrics;
mod readiness;
mod recovery;
mod server;
mod shells;
mod shrink;
mod snapshots;
mod task;
mod trash;
mod user;

pub use caller::Caller;
pub use durable::crash::CrashPoint;
pub use engine::{Engine, StartError};
pub use run_logs::{LineTime, LineTimes};
pub use sign_in::SessionView;
pub use task::{Changes, PictureSide, Review, ReviewPart, ReviewState};
pub use user::{ArtifactFile, ArtifactText, LogFile, LogWindow, RunDefaults, RunLine, TaskUpdate, User};
