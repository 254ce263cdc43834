//! Measures how long a task waits for its worktree: with a prepared one, without, and with the same Git commands by hand.
//!
//! `cargo bench -p codex-orchestrator --profile dist --bench worktrees` prints a table for 2,000 and 100,000 files. `FILES` and
//! `ROUNDS` change the number of files and measurements. It also counts how many of ten simultaneous tasks got a prepared worktree.
#![expect(clippy::print_stdout, reason = "the table is the result")]

#[path = "by_hand.rs"]
mod by_hand;

use std::process::Command;
use std::time::Duration;

use by_hand::{Hand, median, now};
use serde_json::json;
use testkit::TestHome;
use testkit::upstream::Upstream;

const BINARY: &str = env!("CARGO_BIN_EXE_codex-orchestrator");

fn main() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<usize>().expect("a number"));
    let rounds = number("ROUNDS").unwrap_or(15);
    let sizes = number("FILES").map_or_else(|| vec![2_000, 100_000], |files| vec![files]);
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        println!("| files | measurement | median | min–max | ratio to the commands by hand |\n|---|---|---|---|---|");
        for files in sizes {
            measure(files, rounds).await;
        }
    });
}

fn row(files: usize, what: &str, times: &[Duration], by_hand: &[Duration]) {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let (min, max) = (times.iter().min().copied().unwrap_or_default(), times.iter().max().copied().unwrap_or_default());
    let ratio = median(times).as_secs_f64() / median(by_hand).as_secs_f64();
    println!("| {files} | {what} | {:.0} ms | {:.0}–{:.0} | {ratio:.2} |", ms(median(times)), ms(min), ms(max));
}

/// A home with a repository.
struct Served {
    home: TestHome,
    env: String,
}

impl Served {
    async fn new(upstream: &Upstream, prepared: usize) -> Self {
        let mut home = TestHome::new(BINARY);
        let settings = "prepared_worktrees_space = \"20g\"\nmax_parallel_runs = 10\n";
        fs_err::write(home.path().join("config.toml"), settings).expect("written");
        home.set(testkit::PREPARED_WORKTREES, prepared.to_string());
        home.set("ORCH_WORKER", testkit::worker::scripted_worker(home.scratch()));
        home.start().await;
        let env = home.environment(&upstream.url()).await;
        Self { home, env }
    }

    /// Waits until this many worktrees are prepared.
    fn until_prepared(&self, number: usize) {
        let folder = self.home.path().join("prepared").join(&self.env);
        let ready = || {
            let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
            entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"ready")).count()
        };
        testkit::until(Duration::from_mins(10), "worktrees are prepared", || ready() >= number);
    }

    /// Measures the time from the request for a task to the start of its worker.
    async fn task(&self, round: usize) -> Duration {
        let mark = self.home.scratch().join(format!("started-{round}"));
        write_back();
        let asked = now();
        let task = self.home.task(&self.env, &format!("date +%s%N > {}; begin; end done", mark.display())).await;
        self.home.settled(&task).await;
        let started = fs_err::read_to_string(mark).expect("the worker wrote it");
        let took = Duration::from_nanos(started.trim().parse().expect("a time")).saturating_sub(asked);
        self.discard(&task).await;
        took
    }

    async fn discard(&self, task: &str) {
        self.home.delete(&format!("/api/v1/tasks/{task}")).await;
        fs_err::remove_dir_all(self.home.path().join("trash").join(task)).expect("it is in the trash");
    }

    async fn hits(&self) -> u64 {
        let metrics = self.home.text("/metrics").await;
        let line = metrics.lines().find_map(|line| line.strip_prefix("codex_orchestrator_worktree_pool_hits_total "));
        line.expect("it is a metric").parse().expect("a number")
    }
}

/// Writes everything to the disk, so that no measurement pays for an earlier one.
fn write_back() {
    assert!(Command::new("sync").status().expect("sync").success());
}

async fn measure(files: usize, rounds: usize) {
    let upstream = Upstream::with_files(files);
    let (with, without, hand) = (Served::new(&upstream, 1).await, Served::new(&upstream, 0).await, Hand::new(&upstream));
    let (mut prepared, mut written, mut by_hand) = (vec![], vec![], vec![]);
    for round in 0..rounds {
        // The worktree was prepared at an earlier commit, as usual.
        with.until_prepared(1);
        upstream.commit("main", &[("src/1/file1.txt", &format!("round {round}\n"))], "a change");
        prepared.push(with.task(round).await);
        with.until_prepared(1);
        written.push(without.task(round).await);
        write_back();
        by_hand.push(hand.task(round));
    }
    row(files, "`POST /tasks` to the worker, with a prepared worktree", &prepared, &by_hand);
    row(files, "the same without one", &written, &by_hand);
    row(files, "the same Git commands by hand", &by_hand, &by_hand);
    assert_eq!(with.hits().await, rounds as u64, "every round took a prepared worktree");
    drop((with, without));
    for number in [2, 10] {
        ten_at_once(&upstream, files, number).await;
    }
}

/// Counts how many of ten simultaneous tasks get a prepared worktree, and measures the time until the last one works.
async fn ten_at_once(upstream: &Upstream, files: usize, prepared: usize) {
    let served = Served::new(upstream, prepared).await;
    served.until_prepared(prepared);
    write_back();
    let mark = |number: usize| served.home.scratch().join(format!("started-{number}"));
    let asked = now();
    let body =
        |number| json!({ "env_id": served.env, "prompt": format!("date +%s%N > {}; begin; end done", mark(number).display()) });
    let bodies: Vec<_> = (0..10).map(body).collect();
    let created = futures_util::future::join_all(bodies.iter().map(|body| served.home.post("/api/v1/tasks", body))).await;
    for (status, task) in &created {
        assert_eq!(*status, 201, "{task}");
        served.home.settled(task["task_id"].as_str().expect("an ID")).await;
    }
    let last = (0..10).map(|number| fs_err::read_to_string(mark(number)).expect("the worker wrote it"));
    let last = last.map(|text| Duration::from_nanos(text.trim().parse().expect("a time")).saturating_sub(asked)).max();
    let (hits, seconds) = (served.hits().await, last.unwrap_or_default().as_secs_f64());
    println!(
        "| {files} | ten tasks at once, {prepared} prepared worktrees | {hits} of 10 took one; the last worker started after {seconds:.1} s | | |"
    );
}
