//! User requests to a task, and when they are rejected.
//!
//! A rejected request changes nothing. An accepted request results in a [`Decision`], like an event. Repeating a request is
//! harmless.

use jiff::Timestamp;

use super::ask::answer;
use super::branch_update::Update;
use super::decision::{TaskDecision, TaskEffect, changed};
use super::next;
use super::publish::publish;
use super::question::Answer;
use super::record::{FollowUp, NewRun, TaskRecord};
use super::refresh::refresh;
use super::refusal::Refusal;
use crate::decision::Decision;
use crate::names::Prompt;
use crate::publication::Publish;
use crate::run::{RunCause, RunEnd, RunOutcome, RunPhase};

/// The maximum number of follow-ups of a task.
const MOST_FOLLOW_UPS: usize = 100;

/// A request from a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskRequest {
    /// Continue the thread with a new prompt.
    Resume(NewRun),
    /// Continue the thread when the previous runs have ended, or immediately if none is active.
    FollowUp(NewRun),
    /// Replace a follow-up.
    EditFollowUp(u32, NewRun),
    /// Change the prompt of a follow-up and keep everything else.
    RewordFollowUp(u32, Prompt),
    /// Remove a follow-up. Removing it twice is harmless.
    RemoveFollowUp(u32),
    /// Start the next follow-up, which is waiting because the last run did not complete.
    Continue,
    /// Retry a failed or interrupted run: continue the thread, or start over with the same prompt if there is no thread. The
    /// idempotency key makes repeating the request harmless.
    Retry(Option<String>),
    /// Push the branch, and open a pull request if requested.
    Publish(Box<Publish>, Option<String>),
    /// Move the branch from its old commits to its new ones. Nothing is moved before this is recorded.
    Update(Box<Update>),
    /// Record that somebody viewed the result.
    See,
    /// Archive the task.
    Archive,
    /// Unarchive the task.
    Unarchive,
    /// Answer the open question, if it has this number.
    Answer(Option<u32>, Answer),
    /// Let the next run take the newest environment of the repository, without anything that earlier runs installed.
    RefreshEnvironment,
    /// Stop the active run.
    Stop,
    /// Remove the task. Stops its run first.
    Remove,
}

/// Accepts or rejects a request.
pub fn request(task: &TaskRecord, asked: TaskRequest, now: Timestamp) -> Result<TaskDecision, Refusal> {
    if let TaskRequest::Resume(run) | TaskRequest::FollowUp(run) = &asked
        && is_granted_already(task, run)?
    {
        return Ok(Decision::keep(task.clone(), vec![]));
    }
    match asked {
        TaskRequest::Resume(run) => resume(task, run, now),
        TaskRequest::FollowUp(run) => follow_up(task, run, now),
        TaskRequest::EditFollowUp(number, run) => edit_follow_up(task, number, run, now),
        TaskRequest::RewordFollowUp(number, prompt) => reword_follow_up(task, number, prompt, now),
        TaskRequest::RemoveFollowUp(number) => Ok(remove_follow_up(task, number, now)),
        TaskRequest::Continue => go_on(task, now),
        TaskRequest::Retry(key) => retry(task, key, now),
        TaskRequest::Publish(asked, compare_url) => publish(task, *asked, compare_url, now),
        TaskRequest::Update(update) => begin_update(task, *update, now),
        TaskRequest::See => Ok(see(task)),
        TaskRequest::Archive => archive(task, now),
        TaskRequest::Unarchive => Ok(unarchive(task, now)),
        TaskRequest::Answer(number, given) => answer(task, number, given, now),
        TaskRequest::RefreshEnvironment => refresh(task, now),
        TaskRequest::Stop => Ok(stop(task, now)),
        TaskRequest::Remove => Ok(remove(task, now)),
    }
}

