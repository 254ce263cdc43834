//! Measures the cost of durability at the end of a run with 100 changed files, and in a clone of 2,000 files.
//!
//! `cargo bench -p codex-orchestrator --profile dist --bench durability` prints a table. With `COMPARE_WITH=PATH`, it also measures
//! the program at that path, such as an earlier version. The measurements alternate, so that the conditions are the same.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::time::Duration;

use serde_json::Value;
use testkit::TestHome;
use testkit::upstream::Upstream;

const BINARY: &str = env!("CARGO_BIN_EXE_codex-orchestrator");

/// The number of measurements per figure. The median is printed.
const ROUNDS: usize = 15;

/// The number of files in the sample repository.
const FILES: usize = 2_000;

/// The number of files that a run changes.
const CHANGED: usize = 100;

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(async {
        let upstream = Upstream::with_files(FILES);
        let programs: Vec<_> = [Some(BINARY.to_owned()), std::env::var("COMPARE_WITH").ok()].into_iter().flatten().collect();
        let mut homes = vec![];
        for program in &programs {
            homes.push((TestHome::started(program).await, vec![], vec![]));
        }
        // The first round warms the caches and is not counted.
        for round in 0..=ROUNDS {
            for (home, ends, clones) in &mut homes {
                let (env, clone) = clone(home, &upstream).await;
                clones.push(clone);
                ends.push(end_of_a_run(home, &env, round).await);
                home.delete(&format!("/api/v1/envs/{env}")).await;
            }
        }
        println!("| program | measurement | median | min–max |\n|---|---|---|---|");
        for (program, (_, ends, clones)) in programs.iter().zip(homes) {
            row(program, "from the worker's end to the record of the run's end, 100 changed files", &ends[1..]);
            row(program, "from a repository's record to `ready`, 2,000 files", &clones[1..]);
        }
    });
}

fn row(program: &str, what: &str, times: &[Duration]) {
    let ms = |time: Duration| time.as_secs_f64() * 1000.0;
    let mut sorted = times.to_vec();
    sorted.sort();
    let (min, median, max) = (sorted[0], sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    println!("| {program} | {what} | {:.1} ms | {:.1}–{:.1} |", ms(median), ms(min), ms(max));
}

/// Returns a timestamp of a record as the time since 1970.
fn time(record: &Value, name: &str) -> Duration {
    let time: jiff::Timestamp = record[name].as_str().expect("a time").parse().expect("a time");
    Duration::from_nanos(u64::try_from(time.as_nanosecond()).expect("after 1970"))
}

async fn clone(home: &TestHome, upstream: &Upstream) -> (String, Duration) {
    let env = home.environment(&upstream.url()).await;
    let record = home.get(&format!("/api/v1/envs/{env}")).await.1;
    assert_eq!(record["status"], "ready", "{record}");
    let took = time(&record, "updated_at").saturating_sub(time(&record, "created_at"));
    (env, took)
}

async fn end_of_a_run(home: &TestHome, env: &str, round: usize) -> Duration {
    let mark = home.scratch().join("ended");
    let change = format!("for n in $(seq 0 {}); do echo \"{round} $n\" >> src/$((n % 50))/file$n.txt; done", CHANGED - 1);
    let task = home.task(env, &format!("begin; {change}; end done; date +%s%N > {}", mark.display())).await;
    let record = home.settled(&task).await;
    assert_eq!(record["runs"][0]["changes"]["files"], CHANGED, "{record}");
    let ended = fs_err::read_to_string(mark).expect("the worker wrote it").trim().parse().expect("a time");
    time(&record, "updated_at").saturating_sub(Duration::from_nanos(ended))
}
