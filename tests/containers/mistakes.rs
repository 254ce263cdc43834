//! Problems before Codex starts: each message says what is wrong and how to fix it, and nothing is left behind. These tests
//! start no container.

use codex_docker::image::DEFAULT_IMAGE;
use testkit::docker::{base_image, docker};

use super::hand::Hand;

#[test]
fn each_mistake_says_what_is_wrong_and_what_to_do() {
    for (name, value, said) in [
        ("DOCKER_HOST", "unix:///nowhere/docker.sock", "container engine not found"),
        ("DOCKER_HOST", "ssh://me@host", "cannot use the container engine"),
        ("IMAGE_NAME", "nobody/made-this:1", "image `nobody/made-this:1` not found"),
        ("CODEX_DOCKER_IMAGES", "/nowhere/at/all", "`/nowhere/at/all` not found"),
        ("CODEX_MOUNT_PATHS", "/with\na/line break", "CODEX_MOUNT_PATHS"),
        ("CODEX_VOLUME_MOUNTS", "volume", "CODEX_VOLUME_MOUNTS"),
        ("CODEX_WORKSPACE_DIR", "here", "CODEX_WORKSPACE_DIR"),
        ("CONTAINER_NAME", "-x", "CONTAINER_NAME"),
        ("CODEX_DOCKER_MEMORY", "much", "CODEX_DOCKER_MEMORY"),
        ("CODEX_DOCKER_FREE_DISK", "9999t", "less than the minimum"),
        ("CODEX_DOCKER_ALLOW_HOSTS", "https://example.com/x", "CODEX_DOCKER_ALLOW_HOSTS"),
        ("CODEX_DOCKER_BROKER", "on", "CODEX_DOCKER_SESSIONS"),
    ] {
        let hand = Hand::with_shell().with(name, value);
        let failed = hand.run(["true"]);
        assert_eq!((failed.code, failed.stdout.as_str()), (Some(125), ""), "{name}={value}: {failed:?}");
        assert!(failed.stderr.starts_with("error: ") && failed.stderr.contains(said), "{name}={value}: {}", failed.stderr);
        assert!(failed.stderr.contains("hint: "), "{name}={value}: {}", failed.stderr);
    }
}

#[test]
fn the_default_image_is_never_pulled_because_nobody_publishes_it() {
    let failed =
        Hand::new().with("DOCKER_HOST", "unix:///nowhere/docker.sock").with("IMAGE_NAME", DEFAULT_IMAGE).run(["image", "pull"]);
    assert_eq!(failed.code, Some(125));
    assert!(
        failed.stderr.contains("this project publishes no image"),
        "the command fails without asking a container engine: {}",
        failed.stderr
    );
    assert!(failed.stderr.contains("hint: build it: codex-orchestrator codex-docker image build"), "{}", failed.stderr);
}

#[test]
fn a_name_that_another_container_has_is_refused() {
    let hand = Hand::with_shell();
    let name = hand.name("taken");
    docker(&["create", "--name", &name, &base_image(), "true"]);
    let failed = hand.named("taken").run(["true"]);
    assert_eq!(failed.code, Some(125));
    assert!(failed.stderr.contains("does not belong to this run"), "{}", failed.stderr);
}

#[test]
fn a_container_of_somebody_else_is_not_ours_to_end() {
    let hand = Hand::with_shell();
    let name = hand.name("foreign");
    docker(&["create", "--name", &name, &base_image(), "true"]);
    let failed = hand.run(["stop", &name]);
    assert_eq!(failed.code, Some(125));
    assert!(failed.stderr.contains("was not created by codex-docker"), "{}", failed.stderr);
}

#[test]
fn no_engine_is_no_failure_for_who_only_sweeps_up() {
    let hand = Hand::with_shell().with("DOCKER_HOST", "unix:///nowhere/docker.sock");
    assert_eq!(hand.run(["reap"]).code, Some(125));
    hand.run(["reap", "--if-reachable"]).well();
}

#[test]
fn check_says_in_one_answer_whether_a_run_can_start() {
    let sound = Hand::new().run(["check", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(sound.well()).expect("JSON");
    assert_eq!((&answer["usable"], &answer["problem"]), (&true.into(), &serde_json::Value::Null), "{answer}");
    assert_eq!(answer["image"]["codex_version"], model::CODEX_VERSION);
    let without = Hand::new().with("IMAGE_NAME", "nobody/made-this:1").run(["check", "--json"]);
    let answer: serde_json::Value = serde_json::from_str(&without.stdout).expect("JSON");
    assert_eq!((without.code, &answer["problem"]["code"]), (Some(1), &"image_missing".into()), "{answer}");
}
