//! Services next to Codex, with the real `PostgreSQL` and Redis of Debian. The images are built once and used by all tests.

use rustix::process::Signal;
use serde_json::{Value, json};
use testkit::docker::{docker, postgres_image, redis_image, try_docker};

use super::hand::Hand;

/// Returns a user whose runs have a database and a cache.
fn hand_with_services() -> Hand {
    let services = json!([
        { "name": "db", "image": postgres_image(), "ready": "pg_isready -h 127.0.0.1", "ports": [5432], "volumes": ["/data"] },
        { "name": "cache", "image": redis_image(), "ports": [6379] },
    ]);
    with_services(&services)
}

fn with_services(services: &Value) -> Hand {
    Hand::with_shell().with("CODEX_DOCKER_SERVICES", &services.to_string())
}

/// Talks to both services: a query over the protocol of `PostgreSQL` would need a client, so the server is asked whether it speaks TLS.
const TALK: &str = "printf 'PING\\r\\n' | socat -t 2 - TCP:cache:6379; \
                    printf '\\0\\0\\0\\010\\004\\322\\026\\057' | socat -t 2 - TCP:db:5432; echo; grep -c 127.0.0.1 /etc/hosts";

#[track_caller]
fn nothing_is_left(hand: &Hand) {
    assert!(hand.containers().is_empty() && hand.folders().is_empty(), "{:?} {:?}", hand.containers(), hand.folders());
}

#[test]
fn codex_reaches_its_services_by_name_in_every_network() {
    for network in ["open", "none", "allow"] {
        let hand = hand_with_services().with("CODEX_DOCKER_NETWORK", network);
        let said = hand.run([TALK]);
        assert!(said.well().starts_with("+PONG\r\nN\n"), "{network}: {said:?}");
        nothing_is_left(&hand);
    }
}

#[test]
fn under_none_the_services_share_only_the_loopback() {
    let hand = hand_with_services().with("CODEX_DOCKER_NETWORK", "none").named("apart");
    let mut running = hand.start("tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; while [ ! -e go ]; do sleep 0.05; done");
    assert_eq!(running.line(), "lo");
    let db = format!("{}-svc-db", hand.name("apart"));
    let inside = docker(&["exec", &db, "sh", "-c", "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '"]);
    assert_eq!(inside.trim(), "lo");
    let log = hand.state().join(hand.name("apart")).join("services/db.log");
    assert!(fs_err::read_to_string(log).expect("the log exists").contains("ready to accept connections"));
    let volumes = docker(&["inspect", "--format", "{{range .Mounts}}{{.Name}} {{end}}", &db]);
    fs_err::write(hand.work().join("go"), "").expect("writable");
    assert_eq!(running.end().code, Some(0));
    for volume in volumes.split_whitespace() {
        assert!(!try_docker(&["volume", "inspect", volume]).status.success(), "the volume is removed with the run");
    }
    nothing_is_left(&hand);
}

#[test]
fn a_service_that_is_never_ready_fails_the_run_and_shows_its_log() {
    let image = redis_image();
    let never = json!([{ "name": "cache", "image": image, "ready": "echo asked; false", "ready_seconds": 2 }]);
    let hand = with_services(&never);
    let said = hand.run(["echo never"]);
    assert_eq!((said.code, said.stdout.as_str()), (Some(125), ""));
    assert!(said.stderr.contains("error: the service `cache` was not ready after 2 seconds"), "{said:?}");
    assert!(
        said.stderr.contains("codex-docker: the service `cache`: ") && said.stderr.contains("Ready to accept connections"),
        "{said:?}"
    );
    nothing_is_left(&hand);
    let hangs = with_services(&json!([{ "name": "cache", "image": image, "ready": "sleep 1000", "ready_seconds": 2 }]));
    assert!(hangs.run(["true"]).stderr.contains("was not ready after 2 seconds"));
    nothing_is_left(&hangs);
    let silent = with_services(&json!([{ "name": "cache", "image": image, "ports": [1], "ready_seconds": 2 }]));
    assert!(silent.run(["true"]).stderr.contains("was not ready after 2 seconds"));
}

#[test]
fn a_service_that_ends_or_does_not_exist_fails_the_run() {
    let postgres = postgres_image();
    let hand = with_services(&json!([{ "name": "db", "image": postgres, "env": { "FAIL": "no password" }, "ports": [5432] }]));
    let said = hand.run(["true"]);
    assert_eq!(said.code, Some(125), "{said:?}");
    assert!(said.stderr.contains("error: the service `db` ended with exit code 3"), "{said:?}");
    assert!(said.stderr.contains("codex-docker: the service `db`: no password"), "{said:?}");
    nothing_is_left(&hand);
    let hand = with_services(&json!([{ "name": "db", "image": "codex-docker-test/missing:1" }]));
    let said = hand.run(["true"]);
    assert!(said.stderr.contains("could not start the service `db`: image `codex-docker-test/missing:1` not found"), "{said:?}");
    nothing_is_left(&hand);
}

#[test]
fn a_stop_ends_the_services_even_before_they_are_ready() {
    let hand = hand_with_services();
    let mut running = hand.start("echo begun; sleep 1000000");
    running.line();
    running.signal(Signal::TERM);
    assert_eq!(running.end().code, Some(143));
    nothing_is_left(&hand);
    let waiting =
        with_services(&json!([{ "name": "cache", "image": redis_image(), "ready": "touch /asked; false" }])).named("waits");
    let running = waiting.start("true");
    let service = format!("{}-svc-cache", waiting.name("waits"));
    testkit::until(super::hand::LIMIT, "the service is asked", || {
        try_docker(&["exec", &service, "test", "-e", "/asked"]).status.success()
    });
    running.signal(Signal::TERM);
    assert_eq!(running.end().code, Some(143));
    nothing_is_left(&waiting);
}

#[test]
fn after_a_kill_a_run_continues_with_its_services_or_all_of_it_is_reaped() {
    let hand = hand_with_services().named("killed");
    let script = format!("echo begun; while [ ! -e go ]; do sleep 0.05; done; {TALK}");
    let kill = || {
        let mut running = hand.start(&script);
        running.line();
        running.signal(Signal::KILL);
        running.end();
    };
    kill();
    fs_err::write(hand.work().join("go"), "").expect("writable");
    let said = hand.run([&script]);
    assert!(said.well().contains("+PONG\r\nN\n"), "{said:?}");
    nothing_is_left(&hand);
    fs_err::remove_file(hand.work().join("go")).expect("there");
    kill();
    assert_eq!(hand.containers().len(), 4);
    assert_eq!(hand.run(["reap"]).well().lines().count(), 4);
    nothing_is_left(&hand);
}
