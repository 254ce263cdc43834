//! The server's view of a keeper, from the files that a keeper, a crash or a full disk left behind.

use std::path::Path;

use fs_err as fs;
use jiff::Timestamp;
use model::codex::Exit;
use model::ids::{Attempt, RunNumber};
use process::{BaseEnvironment, CommandSpec, ProcessIdentity, Signal, Tool};
use runner::keeper::{
    ExitRecord, KeeperOrder, KeeperRecord, KeeperState, RunFiles, WorkerEnd, end_leftovers, is_of_another_boot, notes_on_worker,
    observe, request_stop, until_gone, was_contained,
};
use runner::worker::{Cleanup, RUN_MARK, SessionFolder, run_mark};
use serde_json::{Value, json};

const TASK: &str = "01a201f5-b7dd-79a1-8a6e-7e6639f5c650";

fn stage() -> (tempfile::TempDir, RunFiles) {
    let folder = tempfile::tempdir().expect("a folder");
    let files = RunFiles::new(folder.path(), RunNumber(1));
    (folder, files)
}

/// This test's own process, which is alive.
fn alive() -> ProcessIdentity {
    ProcessIdentity::current().expect("/proc can be read")
}

/// A process with the number of this one, which started at another time and is therefore gone.
fn gone() -> ProcessIdentity {
    ProcessIdentity { start_time: alive().start_time + 1, ..alive() }
}

fn keeper_record(attempt: u32, keeper: ProcessIdentity) -> KeeperRecord {
    KeeperRecord {
        schema: 1,
        attempt: Attempt(attempt),
        keeper,
        worker: None,
        started_at: Timestamp::UNIX_EPOCH,
        translated_from: None,
    }
}

fn exit_record(attempt: u32) -> ExitRecord {
    ExitRecord {
        schema: 1,
        attempt: Attempt(attempt),
        started_at: None,
        finished_at: Timestamp::UNIX_EPOCH,
        ending: WorkerEnd::Code { code: 0 },
        stop_requested: false,
        work_on_disk: true,
        unusable_app_server: None,
        log_is_incomplete: false,
    }
}

fn order(attempt: u32) -> KeeperOrder {
    KeeperOrder {
        schema: 1,
        task_id: TASK.parse().expect("an ID"),
        run: RunNumber(1),
        attempt: Attempt(attempt),
        program: "/bin/true".into(),
        args: vec!["exec".to_owned()],
        directory: "/".into(),
        time_limit_ms: 1,
        turn_end_grace_ms: 2,
        stop_grace_ms: 3,
        sessions: None,
        app_server: None,
        cleanup: None,
        notes: vec![],
    }
}

fn write(path: &Path, record: &impl serde::Serialize) {
    fs::write(path, serde_json::to_vec(record).expect("JSON")).expect("written");
}

fn observed(files: &RunFiles, attempt: u32) -> KeeperState {
    observe(files, Attempt(attempt)).expect("observed")
}

#[test]
fn without_files_no_keeper_ever_started() {
    let (_folder, files) = stage();
    assert_eq!(observed(&files, 1), KeeperState::NeverStarted);
    fs::write(files.lock(), "").expect("written");
    write(&files.order(), &order(1));
    assert_eq!(observed(&files, 1), KeeperState::NeverStarted, "an order alone starts nothing");
}

#[test]
fn a_keeper_whose_process_runs_is_alive() {
    let (_folder, files) = stage();
    let record = keeper_record(1, alive());
    write(&files.keeper(), &record);
    assert_eq!(observed(&files, 1), KeeperState::Alive(record));
}

#[test]
fn a_keeper_with_an_exit_record_is_gone_even_if_its_process_runs() {
    let (_folder, files) = stage();
    write(&files.keeper(), &keeper_record(1, alive()));
    write(&files.exit(), &exit_record(1));
    let expect = KeeperState::Gone { record: Some(keeper_record(1, alive())), exit: Some(exit_record(1)) };
    assert_eq!(observed(&files, 1), expect);
}

