//! A task: its record, and what may happen next.
//!
//! * `record`: what is true of a task, and how `meta.json` spells it.
//! * [`request()`]: what a person may ask of a task, and when it is refused.
//! * [`decide()`]: what follows from something that happened.
//! * `group`: what a task is to people, in lists.
//! * `publish`: the same two for what leaves the machine: a push, and a pull request.
//! * `question`: what a task asks before its run can start, and what follows from the answer.
//! * `status`: the status of a task.
//! * `summary`: what a new thread has to know of the one before, whose session was lost.
//! * `update`: what brought the branch up to its base, and what follows from it for what a run changed.
//! * [`reconcile()`]: what must have happened, seen from the world after a restart.
//!
//! All three are total functions without I/O. Whoever calls them writes the record first and performs the effects after.

mod decide;
mod group;
mod next;
mod publish;
mod question;
mod reconcile;
mod record;
mod request;
mod status;
mod summary;
mod update;

pub use decide::{Decision, TaskEffect, TaskEvent, decide};
pub use group::TaskGroup;
pub use publish::PublicationEvent;
pub use question::{Answer, Question};
pub use reconcile::{Holder, Observation, reconcile};
pub use record::{FollowUp, NewRun, NewTask, TaskFile, TaskFileError, TaskRecord};
pub use request::{Refusal, TaskRequest, request};
pub use status::TaskStatus;
pub use summary::with_summary;
pub use update::{Update, UpdateStrategy, hand_over_prompt};

#[cfg(test)]
pub(crate) mod samples;
