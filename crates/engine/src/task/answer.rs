//! Answers to a task's questions, about submodules and about held files. The repository's record includes an allowed URL before the task's run may start. Invariant: an
//! answer only allows the URLs of the question that it names.

use std::sync::Arc;

use model::problem::Problem;
use model::submodule::Sources;
use model::task::{Answer, TaskRequest};
use spine::Mailbox as _;

use super::tasks::{TaskSlot, Tasks};

impl Tasks {
    /// Applies the answer to the open question, if the question has this number.
    pub(crate) async fn answer(
        self: &Arc<Self>,
        slot: &Arc<TaskSlot>,
        number: Option<u32>,
        answer: Answer,
    ) -> Result<(), Problem> {
        match answer {
            Answer::Fetch | Answer::Skip => {}
            Answer::Ignore => return self.ask(slot, TaskRequest::Answer(number, answer)).await.map(drop),
            Answer::Commit => return self.commit_files(slot, slot.record().held(number)?.paths()).await,
        }
        let question = slot.record().question(number)?.clone();
        if answer == Answer::Fetch {
            let environment = self.environments.get(slot.env_id).ok_or_else(|| Problem::no_environment(slot.env_id))?;
            self.environments.allow_sources(&environment, &question.urls).await?;
        }
        self.ask(slot, TaskRequest::Answer(Some(question.number), answer)).await?;
        if answer == Answer::Fetch {
            self.answer_others(slot).await;
        }
        Ok(())
    }

    /// Answers the questions of other tasks of the repository, if they are only about URLs that are now allowed.
    async fn answer_others(self: &Arc<Self>, slot: &TaskSlot) {
        let Some(environment) = self.environments.get(slot.env_id) else { return };
        let mut allowed = Sources::default();
        environment.record().sources.allowed_urls.iter().cloned().for_each(|url| allowed.trust(url));
        for other in self.of_environment(slot.env_id) {
            let Some(question) = other.record().question.clone() else { continue };
            if question.urls.iter().all(|url| allowed.get(url).is_some())
                && let Err(problem) = self.ask(&other, TaskRequest::Answer(Some(question.number), Answer::Fetch)).await
            {
                // The task was answered, stopped or removed in the meantime.
                tracing::debug!(task = %other.id, code = %problem.report.code, "a question was withdrawn before it could be answered");
            }
        }
    }
}
