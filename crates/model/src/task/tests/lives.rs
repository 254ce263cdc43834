//! Whole lives of tasks: random requests, results and crashes, in any order.

use proptest::prelude::*;

use super::world::{Step, World};
use crate::policy::RunPolicy;
use crate::run::RunPhase;
use crate::task::TaskStatus;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => (0..15_u8, 0..4_u8).prop_map(|(kind, variant)| Step::Request(16 * variant + kind)),
        6 => any::<u8>().prop_map(Step::Perform),
        3 => Just(Step::Dequeue),
        2 => Just(Step::WorkerEnds),
        1 => Just(Step::Crash),
        1 => any::<u8>().prop_map(Step::Late),
    ];
    proptest::collection::vec(step, 0..80)
}

fn policy() -> impl Strategy<Value = RunPolicy> {
    (0..4_u32, any::<Option<bool>>()).prop_map(|(retries, resume_interrupted)| RunPolicy {
        retries,
        resume_interrupted,
        ..RunPolicy::default()
    })
}

/// The number of a request to stop, and of one to remove.
const STOP: Step = Step::Request(14);
const REMOVE: Step = Step::Request(15);

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_life_keeps_the_invariants_and_comes_to_rest(policy in policy(), steps in steps()) {
        let mut world = World::new(policy);
        for step in steps {
            world.step(step);
        }
        world.settle();
        let task = &world.task;
        prop_assert!(task.question.is_some() || !task.last_run().is_active(), "{task:?}");
        let is_published = task.publication.as_ref().is_none_or(|publication| !publication.status.is_under_way());
        prop_assert!(is_published && task.updating.is_none() && task.notices.is_empty(), "{task:?}");
    }

    #[test]
    fn a_stop_ends_the_run_and_nothing_follows_it(policy in policy(), steps in steps()) {
        let mut world = World::new(policy);
        for step in steps {
            world.step(step);
        }
        let was_active = world.task.last_run().is_active();
        let runs = world.task.runs.len();
        world.step(STOP);
        world.settle();
        prop_assert!(!world.task.last_run().is_active(), "{:?}", world.task);
        if was_active {
            prop_assert_eq!(world.task.runs.len(), runs);
            prop_assert_eq!(world.task.last_run().status().as_str(), "stopped");
        }
    }

    #[test]
    fn a_removal_succeeds_in_every_state_and_after_every_crash(
        policy in policy(), before in steps(), after in proptest::collection::vec(any::<u8>(), 0..12)
    ) {
        let mut world = World::new(policy);
        for step in before {
            world.step(step);
        }
        let runs = world.task.runs.len();
        world.step(REMOVE);
        prop_assert!(world.task.removing);
        for number in after {
            let step = match number % 4 {
                0 => Step::Crash,
                1 => Step::WorkerEnds,
                2 => Step::Perform(number / 4),
                _ => Step::Request(number / 4),
            };
            world.step(step);
            prop_assert_eq!(world.task.status(), TaskStatus::Removing);
        }
        world.settle();
        prop_assert!(world.is_removed, "{:?}", world.task);
        prop_assert_eq!(world.task.runs.len(), runs);
    }

    #[test]
    fn without_users_a_task_ends_after_a_known_number_of_runs(retries in 0..4_u32, results in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut world = World::new(RunPolicy { retries, ..RunPolicy::default() });
        for result in results {
            for step in [Step::Dequeue, Step::Perform(result), Step::WorkerEnds] {
                world.step(step);
            }
        }
        prop_assert!(world.task.runs.len() <= 1 + retries as usize, "{:?}", world.task.runs.len());
        let has_question = world.task.question.is_some();
        let is_queued = matches!(world.task.last_run().phase, RunPhase::Queued);
        prop_assert!(!has_question || is_queued);
    }
}
