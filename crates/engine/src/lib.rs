//! The shell around the core: it keeps the records, performs the effects, and observes the world.
//!
//! [`Engine`] is the only way in. No HTML, no HTTP, no command line and no Docker in here. Each room owns one kind of deed:
//! `store` touches state files, `exec` starts programs, `git` knows git's words, `keeper` holds one run, `worker` knows how a
//! worker is called, `forge` speaks to forges, `task` and `environment` are the mailboxes that decide, record and perform.

mod built_images;
pub mod config;
mod crash;
pub mod doctor;
mod durable;
mod engine;
mod environment;
pub mod exec;
mod feed;
mod forge;
pub mod git;
mod inner;
mod journal;
pub mod keeper;
mod metrics;
mod notify;
mod password;
mod queue;
mod readiness;
mod recovery;
mod sessions;
mod shrink;
pub mod store;
mod task;
mod times;
mod trash;
pub mod worker;

pub use config::{Config, Overrides};
pub use crash::CrashPoint;
pub use engine::{Engine, LogFile, LogWindow, RunDefaults, RunLine, StartError};
pub use notify::{DeviceView, NoticeTarget, NoticesView, Outcome, PushSubscription};
pub use sessions::SessionView;
pub use task::{Changes, PictureSide, Review, ReviewPart, ReviewState};
pub use times::{LineTime, LineTimes};
