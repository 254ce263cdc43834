//! Recovery runs at startup and on a timer. It observes the actual state of tasks and posts the events that must have happened.
//!
//! It needs no input and can run at any time. [`model::task::reconcile`] makes all decisions.

use std::sync::Arc;
use std::time::Duration;

use environments::Environments;
use futures_util::future::FutureExt as _;
use runner::until_reached;
use spine::{Common, Mailbox as _};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::readiness::Readiness;
use crate::shells::Shells;
use crate::task::Tasks;
use crate::trash::Trash;

/// How often recovery runs: often enough for a person who waits.
const PERIOD: Duration = Duration::from_secs(15);

/// How often to look for abandoned containers, whose keeper or worker ended while the container engine did not respond. Their
/// work would be lost, so the check is frequent. It is a single request to the container engine.
const SWEEP_PERIOD: Duration = Duration::from_mins(1);

/// How often to look for expired items in the trash.
const TRASH_PERIOD: Duration = Duration::from_hours(1);

/// Reconciles everything with its actual state.
pub(crate) struct Recovery {
    tasks: Arc<Tasks>,
    environments: Arc<Environments>,
    trash: Arc<Trash>,
    shells: Arc<Shells>,
    readiness: Arc<Readiness>,
    tracker: TaskTracker,
    cancel: CancellationToken,
    /// Allows one sweep of the runner at a time.
    sweep_turn: tokio::sync::Mutex<()>,
}

impl Recovery {
    /// Creates the recovery of a server.
    pub(crate) fn new(
        common: Common,
        tasks: Arc<Tasks>,
        environments: Arc<Environments>,
        trash: Arc<Trash>,
        shells: Arc<Shells>,
        readiness: Arc<Readiness>,
    ) -> Self {
        let Common { tracker, cancel, .. } = common;
        Self { tasks, environments, trash, shells, readiness, tracker, cancel, sweep_turn: tokio::sync::Mutex::default() }
    }

    /// Reconciles everything with its actual state. This is the only recovery; it runs at startup and on a timer.
    pub(crate) async fn recover(self: &Arc<Self>) {
        // Effects of tasks need the mirrors.
        self.environments.open_mirrors().await;
        self.tasks.finish_removals().await;
        self.tasks.reconcile_all().await;
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
                        inner.readiness.look_for_troubles().await;
                    }
                    _ = sweep.tick() => inner.sweep().await,
                    _ = trash.tick() => {
                        inner.trash.delete_expired().await;
                        inner.tasks.check_worktrees();
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
        self.tracker.spawn(async move { inner.trash.shrink_when_worth_it().await });
    }

    /// Removes what a killed server left and no record mentions. Runs at startup and on a timer.
    pub(crate) async fn sweep(self: &Arc<Self>) {
        self.sweep_runner();
        self.sweep_shells();
        self.tasks.discard_leftovers().await;
        let tasks = Arc::clone(&self.tasks);
        durable::blocking(move || tasks.remove_shared_login()).await;
    }

    /// Removes the shells that nobody uses. Does not wait, because the container engine may not answer.
    fn sweep_shells(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.tracker.spawn(async move { inner.cancel.run_until_cancelled(inner.shells.sweep()).await });
    }

    /// Has the runner end what belongs to no active run, such as abandoned containers.
    fn sweep_runner(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.tracker.spawn(async move {
            // The previous sweep may still wait for an answer.
            let Ok(_turn) = inner.sweep_turn.try_lock() else { return };
            let swept = until_reached(&inner.cancel, || inner.tasks.sweep_runner().boxed());
            inner.cancel.run_until_cancelled(swept).await;
        });
    }
}
