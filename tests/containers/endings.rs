//! How runs end: stopped, killed, abandoned, with a stalled reader, and resumed. After each test, no container and no folder
//! is left.

use std::io::Read as _;
use std::process::Stdio;

use rustix::process::Signal;

use testkit::docker::docker;
use testkit::until;

use super::hand::{Hand, LIMIT, await_file};

/// A script that reports when it runs, and then runs forever.
const FOR_EVER: &str = "echo begun; sleep 1000000";

#[test]
fn sigint_asks_codex_to_end_and_it_may_say_goodbye() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        let hand = Hand::with_shell();
        let mut running = hand.start("trap 'echo goodbye; exit 3' INT; echo begun; sleep 1000000 & wait");
        assert_eq!(running.line(), "begun");
        running.signal(signal);
        let said = running.end();
        assert_eq!((said.code, said.stdout.as_str()), (Some(code), "goodbye\n"), "{said:?}");
        assert!(hand.containers().is_empty() && hand.folders().is_empty());
    }
}

#[test]
fn who_does_not_listen_is_killed_at_once_when_asked_twice() {
    let hand = Hand::with_shell();
    let mut running =
        hand.start("trap '' INT TERM; (trap '' INT TERM; setsid sleep 1000000 &); echo begun; sleep 1000000; sleep 1000000");
    running.line();
    let before = std::time::Instant::now();
    running.signal(Signal::INT);
    // The second signal is handled even if the first one was already processed.
    running.signal(Signal::TERM);
    assert_eq!(running.end().code.map(|code| code > 128), Some(true));
    assert!(
        before.elapsed() < std::time::Duration::from_secs(8),
        "the second signal shortens the grace period: {:?}",
        before.elapsed()
    );
    assert!(hand.containers().is_empty());
}

#[test]
fn a_killed_codex_docker_leaves_its_container_to_the_next_of_its_name() {
    let hand = Hand::with_shell().named("go-on");
    let script = "seq 1 1000; while [ ! -e go ]; do sleep 0.02; done; seq 1001 2000; exit 5";
    let journal = hand.root().join("journal");
    let append = || std::fs::File::options().create(true).append(true).open(&journal).expect("made");
    let mut first = hand.command([script]).stdout(append()).spawn().expect("starts");
    until(LIMIT, "the first half is there", || fs_err::read_to_string(&journal).expect("there").ends_with("\n1000\n"));
    first.kill().expect("ours");
    first.wait().expect("ours");
    assert_eq!(hand.containers().len(), 1, "the container keeps running");
    fs_err::write(hand.work().join("go"), "").expect("written");
    let second = hand.command([script]).stdout(append()).output().expect("starts");
    assert_eq!(second.status.code(), Some(5), "{second:?}");
    let whole: String = (1..=2000).map(|n: u32| n.to_string() + "\n").collect();
    assert_eq!(fs_err::read_to_string(&journal).expect("there"), whole, "every byte of the output arrives exactly once");
    assert!(hand.containers().is_empty() && hand.folders().is_empty());
}

#[test]
fn a_container_that_ended_while_nobody_held_it_is_not_run_again() {
    let hand = Hand::with_shell().named("ended");
    let script = "echo x >> ran; echo begun; while [ ! -e go ]; do sleep 0.02; done; echo last; touch over; exit 6";
    let mut first = hand.start(script);
    first.line();
    first.signal(Signal::KILL);
    first.end();
    fs_err::write(hand.work().join("go"), "").expect("written");
    await_file(&hand.work().join("over"));
    let second = hand.run([script]);
    assert_eq!((second.code, second.stdout.as_str()), (Some(6), "begun\nlast\n"), "{second:?}");
    assert_eq!(fs_err::read_to_string(hand.work().join("ran")).expect("there"), "x\n", "the container runs the script once");
}

#[test]
fn reap_ends_what_nobody_holds_and_nothing_else() {
    let hand = Hand::with_shell();
    let mut orphan = hand.start(FOR_EVER);
    let mut held = hand.start(FOR_EVER);
    orphan.line();
    held.line();
    assert_eq!(hand.containers().len(), 2);
    orphan.signal(Signal::KILL);
    orphan.end();
    let foreign = hand.run(["reap", "--label", "test=another"]);
    assert_eq!(foreign.well(), "", "`reap` keeps containers with other labels");
    let label = hand.label();
    assert_eq!(hand.run(["reap", "--label", &label]).well().lines().count(), 1);
    assert_eq!(hand.run(["reap", "--label", &label]).well(), "", "a second `reap` finds nothing");
    assert_eq!((hand.containers().len(), hand.folders().len()), (1, 1));
    let name = hand.containers().remove(0);
    hand.run(["stop", &name]).well();
    let stopped = held.end();
    assert_ne!(stopped.code, Some(0), "{stopped:?}");
    hand.run(["stop", &name]).well();
    assert!(hand.containers().is_empty());
}

#[test]
fn a_run_is_held_by_one() {
    let hand = Hand::with_shell().named("held");
    let mut first = hand.start(FOR_EVER);
    first.line();
    let second = hand.run(["true"]);
    assert_eq!(second.code, Some(125));
    assert!(second.stderr.contains("another codex-docker is using"), "{}", second.stderr);
    first.signal(Signal::INT);
    first.end();
}

#[test]
fn a_reader_that_stalls_does_not_stall_codex() {
    let hand = Hand::with_shell();
    let script = "head -c 3000000 /dev/zero; touch written; while [ ! -e go ]; do sleep 0.02; done";
    let mut child = hand.command([script]).stdout(Stdio::piped()).spawn().expect("starts");
    await_file(&hand.work().join("written"));
    fs_err::write(hand.work().join("go"), "").expect("written");
    let mut read = Vec::new();
    child.stdout.take().expect("piped").read_to_end(&mut read).expect("readable");
    assert_eq!((read.len(), child.wait().expect("ours").code()), (3_000_000, Some(0)));
}

#[test]
fn a_reader_that_goes_away_ends_the_run() {
    let hand = Hand::with_shell();
    let mut child = hand
        .command(["while :; do echo line; sleep 0.05; done"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starts");
    let mut one = [0; 5];
    child.stdout.take().expect("piped").read_exact(&mut one).expect("a line");
    let output = child.wait_with_output().expect("ended");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("nothing reads the output"), "{output:?}");
    assert!(hand.containers().is_empty());
}

#[test]
fn a_container_that_somebody_removes_is_a_run_that_was_cut_off() {
    let hand = Hand::with_shell();
    let mut running = hand.start(FOR_EVER);
    running.line();
    docker(&["rm", "--force", &hand.containers().remove(0)]);
    let said = running.end();
    assert!(matches!(said.code, Some(75 | 137)), "{said:?}");
}
