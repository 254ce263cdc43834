//! The setups that need memory: those that run, and those that wait until their memory fits. `admission` decides which ones start.
//!
//! Nothing here is stored on disk: after a restart, a setup asks again. Invariant: a setup counts from its question to the end of its turn.

use std::sync::{Mutex, MutexGuard, PoisonError};

use model::ids::EnvironmentId;
use tokio::sync::{Notify, watch};

/// The setups that need memory, oldest first.
#[derive(Default)]
pub struct SetupTurns {
    turns: Mutex<Vec<OpenTurn>>,
}

/// What a setup needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetupDemand {
    /// The repository of the setup.
    pub environment: EnvironmentId,
    /// The number of containers: the setup itself, and its services.
    pub containers: u64,
    /// Where the setup is.
    pub state: TurnState,
}

/// Whether a setup may run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnState {
    /// Nobody decided yet.
    Asked,
    /// The setup waits until its memory fits.
    Waiting,
    /// The setup may run.
    Started,
}

struct OpenTurn {
    environment: EnvironmentId,
    containers: u64,
    state: watch::Sender<TurnState>,
}

/// The turn of a setup, from its question to its end.
pub struct SetupTurn<'a> {
    turns: &'a SetupTurns,
    /// Wakes when the turn ends, because other setups and runs may start then.
    ended: &'a Notify,
    environment: EnvironmentId,
    state: watch::Receiver<TurnState>,
}

impl SetupTurns {
    pub(crate) fn ask<'a>(&'a self, environment: EnvironmentId, containers: u64, ended: &'a Notify) -> SetupTurn<'a> {
        let (sender, state) = watch::channel(TurnState::Asked);
        self.locked().push(OpenTurn { environment, containers, state: sender });
        SetupTurn { turns: self, ended, environment, state }
    }

    /// Returns what each setup needs, oldest first.
    pub fn demands(&self) -> Vec<SetupDemand> {
        let demand = |asked: &OpenTurn| SetupDemand {
            environment: asked.environment,
            containers: asked.containers,
            state: *asked.state.borrow(),
        };
        self.locked().iter().map(demand).collect()
    }

    /// Lets the setups of these repositories start. The others that have not started wait.
    pub fn start(&self, environments: &[EnvironmentId]) {
        for asked in self.locked().iter() {
            asked.state.send_if_modified(|state| {
                let starts = environments.contains(&asked.environment);
                let next = if starts || *state == TurnState::Started { TurnState::Started } else { TurnState::Waiting };
                std::mem::replace(state, next) != next
            });
        }
    }

    fn locked(&self) -> MutexGuard<'_, Vec<OpenTurn>> {
        self.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SetupTurn<'_> {
    /// Waits until somebody decided whether the setup may run, and returns the decision.
    pub async fn decided(&mut self) -> TurnState {
        self.until(|state| state != TurnState::Asked).await
    }

    /// Waits until the setup may run.
    pub async fn started(&mut self) {
        self.until(|state| state == TurnState::Started).await;
    }

    async fn until(&mut self, holds: impl Fn(TurnState) -> bool) -> TurnState {
        // The sender is dropped only with this turn.
        self.state.wait_for(|state| holds(*state)).await.map_or(TurnState::Started, |state| *state)
    }
}

impl Drop for SetupTurn<'_> {
    fn drop(&mut self) {
        self.turns.locked().retain(|asked| asked.environment != self.environment);
        self.ended.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;
    use crate::queue::Queue;

    fn env(n: u128) -> EnvironmentId {
        EnvironmentId::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn a_setup_counts_from_its_question_to_the_end_of_its_turn() {
        let queue = Queue::default();
        let demand = |n, containers, state| SetupDemand { environment: env(n), containers, state };
        let (mut first, mut second) = (queue.ask_for_setup(env(1), 1), queue.ask_for_setup(env(2), 3));
        assert_eq!(queue.changed.notified().now_or_never(), Some(()), "somebody must decide");
        assert_eq!(queue.setups.demands(), [demand(1, 1, TurnState::Asked), demand(2, 3, TurnState::Asked)]);
        assert_eq!(first.decided().now_or_never(), None);
        queue.setups.start(&[env(1)]);
        assert_eq!((first.decided().now_or_never(), first.started().now_or_never()), (Some(TurnState::Started), Some(())));
        assert_eq!((second.decided().now_or_never(), second.started().now_or_never()), (Some(TurnState::Waiting), None));
        queue.setups.start(&[]);
        assert_eq!(queue.setups.demands(), [demand(1, 1, TurnState::Started), demand(2, 3, TurnState::Waiting)]);
        assert_eq!(queue.changed.notified().now_or_never(), None);
        drop(first);
        assert_eq!(queue.changed.notified().now_or_never(), Some(()), "the other one may start");
        assert_eq!(queue.setups.demands(), [demand(2, 3, TurnState::Waiting)]);
        queue.setups.start(&[env(2)]);
        assert_eq!(second.started().now_or_never(), Some(()));
    }
}
