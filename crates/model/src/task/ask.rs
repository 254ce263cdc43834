//! Asks whether submodules may be fetched, and applies the answer.
//!
//! Until the question is answered, the run waits in the queue without using a slot. Invariant: only a queued run has a question.

use jiff::Timestamp;

use super::decision::{TaskDecision, TaskEffect, changed};
use super::held::ignore;
use super::question::{Answer, Question};
use super::record::TaskRecord;
use super::refusal::Refusal;
use crate::decision::Decision;
use crate::ids::Attempt;
use crate::names::RepositoryUrl;
use crate::run::RunPhase;
use crate::run_times::Wait;

impl TaskRecord {
    /// Returns the open question, if it has this number.
    pub fn question(&self, number: Option<u32>) -> Result<&Question, Refusal> {
        match &self.question {
            None => Err(Refusal::NoQuestion),
            Some(open) if number.is_some_and(|number| number != open.number) => Err(Refusal::QuestionChanged),
            Some(open) => Ok(open),
        }
    }
}

/// Returns a run that is being prepared to the queue until the question is answered.
pub(super) fn ask(record: &mut TaskRecord, urls: Vec<RepositoryUrl>, now: Timestamp) -> Vec<TaskEffect> {
    let effects = back_to_queue(record, Wait::Turn, now);
    let Attempt(number) = record.last_run().attempt;
    record.question = Some(Question { number, urls, asked_at: now });
    effects
}

/// Returns a run that is being prepared to the queue. Its next preparation is a new attempt.
pub(super) fn back_to_queue(record: &mut TaskRecord, wait: Wait, now: Timestamp) -> Vec<TaskEffect> {
    let run = record.last_run_mut();
    run.attempt = run.attempt.next();
    run.phase = RunPhase::Queued;
    run.times.waits(wait, now);
    vec![]
}

/// Applies an answer.
pub(super) fn answer(task: &TaskRecord, number: Option<u32>, answer: Answer, now: Timestamp) -> Result<TaskDecision, Refusal> {
    if task.removing {
        return Err(Refusal::Removing);
    }
    match answer {
        Answer::Fetch | Answer::Skip => {}
        Answer::Ignore => return ignore(task, number, now),
        // The files are committed first. Recording that also closes the question.
        Answer::Commit => return task.held(number).map(|_| Decision::keep(task.clone(), vec![])),
    }
    task.question(number)?;
    let mut record = task.clone();
    if let Some(Question { urls, .. }) = record.question.take()
        && answer == Answer::Skip
    {
        record.skipped_urls.extend(urls);
    }
    Ok(changed(record, now, vec![]))
}

#[cfg(test)]
mod tests {
    use super::super::decide::{TaskEvent, decide};
    use super::super::request::{TaskRequest, request};
    use std::collections::BTreeMap;

    use super::super::{TaskGroup, samples};
    use super::*;
    use crate::policy::RunPolicy;
    use crate::run::RunStatus;
    use crate::run_times::PreparationTimes;
    use crate::setup::{ServiceName, SnapshotKey, TakenEnvironment};

    fn url() -> RepositoryUrl {
        RepositoryUrl::parse("/srv/other").expect("the URL is valid")
    }

    #[test]
    fn a_run_waits_for_a_setup_in_the_queue_and_then_starts_from_its_snapshot() {
        let preparing = samples::preparing();
        let attempt = preparing.last_run().attempt;
        let policy = RunPolicy::default();
        let waiting = decide(&preparing, TaskEvent::AwaitsSetup { attempt }, &policy, samples::later());
        assert_eq!((waiting.record.last_run().phase.clone(), waiting.effects), (RunPhase::Queued, vec![]));
        assert_eq!(waiting.record.last_run().attempt, attempt.next());
        assert_eq!(waiting.record.question, None);
        let attempt = attempt.next();
        let again = decide(&waiting.record, TaskEvent::Dequeued { attempt }, &policy, samples::later()).record;
        let name = ServiceName::parse("db").expect("a name");
        let service = serde_json::from_str(r#"{"image": "postgres:16"}"#).expect("a service");
        let environment = TakenEnvironment {
            snapshot: SnapshotKey::parse(&"a".repeat(64)),
            services: BTreeMap::from([(name.clone(), service)]),
            files: None,
            ..TakenEnvironment::default()
        };
        let event = TaskEvent::Prepared {
            attempt,
            base_sha: samples::sha('a'),
            environment: environment.clone(),
            times: PreparationTimes::default(),
        };
        let prepared = decide(&again, event, &policy, samples::later()).record;
        assert_eq!((&prepared.environment, prepared.last_run().services.as_slice()), (&environment, &[name][..]));
        let late = TaskEvent::Prepared {
            attempt,
            base_sha: samples::sha('a'),
            environment: TakenEnvironment::default(),
            times: PreparationTimes::default(),
        };
        let late = decide(&prepared, late, &policy, samples::later()).record;
        assert_eq!(late.environment, environment, "a task keeps what it took");
    }

    fn asking() -> TaskRecord {
        let event = TaskEvent::Asked { attempt: Attempt::FIRST, urls: vec![url()] };
        decide(&samples::preparing(), event, &RunPolicy::default(), samples::now()).record
    }

    fn answered(task: &TaskRecord, number: Option<u32>, answer: Answer) -> Result<TaskDecision, Refusal> {
        request(task, TaskRequest::Answer(number, answer), samples::later())
    }

    #[test]
    fn a_task_that_asks_waits_in_the_queue_and_needs_somebody() {
        let task = asking();
        assert_eq!((task.last_run().status(), task.last_run().attempt), (RunStatus::Queued, Attempt(2)));
        assert_eq!(TaskGroup::of(&task), TaskGroup::NeedsYou);
    }

    #[test]
    fn an_answer_is_about_the_question_that_was_seen() {
        let task = asking();
        assert_eq!(answered(&task, Some(7), Answer::Fetch), Err(Refusal::QuestionChanged));
        let fetch = answered(&task, Some(2), Answer::Fetch).expect("the request is accepted").record;
        assert_eq!((&fetch.question, fetch.skipped_urls.len()), (&None, 0));
        let skip = answered(&task, None, Answer::Skip).expect("the request is accepted").record;
        assert_eq!((&skip.question, skip.skipped_urls.as_slice()), (&None, [url()].as_slice()));
        assert_eq!(answered(&skip, Some(2), Answer::Fetch), Err(Refusal::NoQuestion), "the question was answered");
        assert_eq!(answered(&samples::running(), None, Answer::Fetch), Err(Refusal::NoQuestion));
    }

    #[test]
    fn a_task_that_asks_can_be_stopped_and_removed() {
        let stopped = request(&asking(), TaskRequest::Stop, samples::later()).expect("the request is accepted").record;
        assert_eq!((stopped.last_run().status(), &stopped.question), (RunStatus::Stopped, &None));
        let removed = request(&asking(), TaskRequest::Remove, samples::later()).expect("the request is accepted");
        assert_eq!((&removed.record.question, removed.effects.as_slice()), (&None, [TaskEffect::Vacate].as_slice()));
    }

    #[test]
    fn a_stop_that_was_first_is_not_asked_again() {
        let event = TaskEvent::Asked { attempt: Attempt::FIRST, urls: vec![url()] };
        let record = decide(&samples::stopping(), event.clone(), &RunPolicy::default(), samples::now()).record;
        assert_eq!((record.last_run().status(), &record.question), (RunStatus::Stopped, &None));
        let running = samples::running();
        assert_eq!(decide(&running, event, &RunPolicy::default(), samples::now()).record, running);
    }
}
