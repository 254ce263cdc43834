//! The operations of a user on branches: exporting a task's commits, and updating its branch. Texts are parsed here; `task`
//! does the work.

use std::io;

use bytes::Bytes;
use futures_util::Stream;
use model::problem::Problem;
use model::task::{TaskRequest, hand_over_prompt};
use protocol::{ConflictsQuery, ConflictsView, ResumeTask, UpdateConflicts, UpdateOutcome, UpdateTask, UpdateView};
use spine::Mailbox as _;

use super::{User, new_run};
use crate::task::{UpdateTarget, Updated};

/// The result of a request to update a task's branch.
#[derive(Debug)]
pub enum TaskUpdate {
    /// The branch contains its base, or the agent was asked to resolve the conflicts.
    Accepted(Box<UpdateView>),
    /// There are conflicts. Nothing was changed.
    Conflicts(Box<UpdateConflicts>),
}

impl User {
    /// Returns the task's branch with its own commits, as a git bundle.
    pub async fn bundle(&self, id: &str) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, Problem> {
        self.server.tasks.bundle(self.task_slot(id)?.as_ref()).await
    }

    /// Returns the task's own commits as email patches for `git am`.
    pub async fn patches(&self, id: &str) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, Problem> {
        self.server.tasks.mails(self.task_slot(id)?.as_ref()).await
    }

    /// Updates the task's branch to its base. If the two conflict, the branch does not change. On request, the agent is
    /// then asked to resolve the conflicts.
    pub async fn update_task(&self, id: &str, asked: UpdateTask) -> Result<TaskUpdate, Problem> {
        let slot = self.task_slot(id)?;
        let target = if asked.onto_remote { UpdateTarget::Pushed } else { UpdateTarget::Base };
        let (outcome, base, dropped, conflicts) = match self.server.tasks.update(&slot, asked.strategy, target).await? {
            Updated::Done { outcome, base, dropped } => (outcome, base, dropped, vec![]),
            Updated::Conflicts { base, conflicts } if asked.hand_over => {
                self.server.tasks.ready_to_go_on(&slot).await?;
                let prompt = hand_over_prompt(&base.name, &base.commit, &conflicts);
                let (run, _) = new_run(ResumeTask { prompt, ..ResumeTask::default() }, None)?;
                self.server.tasks.ask(&slot, TaskRequest::FollowUp(run)).await?;
                (UpdateOutcome::HandedOver, base, 0, conflicts)
            }
            Updated::Conflicts { base, conflicts } => {
                return Ok(TaskUpdate::Conflicts(Box::new(UpdateConflicts::new(slot.id, base, conflicts))));
            }
        };
        Ok(TaskUpdate::Accepted(Box::new(UpdateView { outcome, base, dropped, conflicts, task: self.server.tasks.view(&slot) })))
    }

    /// Returns what the task's branch would conflict with: its base, and other tasks of its repository. Changes nothing.
    pub async fn conflicts(&self, id: &str, query: &ConflictsQuery) -> Result<ConflictsView, Problem> {
        self.server.tasks.conflicts(self.task_slot(id)?.as_ref(), query).await
    }
}
