//! What readers see of the queue, and the signal to look at it again. `admission` decides which run starts next.
//!
//! Nothing here is stored on disk: a run is queued or started because its record says so.

use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

use model::ids::{EnvironmentId, TaskId};
use model::queue::{Blocker, Plan, QueuePlace};
use tokio::sync::Notify;

use crate::setup_turns::{SetupTurn, SetupTurns};

/// The state that is shown to readers, and the signal to check again.
#[derive(Default)]
pub struct Queue {
    /// Wakes when a run may be able to start.
    pub changed: Notify,
    /// Setups that run, or wait until their memory fits.
    pub setups: SetupTurns,
    shown: RwLock<ShownQueue>,
}

#[derive(Default, PartialEq, Eq)]
struct ShownQueue {
    order: Vec<TaskId>,
    places: HashMap<TaskId, QueuePlace>,
    hold: Option<Blocker>,
}

impl Queue {
    /// Signals that a run may be able to start.
    pub fn look(&self) {
        self.changed.notify_one();
    }

    /// Asks for the memory of a repository's setup with this number of containers. It is given back when the turn is dropped.
    pub fn ask_for_setup(&self, environment: EnvironmentId, containers: u64) -> SetupTurn<'_> {
        let turn = self.setups.ask(environment, containers, &self.changed);
        self.look();
        turn
    }

    /// Returns the place of a task's run in the queue.
    pub fn place(&self, task: TaskId) -> Option<QueuePlace> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).places.get(&task).cloned()
    }

    /// Returns the tasks with waiting runs, in the order in which the runs will start.
    pub fn order(&self) -> Vec<TaskId> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).order.clone()
    }

    /// Returns why no run may start, if that is the case.
    pub fn hold(&self) -> Option<Blocker> {
        self.shown.read().unwrap_or_else(PoisonError::into_inner).hold.clone()
    }

    /// Stores the state for readers. Returns whether it changed.
    pub fn show(&self, plan: &Plan, hold: Option<Blocker>) -> bool {
        let order = plan.wait.iter().map(|(task, _)| *task).collect();
        let shown = ShownQueue { order, places: plan.wait.iter().cloned().collect(), hold };
        let mut before = self.shown.write().unwrap_or_else(PoisonError::into_inner);
        let is_new = *before != shown;
        *before = shown;
        is_new
    }

    /// Returns the tasks with waiting runs and their places, in the order in which the runs will start.
    pub fn places(&self) -> Vec<(TaskId, QueuePlace)> {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        shown.order.iter().filter_map(|task| Some((*task, shown.places.get(task)?.clone()))).collect()
    }
}
