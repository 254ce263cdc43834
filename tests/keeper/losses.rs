//! Killed keepers and damaged records: what the server observes, and how it ends leftover processes. Real keepers and
//! workers; shell scripts define what they do.

use model::ids::Attempt;
use process::{ProcessIdentity, Signal};
use runner::keeper::{ExitRecord, KeeperState, end_leftovers, observe, request_stop, until_gone};

use super::bench::{Bench, appears, gone, written_process};

/// A script that starts a child without the mark, one in a different session, and an orphan without the mark in its own group, and then
/// continues.
const FAMILY: &str = "env -i sh -c 'echo $$ > plain; exec sleep 60' &
    setsid sh -c 'echo $$ > session; exec sleep 60' &
    bash -c \"set -m; env -i sh -c 'echo \\$\\$ > orphan; exec sleep 60' & until [ -s orphan ]; do sleep 0.02; done\"
    trap '' INT TERM; until [ -s plain ] && [ -s session ]; do sleep 0.02; done; echo up > up; sleep 60";

fn lives(process: &ProcessIdentity) -> bool {
    process.is_alive().expect("/proc can be read")
}

#[tokio::test]
async fn what_a_killed_keeper_left_is_seen_as_lost_and_can_be_ended() {
    let bench = Bench::new(FAMILY);
    let keeper = bench.start_until("up").await;
    let bystander = Bench::new("echo up > up; sleep 60");
    let other = bystander.start_until("up").await;
    let record = bench.record();
    let worker = record.worker.clone().expect("the worker has started");
    let mut family = vec![worker];
    for name in ["plain", "session", "orphan"] {
        family.push(written_process(&bench.file(name)).await);
    }
    record.keeper.signal(Signal::KILL).expect("the signal can be sent");
    gone(keeper).await;
    assert!(family.iter().all(lives), "the worker and its children outlive the keeper");
    assert_eq!(bench.state(), KeeperState::Gone { record: Some(record), exit: None });
    end_leftovers(&bench.files, bench.order.attempt, &[]).await.expect("the leftovers can be ended");
    assert!(!family.iter().any(lives), "{family:?}");
    end_leftovers(&bench.files, bench.order.attempt, &[]).await.expect("ending leftovers again succeeds");
    assert!(lives(&bystander.record().keeper), "the keeper of another run is still running");
    request_stop(&bystander.files, bystander.order.attempt).await.expect("told");
    bystander.ended(other).await;
}

#[tokio::test]
async fn a_try_whose_keeper_was_killed_is_not_begun_again() {
    let bench = Bench::new("echo begun >> begun; sleep 60");
    let keeper = bench.start_until("begun").await;
    bench.record().keeper.signal(Signal::KILL).expect("the signal can be sent");
    gone(keeper).await;
    assert!(gone(bench.start()).await.success(), "{}", bench.complaints());
    assert_eq!(appears(&bench.file("begun")).await, "begun\n");
    assert!(matches!(bench.state(), KeeperState::Gone { exit: None, .. }));
}

#[tokio::test]
async fn an_exit_record_alone_keeps_a_try_from_being_begun_again() {
    let bench = Bench::new("echo begun >> begun");
    let exit = bench.held().await;
    fs_err::remove_file(bench.files.keeper()).expect("there");
    assert_eq!(bench.state(), KeeperState::Gone { record: None, exit: Some(exit) });
    assert!(gone(bench.start()).await.success(), "{}", bench.complaints());
    assert_eq!(appears(&bench.file("begun")).await, "begun\n");
}

#[tokio::test]
async fn leftovers_are_ended_with_a_keeper_that_still_lives() {
    let bench = Bench::new(FAMILY);
    let keeper = bench.start_until("up").await;
    end_leftovers(&bench.files, bench.order.attempt, &[]).await.expect("the leftovers can be ended");
    assert!(!gone(keeper).await.success());
    assert_eq!(bench.marked(), vec![]);
}

#[tokio::test]
async fn a_keeper_that_is_starting_is_no_answer_yet() {
    let bench = Bench::new("exit 0");
    bench.hold_before_the_worker();
    let keeper = bench.start();
    let record = appears(&bench.files.keeper()).await;
    fs_err::remove_file(bench.files.keeper()).expect("there");
    let error = observe(&bench.files, bench.order.attempt).expect_err("the lock is held, but the record is missing");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    fs_err::write(bench.files.keeper(), record).expect("written");
    bench.open_prompt();
    bench.ended(keeper).await;
}

#[tokio::test]
async fn a_run_that_was_never_held_has_nothing_to_stop_or_to_end() {
    let bench = Bench::new("");
    assert_eq!(bench.state(), KeeperState::NeverStarted);
    request_stop(&bench.files, Attempt::FIRST).await.expect("stopping a run without a keeper succeeds");
    until_gone(&bench.files, Attempt::FIRST).await.expect("waiting for a run without a keeper succeeds");
    end_leftovers(&bench.files, Attempt::FIRST, &[]).await.expect("ending the leftovers of a run without a keeper succeeds");
}

#[tokio::test]
async fn a_damaged_record_means_that_the_run_may_have_begun() {
    let bench = Bench::new("exit 0");
    let exit: ExitRecord = bench.held().await;
    fs_err::write(bench.files.keeper(), "{\"schema\":1,").expect("written");
    assert_eq!(bench.state(), KeeperState::Gone { record: None, exit: Some(exit) });
    fs_err::write(bench.files.exit(), "").expect("written");
    assert_eq!(bench.state(), KeeperState::Gone { record: None, exit: None });
    assert!(!gone(bench.start()).await.success(), "the keeper does not start a worker that may have started before");
    assert!(bench.complaints().contains("run-001.exit.json"), "{}", bench.complaints());
}

#[tokio::test]
async fn a_record_of_an_earlier_boot_is_of_somebody_who_is_gone() {
    let bench = Bench::new("echo up > up; exec sleep 60");
    let keeper = bench.start_until("up").await;
    let text = fs_err::read_to_string(bench.files.keeper()).expect("there");
    let boot = bench.record().keeper.boot_id;
    fs_err::write(bench.files.keeper(), text.replace(&boot, "another-boot")).expect("written");
    assert!(matches!(bench.state(), KeeperState::Gone { exit: None, .. }));
    request_stop(&bench.files, bench.order.attempt).await.expect("stopping a keeper of an earlier boot succeeds");
    fs_err::write(bench.files.keeper(), text).expect("written");
    request_stop(&bench.files, bench.order.attempt).await.expect("told");
    assert!(bench.ended(keeper).await.stop_requested);
}
