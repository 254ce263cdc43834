//! Measures the pages: bytes transferred, time to first paint, delay from a line of the worker to its text on the page, and memory.
//!
//! `cargo bench -p codex-orchestrator --profile dist --bench pages` prints a table. It uses a real server and a real Chromium
//! over the loopback interface.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::time::Duration;

use futures_util::StreamExt as _;
use futures_util::future::join_all;
use serde_json::Value;
use testkit::TestHome;
use testkit::browser::{Browser, DESK};
use testkit::upstream::Upstream;
use testkit::worker::scripted_worker;

const BINARY: &str = env!("CARGO_BIN_EXE_codex-orchestrator");

/// The number of measurements per figure. The median is printed.
const ROUNDS: usize = 15;

/// The number of tasks in the list.
const TASKS: usize = 10_000;

/// The number of lines for the delay measurement.
const LINES: usize = 500;

/// The number of events in the long run.
const EVENTS: usize = 50_000;

/// The number of tabs that follow a large log.
const TABS: usize = 5;

/// A script that returns the bytes transferred for a page and its files, the response time, and the time of the first paint.
const COST: &str = "(() => {
    const page = performance.getEntriesByType('navigation')[0];
    const files = performance.getEntriesByType('resource').filter((it) => it.initiatorType !== 'fetch');
    const sum = (all) => all.reduce((sum, it) => sum + it.transferSize, 0);
    return { page: page.transferSize, all: page.transferSize + sum(files), paint: performance.getEntriesByName('first-contentful-paint')[0]?.startTime,
        answer: page.responseEnd - page.requestStart, hops: Math.max(0, ...files.map((it) => it.nextHopProtocol ? 1 : 0)) + 1 };
})()";

fn main() {
    let runtime = tokio::runtime::Runtime::new().expect("threads");
    runtime.block_on(measure());
}

async fn measure() {
    let upstream = Upstream::new();
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_WORKER", scripted_worker(home.scratch()));
    home.set("ORCH_LISTEN", "127.0.0.1:0");
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    let small = home.task(&env, "begin; say working; echo work > work.txt; end done").await;
    home.settled(&small).await;
    home.stop().await;
    home.copy_task(&small, TASKS);
    home.start().await;
    let mut browser = Browser::start().await;
    browser.look(DESK).await;
    let url = browser.sign_in(&home).await;
    println!("| measurement | median | min–max |\n|---|---|---|");
    costs(&mut browser, &format!("the list of {TASKS} tasks"), &format!("{url}/")).await;
    costs(&mut browser, "a task", &format!("{url}/tasks/{small}")).await;
    let long = format!("begin; i=0; while [ $i -lt {EVENTS} ]; do i=$((i+1)); say \"line number $i\"; done; end done");
    let long = home.task(&env, &long).await;
    home.settled(&long).await;
    costs(&mut browser, &format!("a task with a run of {EVENTS} events"), &format!("{url}/tasks/{long}")).await;
    latency(&home, &env, &mut browser, &url).await;
    memory(&home, &env, &mut browser, &url).await;
}

fn figures(what: &str, unit: &str, all: &[f64]) {
    let mut sorted = all.to_vec();
    sorted.sort_by(f64::total_cmp);
    let (Some(min), Some(max)) = (sorted.first(), sorted.last()) else { return };
    println!("| {what} | {:.1} {unit} | {min:.1}–{max:.1} |", sorted[sorted.len() / 2]);
}

/// Prints the figures of a page for a first visit and for a repeat visit.
async fn costs(browser: &mut Browser, what: &str, url: &str) {
    for (who, is_new) in [("first visit", true), ("repeat visit", false)] {
        let mut found: Vec<Value> = vec![];
        for _ in 0..ROUNDS {
            if is_new {
                browser.forget_files().await;
            }
            browser.open(url).await;
            browser.until("performance.getEntriesByName('first-contentful-paint').length === 1").await;
            found.push(browser.value(COST).await);
        }
        let each = |name: &str, by: f64| found.iter().filter_map(|cost| Some(cost[name].as_f64()? / by)).collect::<Vec<_>>();
        figures(&format!("{what}, {who}: bytes transferred"), "kB", &each("all", 1000.0));
        figures(&format!("{what}, {who}: of which the page itself"), "kB", &each("page", 1000.0));
        figures(&format!("{what}, {who}: response time"), "ms", &each("answer", 1.0));
        figures(&format!("{what}, {who}: first paint"), "ms", &each("paint", 1.0));
    }
}