/// Returns whether the same run was already requested with the same key. Omitted values count as equal.
fn is_granted_already(task: &TaskRecord, run: &NewRun) -> Result<bool, Refusal> {
    if run.idempotency_key.is_none() {
        return Ok(false);
    }
    let runs = task.runs.iter().map(|it| (&it.idempotency_key, &it.prompt, &it.images, &it.model, &it.effort));
    let waiting = task.follow_ups.iter().map(|it| (&it.idempotency_key, &it.prompt, &it.images, &it.model, &it.effort));
    let Some((_, prompt, images, model, effort)) = runs.chain(waiting).find(|(key, ..)| **key == run.idempotency_key) else {
        return Ok(false);
    };
    let is_same = *prompt == run.prompt
        && *images == run.images
        && (run.model.is_none() || *model == run.model)
        && (run.effort.is_none() || *effort == run.effort);
    if is_same { Ok(true) } else { Err(Refusal::KeyReused) }
}

fn resume(task: &TaskRecord, run: NewRun, now: Timestamp) -> Result<TaskDecision, Refusal> {
    can_go_on(task)?;
    let mut record = task.clone();
    record.queue(run, RunCause::Asked, now);
    Ok(changed(record, now, vec![]))
}

fn can_go_on(task: &TaskRecord) -> Result<(), Refusal> {
    if task.removing {
        Err(Refusal::Removing)
    } else if task.last_run().is_active() {
        Err(Refusal::RunActive)
    } else if task.thread_id.is_none() {
        Err(Refusal::NoThread)
    } else {
        Ok(())
    }
}

fn follow_up(task: &TaskRecord, run: NewRun, now: Timestamp) -> Result<TaskDecision, Refusal> {
    match can_go_on(task) {
        // The new follow-up is added after those that are already waiting.
        Ok(()) | Err(Refusal::RunActive) => {}
        Err(refusal) => return Err(refusal),
    }
    if task.follow_ups.len() >= MOST_FOLLOW_UPS {
        return Err(Refusal::TooManyFollowUps);
    }
    let mut record = task.clone();
    let NewRun { prompt, images, model, effort, priority, idempotency_key } = run;
    record.follow_ups_made = record.follow_ups_made.saturating_add(1);
    let number = record.follow_ups_made;
    record.follow_ups.push(FollowUp { number, prompt, images, model, effort, priority, idempotency_key, asked_at: now });
    if !record.last_run().is_active() {
        record.begin_follow_up(now);
    }
    Ok(changed(record, now, vec![]))
}

fn edit_follow_up(task: &TaskRecord, number: u32, run: NewRun, now: Timestamp) -> Result<TaskDecision, Refusal> {
    let mut record = task.clone();
    let found = record.follow_ups.iter_mut().find(|follow_up| follow_up.number == number).ok_or(Refusal::NoFollowUp)?;
    let NewRun { prompt, images, model, effort, priority, .. } = run;
    *found = FollowUp { prompt, images, model, effort, priority, ..found.clone() };
    Ok(changed(record, now, vec![]))
}

fn reword_follow_up(task: &TaskRecord, number: u32, prompt: Prompt, now: Timestamp) -> Result<TaskDecision, Refusal> {
    let mut record = task.clone();
    let found = record.follow_ups.iter_mut().find(|follow_up| follow_up.number == number).ok_or(Refusal::NoFollowUp)?;
    found.prompt = prompt;
    Ok(changed(record, now, vec![]))
}

fn remove_follow_up(task: &TaskRecord, number: u32, now: Timestamp) -> TaskDecision {
    let mut record = task.clone();
    record.follow_ups.retain(|follow_up| follow_up.number != number);
    if record == *task { Decision::keep(record, vec![]) } else { changed(record, now, vec![]) }
}

fn go_on(task: &TaskRecord, now: Timestamp) -> Result<TaskDecision, Refusal> {
    can_go_on(task)?;
    if task.follow_ups.is_empty() {
        return Err(Refusal::NoFollowUp);
    }
    let mut record = task.clone();
    record.begin_follow_up(now);
    Ok(changed(record, now, vec![]))
}

