//! `serve --log-format json`: the server's log on stderr, as a log collector reads it. Every line is checked, whatever part of
//! the server wrote it.

use serde_json::Value;
use testkit::TestHome;

use crate::BINARY;

/// Creates a home whose server logs on every level except the highest.
fn home() -> TestHome {
    let mut home = TestHome::new(BINARY);
    home.set("ORCH_WORKER", testkit::worker::scripted_worker(home.scratch()));
    home.set("ORCH_LOG", "debug");
    let damaged = home.path().join("tasks/01a201f5-b7dd-79a1-8a6e-7e6639f5c650");
    fs_err::create_dir_all(&damaged).expect("a folder");
    fs_err::write(damaged.join("meta.json"), "{\n \"not\": \"a task\"\n}").expect("written");
    home
}

/// Parses every line as JSON, with the four fields that a collector needs.
fn lines(log: &str) -> Vec<Value> {
    let parsed = log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}")));
    let lines: Vec<Value> = parsed.collect();
    for line in &lines {
        let text = |field: &str| line[field].as_str().unwrap_or_else(|| panic!("no {field}: {line}"));
        let levels = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR"];
        assert!(text("timestamp").ends_with('Z') && levels.contains(&text("level")), "{line}");
        assert!(!text("target").is_empty() && !text("message").is_empty(), "{line}");
    }
    lines
}

#[tokio::test]
async fn every_line_of_the_log_is_json_with_time_level_place_and_words() {
    let mut home = home();
    home.set("ORCH_LOG_FORMAT", "json");
    home.start().await;
    home.get("/api/v1/status").await;
    assert!(home.stop().await.success());
    let lines = lines(&home.log());
    let said = |words: &str| lines.iter().find(|line| line["message"].as_str().is_some_and(|said| said.contains(words)));
    assert_eq!(
        said("serving").expect("the log reports that the server is serving")["home"],
        home.path().display().to_string().as_str()
    );
    assert_eq!(said("could not read a state file").expect("the log reports the damaged file")["level"], "ERROR");
    assert!(said("stopping").is_some(), "the log reports that the server is stopping");
}

#[tokio::test]
async fn a_server_that_refuses_to_start_says_so_in_the_same_form() {
    let mut home = home();
    home.set("ORCH_LISTEN", "nowhere");
    let output = home.command(&["serve", "--log-format", "json"]).output().await.expect("the command can be started");
    assert_eq!(output.status.code(), Some(1));
    let lines = lines(std::str::from_utf8(&output.stderr).expect("text"));
    let last = lines.last().expect("the log has a line");
    assert_eq!((&last["level"], &last["code"]), (&"ERROR".into(), &"config_unusable".into()), "{last}");
    assert!(last["message"].as_str().is_some_and(|said| said.contains("nowhere")), "{last}");
    assert!(last["hints"].as_str().is_some_and(|hints| hints.contains("127.0.0.1:8080")), "{last}");
}

#[tokio::test]
async fn the_flag_beats_the_variable_and_text_is_the_default() {
    let mut home = home();
    home.set("ORCH_LISTEN", "nowhere");
    home.set("ORCH_LOG_FORMAT", "json");
    let said = async |home: &TestHome, arguments: &[&str]| {
        let output = home.command(arguments).output().await.expect("the command can be started");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (_, text) = said(&home, &["serve", "--log-format", "text"]).await;
    assert!(text.starts_with("error: invalid address `nowhere`"), "{text}");
    home.set("ORCH_LOG_FORMAT", "");
    let (code, text) = said(&home, &["serve"]).await;
    assert!(
        code == Some(1) && text.starts_with("error: invalid address `nowhere`"),
        "an empty variable counts as missing: {text}"
    );
    home.set("ORCH_LOG_FORMAT", "xml");
    let (code, text) = said(&home, &["serve"]).await;
    assert!(code == Some(2) && text.contains("`xml`") && text.contains("text or json"), "{text}");
}
