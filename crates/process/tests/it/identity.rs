//! Identifying, signalling and ending processes. The tests use real programs in temporary folders and wait for their output
//! instead of sleeping.

use std::path::Path;
use std::time::Duration;

use process::{
    BaseEnvironment, CommandSpec, KillError, ProcessIdentity, RunningProgram, Signal, SignalOutcome, Stdout, Tool,
    descendants_of, kill_all, kill_tree, members_of_session, processes_with_environment, signal_group,
};

/// A time limit that is far longer than any step of these tests takes.
const PATIENCE: Duration = Duration::from_mins(1);

fn start(script: &str, mark: &str) -> RunningProgram {
    let base = BaseEnvironment::default().with("PATH", "/usr/bin:/bin");
    let shell = Tool::find("sh", &base).expect("a shell is part of every system");
    CommandSpec::new(&shell, &base, "/").args(["-c", script]).env("MARK", mark).start().expect("it starts")
}

/// Starts `script` and waits until it reports with a line of output that it is ready.
async fn start_and_wait(script: &str, mark: &str) -> RunningProgram {
    let base = BaseEnvironment::default().with("PATH", "/usr/bin:/bin");
    let shell = Tool::find("sh", &base).expect("a shell");
    let (read, write) = std::io::pipe().expect("a pipe");
    let spec = CommandSpec::new(&shell, &base, "/").args(["-c", script]).env("MARK", mark);
    let running = spec.stdout(Stdout::File(std::os::fd::OwnedFd::from(write).into())).start().expect("it starts");
    let wait = move || std::io::BufRead::read_line(&mut std::io::BufReader::new(read), &mut String::new());
    tokio::task::spawn_blocking(wait).await.expect("no panic").expect("the script reports that it is ready");
    running
}

fn mark() -> String {
    format!("mark-{}", uuid::Uuid::now_v7())
}

fn marked(mark: &str) -> Vec<ProcessIdentity> {
    processes_with_environment("MARK", mark).expect("/proc can be read")
}

#[tokio::test]
async fn a_zombie_is_dead_and_an_old_number_is_nobody() {
    let mut running = start("exit 0", "x");
    let identity = running.identity().clone();
    tokio::time::timeout(PATIENCE, running.ended()).await.expect("the process ends").expect("the process can be awaited");
    // The process has ended but has not been reaped: its PID still exists.
    assert_eq!(ProcessIdentity::of(identity.pid).expect("/proc can be read"), Some(identity.clone()));
    assert!(!identity.is_alive().expect("/proc can be read"));
    assert!(!identity.has_open(Path::new("/dev/null")).expect("a dead process has no open files, so reading them succeeds"));
    assert_eq!(identity.signal(Signal::KILL).expect("the process has already ended"), SignalOutcome::AlreadyGone);
    running.reap().await.expect("the process is our child");
    assert_eq!(ProcessIdentity::of(identity.pid).expect("/proc can be read"), None);
    identity.wait_until_gone().await.expect("the process is already gone");
}

#[tokio::test]
async fn a_successor_with_the_same_number_is_not_signalled() {
    let running = start("exec sleep 600", "x");
    let identity = running.identity().clone();
    let earlier = ProcessIdentity { start_time: identity.start_time - 1, ..identity.clone() };
    let other_boot = ProcessIdentity { boot_id: "00000000-0000-0000-0000-000000000000".to_owned(), ..identity.clone() };
    for stranger in [earlier, other_boot] {
        assert!(!stranger.is_alive().expect("/proc can be read"));
        assert_eq!(stranger.signal(Signal::KILL).expect("no process has this identity"), SignalOutcome::AlreadyGone);
        stranger.wait_until_gone().await.expect("no process has this identity");
    }
    assert!(identity.is_alive().expect("/proc can be read"));
}

#[test]
fn an_identity_survives_being_written_down() {
    let me = ProcessIdentity::current().expect("/proc can be read");
    let text = serde_json::to_string(&me).expect("an identity is valid JSON");
    assert_eq!(serde_json::from_str::<ProcessIdentity>(&text).expect("the text is a serialized identity"), me);
    assert!(me.is_alive().expect("/proc can be read"));
}

#[tokio::test]
async fn descendants_are_found_however_deep() {
    let mark = mark();
    let running = start_and_wait("sh -c 'sh -c \"echo ready; sleep 600; :\"; :' & wait", &mark).await;
    let found = descendants_of(running.identity().pid).expect("/proc can be read");
    assert!(found.len() >= 2, "{found:?}");
    assert!(!found.contains(running.identity()));
    kill_tree(running.identity(), PATIENCE).await.expect("everything ends");
    assert_eq!(marked(&mark), []);
}

#[tokio::test]
async fn a_tree_that_forks_all_the_time_is_ended() {
    let mark = mark();
    let script = "fork() { while :; do sleep 600 & sh -c 'sleep 600' & sleep 0.01; done; }; fork & echo ready; fork";
    let running = start_and_wait(script, &mark).await;
    kill_tree(running.identity(), PATIENCE).await.expect("everything ends");
    assert_eq!(marked(&mark), []);
}

#[tokio::test]
async fn who_left_the_tree_is_found_by_the_mark_in_its_environment() {
    let mark = mark();
    let mut running = start_and_wait("setsid sh -c 'echo ready; sleep 600' & exit 0", &mark).await;
    running.reap().await.expect("the process is our child");
    let left = marked(&mark);
    assert!(!left.is_empty());
    let sessions: Vec<_> = members_of_session(left[0].pid).expect("/proc can be read");
    assert!(sessions.contains(&left[0]), "the process leads its own session");
    kill_all(|| processes_with_environment("MARK", &mark), PATIENCE).await.expect("everything ends");
    assert_eq!(marked(&mark), []);
}

#[tokio::test]
async fn ending_what_is_gone_is_harmless_and_never_ends_the_caller() {
    let mut running = start("exit 0", "x");
    running.reap().await.expect("the process is our child");
    kill_tree(running.identity(), PATIENCE).await.expect("no process is left to end");
    let me = ProcessIdentity::current().expect("/proc can be read");
    kill_all(|| Ok(vec![me.clone()]), PATIENCE).await.expect("this process is skipped");
}

#[tokio::test]
async fn what_does_not_go_away_is_named() {
    // The closure returns the process even after it has ended.
    let running = start("exec sleep 600", "x");
    let found = running.identity().clone();
    let error = kill_all(|| Ok(vec![found.clone()]), Duration::from_millis(200)).await.expect_err("the process is always found");
    assert!(matches!(&error, KillError::Survivors { survivors, .. } if survivors.len() == 1), "{error}");
}

#[test]
fn a_group_of_everybody_is_never_signalled() {
    for group in [0, 1, u32::MAX] {
        assert_eq!(signal_group(group, Signal::KILL).expect("no signal is sent"), SignalOutcome::AlreadyGone);
    }
}
