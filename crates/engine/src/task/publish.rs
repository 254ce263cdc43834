//! Publishes a task: pushes the branch, then creates the pull request, and records each step.
//!
//! Each step first checks whether it is already done: a push compares commits, and an open pull request of the branch is
//! reused. So if a server is killed between a step and its record, the next server repeats it with the same result.

use std::sync::Arc;

use environments::{PublishError, base_branch, by_hand};
use model::ErrorCode;
use model::names::Prompt;
use model::problem::{Problem, ProblemKind};
use model::publication::{PublicationStatus, Publish};
use model::run::RunError;
use model::task::{NewRun, PublicationEvent, TaskEvent, TaskRequest};
use protocol::{ForgeView, PublicationView, PublishTask};
use spine::Mailbox as _;

use super::tasks::{TaskSlot, Tasks};
use forge::ForgeError;

impl Tasks {
    /// Records the request. The push and the other steps follow later.
    pub(crate) async fn ask_to_publish(self: &Arc<Self>, slot: &Arc<TaskSlot>, asked: PublishTask) -> Result<(), Problem> {
        let record = slot.record();
        let found = record.publication.as_deref().and_then(|publication| publication.remote_sha.clone());
        let replace = found.filter(|_| asked.force_with_lease);
        let PublishTask { pull_request, title, body, draft, .. } = asked;
        let asked = Publish { pull_request, title, body, draft, replace }.checked()?;
        let mirror = self.environments.mirror_of(slot.env_id).map_err(problem_of)?;
        let base = base_branch(&mirror, &record, self.publishing.default_branch(slot.env_id)).await;
        let compare_url =
            self.publishing.place(slot.env_id).zip(base).map(|((place, _), base)| place.compare_url(&base, &record.branch()));
        self.ask(slot, TaskRequest::Publish(Box::new(asked), compare_url)).await.map(drop)
    }

    /// Returns the state of the publication, and the text of a new pull request.
    pub(crate) async fn publication(self: &Arc<Self>, slot: &Arc<TaskSlot>) -> Result<PublicationView, Problem> {
        let record = slot.record();
        let mirror = self.environments.mirror_of(slot.env_id).map_err(problem_of)?;
        let base = base_branch(&mirror, &record, self.publishing.default_branch(slot.env_id)).await.ok_or_else(|| {
            Problem::new(ErrorCode::NoBaseBranch, "this repository has no default branch")
                .hint("set one: `codex-orchestrator env edit --default-branch`")
        })?;
        let (title, body) = self.publishing.proposal(&mirror, &record).await;
        let place = self.publishing.place(slot.env_id);
        let by_hand = by_hand(place.as_ref());
        let forge = place.map(|(place, _)| ForgeView {
            kind: place.kind,
            project: place.project.to_string(),
            compare_url: place.compare_url(&base, &record.branch()),
        });
        let publication = record.publication.as_deref().cloned();
        Ok(PublicationView { publication, forge, by_hand, base, head: record.branch(), title, body })
    }

    /// Sends review comments and failed checks to the agent, as a follow-up.
    pub(crate) async fn send_feedback(self: &Arc<Self>, slot: &Arc<TaskSlot>) -> Result<(), Problem> {
        let wrong = |code: ErrorCode, detail: &str| Problem::new(code, detail.to_owned());
        let record = slot.record();
        let known = record.publication.as_deref().and_then(|publication| publication.pull_request.clone());
        let pull_request = known.ok_or_else(|| {
            wrong(ErrorCode::NoPullRequest, "this task has no pull request")
                .hint("create one: `codex-orchestrator task push --pull-request`")
        })?;
        let Some((place, Some(token))) = self.publishing.place(slot.env_id) else {
            return Err(wrong(ErrorCode::NoForgeToken, "no token is set for the Git host of this task")
                .hint("set ORCH_GITHUB_TOKEN, or run `codex-orchestrator env edit --forge-token-file`"));
        };
        let redactor = self.redaction.redactor(slot.env_id);
        let refused = |error: ForgeError| {
            let error = error.to_run_error(place.kind);
            let message = redactor.redact(&error.message).into_owned();
            RunError { message, ..error }.into_problem(ProblemKind::Unavailable)
        };
        let forge = self.publishing.forges.client(&place, &token).map_err(refused)?;
        let feedback = forge.feedback(&pull_request).await.map_err(refused)?;
        if feedback.is_empty() {
            return Err(wrong(ErrorCode::NoFeedback, "the pull request has no open comments and no failed checks"));
        }
        let prompt = Prompt::parse(&redactor.mask(&feedback.prompt(&pull_request.url)))?;
        let priority = model::queue::Priority::Normal;
        let run = NewRun { prompt, images: vec![], model: None, effort: None, priority, idempotency_key: None };
        self.ask(slot, TaskRequest::FollowUp(run)).await.map(drop)
    }

    /// Performs the next step, if this request is still the latest one.
    pub(super) async fn publish(self: &Arc<Self>, slot: &Arc<TaskSlot>, attempt: u32) {
        let _one_at_a_time = slot.publishing.lock().await;
        // An update of the branch comes first, so that its result is pushed.
        let updated = self.finish_update(slot).await;
        let record = slot.record();
        let Some(publication) = record.publication.as_deref().filter(|publication| publication.attempt == attempt) else {
            return;
        };
        let event = match publication.status {
            PublicationStatus::Pushing => match updated {
                Ok(()) => self.publishing.push_branch(&record, publication).await,
                Err(problem) => Err(RunError::from(problem).into()),
            },
            PublicationStatus::Opening => self.publishing.ensure_pull_request(&record, publication).await,
            PublicationStatus::Done | PublicationStatus::Failed => return,
        };
        if self.cancel.is_cancelled() {
            // The server is stopping. The record has the progress, and the next server continues.
            return;
        }
        let event = event.unwrap_or_else(|PublishError { error, remote_sha }| {
            let message = self.redaction.redactor(slot.env_id).redact(&error.message).into_owned();
            PublicationEvent::Failed { attempt, error: RunError { message, ..error }, remote_sha }
        });
        self.post(slot, TaskEvent::Publication(event)).await;
    }
}
fn problem_of(error: RunError) -> Problem {
    error.into_problem(ProblemKind::WrongState)
}
