//! Decides which runs start next, based on the waiting runs, the active runs and the limits.
//!
//! Runs with the same priority start in the order in which they were queued. A run that must wait for its repository or for a
//! certain time does not block the runs behind it. Invariant: waiting runs are listed in the order in which they are expected to
//! start, and their positions follow that order.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::error_code::{AnyCode, ErrorCode};
use crate::ids::{EnvironmentId, TaskId};
use crate::problem::Problem;
use crate::report::Report;
use crate::setup::SetupPhase;

/// The priority of a run in the queue.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Priority {
    /// Starts after all other runs.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Starts before all other runs.
    High,
}

impl Priority {
    /// Parses a priority.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        match text {
            "low" => Ok(Self::Low),
            "normal" => Ok(Self::Normal),
            "high" => Ok(Self::High),
            _ => Err(Problem::new(ErrorCode::PriorityRefused, "invalid priority; use `low`, `normal` or `high`")),
        }
    }

    /// Returns whether this is the default priority.
    pub fn is_normal(&self) -> bool {
        *self == Self::Normal
    }
}

/// A waiting run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRun {
    /// The task of the run.
    pub task_id: TaskId,
    /// The repository of the run.
    pub env_id: EnvironmentId,
    /// The priority.
    pub priority: Priority,
    /// When the run was requested.
    pub queued_at: Timestamp,
    /// The earliest time at which the run may start.
    pub not_before: Option<Timestamp>,
    /// Whether the task is waiting for an answer.
    pub asks: bool,
    /// Whether the task has no snapshot of its repository's environment yet.
    pub needs_setup: bool,
    /// The memory that the run may use, in bytes.
    pub memory: u64,
    /// Why the run may not start, e.g. because its image is missing.
    pub hold: Option<Blocker>,
}

/// A setup that waits until its memory fits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaitingSetup {
    /// The repository of the setup.
    pub env_id: EnvironmentId,
    /// The memory that the setup may use, in bytes.
    pub memory: u64,
}

/// The limits of a repository.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct EnvironmentLimit {
    /// Whether new runs are paused.
    pub paused: bool,
    /// The maximum number of parallel runs.
    pub most: Option<usize>,
    /// The setup that new tasks wait for.
    pub setup: Option<SetupPhase>,
}

/// The limits of the server and its repositories, and the active runs.
#[derive(Debug, Clone, Default)]
pub struct Capacity {
    /// The maximum number of parallel runs on this server.
    pub most: usize,
    /// The number of active runs by repository.
    pub running: BTreeMap<EnvironmentId, usize>,
    /// Repositories that have limits.
    pub limits: BTreeMap<EnvironmentId, EnvironmentLimit>,
    /// Why no run may start, e.g. because the disk is full.
    pub hold: Option<Blocker>,
    /// The memory of all runs and setups together, if it is limited.
    pub memory: Option<MemoryLimit>,
    /// Setups that wait for memory, oldest first. They start before all runs, because new tasks wait for them.
    pub setups: Vec<WaitingSetup>,
}

/// The memory that runs and setups may use together, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MemoryLimit {
    /// The memory of all runs and setups together.
    pub total: u64,
    /// The sum of what the active runs and setups may use.
    pub promised: u64,
}

impl MemoryLimit {
    /// Whether another run or setup fits. One that needs more than all of the memory can start only alone.
    fn has_room_for(&self, memory: u64) -> bool {
        self.promised == 0 || self.promised.saturating_add(memory) <= self.total
    }
}

/// Why no run may start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = Hold)]
pub struct Blocker {
    /// A stable code for scripts: `disk_low`, or the code of the worker's problem.
    #[schema(value_type = String)]
    pub code: AnyCode,
    /// Error message.
    pub detail: String,
    /// Suggested fixes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hints: Vec<String>,
}

impl From<Report> for Blocker {
    fn from(report: Report) -> Self {
        Self { code: report.code, detail: report.message, hints: report.hints }
    }
}