#[test]
fn a_keeper_whose_number_or_boot_is_another_is_gone() {
    let (_folder, files) = stage();
    let other_boot = ProcessIdentity { boot_id: "another".to_owned(), ..alive() };
    for keeper in [gone(), other_boot, ProcessIdentity { pid: 4_194_305, ..alive() }] {
        let record = keeper_record(1, keeper);
        write(&files.keeper(), &record);
        assert_eq!(observed(&files, 1), KeeperState::Gone { record: Some(record), exit: None });
    }
}

#[test]
fn records_of_another_attempt_do_not_count() {
    let (_folder, files) = stage();
    write(&files.keeper(), &keeper_record(1, alive()));
    write(&files.exit(), &exit_record(1));
    assert_eq!(observed(&files, 2), KeeperState::NeverStarted);
    write(&files.keeper(), &keeper_record(2, alive()));
    assert_eq!(observed(&files, 2), KeeperState::Alive(keeper_record(2, alive())), "the old exit record does not end it");
    write(&files.exit(), &exit_record(2));
    write(&files.keeper(), &keeper_record(1, alive()));
    assert_eq!(observed(&files, 2), KeeperState::Gone { record: None, exit: Some(exit_record(2)) });
}

#[test]
fn a_damaged_record_means_that_a_keeper_started() {
    let damage = ["", "{", "null", "[]", "\0\0\0\0", r#"{"schema":1}"#, r#"{"schema":1,"attempt":"1"}"#];
    for text in damage {
        let (_folder, files) = stage();
        fs::write(files.keeper(), text).expect("written");
        assert_eq!(observed(&files, 1), KeeperState::Gone { record: None, exit: None }, "{text:?}");
        assert_eq!(fs::read_to_string(files.keeper()).expect("there"), text, "the file is unchanged");
        fs::remove_file(files.keeper()).expect("removed");
        fs::write(files.exit(), text).expect("written");
        assert_eq!(observed(&files, 1), KeeperState::Gone { record: None, exit: None }, "{text:?}");
        write(&files.keeper(), &keeper_record(1, alive()));
        let expect = KeeperState::Gone { record: Some(keeper_record(1, alive())), exit: None };
        assert_eq!(observed(&files, 1), expect, "a damaged exit record is still one: {text:?}");
    }
}

#[test]
fn a_record_that_cannot_be_read_is_an_error() {
    for path in [RunFiles::keeper, RunFiles::exit] {
        let (_folder, files) = stage();
        fs::create_dir(path(&files)).expect("made");
        observe(&files, Attempt(1)).expect_err("the state is unknown");
    }
}

#[test]
fn a_lock_without_a_record_means_that_a_keeper_is_starting() {
    let (_folder, files) = stage();
    let lock = std::fs::File::create(files.lock()).expect("made");
    lock.lock().expect("free");
    let error = observe(&files, Attempt(1)).expect_err("the state is not known yet");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    fs::write(files.keeper(), "{").expect("written");
    let error = observe(&files, Attempt(1)).expect_err("a torn record is not complete yet");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    write(&files.keeper(), &keeper_record(1, gone()));
    assert!(matches!(observed(&files, 1), KeeperState::Gone { .. }), "a complete record is enough");
    drop(lock);
    fs::remove_file(files.keeper()).expect("removed");
    assert_eq!(observed(&files, 1), KeeperState::NeverStarted);
}

#[test]
fn observers_do_not_take_each_other_for_a_keeper() {
    let (_folder, files) = stage();
    fs::write(files.lock(), "").expect("written");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..100 {
                    assert_eq!(observed(&files, 1), KeeperState::NeverStarted);
                }
            });
        }
    });
}

#[tokio::test]
async fn a_keeper_that_is_gone_needs_no_stop_and_no_wait() {
    let (_folder, files) = stage();
    request_stop(&files, Attempt(1)).await.expect("a run without a keeper has nothing to stop");
    until_gone(&files, Attempt(1)).await.expect("a run without a keeper has nothing to stop");
    // The signal must not reach this process, which has the number of the keeper that is gone.
    write(&files.keeper(), &keeper_record(1, gone()));
    request_stop(&files, Attempt(1)).await.expect("it is gone");
    until_gone(&files, Attempt(1)).await.expect("it is gone");
    write(&files.keeper(), &keeper_record(1, alive()));
    request_stop(&files, Attempt(2)).await.expect("it supervises another attempt");
    until_gone(&files, Attempt(2)).await.expect("it supervises another attempt");
}

