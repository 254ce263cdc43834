//! Decides what follows from an event: the next record, and the effects to perform once it is written.
//!
//! This function is total: an event that no longer fits (an older attempt, a run that has ended) changes nothing.

use jiff::Timestamp;

use super::ask::{ask, back_to_queue};
use super::decision::{TaskDecision, TaskEffect, changed};
use super::layers::LayerGeneration;
use super::next::go_on;
use super::publish::{PublicationEvent, published};
use super::record::TaskRecord;
use super::refresh::{layers_discarded, layers_left};
use super::request::never_ran;
use super::update::{UpdateEvent, updated};
use crate::commit::HeldFiles;
use crate::decision::Decision;
use crate::ids::{Attempt, ObjectId, ThreadId};
use crate::names::RepositoryUrl;
use crate::policy::RunPolicy;
use crate::run::{RunEnd, RunError, RunOutcome, RunPhase};
use crate::run_times::{PreparationTimes, Wait};
use crate::setup::TakenEnvironment;

/// Something that happened to a task.
#[derive(Debug, Clone, PartialEq)]
pub enum TaskEvent {
    /// Somebody created the task. Its images are on disk.
    Created(Box<TaskRecord>),
    /// Somebody restored the task from the trash. Its branch is back in the mirror.
    Restored(Box<TaskRecord>),
    /// The queue started the run.
    Dequeued {
        /// The attempt that the event belongs to.
        attempt: Attempt,
    },
    /// The worktree is ready: it is at its base and on its branch.
    Prepared {
        /// The attempt that the event belongs to.
        attempt: Attempt,
        /// The commit that the task starts from.
        base_sha: ObjectId,
        /// What the task takes from the environment of its repository, if it needs one.
        environment: TakenEnvironment,
        /// What was measured during the preparation.
        times: PreparationTimes,
    },
    /// The snapshot that the task starts from does not exist yet. The run waits in the queue.
    AwaitsSetup {
        /// The attempt that the event belongs to.
        attempt: Attempt,
    },
    /// The commit has submodules from URLs that nobody has allowed yet.
    Asked {
        /// The attempt that the event belongs to.
        attempt: Attempt,
        /// The URLs of the submodules.
        urls: Vec<RepositoryUrl>,
    },
    /// The worktree or the worker could not be prepared, or the run was stopped during preparation.
    PreparationFailed {
        /// The attempt that the event belongs to.
        attempt: Attempt,
        /// The error.
        error: RunError,
    },
    /// The server that was preparing the run has ended, and no keeper exists.
    PreparationLost {
        /// The attempt that the event belongs to.
        attempt: Attempt,
    },
    /// The session of the thread to continue is missing. The run starts a new thread with a summary.
    SessionLost {
        /// The attempt that the event belongs to.
        attempt: Attempt,
    },
    /// After a power cut, the worktree of a run that has ended was compared with its commit. Another run may be active by now.
    WorktreeChecked {
        /// The attempt of the run that has ended.
        attempt: Attempt,
        /// Notes for people.
        notes: Vec<String>,
    },
    /// A keeper, which was just started or was found after a restart, supervises the run.
    Launched {
        /// The attempt that the event belongs to.
        attempt: Attempt,
        /// When the worker started.
        started_at: Timestamp,
    },
    /// Codex reported its thread.
    ThreadStarted {
        /// The attempt that the event belongs to.
        attempt: Attempt,
        /// The thread.
        thread_id: ThreadId,
        /// When Codex reported it. Not set if it was found later, for example after a restart.
        seen_at: Option<Timestamp>,
    },
    /// Codex reported the start of a turn.
    TurnStarted {
        /// The attempt that the event belongs to.
        attempt: Attempt,
    },
    /// The keeper has ended, with or without an exit record.
    KeeperGone {
        /// The attempt that the event belongs to.
        attempt: Attempt,
    },
    /// The outcome of the run is known, and its changes are committed.
    RunFinished {
        /// The attempt that the event belongs to.
        attempt: Attempt,
        /// The result.
        end: Box<RunEnd>,
        /// The files beyond the limits of the commit, if the commit was made.
        held: Option<Vec<HeldFiles>>,
        /// How long it took to determine the outcome and commit the changes, in milliseconds.
        commit_ms: Option<u64>,
    },
    /// An event of an update of the branch.
    Update(UpdateEvent),
    /// A removal was started but not finished.
    RemovalLeft,
    /// Nothing works on the removed task any more.
    Vacated,
    /// The notifications with these numbers were sent, or nobody wants them.
    Notified(Vec<u32>),
    /// Notifications were recorded but not sent.
    NoticesLeft,
    /// Layers of earlier generations than this one no longer exist.
    LayersDiscarded(LayerGeneration),
    /// Layers of earlier generations may still exist.
    LayersLeft,
    /// An event of the publication.
    Publication(PublicationEvent),
}

