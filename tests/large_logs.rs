//! Extreme logs: very long lines, a log without a line end, and short text that becomes a large page. Pages, streams and the
//! command line show the rest of the run, and the server needs little memory.

use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::PathBuf;

use serde_json::json;
use testkit::pages::Pages;

use crate::stage::Stage;

/// The most memory that a server may use in addition while it shows a log, in MiB.
const GROWTH: f64 = 64.0;

/// A server with a signed-in client, and a task with a log that grows.
struct LargeLog {
    stage: Stage,
    pages: Pages,
    task: String,
}

impl LargeLog {
    /// Starts a server with a task whose run has ended.
    async fn new() -> Self {
        let stage = Stage::new().await;
        let task = stage.done("begin; say 'the first words'; end done").await;
        let pages = Pages::sign_in(&stage.home).await;
        Self { stage, pages, task }
    }

    fn log(&self) -> PathBuf {
        self.stage.folder(&self.task).join("logs/run-001.jsonl")
    }

    /// Appends zeros, which take no space on the disk, and a text to the log.
    fn grow(&self, zeros: u64, text: &str) {
        let mut log = fs_err::OpenOptions::new().write(true).open(self.log()).expect("there");
        let length = log.metadata().expect("there").len() + zeros;
        log.set_len(length).expect("sparse");
        log.seek(SeekFrom::End(0)).expect("the log can be sought to its end");
        log.write_all(text.as_bytes()).expect("written");
    }

    /// Returns the peak memory of the server since the last call, in MiB.
    fn peak(&self) -> f64 {
        let pid = self.stage.home.server_pid();
        let status = fs_err::read_to_string(format!("/proc/{pid}/status")).expect("the server is running");
        fs_err::write(format!("/proc/{pid}/clear_refs"), "5").expect("the peak can be reset");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("the status contains the peak memory");
        line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).expect("a number") / 1024.0
    }

    /// Opens the task's page and all earlier parts of its transcript, and returns them.
    async fn transcript(&self) -> Vec<String> {
        let mut path = format!("/tasks/{}", self.task);
        let mut parts = vec![];
        loop {
            let (status, text) = self.pages.get(&path).await;
            assert_eq!(status, 200, "{text}");
            assert!(text.len() < 2 * 1024 * 1024, "{path}: {} bytes", text.len());
            let next = text.split_once("/older?before=").and_then(|(_, rest)| rest.split('"').next()).map(str::to_owned);
            parts.push(text);
            let Some(next) = next else { return parts };
            assert!(parts.len() < 200, "the transcript has fewer than 200 parts");
            path = format!("/tasks/{}/runs/1/older?before={next}", self.task);
        }
    }
}

fn said(text: &str) -> String {
    let item = json!({ "id": "item_9", "type": "agent_message", "text": text });
    json!({ "type": "item.completed", "item": item }).to_string() + "\n"
}

#[tokio::test]
async fn a_line_of_gigabytes_is_told_of_and_costs_no_memory() {
    let large = LargeLog::new().await;
    large.transcript().await;
    large.peak();
    let before = testkit::resident_mib(large.stage.home.server_pid());
    large.grow(1536 << 20, &("\n".to_owned() + &said("the last words")));
    let parts = large.transcript().await.concat();
    for words in ["a line of 1.5 GiB is not shown", "the first words", "the last words"] {
        assert!(parts.contains(words), "{words}");
    }
    let run = format!("/api/v1/tasks/{}/runs/1", large.task);
    let events = large.stage.home.text(&format!("{run}/events")).await;
    let masked = large.stage.home.text(&format!("{run}/log?masked=true")).await;
    let logs = large.stage.home.command(&["task", "logs", &large.task]).output().await.expect("the command can be started");
    let logs = String::from_utf8_lossy(&logs.stdout).into_owned();
    for text in [events, masked, logs] {
        assert!(text.contains("a line of 1.5 GiB is not shown") && text.contains("the last words"), "{}", text.len());
    }
    let peak = large.peak();
    assert!(peak - before < GROWTH, "{before} → {peak} MiB");
}

