//! A storm: servers that are shut down and killed, and a runner that loses requests and answers, answers late, restarts, and goes
//! away for a while. At the end, each run was executed exactly once, and nothing of it is lost or doubled.
//!
//! `cargo xtask chaos --runner` runs more storms, each with its own seed.

use std::time::Duration;

use crate::bench::{Bench, Ending, Server, block_on, eventually};

/// How many of a hundred requests fail.
const PERCENTAGE: u32 = 25;

/// The number of tasks of a storm. Every third task works until it is stopped.
const TASKS: usize = 6;

/// The number of servers that end in the middle of their work.
const SERVERS: u32 = 6;

/// The variable with the first seed and the number of storms.
const STORMS: &str = "ORCH_RUNNER_STORMS";

/// The storms of every test run.
const USUAL: &str = "1 2";

#[test]
fn a_storm_over_a_runner_loses_and_doubles_nothing() {
    #[expect(clippy::disallowed_methods, reason = "only the command for more storms sets this variable")]
    let asked = std::env::var(STORMS).unwrap_or_else(|_| USUAL.to_owned());
    let numbers: Vec<u64> = asked.split(' ').map(|text| text.parse().expect("a number")).collect();
    let [seed, storms] = numbers[..] else { panic!("{STORMS} must be a seed and a number of storms") };
    for seed in seed..seed + storms {
        storm(seed);
    }
}

fn storm(seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let bench = Bench::new(seed, PERCENTAGE, None);
    let mut server = bench.server();
    let repository = bench.add_repository(&server);
    let tasks: Vec<_> = (0..TASKS).map(|n| server.task(&repository, if is_endless(n) { "wait" } else { "work" })).collect();
    for _ in 0..SERVERS {
        let moment = Duration::from_millis(random.u64(30..500));
        server.run_within(moment, async |_| std::future::pending::<()>().await);
        let ending = if random.bool() { Ending::ShutDown } else { Ending::Killed };
        if random.bool() {
            bench.host.go_away();
        }
        server.end(ending);
        server = bench.server();
        bench.host.come_back();
    }
    for (n, task) in tasks.iter().enumerate() {
        if is_endless(n) {
            server.until(task, "running");
            server.run(async |user| user.stop_task(task).await.expect("accepted"));
        }
    }
    let server = end_in_a_storm(&bench, server, &mut random);
    for (n, task) in tasks.iter().enumerate() {
        let done = server.until(task, if is_endless(n) { "stopped" } else { "completed" });
        assert_eq!(done.runs.len(), 1, "seed {seed}");
        server.run(async |_| eventually("all runs are forgotten", || bench.host.runs().is_empty() || n + 1 < TASKS).await);
    }
    for (n, task) in tasks.iter().enumerate() {
        let done = server.run(async |user| user.task(task).expect("there"));
        block_on(bench.check_run(&done));
        let was_stopped = bench.host.ledger().stopped.iter().any(|key| key.task == done.task_id);
        assert_eq!(was_stopped, is_endless(n), "seed {seed}");
    }
    let ledger = bench.host.ledger();
    assert!(ledger.faults > 10, "seed {seed}: it was a storm, not a breeze: {}", ledger.faults);
    assert_eq!((ledger.alive, ledger.starts.len()), (0, TASKS), "seed {seed}");
    server.end(Ending::ShutDown);
}

/// Kills a server while stops are on their way, and starts the next one.
fn end_in_a_storm(bench: &Bench, server: Server, random: &mut fastrand::Rng) -> Server {
    server.run_within(Duration::from_millis(random.u64(0..60)), async |_| std::future::pending::<()>().await);
    server.end(Ending::Killed);
    bench.server()
}

fn is_endless(n: usize) -> bool {
    n % 3 == 2
}
