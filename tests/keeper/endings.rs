//! How runs end: on their own, when stopped and at their limits, without leaving processes. Real keepers and workers; shell
//! scripts define what they do.

use std::time::Duration;

use process::{ProcessIdentity, Signal};
use runner::keeper::{WorkerEnd, request_stop, until_gone};
use tokio::process::Child;

use super::bench::{Bench, appears, gone, written_process};

/// A script that reports that it runs, cleans up when it is interrupted, and exits like Codex.
const PATIENT: &str = "trap 'echo cleaned; exit 1' INT; echo up > up; while :; do sleep 0.05; done";

/// A script that reacts only to SIGKILL.
const DEAF: &str = "trap '' INT TERM HUP; echo up > up; while :; do sleep 0.05; done";

async fn stop(bench: &Bench) {
    request_stop(&bench.files, bench.order.attempt).await.expect("the stop can be requested");
}

fn lives(process: &ProcessIdentity) -> bool {
    process.is_alive().expect("/proc can be read")
}

fn own_signal(keeper: &Child, signal: Signal) {
    let pid = keeper.id().expect("the keeper has not been waited for");
    let keeper = ProcessIdentity::of(pid).expect("/proc can be read").expect("the keeper is running");
    keeper.signal(signal).expect("the signal can be sent");
}

#[tokio::test]
async fn an_exit_code_and_a_signal_are_told_apart() {
    for (script, ending) in [("exit 7", WorkerEnd::Code { code: 7 }), ("kill -9 $$", WorkerEnd::Signal { signal: 9 })] {
        let exit = Bench::new(script).held().await;
        assert_eq!(exit.ending, ending);
        assert!(exit.started_at.is_some_and(|started_at| started_at <= exit.finished_at) && !exit.stop_requested);
    }
}

#[tokio::test]
async fn a_worker_that_closes_its_output_is_held_all_the_same() {
    let bench = Bench::new("echo line; exec >&- 2>&-; sleep 0.3; echo late > late; exit 3");
    assert_eq!(bench.held().await.ending, WorkerEnd::Code { code: 3 });
    assert_eq!(appears(&bench.file("late")).await, "late\n");
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let mut missing = Bench::new("");
    missing.order.program = missing.file("no-such-worker");
    let mut nowhere = Bench::new("");
    nowhere.order.directory = nowhere.file("no-such-folder");
    for (bench, named) in [(missing, "no-such-worker"), (nowhere, "no-such-folder")] {
        let exit = bench.held().await;
        let WorkerEnd::NeverStarted { reason } = &exit.ending else { panic!("{exit:?}") };
        assert!(reason.contains(named), "{reason}");
        assert_eq!(exit.started_at, None);
    }
}

#[tokio::test]
async fn a_stopped_worker_may_clean_up_and_stopping_twice_is_harmless() {
    let bench = Bench::new(PATIENT);
    let keeper = bench.start_until("up").await;
    stop(&bench).await;
    stop(&bench).await;
    let exit = bench.ended(keeper).await;
    assert_eq!((exit.ending, exit.stop_requested), (WorkerEnd::Code { code: 1 }, true));
    assert_eq!(bench.journal(), "cleaned\n");
    stop(&bench).await;
    until_gone(&bench.files, bench.order.attempt).await.expect("the keeper is gone");
}

#[tokio::test]
async fn an_interrupt_of_the_keeper_is_a_stop_and_a_hang_up_is_nothing() {
    let bench = Bench::new(PATIENT);
    let keeper = bench.start_until("up").await;
    let worker = bench.record().worker.expect("the worker has started");
    own_signal(&keeper, Signal::HUP);
    own_signal(&keeper, Signal::INT);
    let exit = bench.ended(keeper).await;
    assert_eq!((exit.ending, exit.stop_requested), (WorkerEnd::Code { code: 1 }, true), "the keeper ignores SIGHUP");
    assert!(!lives(&worker));
}

#[tokio::test]
async fn a_worker_that_hears_nothing_is_killed_with_all_it_started() {
    let bench = Bench::new(&format!("sh -c \"trap '' INT TERM; echo \\$\\$ > child; while :; do sleep 0.05; done\" & {DEAF}"));
    let keeper = bench.start_until("up").await;
    let child = written_process(&bench.file("child")).await;
    stop(&bench).await;
    let exit = bench.ended(keeper).await;
    assert_eq!((exit.ending, exit.stop_requested), (WorkerEnd::Signal { signal: 9 }, true));
    assert!(!lives(&child));
    assert_eq!(bench.marked(), vec![]);
}

#[tokio::test]
async fn a_stop_that_comes_before_the_worker_is_not_lost() {
    let bench = Bench::new("echo up; sleep 60");
    bench.hold_before_the_worker();
    let keeper = bench.start();
    appears(&bench.files.keeper()).await;
    assert_eq!(bench.record().worker, None);
    stop(&bench).await;
    bench.open_prompt();
    let exit = bench.ended(keeper).await;
    assert!(exit.stop_requested, "{exit:?}");
}

