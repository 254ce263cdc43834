//! Plans for random queues, limits and times.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::error_code::ErrorCode;
use model::ids::{EnvironmentId, TaskId};
use model::queue::{Blocker, Capacity, EnvironmentLimit, MemoryLimit, Plan, Priority, WaitingRun, WaitingSetup, WaitsFor, plan};
use model::setup::SetupPhase;
use proptest::prelude::*;

const NOW: i64 = 1_000;

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).expect("the time is valid")
}

fn environment(number: u128) -> EnvironmentId {
    EnvironmentId::from_uuid(uuid::Uuid::from_u128(number))
}

fn hold() -> Blocker {
    Blocker { code: ErrorCode::DiskLow.into(), detail: "no room".to_owned(), hints: vec![] }
}

/// A run as drawn: its number, repository, priority, times and flags.
type Drawn = (u128, (u128, Priority, i64, Option<i64>, (bool, bool, u64, bool)));

fn waiting() -> impl Strategy<Value = Vec<WaitingRun>> {
    let priority = prop_oneof![Just(Priority::Low), Just(Priority::Normal), Just(Priority::High)];
    let time = proptest::option::of(NOW - 5..NOW + 6);
    let flags = (proptest::bool::weighted(0.2), any::<bool>(), 1..5_u64, proptest::bool::weighted(0.1));
    let run = (0..4_u128, priority, 0..20_i64, time, flags);
    proptest::collection::vec(run, 0..24).prop_map(|runs| {
        let runs = (1..).zip(runs);
        let run = |(number, (env, priority, queued_at, time, (asks, needs_setup, memory, is_held))): Drawn| WaitingRun {
            task_id: TaskId::from_uuid(uuid::Uuid::from_u128(number)),
            env_id: environment(env),
            priority,
            queued_at: at(queued_at),
            not_before: time.map(at),
            asks,
            needs_setup,
            memory,
            hold: is_held.then(hold),
        };
        runs.map(run).collect()
    })
}

fn capacity() -> impl Strategy<Value = Capacity> {
    let setup = proptest::option::weighted(0.4, prop_oneof![Just(SetupPhase::Running), Just(SetupPhase::Failed)]);
    let limit = (proptest::bool::weighted(0.3), proptest::option::of(0..4_usize), setup);
    let limit = limit.prop_map(|(paused, most, setup)| EnvironmentLimit { paused, most, setup });
    let limits = proptest::collection::btree_map((0..4_u128).prop_map(environment), limit, 0..4);
    let running = proptest::collection::btree_map((0..4_u128).prop_map(environment), 0..4_usize, 0..4);
    let hold = proptest::option::weighted(0.15, Just(()).prop_map(|()| hold()));
    let memory = (1..20_u64, 0..12_u64).prop_map(|(total, promised)| MemoryLimit { total, promised });
    let setups = proptest::collection::vec(1..9_u64, 0..3).prop_map(|setups| {
        let setups = (0..).zip(setups);
        setups.map(|(number, memory)| WaitingSetup { env_id: environment(number), memory }).collect::<Vec<_>>()
    });
    let memory = proptest::option::of(memory);
    (0..8_usize, running, limits, hold, memory, setups).prop_map(|(most, running, limits, hold, memory, setups)| Capacity {
        most,
        running,
        limits,
        hold,
        memory,
        setups,
    })
}

/// Returns the memory of the setups and runs that start.
fn memory_of(waiting: &[WaitingRun], room: &Capacity, plan: &Plan) -> u64 {
    let setups = room.setups.iter().filter(|setup| plan.setups.contains(&setup.env_id));
    let runs = plan.begin.iter().map(|task| of(waiting, *task).memory);
    setups.map(|setup| setup.memory).chain(runs).sum()
}

/// Returns the waiting run of this task.
fn of(waiting: &[WaitingRun], task: TaskId) -> &WaitingRun {
    waiting.iter().find(|run| run.task_id == task).expect("the task waits")
}

