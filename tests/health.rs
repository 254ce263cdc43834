//! Health reports of a server, and unusual machines: a read-only home, a clock that jumps, workers that misbehave.
//!
//! The servers are real, and the worker runs its prompt as a script. A small disk in memory needs root.

use std::path::Path;

use serde_json::{Value, json};
use testkit::TestHome;
use testkit::small_disk::SmallDisk;
use testkit::upstream::Upstream;
use testkit::worker::scripted_worker;

use crate::BINARY;

async fn stage() -> (Upstream, TestHome, String) {
    let upstream = Upstream::new();
    let home = TestHome::started(BINARY).await;
    let env = home.environment(&upstream.url()).await;
    (upstream, home, env)
}

/// Returns the value of a metric sample, by its name and labels.
fn sample(text: &str, name: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("codex_orchestrator_{name} ")));
    line.unwrap_or_else(|| panic!("{name} is missing in\n{text}")).parse().expect("a number")
}

/// Returns the metrics once the server has noticed that its streams are closed.
async fn no_streams(home: &TestHome) -> String {
    let closed = async {
        loop {
            let text = home.text("/metrics").await;
            if sample(&text, "open_streams") < 0.1 {
                return text;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), closed).await.expect("the server closes streams that nobody reads")
}

#[tokio::test]
async fn the_figures_are_those_of_what_happened() {
    let (_upstream, mut home, env) = stage().await;
    let done = home.task(&env, "begin; echo x > x; end done").await;
    home.settled(&done).await;
    let failed = home.task(&env, "begin; failed no").await;
    home.settled(&failed).await;
    let stream = home.request(reqwest::Method::GET, "/api/v1/events").send().await.expect("the feed is open");
    let text = home.text("/metrics").await;
    assert!(text.ends_with("# EOF\n"), "{text}");
    assert!(sample(&text, "open_streams") > 0.9, "{text}");
    drop(stream);
    let text = no_streams(&home).await;
    for (name, value) in [
        ("environments", 1.0),
        ("tasks", 2.0),
        ("queue_length", 0.0),
        ("queue_held", 0.0),
        ("runs{status=\"completed\"}", 1.0),
        ("runs{status=\"failed\"}", 1.0),
        ("run_duration_seconds_count", 2.0),
        ("queue_wait_seconds_count", 2.0),
        ("program_calls_total{program=\"git\",verb=\"clone\",outcome=\"ok\"}", 1.0),
    ] {
        assert!((sample(&text, name) - value).abs() < 0.1, "{name}: {}", sample(&text, name));
    }
    assert!(sample(&text, "log_bytes_total") > 100.0);
    let forever = home.task(&env, "begin; sleep 1000").await;
    home.wait_for(&format!("/api/v1/tasks/{forever}"), |task| task["runs"][0]["turn_started"] == true).await;
    home.kill().await;
    home.start().await;
    let text = home.text("/metrics").await;
    assert!((sample(&text, "recovery_actions_total{event=\"adopted\"}") - 1.0).abs() < 0.1, "{text}");
}

#[tokio::test]
async fn a_home_that_cannot_be_written_is_said_and_heals() {
    let upstream = Upstream::new();
    let mut home = TestHome::new(BINARY);
    let disk = SmallDisk::mount(&home.path(), 32);
    home.set("ORCH_WORKER", scripted_worker(home.scratch()));
    home.start().await;
    let env = home.environment(&upstream.url()).await;
    let task = home.task(&env, "begin; end done").await;
    home.settled(&task).await;
    assert_eq!(home.get("/readyz").await.0, 200);
    let ballast = disk.fill();
    let (status, problem) = home.get("/readyz").await;
    assert_eq!((status, &problem["code"]), (503, &json!("not_ready")), "{problem}");
    assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains("No space left")), "{problem}");
    let (status, refused) = home.post("/api/v1/tasks", &json!({ "env_id": env, "prompt": "begin; end x" })).await;
    assert!(status >= 500, "{refused}");
    assert_eq!(home.get(&format!("/api/v1/tasks/{task}")).await.1["status"], "completed", "existing tasks are still shown");
    assert_eq!(home.get("/api/v1/status").await.1["troubles"][0]["code"], "home_unwritable");
    assert!(
        !fs_err::read_dir(home.path()).expect("there").any(|entry| entry
            .expect("readable")
            .file_name()
            .to_string_lossy()
            .contains("probe"))
    );
    fs_err::remove_file(ballast).expect("ours");
    assert_eq!(home.get("/readyz").await.0, 200);
    let after = home.task(&env, "begin; end after").await;
    assert_eq!(home.settled(&after).await["status"], "completed");
    home.stop().await;
}

