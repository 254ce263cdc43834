//! Measures the time from a request to the start of the worker, list requests, the start of the server, and memory.
//!
//! `cargo bench -p codex-orchestrator --profile dist` prints a table. It uses real servers and the real Git. The worker only
//! records when it started.
#![expect(clippy::print_stdout, reason = "the table is the result")]

#[path = "by_hand.rs"]
mod by_hand;

use std::time::{Duration, Instant};

use by_hand::{Hand, median, now};
use testkit::TestHome;
use testkit::upstream::Upstream;

const BINARY: &str = env!("CARGO_BIN_EXE_codex-orchestrator");

/// The number of measurements per figure. The median is printed.
const ROUNDS: usize = 15;

/// The number of files in the sample repository. It is large enough for checkouts to take time.
const FILES: usize = 2_000;

/// The number of tasks on disk for list requests and the start of the server.
const TASKS: usize = 10_000;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let upstream = Upstream::with_files(FILES);
        println!("| measurement | median | min–max |\n|---|---|---|");
        let (ours, by_hand) = from_request_to_worker(&upstream).await;
        row("`POST /tasks` to the start of the worker", &ours);
        row("the same Git commands by hand", &by_hand);
        println!("| ratio of the medians | {:.2} | |", median(&ours).as_secs_f64() / median(&by_hand).as_secs_f64());
        many_tasks(&upstream).await;
    });
}

fn row(what: &str, times: &[Duration]) {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let (min, max) = (times.iter().min().copied().unwrap_or_default(), times.iter().max().copied().unwrap_or_default());
    println!("| {what} | {:.1} ms | {:.1}–{:.1} |", ms(median(times)), ms(min), ms(max));
}

/// Measures a task and the equivalent commands alternately, under the same conditions.
async fn from_request_to_worker(upstream: &Upstream) -> (Vec<Duration>, Vec<Duration>) {
    let home = TestHome::started(BINARY).await;
    let env = home.environment(&upstream.url()).await;
    let hand = Hand::new(upstream);
    let (mut ours, mut by_hand) = (vec![], vec![]);
    for round in 0..ROUNDS {
        let mark = home.scratch().join(format!("started-{round}"));
        let asked = now();
        let task = home.task(&env, &format!("date +%s%N > {}; begin; end done", mark.display())).await;
        home.settled(&task).await;
        let started = fs_err::read_to_string(mark).expect("the worker wrote it");
        ours.push(Duration::from_nanos(started.trim().parse().expect("a time")).saturating_sub(asked));
        home.delete(&format!("/api/v1/tasks/{task}")).await;
        by_hand.push(hand.task(round));
    }
    (ours, by_hand)
}

async fn many_tasks(upstream: &Upstream) {
    let mut home = TestHome::started(BINARY).await;
    let env = home.environment(&upstream.url()).await;
    let memory_empty = testkit::resident_mib(home.server_pid());
    let task = home.task(&env, "begin; end done").await;
    let template = home.settled(&task).await;
    println!("| resident memory of a server without tasks | {memory_empty:.1} MiB | |");
    println!("| resident memory of an idle keeper | {:.1} MiB | |", keeper_memory(&home, &env).await);
    home.stop().await;
    home.copy_task(&task, TASKS);
    let begun = Instant::now();
    home.start().await;
    row(&format!("server start with {TASKS} tasks on disk"), &[begun.elapsed()]);
    println!("| resident memory of that server | {:.1} MiB | |", testkit::resident_mib(home.server_pid()));
    let mut times = vec![];
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        assert!(home.text("/metrics").await.ends_with("# EOF\n"));
        times.push(begun.elapsed());
    }
    row("a scrape of `/metrics` with these tasks", &times);
    for (what, path) in [
        ("a page of 50 of these tasks", "/api/v1/tasks"),
        ("a page of 200 of these tasks", "/api/v1/tasks?limit=200"),
        ("a search through all of them", "/api/v1/tasks?q=nothing-has-this"),
    ] {
        let mut times = vec![];
        for _ in 0..ROUNDS {
            let begun = Instant::now();
            assert_eq!(home.get(path).await.0, 200);
            times.push(begun.elapsed());
        }
        row(what, &times);
    }
    assert_eq!(template["status"], "completed");
}

async fn keeper_memory(home: &TestHome, env: &str) -> f64 {
    let go = home.scratch().join("go");
    let task = home.task(env, &format!("begin; await {}; end done", go.display())).await;
    home.wait_for(&format!("/api/v1/tasks/{task}"), |task| task["runs"][0]["turn_started"] == true).await;
    let record = fs_err::read(home.path().join("tasks").join(&task).join("logs/run-001.keeper.json")).expect("there");
    let record: serde_json::Value = serde_json::from_slice(&record).expect("JSON");
    let memory = testkit::resident_mib(u32::try_from(record["keeper"]["pid"].as_u64().expect("a number")).expect("a process id"));
    fs_err::write(go, "").expect("written");
    home.settled(&task).await;
    memory
}
