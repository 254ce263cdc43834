//! Decides which run starts next, and starts it. Every queued run starts here, and every setup gets its memory here.
//!
//! Each look reads all records again, so that nothing depends on an earlier look.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use environments::Environments;
use jiff::Timestamp;
use model::ids::EnvironmentId;
use model::queue::{Blocker, Capacity, EnvironmentLimit, MemoryLimit, Plan, WaitingRun, WaitingSetup, WaitsFor, plan};
use model::run::{RunPhase, RunRecord};
use model::task::{TaskEvent, TaskRecord};
use protocol::{FeedEvent, QueueItem, QueueView};
use spine::{COUNTED, Common, Feed, Mailbox as _, Queue, TurnState};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::readiness::Readiness;
use crate::task::Tasks;

/// How soon to check again whether the problem that blocks the queue is solved.
const HOLD_PERIOD: Duration = Duration::from_secs(5);

/// How soon to check again in any case.
const PERIOD: Duration = Duration::from_secs(15);

/// Whether a run occupies a slot.
fn is_under_way(run: &RunRecord) -> bool {
    matches!(run.phase, RunPhase::Preparing | RunPhase::Running | RunPhase::Stopping)
}

/// Starts queued runs.
pub(crate) struct Admission {
    tasks: Arc<Tasks>,
    environments: Arc<Environments>,
    readiness: Arc<Readiness>,
    queue: Arc<Queue>,
    feed: Feed,
    tracker: TaskTracker,
    cancel: CancellationToken,
}

impl Admission {
    /// Creates the admission of a server.
    pub(crate) fn new(common: Common, tasks: Arc<Tasks>, environments: Arc<Environments>, readiness: Arc<Readiness>) -> Self {
        let Common { queue, feed, tracker, cancel, .. } = common;
        Self { tasks, environments, readiness, queue, feed, tracker, cancel }
    }