fn retry(task: &TaskRecord, key: Option<String>, now: Timestamp) -> Result<TaskDecision, Refusal> {
    if let Some(run) = task.runs.iter().find(|run| key.is_some() && run.idempotency_key == key) {
        let is_same = run.cause == RunCause::Retry;
        return if is_same { Ok(Decision::keep(task.clone(), vec![])) } else { Err(Refusal::KeyReused) };
    }
    if task.follow_ups.iter().any(|follow_up| key.is_some() && follow_up.idempotency_key == key) {
        return Err(Refusal::KeyReused);
    }
    match can_go_on(task) {
        Ok(()) | Err(Refusal::NoThread) => {}
        Err(refusal) => return Err(refusal),
    }
    let mut record = task.clone();
    if next::retry_now(&mut record, key, now) { Ok(changed(record, now, vec![])) } else { Err(Refusal::NotFailed) }
}

/// Accepts an update if the task has not changed since the update was planned. The caller moves the branch.
fn begin_update(task: &TaskRecord, update: Update, now: Timestamp) -> Result<TaskDecision, Refusal> {
    if *task.can_update()? != update.from_base || task.last_run().number != update.after_run {
        return Err(Refusal::BranchMoved);
    }
    let mut record = task.clone();
    record.updating = Some(Box::new(update));
    Ok(changed(record, now, vec![TaskEffect::MoveBranch]))
}

/// Viewing a task does not update the time of its last change.
fn see(task: &TaskRecord) -> TaskDecision {
    let mut record = task.clone();
    if !record.last_run().is_active() {
        record.seen_run = record.last_run().number.0;
    }
    Decision::keep(record, vec![])
}

/// Archiving a task also marks it as seen. Archiving it twice changes nothing.
fn archive(task: &TaskRecord, now: Timestamp) -> Result<TaskDecision, Refusal> {
    if task.removing {
        return Err(Refusal::Removing);
    }
    if task.last_run().is_active() {
        return Err(Refusal::RunActive);
    }
    let mut decision = see(task);
    decision.record.archived_at = Some(task.archived_at.unwrap_or(now));
    Ok(decision)
}

fn unarchive(task: &TaskRecord, now: Timestamp) -> TaskDecision {
    if task.archived_at.is_none() {
        return Decision::keep(task.clone(), vec![]);
    }
    let mut record = task.clone();
    record.archived_at = None;
    changed(record, now, vec![])
}

fn stop(task: &TaskRecord, now: Timestamp) -> TaskDecision {
    let mut record = task.clone();
    let attempt = record.last_run().attempt;
    match record.last_run().phase {
        RunPhase::Queued => {
            record.question = None;
            record.last_run_mut().phase = RunPhase::Ended(Box::new(never_ran(now)));
            changed(record, now, vec![])
        }
        RunPhase::Preparing | RunPhase::Running => {
            record.last_run_mut().phase = RunPhase::Stopping;
            changed(record, now, vec![TaskEffect::StopRun { attempt }])
        }
        // Stopping was already requested. Telling the keeper again is harmless.
        RunPhase::Stopping => Decision::keep(record, vec![TaskEffect::StopRun { attempt }]),
        RunPhase::Ended(_) => Decision::keep(record, vec![]),
    }
}

fn remove(task: &TaskRecord, now: Timestamp) -> TaskDecision {
    let Decision { mut record, mut effects, .. } = stop(task, now);
    record.removing = true;
    if !record.last_run().is_active() {
        effects.push(TaskEffect::Vacate);
    }
    changed(record, now, effects)
}

