//! Successful runs: the worker's input, the files that a run leaves, and that a run starts only once. Real keepers and
//! workers; shell scripts define what they do.

use model::ids::Attempt;
use runner::keeper::{KeeperState, WorkerEnd, request_stop};

use super::bench::{Bench, appears, gone};

#[tokio::test]
async fn the_journal_is_what_the_worker_wrote_byte_for_byte() {
    let bench = Bench::new("seq 1 100000; printf 'no \\377 newline'; echo words >&2");
    let exit = bench.held().await;
    assert_eq!((exit.ending, exit.stop_requested), (WorkerEnd::Code { code: 0 }, false));
    let mut expected: Vec<u8> = (1..=100_000).flat_map(|number| format!("{number}\n").into_bytes()).collect();
    expected.extend(b"no \xff newline");
    assert!(fs_err::read(bench.files.journal()).expect("there") == expected, "the log contains exactly the worker's output");
    assert_eq!(fs_err::read(bench.files.stderr()).expect("there"), b"words\n");
}

#[tokio::test]
async fn the_worker_gets_the_prompt_its_arguments_and_its_folder_and_nothing_else() {
    let bench = Bench::new("cat; echo; echo \"$1\"; pwd");
    bench.held().await;
    let folder = bench.order.directory.display();
    assert_eq!(bench.journal(), format!("the prompt\nan argument\n{folder}\n"));
}

#[tokio::test]
async fn the_keeper_hands_on_its_environment_as_it_is() {
    let mut bench = Bench::new("");
    bench.order.program = "/usr/bin/env".into();
    bench.order.args = vec![];
    bench.held().await;
    let journal = bench.journal();
    let mut names: Vec<_> = journal.lines().filter_map(|line| line.split('=').next()).collect();
    names.sort_unstable();
    assert_eq!(names, ["ORCH_RUN", "PATH"]);
}

#[tokio::test]
async fn only_the_owner_can_read_what_a_run_leaves() {
    use std::os::unix::fs::PermissionsExt as _;
    let bench = Bench::new("echo x; echo x >&2");
    bench.held().await;
    let files = &bench.files;
    for path in [files.journal(), files.stderr(), files.keeper(), files.exit(), files.lock()] {
        let mode = fs_err::metadata(&path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn a_second_keeper_changes_nothing() {
    let bench = Bench::new("trap 'exit 1' INT; echo begun >> begun; while :; do sleep 0.05; done");
    let first = bench.start_until("begun").await;
    let record = bench.record();
    assert!(gone(bench.start()).await.success(), "the second keeper finds the lock held and ends");
    assert_eq!(bench.record(), record, "the first keeper still holds the run");
    request_stop(&bench.files, bench.order.attempt).await.expect("told");
    let exit = bench.ended(first).await;
    assert_eq!(bench.held().await, exit, "the third keeper finds the run ended");
    assert_eq!(appears(&bench.file("begun")).await, "begun\n", "the worker was started once");
}

#[tokio::test]
async fn keepers_that_start_at_once_start_one_worker() {
    for _ in 0..5 {
        let bench = Bench::new("echo begun >> begun; sleep 0.2");
        let keepers: Vec<_> = (0..4).map(|_| bench.start()).collect();
        for keeper in keepers {
            assert!(gone(keeper).await.success(), "{}", bench.complaints());
        }
        assert_eq!(appears(&bench.file("begun")).await, "begun\n");
    }
}

#[tokio::test]
async fn a_look_at_a_run_never_keeps_its_keeper_from_starting() {
    let bench = Bench::new("echo done > done");
    let (files, attempt) = (bench.files.clone(), bench.order.attempt);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let looking = std::thread::spawn(move || {
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            // Observing a keeper that is just starting can fail.
            runner::keeper::observe(&files, attempt).ok();
        }
    });
    let exit = bench.held().await;
    drop(stop);
    looking.join().expect("the observing thread does not panic");
    assert_eq!(exit.ending, WorkerEnd::Code { code: 0 });
}

#[tokio::test]
async fn another_try_is_another_run_for_the_keeper() {
    let mut bench = Bench::new("echo begun >> begun");
    let first = bench.held().await;
    bench.order.attempt = Attempt(2);
    assert_eq!(bench.state(), KeeperState::NeverStarted, "the files of the first attempt do not count");
    let second = bench.held().await;
    assert_eq!((first.attempt, second.attempt), (Attempt(1), Attempt(2)));
    assert_eq!(appears(&bench.file("begun")).await, "begun\nbegun\n");
}
