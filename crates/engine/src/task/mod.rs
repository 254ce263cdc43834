//! One mailbox per task: an event comes in, the core decides, the record is written, and only then are the effects performed.
//!
//! * [`table`]: the tasks in memory, listed without touching the disk.
//! * [`mailbox`]: decide → record → effects, one event of a task at a time.
//! * [`create`], [`list`], [`read`], [`take_home`]: what the API asks besides.
//! * [`prepare`], [`launch`], [`follow`], [`finish`], [`publish`], [`remove`]: the effects, each an *ensure*; results come back as events.
//! * [`answer`]: what a task asks before its run can start, and what a person answers.
//! * [`update`]: the branch is brought up to its base between two runs.
//!
//! Invariant: no effect is performed that the record on disk does not already account for.

mod activity;
mod answer;
mod commit;
mod contained;
mod create;
mod finish;
mod follow;
mod launch;
mod list;
mod login;
mod mailbox;
mod prepare;
mod publish;
mod read;
mod remove;
mod review;
mod script;
mod session;
mod table;
mod take_home;
mod unclean;
mod update;
mod window;

pub use review::{Changes, PictureSide, Review, ReviewPart, ReviewState};
pub(crate) use table::{TaskSlot, TaskTable};
pub(crate) use update::Updated;
pub(crate) use window::Reach;