/// Decides what follows from an event about a task that does not exist: it is created or restored, or nothing happens.
pub fn begin(event: TaskEvent, now: Timestamp) -> Option<TaskDecision> {
    match event {
        TaskEvent::Created(task) => Some(Decision::keep(*task, vec![])),
        TaskEvent::Restored(task) => Some(changed(TaskRecord { removing: false, ..*task }, now, vec![])),
        TaskEvent::Dequeued { .. }
        | TaskEvent::Prepared { .. }
        | TaskEvent::Asked { .. }
        | TaskEvent::AwaitsSetup { .. }
        | TaskEvent::PreparationFailed { .. }
        | TaskEvent::PreparationLost { .. }
        | TaskEvent::SessionLost { .. }
        | TaskEvent::WorktreeChecked { .. }
        | TaskEvent::Launched { .. }
        | TaskEvent::ThreadStarted { .. }
        | TaskEvent::TurnStarted { .. }
        | TaskEvent::KeeperGone { .. }
        | TaskEvent::RunFinished { .. }
        | TaskEvent::Update(_)
        | TaskEvent::RemovalLeft
        | TaskEvent::Vacated
        | TaskEvent::Notified(_)
        | TaskEvent::NoticesLeft
        | TaskEvent::LayersDiscarded(_)
        | TaskEvent::LayersLeft
        | TaskEvent::Publication(_) => None,
    }
}

/// Decides what follows from an event. `policy` is the policy of the task's repository.
pub fn decide(task: &TaskRecord, event: TaskEvent, policy: &RunPolicy, now: Timestamp) -> TaskDecision {
    let event = match event {
        TaskEvent::Publication(event) => return published(task, event, now),
        TaskEvent::Update(event) => return updated(task, event, now),
        TaskEvent::LayersDiscarded(generation) => return layers_discarded(task, generation),
        TaskEvent::LayersLeft => return layers_left(task),
        other => other,
    };
    let mut record = task.clone();
    let nothing = Decision::keep(task.clone(), vec![]);
    let (current, active) = (record.last_run().attempt, record.last_run().is_active());
    let fits = |attempt: Attempt| attempt == current && active;
    let effects = match event {
        TaskEvent::Dequeued { attempt } if fits(attempt) => match record.last_run().phase {
            RunPhase::Queued => dequeued(&mut record, attempt, now),
            RunPhase::Preparing | RunPhase::Running | RunPhase::Stopping | RunPhase::Ended(_) => return nothing,
        },
        TaskEvent::Prepared { attempt, .. } | TaskEvent::Asked { attempt, .. } | TaskEvent::AwaitsSetup { attempt }
            if fits(attempt) =>
        {
            let Some(effects) = preparation_ended(&mut record, event, policy, now) else { return nothing };
            effects
        }
        TaskEvent::PreparationFailed { attempt, error } if fits(attempt) => match record.last_run().phase {
            RunPhase::Stopping => end(&mut record, never_ran(now), policy, now),
            RunPhase::Queued | RunPhase::Preparing | RunPhase::Running | RunPhase::Ended(_) => {
                end(&mut record, RunEnd { outcome: RunOutcome::Failed(error), ..never_ran(now) }, policy, now)
            }
        },
        TaskEvent::PreparationLost { attempt } if fits(attempt) => match record.last_run().phase {
            RunPhase::Stopping => end(&mut record, never_ran(now), policy, now),
            RunPhase::Queued | RunPhase::Preparing | RunPhase::Running | RunPhase::Ended(_) => {
                let again = attempt.next();
                record.last_run_mut().attempt = again;
                record.last_run_mut().times.waits(Wait::Turn, now);
                enter(&mut record, RunPhase::Preparing, vec![TaskEffect::Prepare { attempt: again }])
            }
        },
        TaskEvent::SessionLost { attempt } if fits(attempt) && record.last_run().resumes.is_some() => {
            let run = record.last_run_mut();
            run.lost_thread = run.resumes.take();
            vec![]
        }
        TaskEvent::WorktreeChecked { attempt, notes } if !notes.is_empty() => {
            let Some(run) = record.runs.iter_mut().find(|run| run.attempt == attempt) else { return nothing };
            let RunPhase::Ended(end) = &mut run.phase else { return nothing };
            end.notes.extend(notes);
            vec![]
        }
        TaskEvent::Launched { attempt, started_at } if fits(attempt) => launched(&mut record, attempt, started_at),
        TaskEvent::ThreadStarted { attempt, thread_id, seen_at } if fits(attempt) => {
            thread_started(&mut record, attempt, thread_id, seen_at)
        }
        TaskEvent::TurnStarted { attempt } if fits(attempt) => {
            record.last_run_mut().turn_started = true;
            vec![]
        }
        TaskEvent::KeeperGone { attempt } if fits(attempt) => {
            return Decision { effects: vec![TaskEffect::Finish { attempt }], ..nothing };
        }
        TaskEvent::RunFinished { attempt, end: how, held, commit_ms } if fits(attempt) => {
            record.hold(held, now);
            record.last_run_mut().times.phases.commit_ms = commit_ms;
            end(&mut record, *how, policy, now)
        }
        TaskEvent::RemovalLeft if record.removing && !active => {
            return Decision { effects: vec![TaskEffect::Vacate], ..nothing };
        }
        TaskEvent::Vacated if record.removing && !active => return Decision::trash(record, vec![TaskEffect::CleanUp]),
        TaskEvent::Notified(numbers) => {
            record.notices.retain(|notice| !numbers.contains(&notice.number));
            // Sending a notification does not change the task.
            return Decision { record, ..nothing };
        }
        TaskEvent::NoticesLeft if !record.notices.is_empty() => {
            return Decision { effects: vec![TaskEffect::Notify], ..nothing };
        }
        TaskEvent::Dequeued { .. }
        | TaskEvent::Prepared { .. }
        | TaskEvent::Asked { .. }
        | TaskEvent::AwaitsSetup { .. }
        | TaskEvent::PreparationFailed { .. }
        | TaskEvent::PreparationLost { .. }
        | TaskEvent::SessionLost { .. }
        | TaskEvent::WorktreeChecked { .. }
        | TaskEvent::Launched { .. }
        | TaskEvent::ThreadStarted { .. }
        | TaskEvent::TurnStarted { .. }
        | TaskEvent::KeeperGone { .. }
        | TaskEvent::RunFinished { .. }
        | TaskEvent::Publication(_)
        | TaskEvent::Created(_)
        | TaskEvent::Restored(_)
        | TaskEvent::Update(_)
        | TaskEvent::RemovalLeft
        | TaskEvent::Vacated
        | TaskEvent::LayersDiscarded(_)
        | TaskEvent::LayersLeft
        | TaskEvent::NoticesLeft => return nothing,
    };
    // An event that says nothing new is not worth a write.
    if record == *task { Decision::keep(record, effects) } else { changed(record, now, effects) }
}