/// Prints the delay from a line of the worker, which contains its own timestamp, to its text on the page.
async fn latency(home: &TestHome, env: &str, browser: &mut Browser, url: &str) {
    let go = home.scratch().join("go");
    let lines = format!("i=0; while [ $i -lt {LINES} ]; do i=$((i+1)); say \"t$(date +%s%N)\"; sleep 0.02; done");
    let task = home.task(env, &format!("begin; say ready; await {}; {lines}; end done", go.display())).await;
    browser.open(&format!("{url}/tasks/{task}")).await;
    browser.until("document.querySelector('#transcript .agent')?.innerText.includes('ready')").await;
    let watch = "window.late = []; new MutationObserver((all) => { for (const it of all) for (const node of it.addedNodes) {
        const written = /t(\\d{19})/.exec(node.textContent);
        if (written) late.push(performance.timeOrigin + performance.now() - Number(written[1]) / 1e6);
    } }).observe(document.querySelector('#transcript'), { childList: true }); true";
    browser.value(watch).await;
    fs_err::write(&go, "").expect("written");
    home.settled(&task).await;
    browser.until(&format!("late.length >= {LINES}")).await;
    let late = browser.value("late").await;
    let mut late: Vec<_> = late.as_array().expect("a list").iter().filter_map(Value::as_f64).collect();
    late.sort_by(f64::total_cmp);
    let at = |percent: usize| late[(late.len() - 1) * percent / 100];
    println!("| from a line of the worker to its text on the page, p50 | {:.1} ms | |", at(50));
    println!("| the same, p99 | {:.1} ms | |", at(99));
}

/// Prints the memory of the server while several tabs load a page and follow its log from the beginning.
async fn memory(home: &TestHome, env: &str, browser: &mut Browser, url: &str) {
    let text = "x".repeat(900);
    let lines = format!(
        "line='{{\"type\":\"item.completed\",\"item\":{{\"id\":\"item_0\",\"type\":\"agent_message\",\"text\":\"{text}\"}}}}'"
    );
    let many = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); printf '%s\\n' \"$line\"; done";
    let task = home.task(env, &format!("begin; {lines}; {many}; end done")).await;
    home.settled(&task).await;
    let cookie = browser.cookies(url).await;
    let client = testkit::http_client().build().expect("a client");
    let idle = testkit::resident_mib(home.server_pid());
    let tab = async || {
        let page = client.get(format!("{url}/tasks/{task}")).header("cookie", &cookie).send().await.expect("the server responds");
        assert!(page.status().is_success() && page.text().await.expect("text").contains("transcript"));
        let live = format!("{url}/tasks/{task}/live?run=1&offset=0");
        let answer = client.get(live).header("cookie", &cookie).send().await.expect("the server responds");
        let mut bytes = 0;
        let mut chunks = answer.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            bytes += chunk.expect("the stream continues").len();
            if bytes > 150_000_000 {
                break;
            }
        }
        bytes
    };
    let mut most = idle;
    let tabs = join_all((0..TABS).map(|_| tab()));
    tokio::pin!(tabs);
    let mut tick = tokio::time::interval(Duration::from_millis(50));
    let read = loop {
        tokio::select! {
            read = &mut tabs => break read,
            _ = tick.tick() => most = most.max(testkit::resident_mib(home.server_pid())),
        }
    };
    assert!(read.iter().all(|bytes| *bytes > 150_000_000), "{read:?}");
    println!("| memory of the server before a log of 200 MB is opened | {idle:.1} MiB | |");
    println!("| peak while {TABS} tabs follow the log from the beginning | {most:.1} MiB | |");
}
