//! The environment of a task: which snapshot and which layers its runs use, and when the task takes the newest ones.
//!
//! A task keeps its environment until its owner refreshes it. Each refresh starts a new generation of layers. Invariant: no run uses
//! layers of an earlier generation, so these can be deleted at any time.

use jiff::Timestamp;

use super::decision::{TaskDecision, TaskEffect, changed};
use super::layers::{LayerGeneration, Refreshes};
use super::record::TaskRecord;
use super::refusal::Refusal;
use crate::decision::Decision;
use crate::names::BranchName;
use crate::setup::TakenEnvironment;

impl TaskRecord {
    /// Whether the next run takes the newest environment: it is the first one, or the environment was refreshed.
    pub fn needs_environment(&self) -> bool {
        self.base_sha.is_none() || self.refreshes.is_due
    }

    /// Returns the branches from which the task could take its environment, preferred ones first.
    pub fn environment_branches(&self) -> Vec<BranchName> {
        let own = self.base_sha.is_some().then(|| self.branch());
        own.into_iter().chain(BranchName::parse(self.git_ref.as_str()).ok()).collect()
    }

    /// Records the environment that a run takes. A task that has an environment keeps it.
    pub(super) fn take_environment(&mut self, environment: TakenEnvironment) {
        if self.needs_environment() {
            self.placed_files.extend(environment.files.iter().flat_map(|files| files.secrets.clone()));
            self.environment = environment;
            self.refreshes.is_due = false;
        }
    }
}

/// Lets the next run take the newest environment, with new layers. Repeating the request before that run changes nothing.
pub(super) fn refresh(task: &TaskRecord, now: Timestamp) -> Result<TaskDecision, Refusal> {
    if task.removing {
        return Err(Refusal::Removing);
    }
    if task.last_run().is_active() {
        return Err(Refusal::RunActive);
    }
    if task.needs_environment() {
        return Ok(Decision::keep(task.clone(), vec![]));
    }
    let generation = LayerGeneration(task.refreshes.generation.0.saturating_add(1));
    let refreshes = Refreshes { generation, is_due: true, has_leftovers: true };
    let record = TaskRecord { environment: TakenEnvironment::default(), refreshes, ..task.clone() };
    Ok(changed(record, now, vec![TaskEffect::DiscardLayers]))
}

/// Records that layers of earlier generations no longer exist. Deleting them does not change the task.
pub(super) fn layers_discarded(task: &TaskRecord, generation: LayerGeneration) -> TaskDecision {
    let mut record = task.clone();
    record.refreshes.has_leftovers &= generation != task.refreshes.generation;
    Decision::keep(record, vec![])
}

/// Deletes layers of earlier generations, if there may be any.
pub(super) fn layers_left(task: &TaskRecord) -> TaskDecision {
    let effects = if task.refreshes.has_leftovers { vec![TaskEffect::DiscardLayers] } else { vec![] };
    Decision::keep(task.clone(), effects)
}

#[cfg(test)]
mod tests {
    use super::super::{TaskEvent, TaskRequest, decide, request, samples};
    use super::*;
    use crate::policy::RunPolicy;
    use crate::run::RunStatus;
    use crate::run_times::PreparationTimes;
    use crate::setup::SnapshotKey;

    fn key(digit: char) -> Option<SnapshotKey> {
        SnapshotKey::parse(&digit.to_string().repeat(64))
    }

    fn taken(snapshot: Option<SnapshotKey>) -> TakenEnvironment {
        TakenEnvironment { snapshot, ..TakenEnvironment::default() }
    }

    fn with_snapshot() -> TaskRecord {
        TaskRecord { environment: taken(key('a')), ..samples::completed() }
    }

    fn asked(task: &TaskRecord) -> Result<TaskDecision, Refusal> {
        request(task, TaskRequest::RefreshEnvironment, samples::later())
    }

    fn after(task: &TaskRecord, event: TaskEvent) -> TaskDecision {
        decide(task, event, &RunPolicy::default(), samples::later())
    }

    #[test]
    fn the_next_run_takes_the_newest_snapshot_with_new_layers_and_later_ones_keep_it() {
        let task = with_snapshot();
        let refreshed = asked(&task).expect("the request is accepted");
        assert_eq!(refreshed.effects, vec![TaskEffect::DiscardLayers]);
        let record = refreshed.record;
        assert_eq!(
            (&record.environment.snapshot, record.refreshes.generation, record.needs_environment()),
            (&None, LayerGeneration(1), true)
        );
        assert_eq!(asked(&record), Ok(Decision::keep(record.clone(), vec![])), "repeating the request is harmless");
        let resumed = request(&record, TaskRequest::Resume(samples::new_run("more")), samples::later());
        let queued = resumed.expect("the request is accepted").record;
        let attempt = queued.last_run().attempt;
        let preparing = after(&queued, TaskEvent::Dequeued { attempt }).record;
        let waiting = after(&preparing, TaskEvent::AwaitsSetup { attempt }).record;
        assert!(waiting.needs_environment(), "the run waits for its setup");
        let prepared = TaskEvent::Prepared {
            attempt,
            base_sha: samples::sha('f'),
            environment: taken(key('b')),
            times: PreparationTimes::default(),
        };
        let record = after(&preparing, prepared).record;
        assert_eq!((&record.environment.snapshot, &record.base_sha), (&key('b'), &task.base_sha), "the branch stays where it is");
        assert!(!record.needs_environment());
        let late = TaskEvent::Prepared {
            attempt,
            base_sha: samples::sha('f'),
            environment: taken(None),
            times: PreparationTimes::default(),
        };
        assert_eq!(after(&record, late).record.environment.snapshot, key('b'));
    }

    #[test]
    fn an_environment_is_not_refreshed_while_a_run_is_active_or_before_the_task_has_one() {
        for active in [samples::queued(), samples::preparing(), samples::running(), samples::stopping()] {
            assert_eq!(asked(&active), Err(Refusal::RunActive));
        }
        let leaving = TaskRecord { removing: true, ..with_snapshot() };
        assert_eq!(asked(&leaving), Err(Refusal::Removing));
        let stopped = request(&samples::queued(), TaskRequest::Stop, samples::now()).expect("the request is accepted").record;
        assert_eq!(stopped.last_run().status(), RunStatus::Stopped);
        assert_eq!(asked(&stopped), Ok(Decision::keep(stopped.clone(), vec![])), "the first run takes the newest one anyway");
    }

    #[test]
    fn earlier_layers_are_deleted_even_if_the_server_dies_meanwhile() {
        let refreshed = asked(&with_snapshot()).expect("the request is accepted").record;
        let left = after(&refreshed, TaskEvent::LayersLeft);
        assert_eq!((&left.record, left.effects), (&refreshed, vec![TaskEffect::DiscardLayers]));
        let older = after(&refreshed, TaskEvent::LayersDiscarded(LayerGeneration(0)));
        assert_eq!(older, Decision::keep(refreshed.clone(), vec![]), "there may be newer leftovers");
        let done = after(&refreshed, TaskEvent::LayersDiscarded(LayerGeneration(1))).record;
        assert!(!done.refreshes.has_leftovers && done.refreshes.is_due);
        assert_eq!(done.updated_at, refreshed.updated_at, "deleting leftovers does not change the task");
        assert_eq!(after(&done, TaskEvent::LayersLeft), Decision::keep(done, vec![]));
    }
}
