//! The server under a supervisor: what the server reports, and what its children do not get. Real servers, and a real socket in place
//! of the supervisor.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use testkit::TestHome;
use testkit::upstream::Upstream;
use tokio::net::UnixDatagram;

use crate::BINARY;

/// The time limit of every wait, far longer than needed.
const LIMIT: Duration = Duration::from_secs(30);

/// A supervisor that listens for the server's messages.
struct Supervisor {
    door: UnixDatagram,
    path: PathBuf,
}

impl Supervisor {
    fn of(home: &TestHome) -> Self {
        let path = home.scratch().join("notify");
        Self { door: UnixDatagram::bind(&path).expect("the path is free"), path }
    }

    async fn hears(&self) -> String {
        let mut bytes = [0; 512];
        let received = tokio::time::timeout(LIMIT, self.door.recv(&mut bytes)).await;
        let length = received.expect("a message arrives in time").expect("the socket can be read");
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    /// Discards the messages that have arrived so far.
    fn catches_up(&self) {
        while self.door.try_recv(&mut [0; 512]).is_ok() {}
    }
}

fn supervised(patience: Duration) -> (TestHome, Supervisor) {
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_WORKER", testkit::worker::scripted_worker(home.scratch()));
    let supervisor = Supervisor::of(&home);
    home.set("NOTIFY_SOCKET", &supervisor.path);
    home.set("WATCHDOG_USEC", patience.as_micros().to_string());
    (home, supervisor)
}

#[tokio::test]
async fn a_supervisor_hears_that_the_server_is_ready_that_it_lives_and_that_it_stops() {
    let (mut home, supervisor) = supervised(Duration::from_millis(200));
    home.start().await;
    let first = supervisor.hears().await;
    assert!(first.starts_with("READY=1\nSTATUS=serving on http://127.0.0.1:"), "{first}");
    for _ in 0..3 {
        assert_eq!(supervisor.hears().await, "WATCHDOG=1");
    }
    assert!(home.stop().await.success());
    let last = async {
        loop {
            let said = supervisor.hears().await;
            if said != "WATCHDOG=1" {
                return said;
            }
        }
    };
    assert!(last.await.starts_with("STOPPING=1\n"));
}

#[tokio::test]
async fn the_doors_are_open_when_the_server_says_that_it_is_ready() {
    let (home, supervisor) = supervised(LIMIT);
    let mut server = home.command(&["serve"]).kill_on_drop(true).spawn().expect("the binary can be started");
    assert!(supervisor.hears().await.starts_with("READY=1"));
    assert_eq!(home.get("/healthz").await.0, 200, "the first request after `READY` succeeds");
    server.kill().await.expect("ours");
}

#[tokio::test]
async fn a_server_that_answers_nobody_falls_silent_and_comes_back() {
    let patience = Duration::from_millis(100);
    let (mut home, supervisor) = supervised(patience);
    home.start().await;
    // Clients cannot reach the socket, but the process and its timers run.
    let away = home.scratch().join("away");
    fs_err::rename(home.socket(), &away).expect("ours");
    // Discard a message that was already on its way.
    testkit::until(LIMIT, "the log reports the problem", || home.log().contains("does not answer its own health check"));
    supervisor.catches_up();
    let silent_since = Instant::now();
    let heard = tokio::time::timeout(5 * patience, supervisor.door.recv(&mut [0; 512])).await;
    assert!(heard.is_err(), "an unreachable server sends no watchdog message: {:?}", silent_since.elapsed());
    fs_err::rename(&away, home.socket()).expect("ours");
    assert_eq!(supervisor.hears().await, "WATCHDOG=1");
}

#[tokio::test]
async fn no_run_hears_of_the_supervisor() {
    let (mut home, supervisor) = supervised(LIMIT);
    home.start().await;
    let upstream = Upstream::new();
    let env = home.environment(&upstream.url()).await;
    let task = home.task(&env, "begin; env > seen; tr '\\0' '\\n' < /proc/$PPID/environ >> seen; end done").await;
    assert_eq!(home.settled(&task).await["status"], "completed");
    let seen = home.text(&format!("/api/v1/tasks/{task}/diff?format=patch")).await;
    assert!(seen.contains("PATH="), "the run records its environment: {seen}");
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        assert!(!seen.contains(name), "{name}: {seen}");
    }
    drop(supervisor);
}

#[tokio::test]
async fn a_supervisor_that_went_away_holds_nothing_up() {
    let (mut home, supervisor) = supervised(Duration::from_millis(50));
    home.start().await;
    assert!(supervisor.hears().await.starts_with("READY=1"));
    drop(supervisor);
    testkit::until(LIMIT, "the log reports the problem", || home.log().contains("could not notify systemd"));
    assert_eq!(home.get("/api/v1/status").await.0, 200);
    let pid = i32::try_from(home.server_pid()).ok().and_then(Pid::from_raw).expect("a server is running");
    kill_process(pid, Signal::TERM).expect("ours");
    testkit::until(LIMIT, "the server ends", || !home.socket().exists());
}
