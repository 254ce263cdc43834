//! A container engine that is killed during a run. Each test starts its own engine, so that other tests are not affected.

use testkit::own_engine::{OwnEngine, SMALL_IMAGE};
use testkit::own_podman::OwnPodman;

use super::hand::Hand;

#[test]
fn with_live_restore_a_run_goes_on_over_the_engines_death() {
    let engine = OwnEngine::start(&["--live-restore"]);
    let hand = Hand::with_shell().with("DOCKER_HOST", &engine.host()).with("CODEX_DOCKER_NETWORK", "none");
    let hand = hand.with("IMAGE_NAME", engine.small_image());
    let mut running = hand.start("i=0; while [ $i -lt 3000 ]; do i=$((i+1)); echo line $i; [ -e go ] || sleep 0.002; done");
    running.line();
    let engine = engine.killed_and_started_again();
    fs_err::write(hand.work().join("go"), "").expect("written");
    let said = running.end();
    assert_eq!(said.code, Some(0), "{}", said.stderr);
    let rest: String = (2..=3000).map(|n: u32| "line ".to_owned() + &n.to_string() + "\n").collect();
    assert_eq!(said.stdout, rest, "every line of the output arrives exactly once");
    drop(engine);
}

#[test]
fn without_live_restore_the_run_is_cut_off_and_not_stuck() {
    let engine = OwnEngine::start(&[]);
    let hand = Hand::with_shell().with("DOCKER_HOST", &engine.host()).with("CODEX_DOCKER_NETWORK", "none");
    let hand = hand.with("IMAGE_NAME", engine.small_image());
    let mut running = hand.start("echo begun; sleep 1000000");
    running.line();
    let engine = engine.killed_and_started_again();
    let said = running.end();
    assert_eq!(said.code, Some(75), "{said:?}");
    assert!(said.stderr.contains("the container engine was restarted"), "{}", said.stderr);
    drop(engine);
}

#[test]
fn a_stop_ends_although_no_engine_answers() {
    let engine = OwnEngine::start(&["--live-restore"]);
    let hand = Hand::with_shell().with("DOCKER_HOST", &engine.host()).with("CODEX_DOCKER_NETWORK", "none");
    let hand = hand.with("IMAGE_NAME", engine.small_image());
    let mut running = hand.start("echo begun; sleep 1000000");
    running.line();
    let engine = engine.killed();
    running.signal(rustix::process::Signal::INT);
    let said = running.end();
    assert_eq!(said.code, Some(130), "{said:?}");
    assert!(said.stderr.contains("codex-docker reap"), "{}", said.stderr);
    let engine = engine.started_again();
    assert_eq!(hand.run(["reap"]).well().lines().count(), 1);
    drop(engine);
}

#[test]
fn podman_behind_dockers_api_does_as_well() {
    let podman = OwnPodman::start();
    let hand = Hand::with_shell().with("DOCKER_HOST", &podman.host()).with("IMAGE_NAME", SMALL_IMAGE);
    let hand = hand.with("CODEX_DOCKER_NETWORK", "none");
    let said = hand.run(["echo out; echo err >&2; ls; exit 3"]);
    assert_eq!((said.code, said.stdout.as_str(), said.stderr.as_str()), (Some(3), "out\n", "err\n"));
    let mut running = hand.start("trap 'echo goodbye; exit 5' INT; echo begun; while :; do sleep 1; done");
    running.line();
    let containers = hand.containers();
    assert_eq!(containers.len(), 1);
    let inspect = ["--host", &podman.host(), "inspect", "--format", "{{json .HostConfig.SecurityOpt}}", &containers[0]];
    let profile = testkit::docker::docker(&inspect);
    assert!(profile.contains("seccomp.json"), "the container uses our seccomp profile: {profile}");
    running.signal(rustix::process::Signal::INT);
    let said = running.end();
    assert_eq!((said.code, said.stdout.as_str()), (Some(130), "goodbye\n"), "{said:?}");
    let mut orphan = hand.start("echo begun; sleep 1000000");
    orphan.line();
    orphan.signal(rustix::process::Signal::KILL);
    orphan.end();
    assert_eq!(hand.run(["reap"]).well().lines().count(), 1);
    assert!(hand.containers().is_empty());
}
