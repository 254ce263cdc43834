//! The facade's part about branches: taking a task's commits home, and keeping its branch current.
//! Texts are parsed here as in the rest of the facade; what is done is in `task`.

use std::io;

use bytes::Bytes;
use futures_util::Stream;
use model::api::{ConflictsView, ResumeTask, UpdateConflicts, UpdateOutcome, UpdateTask, UpdateView};
use model::problem::Problem;
use model::task::{TaskRequest, hand_over_prompt};

use super::{Engine, new_run};
use crate::task::Updated;

impl Engine {
    /// The task's branch with its own commits, as a git bundle.
    pub async fn bundle(&self, id: &str) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, Problem> {
        self.inner.bundle(self.task_slot(id)?.as_ref()).await
    }

    /// The task's own commits as mails that `git am` takes.
    pub async fn patches(&self, id: &str) -> Result<impl Stream<Item = io::Result<Bytes>> + Send + use<>, Problem> {
        self.inner.mails(self.task_slot(id)?.as_ref()).await
    }

    /// Brings the task's branch up to its base. Where the two conflict nothing is changed, and the inner error has the files; or the
    /// agent is asked to merge them.
    pub async fn update_task(&self, id: &str, asked: UpdateTask) -> Result<Result<UpdateView, Box<UpdateConflicts>>, Problem> {
        let slot = self.task_slot(id)?;
        let (outcome, base, dropped, conflicts) = match self.inner.update(&slot, asked.strategy, asked.onto_remote).await? {
            Updated::Done { outcome, base, dropped } => (outcome, base, dropped, vec![]),
            Updated::Conflicts { base, conflicts } if asked.hand_over => {
                self.ready_to_go_on(&slot).await?;
                let prompt = hand_over_prompt(&base.name, &base.commit, &conflicts);
                let (run, _) = new_run(ResumeTask { prompt, ..ResumeTask::default() }, None)?;
                self.inner.ask(&slot, TaskRequest::FollowUp(run)).await?;
                (UpdateOutcome::HandedOver, base, 0, conflicts)
            }
            Updated::Conflicts { base, conflicts } => return Ok(Err(Box::new(UpdateConflicts::new(slot.id, base, conflicts)))),
        };
        Ok(Ok(UpdateView { outcome, base, dropped, conflicts, task: self.inner.task_view(&slot) }))
    }

    /// What the task's branch would conflict with: its base, and other tasks of its environment. Nothing is changed.
    pub async fn conflicts(&self, id: &str, fetch: bool) -> Result<ConflictsView, Problem> {
        self.inner.conflicts(self.task_slot(id)?.as_ref(), fetch).await
    }
}