#[tokio::test]
async fn every_reason_for_not_being_ready_is_named_and_doctor_repeats_it() {
    let (_upstream, mut home, env) = stage().await;
    let task = home.task(&env, "begin; end done").await;
    home.settled(&task).await;
    home.stop().await;
    fs_err::write(home.path().join("tasks").join(&task).join("meta.json"), "{").expect("written");
    home.set("ORCH_FREE_SPACE_FLOOR", "1000000t");
    home.start().await;
    let (status, problem) = home.get("/readyz").await;
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(status == 503 && detail.contains("less than the required") && detail.contains("meta.json"), "{problem}");
    let doctor = home.command(&["doctor"]).output().await.expect("the command can be started");
    let said = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(said.contains("less than the required") && said.contains("meta.json"), "{said}");
    let status = home.command(&["status"]).output().await.expect("the command can be started");
    assert!(String::from_utf8_lossy(&status.stdout).contains("problem"), "{status:?}");
}

#[tokio::test]
async fn a_clock_that_jumps_by_years_changes_nothing_of_what_runs() {
    let (_upstream, mut home, env) = stage().await;
    let go_on = home.scratch().join("go-on");
    let prompt = format!("begin; await {}; echo x > x; end done", go_on.display());
    let running = home.task(&env, &prompt).await;
    home.wait_for(&format!("/api/v1/tasks/{running}"), |task| task["runs"][0]["turn_started"] == true).await;
    let gone = home.task(&env, "begin; end gone").await;
    home.settled(&gone).await;
    home.delete(&format!("/api/v1/tasks/{gone}")).await;
    let library = ["x86_64", "aarch64"]
        .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1"))
        .into_iter()
        .find(|path| Path::new(path).exists())
        .expect("faketime is installed");
    home.set("LD_PRELOAD", library);
    home.set("DONT_FAKE_MONOTONIC", "1");
    for jump in ["-3650d", "+3650d", "-1h"] {
        home.kill().await;
        home.set("FAKETIME", jump);
        home.start().await;
        let (_, seen) = home.get(&format!("/api/v1/tasks/{running}")).await;
        assert_eq!(seen["status"], "running", "{jump}: {seen}");
        let fresh = home.task(&env, "begin; echo y > y; end fresh").await;
        assert_eq!(home.settled(&fresh).await["status"], "completed", "{jump}");
        let (_, trash) = home.get("/api/v1/trash").await;
        assert_eq!(trash["items"].as_array().map(Vec::len), Some(1), "{jump}: the removed task is still in the trash");
    }
    fs_err::write(go_on, "").expect("written");
    let ended = home.settled(&running).await;
    assert_eq!((&ended["status"], ended["runs"][0]["commit"].is_string()), (&json!("completed"), true), "{ended}");
}

#[tokio::test]
async fn a_worker_that_prints_without_end_or_closes_its_output_is_an_ordinary_run() {
    let (_upstream, home, env) = stage().await;
    let loud = home.task(&env, "begin; head -c 200000000 /dev/zero | tr '\\0' x; echo; echo x > x; end loud").await;
    let closed = home.task(&env, "begin; echo y > y; end closed; exec >&-; sleep 0.2").await;
    let ended = home.settled(&loud).await;
    assert_eq!((&ended["status"], &ended["runs"][0]["last_message"]), (&json!("completed"), &json!("loud")), "{ended}");
    assert_eq!(home.settled(&closed).await["status"], "completed");
    let status = fs_err::read_to_string(format!("/proc/{}/status", home.server_pid())).expect("the server is running");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().split(' ').next()?.parse::<u64>().ok());
    assert!(
        peak.is_some_and(|kilobytes| kilobytes < 200_000),
        "the server does not keep a line of 200 MB in memory: {peak:?} kB"
    );
}

#[tokio::test]
async fn records_of_every_wrong_kind_are_shown_as_damaged_and_left_as_they_are() {
    let (_upstream, mut home, env) = stage().await;
    let mut tasks = vec![];
    for _ in 0..6 {
        let task = home.task(&env, "begin; end done").await;
        home.settled(&task).await;
        tasks.push(task);
    }
    home.stop().await;
    let root = home.path().join("tasks");
    let meta = |task: &str| root.join(task).join("meta.json");
    let whole = fs_err::read(meta(&tasks[1])).expect("there");
    let wrong: [&[u8]; 4] = [b"", &whole[..whole.len() / 2], b"\x00\xff\xfe", b"[1, 2, 3]"];
    for (task, content) in tasks.iter().zip(wrong) {
        fs_err::write(meta(task), content).expect("written");
    }
    fs_err::remove_file(meta(&tasks[4])).expect("there");
    fs_err::create_dir(meta(&tasks[4])).expect("made");
    home.start().await;
    let (_, page) = home.get("/api/v1/tasks").await;
    let named: Vec<&Value> = page["damaged"].as_array().expect("a list").iter().collect();
    assert_eq!((named.len(), page["items"].as_array().map(Vec::len)), (5, Some(1)), "{page}");
    for damaged in named {
        assert!(damaged["path"].is_string() && !damaged["hints"].as_array().expect("hints").is_empty(), "{damaged}");
    }
    for (task, content) in tasks.iter().zip(wrong) {
        assert_eq!(fs_err::read(meta(task)).expect("there"), content, "the damaged record is unchanged");
    }
}