/// Returns the result of a run that was stopped before its worker started.
pub(super) fn never_ran(now: Timestamp) -> RunEnd {
    RunEnd {
        outcome: RunOutcome::Stopped,
        started_at: None,
        finished_at: now,
        exit_code: None,
        commit: None,
        usage: None,
        usage_total: None,
        last_message: None,
        notes: vec![],
        changes: None,
        omitted: vec![],
        artifacts: 0,
        installed: false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::error_code::ErrorCode;
    use crate::run::RunStatus;

    fn asked(task: &TaskRecord, asked: TaskRequest) -> Result<TaskDecision, Refusal> {
        request(task, asked, samples::later())
    }

    #[test]
    fn what_ended_is_seen_and_another_run_is_not() {
        let task = samples::completed();
        let seen = asked(&task, TaskRequest::See).expect("the request is accepted").record;
        assert_eq!((seen.seen_run, seen.updated_at), (1, task.updated_at));
        let more = asked(&seen, TaskRequest::Resume(samples::new_run("more"))).expect("the request is accepted").record;
        assert_eq!(
            asked(&more, TaskRequest::See).expect("the request is accepted").record.seen_run,
            1,
            "a run that has not ended is not seen"
        );
    }

    #[test]
    fn what_has_ended_can_be_put_away_and_comes_back_when_it_goes_on() {
        for active in [samples::queued(), samples::running(), samples::stopping()] {
            assert_eq!(asked(&active, TaskRequest::Archive), Err(Refusal::RunActive));
        }
        let away = asked(&samples::completed(), TaskRequest::Archive).expect("the request is accepted").record;
        assert_eq!((away.archived_at, away.seen_run), (Some(samples::later()), 1));
        let again = request(&away, TaskRequest::Archive, samples::now()).expect("the request is accepted").record;
        assert_eq!(again, away, "the task was already archived");
        for back in [TaskRequest::Unarchive, TaskRequest::Resume(samples::new_run("more"))] {
            assert_eq!(asked(&away, back).expect("the request is accepted").record.archived_at, None);
        }
        let open = samples::completed();
        assert_eq!(asked(&open, TaskRequest::Unarchive), Ok(Decision::keep(open, vec![])));
    }

    #[test]
    fn a_finished_task_goes_on_in_its_thread() {
        let task = samples::completed();
        let decision = asked(&task, TaskRequest::Resume(samples::new_run("more"))).expect("the request is accepted");
        let run = decision.record.last_run();
        assert_eq!((run.number.0, run.status(), run.resumes), (2, RunStatus::Queued, task.thread_id));
        assert!(run.attempt > task.last_run().attempt);
    }

    #[test]
    fn a_thread_without_a_turn_is_started_afresh() {
        let mut task = samples::completed();
        task.runs[0].turn_started = false;
        let decision = asked(&task, TaskRequest::Resume(samples::new_run("more"))).expect("the request is accepted");
        assert_eq!(decision.record.last_run().resumes, None);
    }

    #[test]
    fn a_resume_is_refused_while_a_run_is_active_or_without_a_thread() {
        let more = || TaskRequest::Resume(samples::new_run("more"));
        for active in [samples::queued(), samples::preparing(), samples::running(), samples::stopping()] {
            assert_eq!(asked(&active, more()), Err(Refusal::RunActive));
        }
        let mut threadless = samples::completed();
        threadless.thread_id = None;
        assert_eq!(asked(&threadless, more()), Err(Refusal::NoThread));
        let mut leaving = samples::completed();
        leaving.removing = true;
        assert_eq!(asked(&leaving, more()), Err(Refusal::Removing));
    }

    #[test]
    fn a_follow_up_waits_for_the_run_and_begins_at_once_where_there_is_none() {
        let more = || TaskRequest::FollowUp(samples::new_run("more"));
        let waiting = asked(&samples::running(), more()).expect("the request is accepted").record;
        let waiting = asked(&waiting, more()).expect("the request is accepted").record;
        let numbers: Vec<_> = waiting.follow_ups.iter().map(|follow_up| follow_up.number).collect();
        assert_eq!((numbers, waiting.runs.len()), (vec![1, 2], 1));
        let begun = asked(&samples::completed(), more()).expect("the request is accepted").record;
        assert_eq!((begun.runs.len(), begun.follow_ups.len(), begun.last_run().cause), (2, 0, RunCause::FollowUp));
        let mut threadless = samples::completed();
        threadless.thread_id = None;
        assert_eq!(asked(&threadless, more()), Err(Refusal::NoThread));
        let mut many = waiting;
        many.follow_ups = vec![many.follow_ups[0].clone(); MOST_FOLLOW_UPS];
        assert_eq!(asked(&many, more()), Err(Refusal::TooManyFollowUps));
    }

    #[test]
    fn a_follow_up_that_waits_can_be_changed_and_removed_and_keeps_its_number() {
        let more = |text: &str| TaskRequest::FollowUp(samples::new_run(text));
        let task = asked(&samples::running(), more("a")).expect("the request is accepted").record;
        let task = asked(&task, more("b")).expect("the request is accepted").record;
        let task = asked(&task, TaskRequest::EditFollowUp(2, samples::new_run("c"))).expect("the request is accepted").record;
        assert_eq!(task.follow_ups[1].prompt.as_str(), "c");
        let words = Prompt::parse("other words").expect("the prompt is valid");
        let mut urgent = task.clone();
        urgent.follow_ups[1].priority = crate::queue::Priority::High;
        let reworded =
            asked(&urgent, TaskRequest::RewordFollowUp(2, words.clone())).expect("the request is accepted").record.follow_ups[1]
                .clone();
        assert_eq!((reworded.prompt.as_str(), reworded.priority), ("other words", crate::queue::Priority::High));
        assert_eq!(asked(&task, TaskRequest::RewordFollowUp(3, words)), Err(Refusal::NoFollowUp));
        assert_eq!(asked(&task, TaskRequest::EditFollowUp(3, samples::new_run("d"))), Err(Refusal::NoFollowUp));
        let task = asked(&task, TaskRequest::RemoveFollowUp(2)).expect("the request is accepted").record;
        let again = asked(&task, TaskRequest::RemoveFollowUp(2)).expect("the request is accepted");
        assert_eq!((again.record.clone(), again.effects), (task.clone(), vec![]));
        let task = asked(&task, more("e")).expect("the request is accepted").record;
        assert_eq!(task.follow_ups.last().map(|follow_up| follow_up.number), Some(3), "numbers are never reused");
    }

    #[test]
    fn what_waits_after_a_run_that_went_wrong_begins_when_it_is_told_to() {
        let mut task = samples::completed();
        assert_eq!(asked(&task, TaskRequest::Continue), Err(Refusal::NoFollowUp));
        let waiting =
            asked(&samples::running(), TaskRequest::FollowUp(samples::new_run("more"))).expect("the request is accepted").record;
        assert_eq!(asked(&waiting, TaskRequest::Continue), Err(Refusal::RunActive));
        task.follow_ups = waiting.follow_ups;
        let begun = asked(&task, TaskRequest::Continue).expect("the request is accepted").record;
        assert_eq!((begun.last_run().prompt.as_str(), begun.follow_ups.len()), ("more", 0));
    }

    fn failed(code: ErrorCode) -> TaskRecord {
        let mut task = samples::completed();
        if let RunPhase::Ended(end) = &mut task.runs[0].phase {
            end.outcome = RunOutcome::Failed(crate::run::RunError::new(code, "x"));
        }
        task
    }

    #[test]
    fn a_failed_task_is_retried_in_its_thread_or_from_the_start() {
        let retried = |task: &TaskRecord| asked(task, TaskRequest::Retry(None)).expect("the request is accepted").record;
        let task = failed(ErrorCode::UsageLimit);
        let run = retried(&task).last_run().clone();
        assert_eq!((run.resumes, run.cause, run.status()), (task.thread_id, RunCause::Retry, RunStatus::Queued));
        assert_eq!(
            run.prompt.as_str(),
            "Your previous turn was interrupted (usage limit) before it finished. Review the current state of the working tree, then \
             continue the original task."
        );
        let mut threadless = failed(ErrorCode::LoginExpired);
        threadless.thread_id = None;
        (threadless.runs[0].thread_id, threadless.runs[0].turn_started) = (None, false);
        threadless.runs[0].images = vec![samples::image("a.png")];
        let run = retried(&threadless).last_run().clone();
        assert_eq!((&run.prompt, &run.images, run.resumes), (&threadless.runs[0].prompt, &threadless.runs[0].images, None));
    }

    #[test]
    fn a_retry_is_for_what_failed_and_asking_twice_under_one_key_is_harmless() {
        let key = || TaskRequest::Retry(Some("k".to_owned()));
        assert_eq!(asked(&samples::completed(), key()), Err(Refusal::NotFailed));
        assert_eq!(asked(&samples::running(), key()), Err(Refusal::RunActive));
        let once = asked(&failed(ErrorCode::Network), key()).expect("the request is accepted").record;
        assert_eq!(asked(&once, key()), Ok(Decision::keep(once.clone(), vec![])));
        assert_eq!(asked(&once, TaskRequest::Retry(Some("l".to_owned()))), Err(Refusal::RunActive));
        let run = NewRun { idempotency_key: Some("k".to_owned()), ..samples::new_run("more") };
        let other = asked(&failed(ErrorCode::Network), TaskRequest::Resume(run)).expect("the request is accepted").record;
        assert_eq!(asked(&other, key()), Err(Refusal::KeyReused));
        let run = NewRun { idempotency_key: Some("k".to_owned()), ..samples::new_run("more") };
        let mut waits = asked(&samples::running(), TaskRequest::FollowUp(run)).expect("the request is accepted").record;
        waits.runs = failed(ErrorCode::Network).runs;
        assert_eq!(asked(&waits, key()), Err(Refusal::KeyReused), "a waiting follow-up has the key");
    }

    #[test]
    fn the_same_under_the_same_key_is_granted_once_and_something_else_is_not() {
        let under = |key: &str, prompt: &str| NewRun { idempotency_key: Some(key.to_owned()), ..samples::new_run(prompt) };
        let once = asked(&samples::running(), TaskRequest::FollowUp(under("k", "more"))).expect("the request is accepted").record;
        let twice = asked(&once, TaskRequest::FollowUp(under("k", "more"))).expect("the request is accepted");
        assert_eq!(twice, Decision::keep(once.clone(), vec![]));
        assert_eq!(asked(&once, TaskRequest::FollowUp(under("k", "less"))), Err(Refusal::KeyReused));
        assert_eq!(
            asked(&once, TaskRequest::FollowUp(under("l", "more"))).expect("the request is accepted").record.follow_ups.len(),
            2
        );
        let keyless = asked(&once, TaskRequest::FollowUp(samples::new_run("more"))).expect("the request is accepted");
        assert_eq!(keyless.record.follow_ups.len(), 2, "a request without a key is a new request");

        let resumed =
            asked(&samples::completed(), TaskRequest::Resume(under("k", "more"))).expect("the request is accepted").record;
        let again = asked(&resumed, TaskRequest::Resume(under("k", "more"))).expect("the repeated request is accepted");
        assert_eq!(again.record.runs.len(), 2);
        assert_eq!(resumed.runs[1].idempotency_key.as_deref(), Some("k"));
    }

    #[test]
    fn stopping_twice_is_harmless() {
        let once = asked(&samples::running(), TaskRequest::Stop).expect("the request is accepted");
        assert_eq!(once.record.last_run().status(), RunStatus::Stopping);
        let twice = asked(&once.record, TaskRequest::Stop).expect("the request is accepted");
        assert_eq!(twice, once);
        let ended = samples::completed();
        assert_eq!(asked(&ended, TaskRequest::Stop), Ok(Decision::keep(ended, vec![])));
    }

    #[test]
    fn stopping_a_queued_run_ends_it_at_once() {
        let decision = asked(&samples::queued(), TaskRequest::Stop).expect("the request is accepted");
        assert_eq!((decision.record.last_run().status(), decision.effects), (RunStatus::Stopped, vec![]));
    }

    #[test]
    fn removing_a_running_task_stops_it_first() {
        let decision = asked(&samples::running(), TaskRequest::Remove).expect("the request is accepted");
        let attempt = decision.record.last_run().attempt;
        assert!(decision.record.removing);
        assert_eq!(decision.effects, vec![TaskEffect::StopRun { attempt }]);
        let ended = asked(&samples::completed(), TaskRequest::Remove).expect("the request is accepted");
        assert_eq!(ended.effects, vec![TaskEffect::Vacate]);
        let queued = asked(&samples::queued(), TaskRequest::Remove).expect("the request is accepted");
        assert_eq!(queued.effects, vec![TaskEffect::Vacate]);
    }
}