#[tokio::test]
async fn a_log_without_a_line_end_shows_what_came_before() {
    let large = LargeLog::new().await;
    large.transcript().await;
    large.peak();
    let before = testkit::resident_mib(large.stage.home.server_pid());
    large.grow(1536 << 20, "x");
    let (parts, again) = tokio::join!(large.transcript(), large.transcript());
    for parts in [parts.concat(), again.concat()] {
        for words in ["An incomplete line of 1.5 GiB is not shown", "the first words"] {
            assert!(parts.contains(words), "{words}");
        }
    }
    let masked = large.stage.home.text(&format!("/api/v1/tasks/{}/runs/1/log?masked=true", large.task)).await;
    assert!(masked.contains("a line of 1.5 GiB is not shown"), "{}", masked.len());
    let peak = large.peak();
    assert!(peak - before < GROWTH, "{before} → {peak} MiB");
}

#[tokio::test]
async fn small_text_does_not_become_a_large_page_and_all_of_it_can_be_reached() {
    let large = LargeLog::new().await;
    let table = |n: usize| format!("table {n}\n\n|{}\n|{}\n{}", "a|".repeat(500), "-|".repeat(500), "|a\n".repeat(500));
    let tags = |n: usize| format!("tags {n}\n\n```\n{}\n```", "<&>".repeat(20_000));
    for n in 0..60 {
        large.grow(0, &said(&table(n)));
        large.grow(0, &said(&tags(n)));
    }
    large.peak();
    let before = testkit::resident_mib(large.stage.home.server_pid());
    let parts = large.transcript().await.concat();
    for n in 0..60 {
        assert!(parts.contains(&format!("table {n}")) && parts.contains(&format!("tags {n}")), "{n}");
    }
    let peak = large.peak();
    assert!(peak - before < GROWTH, "{before} → {peak} MiB");
}

#[tokio::test]
async fn millions_of_short_lines_are_shown_from_the_end() {
    let large = LargeLog::new().await;
    large.grow(0, &"\n".repeat(6_000_000));
    large.grow(0, &"1\n".repeat(3_000_000));
    large.peak();
    let before = testkit::resident_mib(large.stage.home.server_pid());
    let (status, text) = large.pages.get(&format!("/tasks/{}", large.task)).await;
    assert!(status == 200 && text.len() < 2 * 1024 * 1024, "{status} {}", text.len());
    let peak = large.peak();
    assert!(peak - before < GROWTH, "{before} → {peak} MiB");
}

#[tokio::test]
async fn all_of_a_long_output_is_there_a_page_at_a_time() {
    let large = LargeLog::new().await;
    let output: String = (0..300_000).map(|n| "\u{1b}[1m".to_owned() + &n.to_string() + "\u{1b}[0m<&\n").collect();
    let item = json!({ "id": "item_9", "type": "command_execution", "command": "x", "aggregated_output": output, "exit_code": 0,
        "status": "completed" });
    large.grow(0, &(json!({ "type": "item.completed", "item": item }).to_string() + "\n"));
    let at = fs_err::metadata(large.log()).expect("there").len();
    let (mut path, mut pages, mut last) = (format!("/tasks/{}/runs/1/output?at={at}", large.task), 0, String::new());
    loop {
        let (status, text) = large.pages.get(&path).await;
        assert!(status == 200 && text.len() < 2 * 1024 * 1024, "{status} {}", text.len());
        pages += 1;
        let next = text.split_once("&amp;from=").and_then(|(_, rest)| rest.split('"').next()).map(str::to_owned);
        last.clone_from(&text);
        let Some(next) = next else { break };
        path = format!("/tasks/{}/runs/1/output?at={at}&from={next}", large.task);
    }
    assert!(pages > 10 && last.contains("299999"), "{pages} pages");
}