fn dequeued(record: &mut TaskRecord, attempt: Attempt, now: Timestamp) -> Vec<TaskEffect> {
    let run = record.last_run_mut();
    run.times.dequeued(run.queued_at, now);
    enter(record, RunPhase::Preparing, vec![TaskEffect::Prepare { attempt }])
}

/// Decides what follows from the end of a preparation. Returns `None` if the run is not being prepared.
fn preparation_ended(record: &mut TaskRecord, event: TaskEvent, policy: &RunPolicy, now: Timestamp) -> Option<Vec<TaskEffect>> {
    let is_stopping = match record.last_run().phase {
        RunPhase::Preparing => false,
        RunPhase::Stopping => true,
        RunPhase::Queued | RunPhase::Running | RunPhase::Ended(_) => return None,
    };
    let next = match event {
        TaskEvent::Prepared { attempt, base_sha, environment, times } => {
            record.take_environment(environment);
            let snapshot = record.environment.snapshot.clone();
            record.last_run_mut().times.prepared(times, snapshot.as_ref(), now);
            record.base_sha.get_or_insert(base_sha);
            record.last_run_mut().services = record.environment.services.keys().cloned().collect();
            vec![TaskEffect::Launch { attempt }]
        }
        _ if is_stopping => vec![],
        TaskEvent::Asked { urls, .. } => ask(record, urls, now),
        _ => back_to_queue(record, Wait::Setup, now),
    };
    Some(if is_stopping { end(record, never_ran(now), policy, now) } else { next })
}

fn enter(record: &mut TaskRecord, phase: RunPhase, effects: Vec<TaskEffect>) -> Vec<TaskEffect> {
    record.last_run_mut().phase = phase;
    effects
}

fn end(record: &mut TaskRecord, how: RunEnd, policy: &RunPolicy, now: Timestamp) -> Vec<TaskEffect> {
    let run = record.last_run_mut();
    run.started_at = run.started_at.or(how.started_at);
    run.times.ended(run.started_at, how.finished_at);
    run.phase = RunPhase::Ended(Box::new(RunEnd { started_at: run.started_at, ..how }));
    go_on(record, policy, now);
    if record.removing { vec![TaskEffect::Vacate] } else { vec![] }
}