/// What a run is waiting for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum WaitsFor {
    /// A free slot: the server has reached its maximum number of runs.
    Turn,
    /// Another run of the same repository to end.
    EnvironmentLimit,
    /// Other runs or setups to end, because together they may use all the memory for runs.
    Memory,
    /// The repository to be unpaused.
    EnvironmentPaused,
    /// The earliest start time of the run.
    Time,
    /// A solution to the problem that blocks the whole queue or this run.
    Hold,
    /// An answer to the task's question.
    Answer,
    /// The setup of its repository to end.
    Setup,
    /// An answer about the setup of its repository, which failed.
    SetupAnswer,
}

/// The place of a run in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct QueuePlace {
    /// The position. The next run has position 1.
    pub position: usize,
    /// What the run is waiting for.
    pub waits_for: WaitsFor,
    /// The earliest time at which the run may start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    /// Why no run may start, or why this one may not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Blocker>,
}

/// The setups and runs that start now, and the places of the other runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    /// Repositories whose setups start now.
    pub setups: Vec<EnvironmentId>,
    /// Tasks whose runs start now, in this order.
    pub begin: Vec<TaskId>,
    /// Tasks whose runs wait, next one first.
    pub wait: Vec<(TaskId, QueuePlace)>,
    /// When to check again if nothing happens until then.
    pub look_again: Option<Timestamp>,
}

/// When a run is expected to start, for the order of runs: as soon as there is a free slot, at a known time, or not before
/// somebody unpauses its repository or answers its task's question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Start {
    WhenThereIsRoom,
    At(Timestamp),
    AfterSetup,
    WhenUnpaused,
    WhenAnswered,
}

fn failed(room: &Capacity, environment: EnvironmentId) -> bool {
    room.limits.get(&environment).is_some_and(|limit| limit.setup == Some(SetupPhase::Failed))
}

/// Takes this memory if it fits, and returns whether it does.
fn take(limit: &mut Option<MemoryLimit>, memory: u64) -> bool {
    let Some(limit) = limit else { return true };
    let fits = limit.has_room_for(memory);
    if fits {
        limit.promised = limit.promised.saturating_add(memory);
    }
    fits
}

