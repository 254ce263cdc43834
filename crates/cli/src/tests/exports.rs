//! Logs, diffs, bundles and patches: what is written to files, pipes and terminals.
//! Data in a pipe is not changed, and a file is complete or does not exist.

use serde_json::{Value, json};
use testkit::fake_server::{Answer, Ending};

use super::samples::{TASK, run, task_json};
use super::stage::Stage;

const PATCH: &str = "diff --git a/x b/x\n--- a/x\n+++ b/x\n@@ -1 +1 @@\n-old\n+new \u{1b}[2J\u{202e}\r\n";

fn of_task(action: &str) -> String {
    format!("GET /api/v1/tasks/{TASK}{action}")
}

fn text(path: &std::path::Path) -> &str {
    path.to_str().expect("the path is text")
}

async fn with_task(status: &str) -> Stage {
    let stage = Stage::new().await;
    stage.on(&of_task(""), Answer::json(task_json(&[run(1, "completed", json!({})), run(2, status, json!({}))], json!({}))));
    stage
}

fn log(pieces: &[&str], ending: Ending) -> Answer {
    Answer::pieces("application/x-ndjson", pieces, ending)
}

/// A line of a log with a message of the agent.
fn message(text: &str) -> String {
    json!({ "type": "item.completed", "item": { "id": "item_1", "type": "agent_message", "text": text } }).to_string()
}

fn diff(patch: &[u8]) -> Value {
    serde_json::to_value(model::diff::Diff::parse(patch)).expect("a diff can be serialized")
}

#[tokio::test]
async fn a_log_is_a_transcript_with_masked_secrets() {
    let stage = with_task("completed").await;
    let whole = format!("{}\nnot JSON\n{}\n", message("one"), message("two"));
    let (start, rest) = whole.split_at(40);
    stage.on(&of_task("/runs/2/log"), log(&[start, rest], Ending::Complete));
    let (stdout, _) = stage.run(&["task", "logs", TASK]).await.ok();
    assert_eq!(stdout, "● agent\n  one\n· note\n  not JSON\n● agent\n  two\n");
    assert_eq!(stage.requests(), [of_task(""), of_task("/runs/2/log?masked=true")], "the last run is the default");
}

#[tokio::test]
async fn a_raw_log_is_not_changed() {
    let stage = with_task("completed").await;
    let whole = format!("{}\n\u{1b}[31mnot JSON\r\nhalf", message("one"));
    stage.on(&of_task("/runs/1/log"), log(&[&whole], Ending::Complete));
    for words in [&["task", "logs", TASK, "--run", "1", "--raw"][..], &["--json", "task", "logs", TASK, "--run", "1"]] {
        assert_eq!(stage.run(words).await.ok().0, whole);
    }
    assert_eq!(stage.requests().last(), Some(&of_task("/runs/1/log?masked=false")));
}

#[tokio::test]
async fn the_output_of_a_service_is_printed_as_it_is() {
    let stage = with_task("completed").await;
    stage.on(&of_task("/runs/2/services/db/log"), Answer::raw(200, "text/plain", "ready\nno new line"));
    assert_eq!(stage.run(&["task", "logs", TASK, "--service", "db"]).await.ok().0, "ready\nno new line");
    assert_eq!(stage.requests().last(), Some(&of_task("/runs/2/services/db/log")));
}

#[tokio::test]
async fn a_line_that_was_cut_off_is_shown_only_if_it_cannot_grow() {
    let cut = format!("{}\nhalf a li", message("one"));
    for (status, run, expect) in [
        ("completed", "2", "● agent\n  one\n· note\n  half a li\n"),
        ("running", "2", "● agent\n  one\n"),
        ("running", "1", "● agent\n  one\n· note\n  half a li\n"),
    ] {
        let stage = with_task(status).await;
        stage.on(&of_task(&format!("/runs/{run}/log")), log(&[&cut], Ending::Complete));
        assert_eq!(stage.run(&["task", "logs", TASK, "--run", run]).await.ok().0, expect, "run {run}, {status}");
    }
}

#[tokio::test]
async fn a_log_that_breaks_off_is_an_error_after_its_lines() {
    let stage = with_task("completed").await;
    stage.on(&of_task("/runs/2/log"), log(&[&message("one"), "\n"], Ending::Broken));
    let ran = stage.run(&["task", "logs", TASK]).await;
    assert_eq!((ran.code, ran.stdout.as_str()), (std::process::ExitCode::FAILURE, "● agent\n  one\n"));
    assert!(ran.stderr.starts_with("error: the server does not answer: "), "{ran:?}");
}

#[tokio::test]
async fn a_diff_in_a_pipe_is_the_patch_of_the_server() {
    let stage = Stage::new().await;
    stage
        .on(&of_task("/diff"), Answer::raw(200, "text/x-diff", PATCH))
        .on(&of_task("/diff"), Answer::raw(200, "text/x-diff", ""));
    assert_eq!(stage.run(&["task", "diff", TASK]).await.ok(), (PATCH.to_owned(), String::new()));
    assert_eq!(stage.run(&["task", "diff", TASK, "--run", "2"]).await.ok(), (String::new(), "no changes\n".to_owned()));
    assert_eq!(stage.requests(), [of_task("/diff?format=patch"), of_task("/diff?run=2&format=patch")]);
}