fn launched(record: &mut TaskRecord, attempt: Attempt, started_at: Timestamp) -> Vec<TaskEffect> {
    let run = record.last_run_mut();
    run.started_at.get_or_insert(started_at);
    match run.phase {
        RunPhase::Stopping => vec![TaskEffect::Follow { attempt }, TaskEffect::StopRun { attempt }],
        RunPhase::Queued | RunPhase::Preparing | RunPhase::Running | RunPhase::Ended(_) => {
            enter(record, RunPhase::Running, vec![TaskEffect::Follow { attempt }])
        }
    }
}

/// Checks that a resumed run reports the thread that it resumes. A different thread means that Codex silently started a new
/// conversation without any context. The run is then stopped, and the task keeps its thread.
fn thread_started(record: &mut TaskRecord, attempt: Attempt, thread_id: ThreadId, seen_at: Option<Timestamp>) -> Vec<TaskEffect> {
    let run = record.last_run_mut();
    run.times.codex_started(seen_at);
    run.thread_id = Some(thread_id);
    if run.resumes.is_some_and(|expected| expected != thread_id) {
        return vec![TaskEffect::StopRun { attempt }];
    }
    record.thread_id = Some(thread_id);
    vec![]
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::error_code::ErrorCode;
    use crate::run::RunStatus;

    fn after(task: &TaskRecord, event: TaskEvent) -> TaskDecision {
        decide(task, event, &RunPolicy::default(), samples::later())
    }

    const FIRST: Attempt = Attempt::FIRST;

    #[test]
    fn a_run_goes_from_the_queue_to_its_end() {
        let task = samples::queued();
        let preparing = after(&task, TaskEvent::Dequeued { attempt: FIRST });
        assert_eq!(preparing.effects, vec![TaskEffect::Prepare { attempt: FIRST }]);
        let prepared = after(
            &preparing.record,
            TaskEvent::Prepared {
                attempt: FIRST,
                base_sha: samples::sha('a'),
                environment: TakenEnvironment::default(),
                times: PreparationTimes::default(),
            },
        );
        assert_eq!(prepared.effects, vec![TaskEffect::Launch { attempt: FIRST }]);
        assert_eq!(prepared.record.base_sha, Some(samples::sha('a')));
        let running = after(&prepared.record, TaskEvent::Launched { attempt: FIRST, started_at: samples::now() });
        assert_eq!(running.effects, vec![TaskEffect::Follow { attempt: FIRST }]);
        assert_eq!(running.record.status().as_str(), "running");
        let gone = after(&running.record, TaskEvent::KeeperGone { attempt: FIRST });
        assert_eq!(gone.effects, vec![TaskEffect::Finish { attempt: FIRST }]);
        let end = Box::new(samples::success());
        let ended = after(&gone.record, TaskEvent::RunFinished { attempt: FIRST, end, held: None, commit_ms: None });
        assert_eq!((ended.record.status().as_str(), ended.effects), ("completed", vec![]));
    }

    #[test]
    fn events_of_an_older_attempt_are_dropped() {
        let mut task = samples::running();
        task.runs[0].attempt = Attempt(5);
        for event in [
            TaskEvent::KeeperGone { attempt: Attempt(4) },
            TaskEvent::RunFinished { attempt: Attempt(4), end: Box::new(samples::success()), held: None, commit_ms: None },
            TaskEvent::PreparationFailed { attempt: Attempt(4), error: RunError::new(ErrorCode::WorktreeFailed, "y") },
        ] {
            assert_eq!(after(&task, event), Decision::keep(task.clone(), vec![]));
        }
    }

    #[test]
    fn nothing_changes_a_run_that_has_ended() {
        let task = samples::completed();
        let attempt = task.last_run().attempt;
        for event in [
            TaskEvent::Dequeued { attempt },
            TaskEvent::KeeperGone { attempt },
            TaskEvent::Launched { attempt, started_at: samples::now() },
            TaskEvent::RunFinished { attempt, end: Box::new(samples::success()), held: None, commit_ms: None },
            TaskEvent::RemovalLeft,
        ] {
            assert_eq!(after(&task, event), Decision::keep(task.clone(), vec![]));
        }
    }

    #[test]
    fn a_stop_that_arrives_before_the_worker_ends_the_run_as_stopped() {
        let task = samples::stopping();
        for event in [
            TaskEvent::Prepared {
                attempt: FIRST,
                base_sha: samples::sha('a'),
                environment: TakenEnvironment::default(),
                times: PreparationTimes::default(),
            },
            TaskEvent::PreparationFailed { attempt: FIRST, error: RunError::new(ErrorCode::Cancelled, "stopped") },
            TaskEvent::PreparationLost { attempt: FIRST },
        ] {
            let decision = after(&task, event);
            assert_eq!(decision.record.last_run().status(), RunStatus::Stopped);
            assert_eq!(decision.effects, vec![]);
        }
        let found = after(&task, TaskEvent::Launched { attempt: FIRST, started_at: samples::now() });
        assert_eq!(found.effects, vec![TaskEffect::Follow { attempt: FIRST }, TaskEffect::StopRun { attempt: FIRST }]);
    }

    #[test]
    fn the_thread_is_stored_when_it_is_reported() {
        let decision =
            after(&samples::running(), TaskEvent::ThreadStarted { attempt: FIRST, thread_id: samples::thread(1), seen_at: None });
        assert_eq!(decision.record.thread_id, Some(samples::thread(1)));
        assert_eq!(decision.effects, vec![]);
    }

    #[test]
    fn a_resume_that_reports_another_thread_is_ended_and_the_task_keeps_its_thread() {
        let mut task = samples::running();
        task.thread_id = Some(samples::thread(1));
        task.runs[0].resumes = Some(samples::thread(1));
        let decision = after(&task, TaskEvent::ThreadStarted { attempt: FIRST, thread_id: samples::thread(2), seen_at: None });
        assert_eq!(decision.record.thread_id, Some(samples::thread(1)));
        assert_eq!(decision.record.last_run().thread_id, Some(samples::thread(2)));
        assert_eq!(decision.effects, vec![TaskEffect::StopRun { attempt: FIRST }]);
    }

    #[test]
    fn a_run_whose_session_is_missing_starts_a_new_thread_and_the_task_continues_that_one() {
        let mut task = samples::running();
        task.thread_id = Some(samples::thread(1));
        task.runs[0].resumes = Some(samples::thread(1));
        let lost = after(&task, TaskEvent::SessionLost { attempt: FIRST }).record;
        assert_eq!((lost.last_run().resumes, lost.last_run().lost_thread), (None, Some(samples::thread(1))));
        let again = after(&lost, TaskEvent::SessionLost { attempt: FIRST });
        assert_eq!(again.record, lost, "the event has no effect the second time");
        let started = after(&lost, TaskEvent::ThreadStarted { attempt: FIRST, thread_id: samples::thread(2), seen_at: None });
        assert_eq!((started.record.thread_id, started.effects), (Some(samples::thread(2)), vec![]));
    }

    #[test]
    fn what_a_check_of_the_worktree_found_is_noted_in_the_run_that_has_ended() {
        let task = samples::completed();
        let attempt = task.last_run().attempt;
        let checked = after(&task, TaskEvent::WorktreeChecked { attempt, notes: vec!["restored `a`".to_owned()] });
        let notes = |task: &TaskRecord| task.last_run().end().map(|end| end.notes.clone()).unwrap_or_default();
        assert_eq!(notes(&checked.record).last().map(String::as_str), Some("restored `a`"));
        let nothing = after(&task, TaskEvent::WorktreeChecked { attempt, notes: vec![] });
        assert_eq!(nothing, Decision::keep(task.clone(), vec![]));
        let running = samples::running();
        let dropped = after(&running, TaskEvent::WorktreeChecked { attempt: FIRST, notes: vec!["x".to_owned()] });
        assert_eq!(dropped.record, running, "notes of an older run do not change a newer run");
    }

    #[test]
    fn a_lost_preparation_is_made_anew_under_a_new_attempt() {
        let decision = after(&samples::preparing(), TaskEvent::PreparationLost { attempt: FIRST });
        assert_eq!(decision.record.last_run().attempt, Attempt(2));
        assert_eq!(decision.effects, vec![TaskEffect::Prepare { attempt: Attempt(2) }]);
    }

    #[test]
    fn a_task_that_is_being_removed_goes_when_its_run_has_ended() {
        let mut task = samples::stopping();
        task.removing = true;
        let decision = after(
            &task,
            TaskEvent::RunFinished { attempt: FIRST, end: Box::new(samples::success()), held: None, commit_ms: None },
        );
        assert_eq!(decision.effects, vec![TaskEffect::Vacate]);
        assert_eq!(after(&decision.record, TaskEvent::RemovalLeft).effects, vec![TaskEffect::Vacate]);
    }
}