/// Returns how many runs of each repository would be active.
fn active(waiting: &[WaitingRun], room: &Capacity, plan: &Plan) -> BTreeMap<EnvironmentId, usize> {
    let mut active = room.running.clone();
    for task in &plan.begin {
        *active.entry(of(waiting, *task).env_id).or_default() += 1;
    }
    active
}

fn is_ready(run: &WaitingRun, room: &Capacity) -> bool {
    let limit = room.limits.get(&run.env_id).copied().unwrap_or_default();
    let waits_for_setup = run.needs_setup && limit.setup.is_some();
    let is_held = room.hold.is_some() || run.hold.is_some();
    !run.asks && !limit.paused && !waits_for_setup && !is_held && run.not_before.is_none_or(|time| time <= at(NOW))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_run_is_planned_once_and_no_limit_is_exceeded(waiting in waiting(), room in capacity()) {
        let plan = plan(waiting.clone(), room.clone(), at(NOW));
        let planned: Vec<TaskId> = plan.begin.iter().copied().chain(plan.wait.iter().map(|(task, _)| *task)).collect();
        prop_assert_eq!(planned.len(), waiting.len());
        prop_assert_eq!(planned.iter().collect::<BTreeSet<_>>().len(), waiting.len());
        prop_assert!(plan.wait.iter().map(|(_, place)| place.position).eq(1..=plan.wait.len()));
        prop_assert!(plan.begin.iter().all(|task| is_ready(of(&waiting, *task), &room)));
        prop_assert!(room.setups.iter().map(|setup| setup.env_id).collect::<Vec<_>>().starts_with(&plan.setups));
        let begun = plan.begin.len() + plan.setups.len();
        if let Some(limit) = room.memory.filter(|limit| begun > 1 || begun == 1 && limit.promised > 0) {
            prop_assert!(limit.promised + memory_of(&waiting, &room, &plan) <= limit.total);
        }
        if !plan.begin.is_empty() {
            prop_assert_eq!(plan.setups.len(), room.setups.len(), "no run overtakes a setup");
            let active = active(&waiting, &room, &plan);
            prop_assert!(active.values().sum::<usize>() <= room.most);
            for task in &plan.begin {
                let env = of(&waiting, *task).env_id;
                let most = room.limits.get(&env).and_then(|limit| limit.most).unwrap_or(usize::MAX);
                prop_assert!(active[&env] <= most);
            }
        }
    }

    #[test]
    fn what_a_run_waits_for_is_true(waiting in waiting(), room in capacity()) {
        let plan = plan(waiting.clone(), room.clone(), at(NOW));
        let active = active(&waiting, &room, &plan);
        for (task, place) in &plan.wait {
            let run = of(&waiting, *task);
            let limit = room.limits.get(&run.env_id).copied().unwrap_or_default();
            let of_env = active.get(&run.env_id).copied().unwrap_or_default();
            let is_later = run.not_before.is_some_and(|time| time > at(NOW));
            let is_true = match place.waits_for {
                WaitsFor::Answer => run.asks,
                WaitsFor::Time => is_later,
                WaitsFor::Hold => room.hold.is_some() || run.hold.is_some(),
                WaitsFor::EnvironmentPaused => limit.paused,
                WaitsFor::Setup => run.needs_setup && limit.setup == Some(SetupPhase::Running),
                WaitsFor::SetupAnswer => run.needs_setup && limit.setup == Some(SetupPhase::Failed),
                WaitsFor::EnvironmentLimit => limit.most.is_some_and(|most| of_env >= most),
                WaitsFor::Memory => room.memory.is_some(),
                WaitsFor::Turn => active.values().sum::<usize>() >= room.most,
            };
            prop_assert!(is_true, "{:?} {:?}", run, place);
            prop_assert_eq!(place.not_before, run.not_before.filter(|_| is_later && !run.asks));
            prop_assert_eq!(place.hold.is_some(), place.waits_for == WaitsFor::Hold);
        }
        let times = waiting.iter().filter(|run| !run.asks).filter_map(|run| run.not_before);
        prop_assert_eq!(plan.look_again, times.filter(|time| *time > at(NOW)).min());
    }

    #[test]
    fn the_order_in_which_runs_are_listed_does_not_matter(waiting in waiting(), room in capacity(), turn in any::<prop::sample::Index>()) {
        let expected = plan(waiting.clone(), room.clone(), at(NOW));
        let mut other: Vec<_> = waiting.iter().rev().cloned().collect();
        if !other.is_empty() {
            let by = turn.index(other.len());
            other.rotate_left(by);
        }
        prop_assert_eq!(plan(other, room, at(NOW)), expected);
    }

    #[test]
    fn nobody_of_the_same_repository_overtakes_a_run_that_is_ready(waiting in waiting(), room in capacity()) {
        let plan = plan(waiting.clone(), room.clone(), at(NOW));
        let rank = |run: &WaitingRun| (std::cmp::Reverse(run.priority), run.queued_at, run.task_id);
        let begun: Vec<_> = plan.begin.iter().map(|task| of(&waiting, *task)).collect();
        prop_assert!(begun.is_sorted_by_key(|run| rank(run)), "runs start in the order of the queue");
        for (task, place) in &plan.wait {
            let waits = of(&waiting, *task);
            if is_ready(waits, &room) {
                let overtakes = |run: &&&WaitingRun| rank(run) > rank(waits);
                let is_for_all = matches!(place.waits_for, WaitsFor::Turn | WaitsFor::Memory);
                let is_same = |run: &&WaitingRun| is_for_all || run.env_id == waits.env_id;
                prop_assert_eq!(begun.iter().filter(overtakes).find(|run| is_same(run)), None);
            }
        }
    }

    #[test]
    fn with_more_room_at_least_the_same_number_of_runs_starts(waiting in waiting(), room in capacity()) {
        let before = plan(waiting.clone(), room.clone(), at(NOW));
        let larger = Capacity { most: room.most + 1, ..room };
        let after = plan(waiting, larger, at(NOW));
        prop_assert!(before.begin.iter().all(|task| after.begin.contains(task)));
        prop_assert!(after.begin.len() <= before.begin.len() + 1);
        prop_assert_eq!(before.look_again, after.look_again);
    }

    #[test]
    fn when_the_runs_that_start_have_started_nothing_else_starts(waiting in waiting(), room in capacity()) {
        let before = plan(waiting.clone(), room.clone(), at(NOW));
        let running = active(&waiting, &room, &before);
        let begun = memory_of(&waiting, &room, &before);
        let memory = room.memory.map(|limit| MemoryLimit { promised: limit.promised + begun, ..limit });
        let rest: Vec<_> = waiting.into_iter().filter(|run| !before.begin.contains(&run.task_id)).collect();
        let setups = room.setups.iter().copied().filter(|setup| !before.setups.contains(&setup.env_id)).collect();
        let after = plan(rest, Capacity { running, memory, setups, ..room }, at(NOW));
        prop_assert_eq!((after.begin, after.setups), (vec![], vec![]));
        prop_assert_eq!(after.wait, before.wait);
    }

    #[test]
    fn a_queue_empties_when_runs_end_and_time_passes(waiting in waiting(), most in 1..4_usize) {
        let mut rest: Vec<_> = waiting.into_iter().map(|run| WaitingRun { asks: false, hold: None, ..run }).collect();
        let mut now = at(NOW);
        while !rest.is_empty() {
            let plan = plan(rest.clone(), Capacity { most, ..Capacity::default() }, now);
            prop_assert!(!plan.begin.is_empty() || plan.look_again.is_some_and(|time| time > now));
            rest.retain(|run| !plan.begin.contains(&run.task_id));
            now = plan.look_again.unwrap_or(now);
        }
    }
}