/// Decides which setups and runs start.
pub fn plan(mut waiting: Vec<WaitingRun>, mut room: Capacity, now: Timestamp) -> Plan {
    waiting.sort_by_cached_key(|run| {
        let start = match run.not_before {
            _ if run.asks => Start::WhenAnswered,
            _ if room.limits.get(&run.env_id).is_some_and(|limit| limit.paused) => Start::WhenUnpaused,
            _ if run.needs_setup && failed(&room, run.env_id) => Start::WhenAnswered,
            Some(time) if time > now => Start::At(time),
            _ if run.needs_setup && room.limits.get(&run.env_id).is_some_and(|limit| limit.setup.is_some()) => Start::AfterSetup,
            Some(_) | None => Start::WhenThereIsRoom,
        };
        (start, std::cmp::Reverse(run.priority), run.queued_at, run.task_id)
    });
    let mut total: usize = room.running.values().sum();
    let mut plan = Plan::default();
    // Smaller runs do not overtake a setup or a run that waits for memory. Otherwise, it might never start.
    let mut is_memory_short = false;
    for setup in room.setups {
        is_memory_short = is_memory_short || !take(&mut room.memory, setup.memory);
        if !is_memory_short {
            plan.setups.push(setup.env_id);
        }
    }
    for run in waiting {
        let limit = room.limits.get(&run.env_id).copied().unwrap_or_default();
        let of_environment = room.running.entry(run.env_id).or_default();
        let setup = limit.setup.filter(|_| run.needs_setup);
        let later = run.not_before.filter(|time| *time > now && !run.asks);
        let waits_for = if run.asks {
            Some(WaitsFor::Answer)
        } else if let Some(time) = later {
            plan.look_again = Some(plan.look_again.map_or(time, |earliest| earliest.min(time)));
            Some(WaitsFor::Time)
        } else if room.hold.is_some() {
            Some(WaitsFor::Hold)
        } else if limit.paused {
            Some(WaitsFor::EnvironmentPaused)
        } else if let Some(phase) = setup {
            Some(if phase == SetupPhase::Failed { WaitsFor::SetupAnswer } else { WaitsFor::Setup })
        } else if run.hold.is_some() {
            Some(WaitsFor::Hold)
        } else if limit.most.is_some_and(|most| *of_environment >= most) {
            Some(WaitsFor::EnvironmentLimit)
        } else if total >= room.most {
            Some(WaitsFor::Turn)
        } else if is_memory_short || !take(&mut room.memory, run.memory) {
            is_memory_short = true;
            Some(WaitsFor::Memory)
        } else {
            None
        };
        match waits_for {
            None => {
                total += 1;
                *of_environment += 1;
                plan.begin.push(run.task_id);
            }
            Some(waits_for) => {
                let hold = room.hold.clone().or(run.hold).filter(|_| waits_for == WaitsFor::Hold);
                let place = QueuePlace { position: plan.wait.len() + 1, waits_for, not_before: later, hold };
                plan.wait.push((run.task_id, place));
            }
        }
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u128) -> TaskId {
        TaskId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn number(task: TaskId) -> u128 {
        (1..10).find(|n| id(*n) == task).expect("the ID is known")
    }

    fn env(n: u128) -> EnvironmentId {
        EnvironmentId::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("the time is valid")
    }

    fn run(n: u128, environment: u128, second: i64) -> WaitingRun {
        let (task_id, env_id) = (id(n), env(environment));
        let (priority, queued_at) = (Priority::Normal, at(second));
        WaitingRun {
            task_id,
            env_id,
            priority,
            queued_at,
            not_before: None,
            asks: false,
            needs_setup: false,
            memory: 1 << 30,
            hold: None,
        }
    }

    fn room(most: usize) -> Capacity {
        Capacity { most, ..Capacity::default() }
    }

    fn places(plan: &Plan) -> Vec<(u128, usize, WaitsFor)> {
        plan.wait.iter().map(|(task, place)| (number(*task), place.position, place.waits_for)).collect()
    }

    #[test]
    fn the_oldest_begins_first_and_the_others_know_their_place() {
        let plan = plan(vec![run(3, 1, 30), run(1, 1, 10), run(2, 1, 20), run(4, 1, 20)], room(2), at(100));
        assert_eq!(plan.begin, [id(1), id(2)]);
        assert_eq!(places(&plan), [(4, 1, WaitsFor::Turn), (3, 2, WaitsFor::Turn)]);
        assert_eq!(plan.look_again, None);
    }

    #[test]
    fn runs_under_way_take_room() {
        let mut room = room(3);
        room.running = BTreeMap::from([(env(1), 1), (env(2), 1)]);
        assert_eq!(plan(vec![run(1, 1, 1), run(2, 1, 2)], room.clone(), at(9)).begin, [id(1)]);
        room.most = 2;
        assert!(plan(vec![run(1, 1, 1)], room.clone(), at(9)).begin.is_empty());
        // The limit is lower than the number of active runs, which continue.
        room.most = 1;
        assert!(plan(vec![run(1, 1, 1)], room, at(9)).begin.is_empty());
    }

    #[test]
    fn a_priority_goes_before_an_age() {
        let urgent = WaitingRun { priority: Priority::High, ..run(3, 1, 30) };
        let idle = WaitingRun { priority: Priority::Low, ..run(1, 1, 10) };
        let plan = plan(vec![idle, run(2, 1, 20), urgent], room(1), at(100));
        assert_eq!(plan.begin, [id(3)]);
        assert_eq!(places(&plan).iter().map(|place| place.0).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn what_an_environment_holds_back_holds_up_nobody_else() {
        let mut room = room(10);
        room.limits.insert(env(1), EnvironmentLimit { paused: true, ..EnvironmentLimit::default() });
        room.limits.insert(env(2), EnvironmentLimit { most: Some(1), ..EnvironmentLimit::default() });
        let plan = plan(vec![run(1, 1, 1), run(2, 2, 2), run(3, 2, 3), run(4, 3, 4)], room, at(9));
        assert_eq!(plan.begin, [id(2), id(4)]);
        assert_eq!(places(&plan), [(3, 1, WaitsFor::EnvironmentLimit), (1, 2, WaitsFor::EnvironmentPaused)]);
    }

    #[test]
    fn runs_start_only_if_their_memory_fits() {
        let with = |n, gib: u64| WaitingRun { memory: gib << 30, ..run(n, n, 1) };
        let memory = |promised: u64| Some(MemoryLimit { total: 8 << 30, promised: promised << 30 });
        let planned = |waiting: Vec<WaitingRun>, promised| {
            let plan = plan(waiting, Capacity { memory: memory(promised), ..room(10) }, at(9));
            (plan.begin.iter().map(|task| number(*task)).collect::<Vec<_>>(), places(&plan))
        };
        assert_eq!(planned(vec![with(1, 4), with(2, 4), with(3, 1)], 0), (vec![1, 2], vec![(3, 1, WaitsFor::Memory)]));
        assert_eq!(planned(vec![with(1, 16)], 0).0, [1], "a run that needs more than there is starts alone");
        assert_eq!(planned(vec![with(1, 16)], 1), (vec![], vec![(1, 1, WaitsFor::Memory)]));
        let overtaken = planned(vec![with(1, 6), with(2, 1)], 4);
        assert_eq!(overtaken, (vec![], vec![(1, 1, WaitsFor::Memory), (2, 2, WaitsFor::Memory)]), "nobody overtakes");
        let unlimited = plan(vec![with(1, 16), with(2, 16)], room(10), at(9));
        assert_eq!(unlimited.begin.len(), 2, "without a known limit, only the number of runs counts");
    }

    #[test]
    fn setups_take_part_in_the_memory_and_start_first() {
        let setup = |n, gib: u64| WaitingSetup { env_id: env(n), memory: gib << 30 };
        let planned = |setups: Vec<WaitingSetup>, promised: u64| {
            let memory = Some(MemoryLimit { total: 8 << 30, promised: promised << 30 });
            let plan = plan(vec![run(1, 1, 1), run(2, 2, 2)], Capacity { memory, setups, ..room(10) }, at(9));
            let setups: Vec<_> = plan.setups.iter().map(|id| (1..10).find(|n| env(*n) == *id).expect("known")).collect();
            (setups, plan.begin.iter().map(|task| number(*task)).collect::<Vec<_>>(), places(&plan))
        };
        let memory = |n, position| (n, position, WaitsFor::Memory);
        assert_eq!(planned(vec![setup(5, 6)], 0), (vec![5], vec![1, 2], vec![]));
        assert_eq!(planned(vec![setup(5, 7)], 0), (vec![5], vec![1], vec![memory(2, 1)]), "its memory is promised");
        let waits = (vec![], vec![], vec![memory(1, 1), memory(2, 2)]);
        assert_eq!(planned(vec![setup(5, 7)], 2), waits, "no run overtakes a setup");
        assert_eq!(planned(vec![setup(5, 7), setup(6, 1)], 2), waits, "nor does a smaller setup");
        assert_eq!(planned(vec![setup(5, 7), setup(6, 1)], 0).0, [5, 6]);
        let alone = (vec![5], vec![], vec![memory(1, 1), memory(2, 2)]);
        assert_eq!(planned(vec![setup(5, 16)], 0), alone, "a setup that needs more than there is starts alone");
        assert_eq!(planned(vec![setup(5, 16)], 1), waits);
        let unlimited = plan(vec![run(1, 1, 1)], Capacity { setups: vec![setup(5, 99)], ..room(10) }, at(9));
        assert_eq!((unlimited.setups, unlimited.begin), (vec![env(5)], vec![id(1)]), "without a known limit, nothing waits");
    }

    #[test]
    fn setups_start_although_something_holds_the_queue() {
        let hold = Blocker { code: ErrorCode::DiskLow.into(), detail: "no room".to_owned(), hints: vec![] };
        let setups = vec![WaitingSetup { env_id: env(5), memory: 1 }];
        let plan = plan(vec![run(1, 1, 1)], Capacity { hold: Some(hold), setups, ..room(10) }, at(9));
        assert_eq!((plan.setups, plan.begin), (vec![env(5)], vec![]), "the hold is about runs");
    }

    #[test]
    fn a_run_with_a_time_waits_for_it_and_no_longer() {
        let later = |n, second| WaitingRun { not_before: Some(at(second)), ..run(n, 1, 1) };
        let plan = plan(vec![later(1, 50), later(2, 40), later(3, 10)], room(10), at(10));
        assert_eq!((plan.begin.clone(), plan.look_again), (vec![id(3)], Some(at(40))));
        assert_eq!(plan.wait.iter().map(|(_, place)| place.not_before).collect::<Vec<_>>(), [Some(at(40)), Some(at(50))]);
    }

    #[test]
    fn runs_wait_in_the_order_in_which_they_will_start() {
        let mut room = room(0);
        room.limits.insert(env(2), EnvironmentLimit { paused: true, ..EnvironmentLimit::default() });
        let later = |n, time| WaitingRun { not_before: Some(at(time)), ..run(n, 1, 1) };
        let urgent = WaitingRun { priority: Priority::High, ..run(6, 1, 30) };
        let all = vec![run(1, 2, 1), later(2, 60), later(3, 50), run(4, 1, 20), run(5, 1, 10), urgent];
        let order = [6, 5, 4, 3, 2, 1];
        let plan = plan(all.clone(), room.clone(), at(40));
        assert_eq!(places(&plan).iter().map(|place| place.0).collect::<Vec<_>>(), order);
        assert_eq!(plan.wait.iter().map(|(_, place)| place.position).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
        room.hold = Some(Blocker { code: ErrorCode::DiskLow.into(), detail: "no room".to_owned(), hints: vec![] });
        let held = super::plan(all, room, at(40));
        assert_eq!(places(&held).iter().map(|place| place.0).collect::<Vec<_>>(), order, "a hold does not change the order");
    }

    #[test]
    fn while_something_holds_the_queue_nothing_begins_and_everybody_knows_why() {
        let hold = Blocker { code: ErrorCode::DiskLow.into(), detail: "no room".to_owned(), hints: vec![] };
        let plan = plan(vec![run(1, 1, 1)], Capacity { hold: Some(hold.clone()), ..room(10) }, at(9));
        assert!(plan.begin.is_empty());
        assert_eq!((plan.wait[0].1.waits_for, plan.wait[0].1.hold.clone()), (WaitsFor::Hold, Some(hold)));
    }

    #[test]
    fn what_holds_one_run_holds_up_nobody_else() {
        let missing = Blocker { code: ErrorCode::NoWorker.into(), detail: "image `x` not found".to_owned(), hints: vec![] };
        let held = WaitingRun { hold: Some(missing.clone()), priority: Priority::High, ..run(1, 1, 1) };
        let plan = plan(vec![held, run(2, 1, 2)], room(1), at(9));
        assert_eq!((plan.begin.clone(), places(&plan)), (vec![id(2)], vec![(1, 1, WaitsFor::Hold)]));
        assert_eq!(plan.wait[0].1.hold, Some(missing));
    }

    #[test]
    fn priorities_are_words() {
        assert_eq!(Priority::parse("high"), Ok(Priority::High));
        assert_eq!(Priority::parse("urgent").expect_err("the priority is unknown").report.code, ErrorCode::PriorityRefused);
    }

    #[test]
    fn new_tasks_wait_for_the_setup_of_their_repository_and_others_do_not() {
        for (phase, expected) in [(SetupPhase::Running, WaitsFor::Setup), (SetupPhase::Failed, WaitsFor::SetupAnswer)] {
            let mut room = room(10);
            room.limits.insert(env(1), EnvironmentLimit { setup: Some(phase), ..EnvironmentLimit::default() });
            let new = WaitingRun { needs_setup: true, ..run(1, 1, 1) };
            let elsewhere = WaitingRun { needs_setup: true, ..run(3, 2, 3) };
            let plan = plan(vec![new, run(2, 1, 2), elsewhere], room, at(9));
            assert_eq!((plan.begin.clone(), places(&plan)), (vec![id(2), id(3)], vec![(1, 1, expected)]), "{phase:?}");
        }
    }

    #[test]
    fn a_run_whose_task_asks_waits_last_and_holds_up_nobody() {
        let asking = WaitingRun { asks: true, priority: Priority::High, ..run(1, 1, 1) };
        let room = Capacity { most: 1, ..Capacity::default() };
        let plan = plan(vec![asking, run(2, 1, 2), run(3, 1, 3)], room, at(100));
        assert_eq!(plan.begin, [id(2)]);
        let waiting: Vec<_> = plan.wait.iter().map(|(task, place)| (number(*task), place.position, place.waits_for)).collect();
        assert_eq!(waiting, [(3, 1, WaitsFor::Turn), (1, 2, WaitsFor::Answer)]);
        assert_eq!(plan.look_again, None);
    }
}
