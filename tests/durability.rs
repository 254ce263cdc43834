//! The order in which a server, its keepers and git sync data to disk, as their real system calls show it.
//!
//! A power cut on ext4 can hide that a folder is never synced, because the next sync of any file also commits the folder. A trace
//! shows it.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::json;
use testkit::TestHome;
use testkit::shell_agent::ShellAgent;
use testkit::syscalls::{self, TracedServer};
use testkit::upstream::Upstream;

use crate::BINARY;
use crate::container_setup::{until_phase, upstream};

/// The longest time until a line of a running run's log is synced.
const AT_MOST: Duration = Duration::from_secs(5);

/// The agent writes its session where Codex does, changes a file, and ends its turn.
const WORK: &str = "begin; mkdir -p $CODEX_HOME/sessions/2026/01/01; \
    echo '{}' >> $CODEX_HOME/sessions/2026/01/01/rollout-2026-01-01T00-00-00-$thread_id.jsonl; echo work >> work.txt; end done";

#[tokio::test]
async fn everything_that_a_record_refers_to_is_synced_before_the_record() {
    let upstream = Upstream::new();
    let traced = TracedServer::of(BINARY);
    let mut home = TestHome::new(traced.program().to_str().expect("the temporary path is UTF-8"));
    home.set("ORCH_WORKER", testkit::worker::scripted_worker(home.scratch()));
    home.set("CODEX_HOME", home.path().join("codex"));
    home.start().await;
    let server = home.server_pid();

    let env = home.environment(&upstream.url()).await;
    let task = home.task(&env, WORK).await;
    assert_eq!(home.settled(&task).await["status"], "completed");
    let (status, resumed) = home.post(&format!("/api/v1/tasks/{task}/resume"), &json!({ "prompt": WORK })).await;
    assert_eq!(status, 201, "{resumed}");
    let settled = home.settled(&task).await;
    assert_eq!((settled["status"].as_str(), settled["runs"][1]["commit"].is_string()), (Some("completed"), true), "{settled}");
    let (status, _) = home.delete(&format!("/api/v1/tasks/{task}")).await;
    assert_eq!(status, 204);
    let (status, restored) = home.post(&format!("/api/v1/tasks/{task}/restore"), &json!({})).await;
    assert_eq!(status, 200, "{restored}");
    let answer = home.request(Method::GET, &format!("/api/v1/tasks/{task}")).send().await.expect("the server answers");
    assert_eq!(answer.status(), 200);
    home.stop().await;
    nothing_is_lost(&traced, server, &home);
}

#[tokio::test]
async fn the_result_and_the_output_of_a_setup_are_synced_before_the_record_says_how_it_ended() {
    let description = "[setup]\nrun = \"echo said; mkdir -p kept; echo kept > kept/file; [ $(cat lock) = 1 ]\"\nkeys = [\"lock\"]\n\
                       [keep]\npaths = [\"kept\"]\n";
    let traced = TracedServer::of(BINARY);
    let home = TestHome::new(traced.program().to_str().expect("the temporary path is UTF-8"));
    let mut stage = ShellAgent::in_home(home, upstream(description), &json!({})).await;
    let server = stage.home.server_pid();
    stage.attack("echo work > work.txt; echo more >> kept/file").await.completed();
    stage.upstream.commit("main", &[("lock", "2\n")], "a lock that the setup refuses");
    let task = stage.home.task(&stage.env, "echo never").await;
    until_phase(&stage, "failed").await;
    let (status, answer) = stage.home.post(&format!("/api/v1/tasks/{task}/stop"), &json!({})).await;
    assert!(status < 300, "{answer}");
    stage.home.settled(&task).await;
    stage.home.stop().await;
    nothing_is_lost(&traced, server, &stage.home);
}

#[track_caller]
fn nothing_is_lost(traced: &TracedServer, server: u32, home: &TestHome) {
    let violations = syscalls::check(&traced.trace(server), &home.path(), home.scratch());
    assert!(
        violations.is_empty(),
        "a power cut loses data in {} places; the trace is kept in {}:\n{}",
        violations.len(),
        traced.keep().display(),
        violations.join("\n")
    );
}

#[tokio::test]
async fn the_log_of_a_running_run_is_synced_every_few_seconds() {
    let upstream = Upstream::new();
    let traced = TracedServer::of(BINARY);
    let mut home = TestHome::new(traced.program().to_str().expect("the temporary path is UTF-8"));
    home.set("ORCH_WORKER", testkit::worker::scripted_worker(home.scratch()));
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    let (more, end) = (home.scratch().join("more"), home.scratch().join("end"));
    let task = home.task(&env, &format!("begin; await {}; say more; await {}; end done", more.display(), end.display())).await;
    let is_sync = |line: &str| line.contains("fdatasync(") && line.contains("run-001.jsonl>");
    let syncs = || traced.trace_so_far().lines().filter(|line| is_sync(line)).count();
    testkit::until(2 * AT_MOST, "the first lines are synced", || syncs() > 0);
    let (before, written) = (syncs(), Instant::now());
    fs_err::write(more, "").expect("written");
    testkit::until(2 * AT_MOST, "the next line is synced", || syncs() > before);
    assert!(written.elapsed() < AT_MOST, "{:?}", written.elapsed());
    fs_err::write(end, "").expect("written");
    assert_eq!(home.settled(&task).await["status"], "completed");
}