    /// Starts runs until the server stops.
    pub(crate) fn keep_admitting(self: &Arc<Self>) {
        let inner = Arc::clone(self);
        self.tracker.spawn(async move {
            loop {
                let wait = inner.admit().await;
                tokio::select! {
                    () = inner.cancel.cancelled() => return,
                    () = inner.queue.changed.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
            }
        });
    }

    /// Starts the runs that may start, and returns when to check again.
    async fn admit(self: &Arc<Self>) -> Duration {
        let records: Vec<_> = self.tasks.table.all().iter().map(|slot| slot.record()).collect();
        let waits = |task: &TaskRecord| task.last_run().phase == RunPhase::Queued && !task.removing;
        let demands = self.queue.setups.demands();
        // This also finds out how much memory there is.
        let asks = records.iter().any(|record| waits(record)) || demands.iter().any(|setup| setup.state != TurnState::Started);
        let hold = if asks { self.hold().await } else { None };
        let (mut waiting, mut setups) = (vec![], vec![]);
        let mut running = BTreeMap::new();
        let mut promised: u64 = 0;
        for demand in demands {
            let memory = self.memory_of(demand.environment, demand.containers);
            match demand.state {
                TurnState::Started => promised = promised.saturating_add(memory),
                TurnState::Asked | TurnState::Waiting => setups.push(WaitingSetup { env_id: demand.environment, memory }),
            }
        }
        for record in records {
            let run = record.last_run();
            if is_under_way(run) {
                *running.entry(record.env_id).or_default() += 1;
                promised = promised.saturating_add(self.memory_of_run(&record));
            } else if waits(&record) {
                let (priority, queued_at, not_before) = (run.priority, run.queued_at, run.not_before);
                let (asks, needs_setup) = (record.question.is_some(), record.needs_environment());
                let (task_id, env_id, memory) = (record.task_id, record.env_id, self.memory_of_run(&record));
                let run = WaitingRun { task_id, env_id, priority, queued_at, not_before, asks, needs_setup, memory, hold: None };
                waiting.push(run);
            }
        }
        let memory = self.readiness.run_memory().map(|memory| MemoryLimit { total: memory.total, promised });
        let (most, limits) = (self.readiness.most_runs(), self.limits());
        let room = Capacity { memory, most, running, limits, hold: hold.clone(), setups };
        let now = Timestamp::now();
        let plan = self.planned(waiting, room, now).await;
        self.queue.setups.start(&plan.setups);
        let was_held = self.queue.hold();
        if let Some(hold) = hold.as_ref().filter(|hold| was_held.as_ref().is_none_or(|before| before.code != hold.code)) {
            tracing::warn!(reason = hold.detail, "runs cannot start");
        }
        if self.queue.show(&plan, hold.clone()) {
            self.feed.publish(FeedEvent::Queue { waiting: plan.wait.len() });
        }
        let begin = plan.begin.iter().filter_map(|task| self.tasks.table.get(*task)).map(|slot| async move {
            let (attempt, queued_at) = (slot.record().last_run().attempt, slot.record().last_run().queued_at);
            COUNTED.waited(now.duration_since(queued_at).as_secs_f64().max(0.0));
            self.tasks.post(&slot, TaskEvent::Dequeued { attempt }).await;
        });
        futures_util::future::join_all(begin).await;
        let timed = plan.look_again.map(|time| Duration::try_from(time.duration_since(now)).unwrap_or_default());
        let is_held = plan.wait.iter().any(|(_, place)| place.waits_for == WaitsFor::Hold);
        [timed, is_held.then_some(HOLD_PERIOD), Some(PERIOD)].into_iter().flatten().min().unwrap_or(PERIOD)
    }

    /// Plans the queue. Runs that would start although their image is missing wait. Only these are checked, because this may read their
    /// repositories.
    async fn planned(&self, mut waiting: Vec<WaitingRun>, room: Capacity, now: Timestamp) -> Plan {
        let mut checked = BTreeSet::new();
        loop {
            let plan = plan(waiting.clone(), room.clone(), now);
            let unchecked: Vec<_> = plan.begin.iter().copied().filter(|task| checked.insert(*task)).collect();
            if unchecked.is_empty() {
                return plan;
            }
            for task in unchecked {
                let Some(slot) = self.tasks.table.get(task) else { continue };
                let hold = self.tasks.hold_of(&slot).await;
                waiting.iter_mut().filter(|run| run.task_id == task).for_each(|run| run.hold.clone_from(&hold));
            }
        }
    }

    /// Returns the memory that a run of a task may use together with its services, in bytes.
    fn memory_of_run(&self, task: &TaskRecord) -> u64 {
        self.memory_of(task.env_id, 1 + task.environment.services.len() as u64)
    }

    /// Returns the memory that this number of a repository's containers may use, in bytes. Services have the limit of the repository.
    fn memory_of(&self, environment: EnvironmentId, containers: u64) -> u64 {
        let repository = self.environments.record(environment);
        let memory = self.readiness.run_memory().zip(repository);
        memory.map_or(0, |(memory, repository)| memory.needed(&repository.container).saturating_mul(containers))
    }

    fn limits(&self) -> BTreeMap<EnvironmentId, EnvironmentLimit> {
        let environments = self.environments.all();
        let limits = environments.iter().map(|slot| {
            let record = slot.record();
            let most = record.runs.max_parallel_runs.map(|most| most as usize);
            (slot.id, EnvironmentLimit { paused: record.runs.paused, most, setup: record.setup_state.holds() })
        });
        limits.collect()
    }

    /// Returns why no run may start: the disk is full, or no worker can run tasks.
    async fn hold(&self) -> Option<Blocker> {
        if let Some(low) = self.readiness.low_disk().await {
            return Some(low);
        }
        let problem = self.readiness.able_worker(None).await.err()?;
        Some(Blocker::from(problem.report))
    }

    /// Returns the queue for the API.
    pub(crate) fn queue_view(&self) -> QueueView {
        let items = self.queue.places().into_iter().filter_map(|(task_id, place)| {
            let record = self.tasks.table.get(task_id)?.record();
            let run = record.last_run();
            Some(QueueItem {
                task_id,
                title: record.title.clone(),
                env_id: record.env_id,
                env_name: self.environments.get(record.env_id).map(|environment| environment.record().name.clone()),
                run: run.number,
                priority: run.priority,
                queued_at: run.queued_at,
                place,
            })
        });
        QueueView {
            max_parallel_runs: self.readiness.most_runs(),
            running: self.tasks.table.all().iter().filter(|slot| is_under_way(slot.record().last_run())).count(),
            hold: self.queue.hold(),
            items: items.collect(),
        }
    }
}