#[tokio::test]
async fn what_forks_away_from_a_worker_ends_with_it() {
    let child = "setsid sh -c 'trap \\\"\\\" TERM INT; echo $$ > child; while :; do sleep 0.05; done'";
    let script = format!("sh -c \"{}\" & until [ -s child ]; do sleep 0.02; done; exit 0", child.replace('$', "\\$") + " &");
    let bench = Bench::new(&script);
    let keeper = bench.start();
    let child = written_process(&bench.file("child")).await;
    let exit = bench.ended(keeper).await;
    assert_eq!(exit.ending, WorkerEnd::Code { code: 0 }, "the ending is that of the worker");
    assert!(!lives(&child));
    assert_eq!(bench.marked(), vec![]);
}

#[tokio::test]
async fn what_a_worker_left_behind_may_clean_up() {
    let script = "(trap 'echo cleaned > cleaned; exit' TERM; echo up > up; while :; do sleep 0.05; done) &
        until [ -s up ]; do sleep 0.02; done";
    let bench = Bench::new(script);
    bench.held().await;
    assert_eq!(appears(&bench.file("cleaned")).await, "cleaned\n");
}

#[tokio::test]
async fn a_worker_that_lingers_after_its_turn_is_ended() {
    for end in ["turn.completed", "turn.failed"] {
        let mut bench = Bench::new(&format!("echo '{{\"type\":\"{end}\"}}'; sleep 60"));
        bench.order.turn_end_grace_ms = 100;
        let exit = bench.held().await;
        assert_eq!((exit.ending, exit.stop_requested), (WorkerEnd::Grace, false), "{end}");
    }
}

#[tokio::test]
async fn a_worker_that_ends_soon_after_its_turn_is_left_alone() {
    let bench = Bench::new("echo '{\"type\":\"turn.completed\"}'; sleep 0.2; exit 0");
    assert_eq!(bench.held().await.ending, WorkerEnd::Code { code: 0 });
}

#[tokio::test]
async fn another_turn_takes_the_end_of_the_first_back() {
    let lines = "echo '{\"type\":\"turn.completed\"}'; sleep 0.1; echo '{\"type\":\"turn.started\"}'";
    let mut bench = Bench::new(&format!("{lines}; sleep 1.5; exit 4"));
    bench.order.turn_end_grace_ms = 1_000;
    assert_eq!(bench.held().await.ending, WorkerEnd::Code { code: 4 });
}

#[tokio::test]
async fn a_run_ends_at_its_time_limit() {
    let mut bench = Bench::new(DEAF);
    bench.order.time_limit_ms = 300;
    let exit = bench.held().await;
    assert_eq!((exit.ending, exit.stop_requested), (WorkerEnd::TimeLimit, false));
    assert_eq!(bench.marked(), vec![]);
}

#[tokio::test]
async fn a_stop_ends_what_the_worker_has_stopped() {
    let bench = Bench::new("echo up > up; kill -STOP $$; sleep 60");
    let keeper = bench.start_until("up").await;
    stop(&bench).await;
    let exit = tokio::time::timeout(Duration::from_secs(30), bench.ended(keeper)).await.expect("SIGKILL ends the worker");
    assert_eq!((exit.ending, exit.stop_requested), (WorkerEnd::Signal { signal: 9 }, true));
}

#[tokio::test]
async fn a_worker_that_cannot_be_written_down_does_not_run() {
    let bench = Bench::new("sleep 60");
    bench.hold_before_the_worker();
    let keeper = bench.start();
    appears(&bench.files.keeper()).await;
    fs_err::remove_file(bench.files.keeper()).expect("there");
    fs_err::create_dir(bench.files.keeper()).expect("the folder can be created");
    bench.open_prompt();
    assert!(gone(keeper).await.success(), "{}", bench.complaints());
    let exit = fs_err::read_to_string(bench.files.exit()).expect("the ending is recorded");
    assert!(exit.contains("never_started") && exit.contains("could not be written"), "{exit}");
    assert_eq!(bench.marked(), vec![]);
}

#[tokio::test]
async fn what_no_signal_reaches_is_ended_by_the_orders_cleanup_after_all_else() {
    let mut bench = Bench::new("sleep 600 & echo $! > child; exit 4");
    let look = "if grep -q '^State:[[:space:]]*[RSDT]' /proc/$(cat child)/status 2> error || [ -e run-001.exit.json ]; then echo early; else echo last; fi > cleaned; exit 1";
    let script = format!("cd {}; {look}", bench.file("").display());
    bench.order.cleanup = Some(runner::worker::Cleanup { program: "/bin/sh".into(), args: vec!["-c".to_owned(), script] });
    assert_eq!(bench.held().await.ending, WorkerEnd::Code { code: 4 }, "{}", bench.complaints());
    assert_eq!(appears(&bench.file("cleaned")).await, "last\n");
    assert!(bench.complaints().contains("could not clean up after a run"), "a failed cleanup is logged: {}", bench.complaints());
}