#[tokio::test]
async fn a_damaged_record_stops_nothing_and_is_an_error() {
    let (_folder, files) = stage();
    fs::write(files.keeper(), "{").expect("written");
    for error in [
        request_stop(&files, Attempt(1)).await.expect_err("nobody knows whom to stop"),
        until_gone(&files, Attempt(1)).await.expect_err("nobody knows whom to wait for"),
    ] {
        assert!(error.kind() == std::io::ErrorKind::InvalidData && error.to_string().contains("run-001.keeper.json"), "{error}");
    }
}

#[test]
fn the_boot_of_a_keeper_is_compared_with_this_one() {
    let (_folder, files) = stage();
    let of_another = |record: Option<&KeeperRecord>| {
        if let Some(record) = record {
            write(&files.keeper(), record);
        }
        is_of_another_boot(&files).expect("readable")
    };
    assert!(!of_another(None), "no keeper ever started");
    assert!(!of_another(Some(&keeper_record(1, gone()))));
    let other_boot = ProcessIdentity { boot_id: "another".to_owned(), ..alive() };
    assert!(of_another(Some(&keeper_record(3, other_boot))), "the attempt does not matter");
    fs::write(files.keeper(), "{").expect("written");
    assert!(of_another(None), "a damaged record may be from before a power cut");
}

#[test]
fn the_last_order_says_whether_the_run_was_in_a_container_and_what_people_should_know() {
    let (_folder, files) = stage();
    assert!(!was_contained(&files).expect("no order"));
    assert_eq!(notes_on_worker(&files).expect("no order"), [""; 0]);
    write(&files.order(), &order(1));
    assert!(!was_contained(&files).expect("an order"));
    let cleanup = Cleanup { program: "/bin/true".into(), args: vec![] };
    let notes = vec!["one".to_owned(), "two".to_owned()];
    write(&files.order(), &KeeperOrder { cleanup: Some(cleanup), notes: notes.clone(), ..order(1) });
    assert!(was_contained(&files).expect("an order"));
    assert_eq!(notes_on_worker(&files).expect("an order"), notes);
    fs::write(files.order(), "{").expect("written");
    was_contained(&files).expect_err("damaged");
    notes_on_worker(&files).expect_err("damaged");
}

#[test]
fn an_order_is_read_as_it_was_written_and_without_its_optional_fields() {
    let full = KeeperOrder {
        sessions: Some(SessionFolder::OfTask("/t/sessions".into())),
        app_server: None,
        cleanup: Some(Cleanup { program: "/p".into(), args: vec!["stop".to_owned()] }),
        notes: vec!["a note".to_owned()],
        ..order(2)
    };
    for order in [full, order(1)] {
        let text = serde_json::to_string(&order).expect("JSON");
        assert_eq!(serde_json::from_str::<KeeperOrder>(&text).expect("an order"), order);
    }
    let text = serde_json::to_value(order(1)).expect("JSON");
    for absent in ["sessions", "cleanup", "notes"] {
        assert_eq!(text.get(absent), None, "an empty field is not written");
    }
    assert_eq!(
        serde_json::to_value(SessionFolder::Shared("/s".into())).expect("JSON"),
        json!({ "kind": "shared", "folder": "/s" })
    );
}

#[test]
fn an_exit_record_of_an_earlier_version_does_not_promise_that_the_work_is_on_disk() {
    let mut text = serde_json::to_value(exit_record(1)).expect("JSON");
    text.as_object_mut().expect("an object").remove("work_on_disk");
    let read: ExitRecord = serde_json::from_value(text).expect("an exit record");
    assert_eq!(read, ExitRecord { work_on_disk: false, ..exit_record(1) });
}

#[test]
fn each_ending_has_its_form_in_the_file() {
    let check = |ending: WorkerEnd, form: Value, exit: Exit| {
        let record = ExitRecord { ending, ..exit_record(1) };
        assert_eq!(serde_json::to_value(&record).expect("JSON")["ending"], form);
        assert_eq!(record.exit(), exit);
    };
    check(WorkerEnd::Code { code: -1 }, json!({ "kind": "code", "code": -1 }), Exit::Code(-1));
    check(WorkerEnd::Signal { signal: 15 }, json!({ "kind": "signal", "signal": 15 }), Exit::Signal(15));
    check(WorkerEnd::TimeLimit, json!({ "kind": "time_limit" }), Exit::TimeLimit);
    check(WorkerEnd::Grace, json!({ "kind": "grace" }), Exit::Grace);
    let reason = "not found".to_owned();
    let form = json!({ "kind": "never_started", "reason": "not found" });
    check(WorkerEnd::NeverStarted { reason: reason.clone() }, form, Exit::NeverStarted(reason));
}

