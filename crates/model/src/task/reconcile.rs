//! Derives the events that must have happened from the state of the machine. This is the only recovery mechanism; it runs at
//! startup and on a timer.
//!
//! A live keeper is adopted before anything else is decided, and an unknown state is not a failure. While this process itself
//! works on a task, no events are derived.

use jiff::Timestamp;

use super::decide::TaskEvent;
use super::publish::PublicationEvent;
use super::record::TaskRecord;
use super::update::UpdateEvent;
use crate::run::RunPhase;

/// The keeper of the last run's current attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Holder {
    /// No keeper ever started.
    Nobody,
    /// A keeper is alive.
    Keeper {
        /// When the keeper's worker started.
        started_at: Timestamp,
    },
    /// A keeper started and has ended, with or without an exit record.
    Gone,
    /// The runner did not answer, so nothing is known about the keeper.
    Unreachable,
}

/// What was observed about a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// Whether this process is performing an effect of the task, or following its run.
    pub busy: bool,
    /// The keeper of the run.
    pub holder: Holder,
}

/// Whether something about a task may be unfinished, so that its actual state must be observed.
pub fn is_unfinished(task: &TaskRecord) -> bool {
    let is_publishing = task.publication.as_ref().is_some_and(|publication| publication.status.is_under_way());
    let is_left = task.updating.is_some() || task.refreshes.has_leftovers || !task.notices.is_empty();
    task.removing || is_publishing || is_left || task.last_run().is_active()
}

/// Returns the events that lead from the record to the observed state.
pub fn reconcile(task: &TaskRecord, seen: &Observation) -> Vec<TaskEvent> {
    if seen.busy {
        return vec![];
    }
    let mut events = of_the_run(task, seen.holder);
    if task.publication.as_ref().is_some_and(|publication| publication.status.is_under_way()) && !task.removing {
        events.push(TaskEvent::Publication(PublicationEvent::Left));
    }
    if let Some(update) = task.updating.clone().filter(|_| !task.removing) {
        events.push(TaskEvent::Update(UpdateEvent::Left(update)));
    }
    if !task.notices.is_empty() && !task.removing {
        events.push(TaskEvent::NoticesLeft);
    }
    if task.refreshes.has_leftovers && !task.removing {
        events.push(TaskEvent::LayersLeft);
    }
    events
}

fn of_the_run(task: &TaskRecord, holder: Holder) -> Vec<TaskEvent> {
    let run = task.last_run();
    let attempt = run.attempt;
    match (&run.phase, holder) {
        (RunPhase::Ended(_), _) => {
            if task.removing {
                vec![TaskEvent::RemovalLeft]
            } else {
                vec![]
            }
        }
        // The queue starts the run.
        (RunPhase::Queued, Holder::Nobody)
        // Nothing is concluded without an answer.
        | (RunPhase::Queued | RunPhase::Preparing | RunPhase::Running | RunPhase::Stopping, Holder::Unreachable) => vec![],
        (RunPhase::Queued | RunPhase::Preparing | RunPhase::Running | RunPhase::Stopping, Holder::Keeper { started_at }) => {
            vec![TaskEvent::Launched { attempt, started_at }]
        }
        (RunPhase::Queued | RunPhase::Preparing | RunPhase::Running | RunPhase::Stopping, Holder::Gone)
        | (RunPhase::Running, Holder::Nobody) => vec![TaskEvent::KeeperGone { attempt }],
        (RunPhase::Stopping, Holder::Nobody) if run.started_at.is_some() => vec![TaskEvent::KeeperGone { attempt }],
        (RunPhase::Preparing | RunPhase::Stopping, Holder::Nobody) => vec![TaskEvent::PreparationLost { attempt }],
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples;
    use super::*;
    use crate::ids::Attempt;

    const FIRST: Attempt = Attempt::FIRST;

    fn seen(task: &TaskRecord, holder: Holder) -> Vec<TaskEvent> {
        reconcile(task, &Observation { busy: false, holder })
    }

    fn alive() -> Holder {
        Holder::Keeper { started_at: samples::now() }
    }

    #[test]
    fn a_living_keeper_is_adopted_whatever_the_record_says() {
        for task in [samples::preparing(), samples::running(), samples::stopping()] {
            assert_eq!(seen(&task, alive()), vec![TaskEvent::Launched { attempt: FIRST, started_at: samples::now() }]);
        }
    }

    #[test]
    fn a_run_whose_keeper_is_gone_is_judged() {
        for task in [samples::preparing(), samples::running(), samples::stopping()] {
            assert_eq!(seen(&task, Holder::Gone), vec![TaskEvent::KeeperGone { attempt: FIRST }]);
        }
        assert_eq!(seen(&samples::running(), Holder::Nobody), vec![TaskEvent::KeeperGone { attempt: FIRST }]);
    }

    #[test]
    fn nothing_is_concluded_from_a_runner_that_does_not_answer() {
        let mut ran = samples::stopping();
        ran.runs[0].started_at = Some(samples::now());
        for task in [samples::queued(), samples::preparing(), samples::running(), samples::stopping(), ran] {
            assert_eq!(seen(&task, Holder::Unreachable), vec![]);
        }
    }

    #[test]
    fn a_preparation_that_died_with_the_server_is_made_anew() {
        assert_eq!(seen(&samples::preparing(), Holder::Nobody), vec![TaskEvent::PreparationLost { attempt: FIRST }]);
        assert_eq!(seen(&samples::queued(), Holder::Nobody), vec![], "the queue starts the run");
    }

    #[test]
    fn an_acknowledged_stop_is_not_forgotten() {
        assert_eq!(seen(&samples::stopping(), Holder::Nobody), vec![TaskEvent::PreparationLost { attempt: FIRST }]);
        let mut ran = samples::stopping();
        ran.runs[0].started_at = Some(samples::now());
        assert_eq!(seen(&ran, Holder::Nobody), vec![TaskEvent::KeeperGone { attempt: FIRST }]);
    }

    #[test]
    fn an_ended_task_is_left_alone_unless_it_was_being_removed() {
        let mut task = samples::completed();
        assert_eq!(seen(&task, Holder::Gone), vec![]);
        task.removing = true;
        assert_eq!(seen(&task, Holder::Gone), vec![TaskEvent::RemovalLeft]);
    }

    #[test]
    fn nothing_is_concluded_about_a_task_at_work() {
        for task in samples::one_of_each_phase() {
            assert_eq!(reconcile(&task, &Observation { busy: true, holder: Holder::Gone }), vec![]);
        }
    }
}
