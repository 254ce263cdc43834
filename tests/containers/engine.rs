//! A container engine that is killed during a run. Each test starts its own engine, so that other tests are not affected.

use serde_json::json;
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

const FILL_DISK: &str = "dd if=/dev/zero of=/big bs=1048576 count=100 2>&1 | grep -v records; ls -l /big; dd if=/dev/zero of=big bs=1048576 count=100 2>/dev/null && echo worktree is not limited";

#[test]
fn an_engine_that_can_limit_disk_space_does_so_and_others_say_that_they_cannot() {
    let engine = OwnEngine::on_btrfs();
    let hand = Hand::with_shell().with("DOCKER_HOST", &engine.host()).with("CODEX_DOCKER_NETWORK", "none");
    let hand = hand.with("IMAGE_NAME", engine.small_image()).with("CODEX_DOCKER_DISK", "64m");
    let said = hand.run([FILL_DISK]);
    assert!(said.stdout.contains("Disk quota exceeded") && said.stdout.contains("worktree is not limited"), "{said:?}");
    drop(engine);
    let hand = Hand::with_shell().with("CODEX_DOCKER_DISK", "64m");
    let said = hand.run(["echo it runs"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "it runs\n"), "{said:?}");
    assert!(said.stderr.contains(&format!("codex-docker: {}", model::NO_DISK_LIMIT)), "{said:?}");
    assert!(hand.containers().is_empty());
}

/// Adds layers, one with a lower folder and one without, and an image for what a run installs.
fn with_layers(hand: Hand) -> Hand {
    let lower = hand.root().join("lower");
    fs_err::create_dir(&lower).expect("a new folder");
    fs_err::write(lower.join("file"), "lower\n").expect("writable");
    let layers = json!([
        { "target": "/opt/x", "lower": lower, "upper": hand.root().join("upper/0") },
        { "target": "/opt/y", "upper": hand.root().join("upper/1") },
    ]);
    hand.with("CODEX_DOCKER_LAYERS", &layers.to_string()).with("CODEX_DOCKER_KEEP_AS", "kept:1")
}

/// Checks that nothing is mounted any more below a user's folder, and that a next run finds what the first one left.
fn goes_on(hand: Hand) -> Hand {
    let mounts = fs_err::read_to_string("/proc/mounts").expect("readable");
    let root = hand.root().display().to_string();
    assert!(!mounts.contains(&format!("{root}/upper")), "the layers are not mounted any more: {mounts}");
    let hand = hand.with("IMAGE_NAME", "kept:1");
    assert_eq!(hand.run(["cat /opt/x/file /opt/x/mine /opt/y/mine /opt/kept"]).well(), "lower\nx\ny\nkept\n");
    assert_eq!(fs_err::read_dir(hand.root().join("lower")).expect("there").count(), 1, "the lower folder is unchanged");
    hand
}

const FILL: &str = "echo x > /opt/x/mine; echo y > /opt/y/mine; echo kept > /opt/kept; echo begun";

#[test]
fn layers_and_installed_files_survive_the_engines_death() {
    let engine = OwnEngine::start(&["--live-restore"]);
    let hand = Hand::with_shell().with("DOCKER_HOST", &engine.host()).with("CODEX_DOCKER_NETWORK", "none");
    let hand = with_layers(hand.with("IMAGE_NAME", engine.small_image()));
    let mut running = hand.start(&format!("{FILL}; while [ ! -e go ]; do sleep 0.05; done"));
    running.line();
    let engine = engine.killed_and_started_again();
    fs_err::write(hand.work().join("go"), "").expect("written");
    let said = running.end();
    assert_eq!(said.code, Some(0), "{said:?}");
    // After a restart, older versions of Docker count one user too many of each volume, until the next restart.
    let (engine, hand) = (engine.killed_and_started_again(), goes_on(hand));
    hand.run(["reap"]).well();
    let volumes = testkit::docker::docker(&["--host", &engine.host(), "volume", "ls", "--quiet"]);
    assert_eq!(volumes, "", "`reap` removes volumes that no container uses");
}

#[test]
fn podman_keeps_layers_and_installed_files_too() {
    let podman = OwnPodman::start();
    let hand = Hand::with_shell().with("DOCKER_HOST", &podman.host()).with("IMAGE_NAME", SMALL_IMAGE);
    let hand = with_layers(hand.with("CODEX_DOCKER_NETWORK", "none"));
    let said = hand.run([FILL]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), "begun\n"), "{said:?}");
    assert!(hand.containers().is_empty());
    goes_on(hand);
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
fn an_engine_that_remaps_users_is_not_used() {
    let engine = OwnEngine::start(&["--userns-remap=default"]);
    let hand = Hand::with_shell().with("DOCKER_HOST", &engine.host()).with("IMAGE_NAME", engine.small_image());
    for arguments in ["check", "echo it runs"] {
        let said = hand.run([arguments]);
        assert!(said.code != Some(0) && said.stderr.contains("remove `userns-remap`"), "{said:?}");
    }
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