/// Returns an order whose cleanup creates this file.
fn order_with_cleanup(attempt: u32, file: &Path) -> KeeperOrder {
    let args = vec![file.display().to_string()];
    KeeperOrder { cleanup: Some(Cleanup { program: "/usr/bin/touch".into(), args }), ..order(attempt) }
}

#[tokio::test]
async fn leftovers_of_an_attempt_are_cleaned_up_with_the_order_of_that_attempt() {
    let (folder, files) = stage();
    end_leftovers(&files, Attempt(1), &[]).await.expect("without an order nothing was started");
    let check = async |of_order: u32, attempt: u32, is_run: bool| {
        let cleaned = folder.path().join(format!("cleaned-{of_order}-{attempt}"));
        write(&files.order(), &order_with_cleanup(of_order, &cleaned));
        end_leftovers(&files, Attempt(attempt), &[]).await.expect("ended");
        assert_eq!(cleaned.exists(), is_run, "order {of_order}, attempt {attempt}");
    };
    check(1, 1, true).await;
    check(2, 1, false).await;
    fs::write(files.keeper(), "{").expect("written");
    check(3, 3, true).await;
}

#[tokio::test]
async fn a_cleanup_that_fails_does_not_stop_the_server() {
    let (_folder, files) = stage();
    for program in ["/bin/false", "/nowhere/program"] {
        let cleanup = Cleanup { program: program.into(), args: vec![] };
        write(&files.order(), &KeeperOrder { cleanup: Some(cleanup), ..order(1) });
        end_leftovers(&files, Attempt(1), &[]).await.expect("the run has already ended");
    }
}

#[tokio::test]
async fn only_processes_of_the_attempt_are_ended() {
    let (_folder, files) = stage();
    // Other tests end the processes of the other task.
    let task_id = "01a201f5-b7dd-79a1-8a6e-7e6639f5c6ff".parse().expect("an ID");
    write(&files.order(), &KeeperOrder { task_id, ..order(1) });
    let sleep = Tool::at("/bin/sleep");
    let start = |attempt: u32| {
        let mark = run_mark(task_id, RunNumber(1), Attempt(attempt));
        let command = CommandSpec::new(&sleep, &BaseEnvironment::default(), "/").arg("600").env(RUN_MARK, mark);
        command.start().expect("started")
    };
    let (mut ours, mut other) = (start(1), start(2));
    let reaped = tokio::spawn(async move {
        ours.ended().await.expect("it ends");
        ours.reap().await.expect("it ended")
    });
    end_leftovers(&files, Attempt(1), &[]).await.expect("ended");
    assert_eq!(reaped.await.expect("no panic").code(), None, "a signal ended it");
    assert!(other.identity().is_alive().expect("known"), "the other attempt continues");
    other.signal_group(Signal::KILL).expect("killed");
    other.reap().await.expect("it ended");
}

#[test]
fn the_files_of_a_run_have_its_number_and_are_next_to_each_other() {
    let check = |run: u32, stem: &str| {
        let files = RunFiles::new(Path::new("/t/logs"), RunNumber(run));
        let all = [
            (files.prompt(), "prompt"),
            (files.journal(), "jsonl"),
            (files.stderr(), "stderr"),
            (files.order(), "order.json"),
            (files.keeper(), "keeper.json"),
            (files.exit(), "exit.json"),
            (files.message(), "message"),
            (files.lock(), "lock"),
            (files.complaints(), "keeper.log"),
        ];
        for (path, ending) in all {
            assert_eq!(path, Path::new(&format!("/t/logs/{stem}.{ending}")));
        }
        assert_eq!(files.folder(), Path::new("/t/logs"));
    };
    check(1, "run-001");
    check(999, "run-999");
    check(1000, "run-1000");
}
