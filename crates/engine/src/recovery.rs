//! Recovery runs at startup and on a timer. It observes the actual state of tasks and posts the events that must have happened.
//!
//! It needs no input and can run at any time. [`model::task::reconcile`] makes all decisions.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::FutureExt as _;
use model::task::{Holder, Observation, TaskRecord};
use runner::{RunState, Unreachable};

use crate::inner::{Inner, TaskSlot};
use crate::reach::until_reached;
use crate::spine::Mailbox as _;
use crate::task::key_of;

/// How often recovery runs: often enough for a person who waits.
const PERIOD: Duration = Duration::from_secs(15);

/// How often to look for abandoned containers, whose keeper or worker ended while the container engine did not respond. Their
/// work would be lost, so the check is frequent. It is a single request to the container engine.
const SWEEP_PERIOD: Duration = Duration::from_mins(1);

/// How often to look for expired items in the trash.
const TRASH_PERIOD: Duration = Duration::from_hours(1);

impl Inner {
    /// Observes the actual state of a task's last run.
    pub(crate) async fn observed(self: &Arc<Self>, slot: &TaskSlot, record: &TaskRecord) -> io::Result<Observation> {
        let busy = slot.is_busy();
        let run = record.last_run();
        if busy || !run.is_active() {
            return Ok(Observation { busy, holder: Holder::Nobody });
        }
        if self.revisits.includes(slot.id) {
            // A person who stops the task must not wait for another answer.
            return Ok(Observation { busy, holder: Holder::Unreachable });
        }
        let holder = match self.runner.observe(key_of(record)).await {
            RunState::Nobody => Holder::Nobody,
            RunState::Held { started_at } => Holder::Keeper { started_at },
            RunState::Ended { .. } => Holder::Gone,
            RunState::Unreachable(error) => {
                tracing::warn!(kind = "task", id = %slot.id, %error, "could not inspect the actual state; left it unchanged");
                self.revisit(slot.id);
                Holder::Unreachable
            }
        };
        Ok(Observation { busy, holder })
    }

    /// Reconciles everything with its actual state. This is the only recovery; it runs at startup and on a timer.
    pub(crate) async fn recover(self: &Arc<Self>) {
        // Effects of tasks need the mirrors.
        self.environments.open_mirrors().await;
        self.finish_removals().await;
        self.reconcile_all().await;
        self.environments.reconcile_all().await;
    }

    /// Runs recovery periodically until the server stops.
    pub(crate) fn keep_recovering(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.tracker.spawn(async move {
            let mut tick = tokio::time::interval(PERIOD);
            let mut sweep = tokio::time::interval_at(tokio::time::Instant::now() + SWEEP_PERIOD, SWEEP_PERIOD);
            // Do not check immediately: if the clock is years ahead, there is time to notice before recent items are deleted.
            let mut trash = tokio::time::interval_at(tokio::time::Instant::now() + TRASH_PERIOD, TRASH_PERIOD);
            for interval in [&mut tick, &mut sweep, &mut trash] {
                interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            }
            loop {
                tokio::select! {
                    () = inner.cancel.cancelled() => return,
                    _ = tick.tick() => {
                        inner.recover().await;
                        inner.look_for_troubles().await;
                    }
                    _ = sweep.tick() => inner.sweep().await,
                    _ = trash.tick() => {
                        inner.delete_expired().await;
                        inner.check_worktrees();
                        // Repacking may take minutes, and recovery must not wait for it.
                        inner.tidy_when_idle();
                    }
                }
            }
        });
    }

    /// Repacks mirrors in the background, if it is worthwhile.
    fn tidy_when_idle(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.tracker.spawn(async move { inner.shrink_when_worth_it().await });
    }

    /// Removes what a killed server left and no record mentions. Runs at startup and on a timer.
    pub(crate) async fn sweep(self: &Arc<Self>) {
        self.sweep_runner();
        self.discard_leftovers().await;
        let inner = Arc::clone(self);
        durable::blocking(move || inner.remove_shared_login()).await;
    }

    /// Has the runner end what belongs to no active run, such as abandoned containers.
    fn sweep_runner(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.tracker.spawn(async move {
            // The previous sweep may still wait for an answer.
            let Ok(_turn) = inner.sweep_turn.try_lock() else { return };
            let swept = until_reached(&inner.cancel, || inner.swept().boxed());
            inner.cancel.run_until_cancelled(swept).await;
        });
    }

    async fn swept(&self) -> Result<(), Unreachable> {
        let tasks = self.tasks.all().into_iter().map(|slot| slot.record());
        let active = tasks.filter(|task| task.last_run().is_active()).map(|task| key_of(&task)).collect();
        self.runner.sweep(&active).await
    }
}
