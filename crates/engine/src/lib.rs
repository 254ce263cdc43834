//! The shell around the pure core: it stores records, performs effects, and observes files and processes.
//!
//! [`Engine`] is the only entry point. There is no HTML, HTTP, command line or Docker here. Each module has one job: `store` reads and
//! writes state files, `git` runs git, `runner` executes runs, `forge` talks to Git hosts, and `task` and `environment` contain the
//! mailboxes that make decisions, record them and carry them out.

mod admission;
mod built_images;
mod caller;
mod engine;
mod environment;
mod follow_pull_requests;
mod metrics;
mod prepared;
mod publishing;
mod readiness;
mod recovery;
mod redaction;
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