#[tokio::test]
async fn a_diff_in_a_terminal_shows_every_character() {
    let stage = Stage::new().await;
    stage.on(&of_task("/diff"), Answer::json(diff(PATCH.as_bytes()))).on(&of_task("/diff"), Answer::json(diff(b"")));
    let (stdout, _) = stage.run_in_terminal(&["task", "diff", TASK, "--since-viewed"]).await.ok();
    let plain = anstream::adapter::strip_str(&stdout).to_string();
    for mark in ["␛", "[2J", "<U+202E>", "␍"] {
        assert!(plain.contains(mark), "{mark}: {plain}");
    }
    assert!(!plain.contains(['\u{202e}', '\r']) && !stdout.contains("\u{1b}[2J"), "{stdout:?}");
    assert_eq!(stage.run_in_terminal(&["task", "diff", TASK]).await.ok(), (String::new(), "no changes\n".to_owned()));
    assert_eq!(stage.requests(), [of_task("/diff?since_viewed=true&format=json"), of_task("/diff?format=json")]);
}

#[tokio::test]
async fn statistics_and_json_come_from_the_parsed_diff() {
    let stage = Stage::new().await;
    stage.on(&of_task("/diff"), Answer::json(diff(PATCH.as_bytes())));
    let (stdout, stderr) = stage.run(&["task", "diff", TASK, "--stat"]).await.ok();
    assert_eq!(stdout, "FILE  CHANGE    ADDED  REMOVED\nx     modified  +1     -1\n\n1 file changed: +1 -1\n");
    assert!(stderr.contains("x: it contains control or invisible characters"), "{stderr}");
    let json = stage.run(&["--json", "task", "diff", TASK, "--stat"]).await;
    assert!(!json.stdout.contains(['\u{1b}', '\u{202e}']), "{json:?}");
    assert_eq!(json.json()["files"][0]["hunks"][0]["lines"].as_array().map(Vec::len), Some(2));
}

#[tokio::test]
async fn a_bundle_is_written_to_a_file_or_a_pipe() {
    let stage = Stage::new().await;
    stage.on(&of_task("/bundle"), Answer::pieces("application/x-git-bundle", &["# v2 git", " bundle\n"], Ending::Complete));
    assert_eq!(stage.run(&["task", "bundle", TASK]).await.ok(), ("# v2 git bundle\n".to_owned(), String::new()));
    let file = stage.path("task.bundle");
    fs_err::write(&file, "an older bundle").expect("written");
    let (stdout, stderr) = stage.run(&["task", "bundle", TASK, "-o", text(&file)]).await.ok();
    assert_eq!((stdout.as_str(), fs_err::read_to_string(&file).expect("written").as_str()), ("", "# v2 git bundle\n"));
    assert_eq!(stderr, format!("import it into your repository: git fetch {} codex/{TASK}\n", file.display()));
}

#[tokio::test]
async fn a_bundle_is_not_written_to_a_terminal() {
    let stage = Stage::new().await;
    let said = stage.run_in_terminal(&["task", "bundle", TASK]).await.failed(2);
    assert!(said.contains("cannot write a bundle to a terminal") && said.contains(&format!("{TASK} -o task.bundle")), "{said}");
    assert_eq!(stage.requests(), [""; 0]);
}

#[tokio::test]
async fn an_export_that_breaks_off_leaves_no_file() {
    let stage = Stage::new().await;
    stage.on(&of_task("/patches"), Answer::pieces("application/mbox", &["From 1\n"], Ending::Broken));
    let file = stage.path("out/task.mbox");
    fs_err::create_dir(stage.path("out")).expect("made");
    let said = stage.run(&["task", "patch", TASK, "-o", text(&file)]).await.failed(1);
    assert!(said.starts_with("error: the server does not answer: "), "{said}");
    assert_eq!(fs_err::read_dir(stage.path("out")).expect("a folder").count(), 0, "no temporary file is left");
    fs_err::write(&file, "an older export").expect("written");
    stage.run(&["task", "patch", TASK, "-o", text(&file)]).await.failed(1);
    assert_eq!(fs_err::read_to_string(&file).expect("it is still there"), "an older export");
}

#[tokio::test]
async fn an_export_to_a_device_does_not_replace_it() {
    let stage = Stage::new().await;
    stage.on(&of_task("/patches"), Answer::pieces("application/mbox", &["From 1\n"], Ending::Complete));
    stage.run(&["task", "patch", TASK, "-o", "/dev/null"]).await.ok();
    assert!(!std::fs::metadata("/dev/null").expect("a device").is_file());
    let file = stage.path("task.mbox");
    let (_, stderr) = stage.run(&["task", "patch", TASK, "-o", text(&file)]).await.ok();
    assert!(stderr.starts_with("apply the commits to your branch: git am "), "{stderr}");
}

#[tokio::test]
async fn a_file_that_cannot_be_written_is_an_error() {
    let stage = Stage::new().await;
    stage.on(&of_task("/patches"), Answer::pieces("application/mbox", &["From 1\n"], Ending::Complete));
    for file in [stage.path("missing/task.mbox"), "/proc/task.mbox".into()] {
        let said = stage.run(&["task", "patch", TASK, "-o", text(&file)]).await.failed(1);
        assert!(said.starts_with("error: could not write the file: "), "{said}");
    }
}
