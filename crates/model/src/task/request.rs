//! What a person may ask of a task, and when it is refused.
//!
//! A request is refused before anything is changed; a granted one is a [`Decision`] like any other. Asking twice is fine.

use jiff::Timestamp;

use super::decide::{Decision, TaskEffect};
use super::record::{NewRun, TaskRecord};
use crate::problem::{Problem, ProblemKind};
use crate::run::{RunEnd, RunOutcome, RunPhase};

/// What a person asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskRequest {
    /// Go on in the same thread with another prompt.
    Resume(NewRun),
    /// End the active run.
    Stop,
    /// Remove the task, stopping its run first.
    Remove,
}

/// Why a request is not granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// A run is under way.
    RunActive,
    /// Codex never reported a thread, so there is nothing to go on with.
    NoThread,
    /// The task is being removed.
    Removing,
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let conflict = |code, detail| Problem::new(ProblemKind::WrongState, code, detail);
        match refusal {
            Refusal::RunActive => conflict("run_active", "a run of this task is still under way")
                .hint("wait for its end, or end it with `codex-orchestrator task stop`"),
            Refusal::NoThread => conflict("no_thread", "this task has no Codex thread to go on with")
                .hint("its first run failed before Codex started a thread; create a new task with the same prompt"),
            Refusal::Removing => conflict("task_removing", "this task is being removed"),
        }
    }
}

/// Grants or refuses a request.
pub fn request(task: &TaskRecord, asked: TaskRequest, now: Timestamp) -> Result<Decision, Refusal> {
    match asked {
        TaskRequest::Resume(run) => resume(task, run, now),
        TaskRequest::Stop => Ok(stop(task, now)),
        TaskRequest::Remove => Ok(remove(task, now)),
    }
}

fn resume(task: &TaskRecord, run: NewRun, now: Timestamp) -> Result<Decision, Refusal> {
    if task.removing {
        return Err(Refusal::Removing);
    }
    if task.last_run().is_active() {
        return Err(Refusal::RunActive);
    }
    if task.thread_id.is_none() {
        return Err(Refusal::NoThread);
    }
    let mut record = task.clone();
    record.queue(run, now);
    Ok(Decision::changed(record, now, vec![]))
}

fn stop(task: &TaskRecord, now: Timestamp) -> Decision {
    let mut record = task.clone();
    let attempt = record.last_run().attempt;
    match record.last_run().phase {
        RunPhase::Queued => {
            record.last_run_mut().phase = RunPhase::Ended(Box::new(never_ran(now)));
            Decision::changed(record, now, vec![])
        }
        RunPhase::Preparing | RunPhase::Running => {
            record.last_run_mut().phase = RunPhase::Stopping;
            Decision::changed(record, now, vec![TaskEffect::StopRun { attempt }])
        }
        // Asked again: the record already says so, and telling the keeper again is harmless.
        RunPhase::Stopping => Decision { record, effects: vec![TaskEffect::StopRun { attempt }] },
        RunPhase::Ended(_) => Decision { record, effects: vec![] },
    }
}

fn remove(task: &TaskRecord, now: Timestamp) -> Decision {
    let Decision { mut record, mut effects } = stop(task, now);
    record.removing = true;
    if !record.last_run().is_active() {
        effects.push(TaskEffect::Remove);
    }
    Decision::changed(record, now, effects)
}

/// The end of a run that was stopped before its worker started.
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
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::run::RunStatus;

    fn asked(task: &TaskRecord, asked: TaskRequest) -> Result<Decision, Refusal> {
        request(task, asked, samples::later())
    }

    #[test]
    fn a_finished_task_goes_on_in_its_thread() {
        let task = samples::completed();
        let decision = asked(&task, TaskRequest::Resume(samples::new_run("more"))).expect("granted");
        let run = decision.record.last_run();
        assert_eq!((run.number.0, run.status(), run.resumes), (2, RunStatus::Queued, task.thread_id));
        assert!(run.attempt > task.last_run().attempt);
    }

    #[test]
    fn a_thread_without_a_turn_is_started_afresh() {
        let mut task = samples::completed();
        task.runs[0].turn_started = false;
        let decision = asked(&task, TaskRequest::Resume(samples::new_run("more"))).expect("granted");
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
    fn stopping_twice_is_harmless() {
        let once = asked(&samples::running(), TaskRequest::Stop).expect("granted");
        assert_eq!(once.record.last_run().status(), RunStatus::Stopping);
        let twice = asked(&once.record, TaskRequest::Stop).expect("granted");
        assert_eq!(twice, once);
        let ended = samples::completed();
        assert_eq!(asked(&ended, TaskRequest::Stop), Ok(Decision { record: ended, effects: vec![] }));
    }

    #[test]
    fn stopping_a_queued_run_ends_it_at_once() {
        let decision = asked(&samples::queued(), TaskRequest::Stop).expect("granted");
        assert_eq!((decision.record.last_run().status(), decision.effects), (RunStatus::Stopped, vec![]));
    }

    #[test]
    fn removing_a_running_task_stops_it_first() {
        let decision = asked(&samples::running(), TaskRequest::Remove).expect("granted");
        let attempt = decision.record.last_run().attempt;
        assert!(decision.record.removing);
        assert_eq!(decision.effects, vec![TaskEffect::StopRun { attempt }]);
        let ended = asked(&samples::completed(), TaskRequest::Remove).expect("granted");
        assert_eq!(ended.effects, vec![TaskEffect::Remove]);
        let queued = asked(&samples::queued(), TaskRequest::Remove).expect("granted");
        assert_eq!(queued.effects, vec![TaskEffect::Remove]);
    }
}
