//! Runs Codex.
//!
//! [`Runner`] is the seam between the server and the place where runs execute, and [`RunSpec`] is what crosses it. [`LocalRunner`]
//! executes runs on this machine: `worker` finds the program that runs Codex and builds its command line, and `keeper` is a small
//! process that supervises one run. `journal` follows the growing files of runs. This crate does not decide which runs start, and
//! it keeps no records of tasks.

pub mod journal;
pub mod keeper;
mod local;
mod memory;
mod reach;
mod seam;
mod setup;
pub mod spec;
pub mod worker;

pub use local::LocalRunner;
pub use memory::RunMemory;
pub use reach::{Backoff, until_reached};
pub use seam::{
    ExportError, ExportFolder, ExportMode, ExportRequest, Exported, Integrity, JournalNews, NeededImage, Preparation, RunRemains,
    RunRequest, RunState, Runner, RunnerCapacity, StartError, Supply, Unreachable, Upkeep, WorkLocation,
};
pub use setup::{EnvironmentImages, FoundImages, HostSetup, ImagesRequest, OnStep, SetupRequest, SetupSpec, SnapshotUpdate};
pub use spec::{RunKey, RunSpec};
