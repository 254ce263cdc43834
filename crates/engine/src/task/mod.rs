//! Tasks. Each task has a mailbox: an event arrives, the core decides, the record is written, and only then are the effects
//! performed.
//!
//! * [`tasks`]: all tasks, and what their effects need.
//! * [`aggregate`]: tasks as an aggregate of the [`spine`], which processes one event of a task at a time.
//! * [`live`]: the state of a task that exists only in memory.
//! * [`create`], [`list`], [`read`], [`installs`], [`take_home`]: other requests of the API.
//! * [`prepare`], [`launch`], [`follow`], [`finish`], [`publish`], [`notify`], [`remove`]: the effects. Each can be repeated safely, and
//!   results come back as events.
//! * [`spec`]: what a runner learns about a run; [`journal_copy`], [`export`]: what the runner delivers.
//! * [`set_up`]: which snapshot of its repository's environment a task starts from, and how it is created.
//! * [`answer`]: questions of a task before its run can start, and their answers.
//! * [`ready`]: whether the image that a run would use is missing.
//! * [`host_setup`]: runs the setup of a task on this machine, if the owner allowed it.
//! * [`image_build`]: builds the image of a repository before its first task.
//! * [`update`]: updates of the branch to its base, between two runs.
//!
//! Invariant: an effect is performed only after the record on disk accounts for it.

mod activity;
mod aggregate;
mod answer;
mod commit;
mod commit_files;
mod create;
mod export;
mod finish;
mod follow;
mod host_setup;
mod image_build;
mod installs;
mod journal_copy;
mod launch;
mod list;
mod live;
mod login;
mod notify;
mod observe;
mod prepare;
mod publish;
mod read;
mod ready;
mod refresh;
mod removals;
mod remove;
mod review;
mod revisit;
mod revisits;
mod session;
mod set_up;
mod spec;
mod take_home;
mod tasks;
mod unclean;
mod update;

pub(crate) use read::existing_run;
pub(crate) use ready::ImageSource;
pub use review::{Changes, PictureSide, Review, ReviewPart, ReviewState};
pub(crate) use set_up::PlannedSetup;
pub(crate) use tasks::{TaskParts, TaskSlot, TaskTable, Tasks};
pub(crate) use update::{UpdateTarget, Updated};
