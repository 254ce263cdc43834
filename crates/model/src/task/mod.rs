//! Tasks: their records, and the decisions about what happens next.
//!
//! * `record`: the record of a task.
//! * [`request()`]: what users may request, and when a request is rejected.
//! * [`decide()`]: what follows from an event.
//! * `group`: the group of a task in lists.
//! * `outbox`, `pending_notice`: notifications that are not sent yet.
//! * `publish`: requests and events of a push or a pull request.
//! * `question`, `ask`: questions that must be answered before a run can start.
//! * `held`, `held_changes`: files beyond the limits of a commit, which wait for a decision.
//! * `layers`, `refresh`: the environment of a task, and its refreshes.
//! * `settled`: the result of a run and its commit.
//! * `status`: the status of a task.
//! * `summary`: the prompt of a new thread that replaces a thread whose session was lost.
//! * `update`, `branch_update`: updates of the branch from its base branch.
//! * [`reconcile()`]: the events that must have happened, derived from the state of the machine after a restart.
//!
//! All functions are total and do no I/O. The caller writes the record first and then performs the effects.

mod ask;
mod branch_update;
mod decide;
mod decision;
mod group;
mod held;
mod held_changes;
mod layers;
mod next;
mod outbox;
mod pending_notice;
mod publish;
mod question;
mod reconcile;
mod record;
mod refresh;
mod refusal;
mod request;
mod settled;
mod status;
mod summary;
mod update;

pub use branch_update::{Update, UpdateStrategy};
pub use decide::{TaskEvent, begin, decide};
pub use decision::{TaskDecision, TaskEffect};
pub use group::TaskGroup;
pub use held_changes::HeldChanges;
pub use layers::{LayerGeneration, Refreshes};
pub use outbox::with_notice;
pub use pending_notice::PendingNotice;
pub use publish::PublicationEvent;
pub use question::{Answer, Question};
pub use reconcile::{Holder, Observation, is_unfinished, reconcile};
pub use record::{FollowUp, NewRun, NewTask, TaskRecord};
pub use refusal::Refusal;
pub use request::{TaskRequest, request};
pub use status::TaskStatus;
pub use summary::with_summary;
pub use update::{UpdateEvent, hand_over_prompt};

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
