//! The command line alone, as a person uses it: from nothing to a diff, with its exit codes and its words for what goes wrong.
//! Real servers on temporary homes, the real git, and a worker that does what its prompt says.

use std::process::Output;

use serde_json::Value;
use testkit::TestHome;
use testkit::upstream::Upstream;

const BINARY: &str = env!("CARGO_BIN_EXE_codex-orchestrator");

fn home() -> TestHome {
    let mut home = TestHome::new(BINARY);
    let worker = testkit::worker::scripted_worker(home.scratch());
    home.set("ORCH_WORKER", worker);
    home
}

async fn run(home: &TestHome, arguments: &[&str]) -> Output {
    let limit = std::time::Duration::from_mins(1);
    let done = tokio::time::timeout(limit, home.command(arguments).output()).await;
    done.unwrap_or_else(|_| panic!("{arguments:?} did not end")).expect("the binary can be started")
}

async fn said(home: &TestHome, arguments: &[&str]) -> String {
    let output = run(home, arguments).await;
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

async fn refused(home: &TestHome, arguments: &[&str]) -> (Option<i32>, String) {
    let output = run(home, arguments).await;
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[tokio::test]
async fn from_nothing_to_a_diff_with_the_server_started_on_the_way() {
    let (upstream, home) = (Upstream::new(), home());
    let added = said(&home, &["env", "add", &upstream.url(), "--name", "app"]).await;
    assert!(added.starts_with("Added app"), "{added}");
    let listed = said(&home, &["env", "list"]).await;
    assert!(listed.contains("ready") && !listed.contains('\u{1b}'), "no colours in a pipe: {listed}");

    let followed = run(&home, &["task", "create", "--env", "app", "--follow", "begin; echo one > one; end 'wrote one'"]).await;
    assert_eq!(followed.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&followed.stdout).contains("wrote one"));
    let list: Value = serde_json::from_str(&said(&home, &["task", "list", "--json"]).await).expect("JSON");
    let id = list["items"][0]["task_id"].as_str().expect("an id").to_owned();
    let short = &id[..13];
    let failed = run(&home, &["task", "resume", short, "--follow", "begin; failed 'Incorrect API key provided'"]).await;
    assert_eq!(failed.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&failed.stderr).contains("unauthorized"), "the reason is said");
    assert!(said(&home, &["task", "show", short]).await.contains("wrote one"));
    assert!(said(&home, &["task", "logs", short, "--run", "1"]).await.contains("wrote one"));
    assert!(said(&home, &["task", "logs", short, "--run", "1", "--raw"]).await.ends_with("}}\n"));
    assert!(said(&home, &["task", "diff", short]).await.contains("+one"));
    let stopped = said(&home, &["task", "stop", short]).await;
    assert!(stopped.contains("Nothing to stop"), "{stopped}");
    said(&home, &["task", "remove", short]).await;
    said(&home, &["env", "remove", "app", "--yes"]).await;
    let empty: Value = serde_json::from_str(&said(&home, &["env", "list", "--json"]).await).expect("JSON");
    assert_eq!(empty["items"], serde_json::json!([]));
}

#[tokio::test]
async fn prompts_that_look_like_options_or_subcommands_are_prompts() {
    let (upstream, home) = (Upstream::new(), home());
    said(&home, &["env", "add", &upstream.url(), "--name", "app"]).await;
    for prompt in ["help", "--json", "-x", "resume"] {
        let id = said(&home, &["task", "create", "--env", "app", "--", prompt]).await;
        let shown: Value = serde_json::from_str(&said(&home, &["--json", "task", "show", id.trim()]).await).expect("JSON");
        assert_eq!(shown["runs"][0]["prompt"], prompt);
    }
}

#[tokio::test]
async fn what_goes_wrong_is_said_with_what_to_do() {
    let (upstream, home) = (Upstream::new(), home());
    said(&home, &["env", "add", &upstream.url(), "--name", "app"]).await;
    let file = home.scratch().join("prompt");
    fs_err::write(&file, b"caf\xe9").expect("written");
    let file = file.display().to_string();
    let large = home.scratch().join("large");
    fs_err::write(&large, "x".repeat(1024 * 1024 + 1)).expect("written");
    let large = large.display().to_string();
    for (arguments, code, words) in [
        (&["env", "add", "/no/such/repository"][..], 1, "no such repository"),
        (&["env", "add", "ext::sh -c x"], 1, "remote helper"),
        (&["env", "add", "--", "-x"], 1, "looks like an option"),
        (&["env", "add", upstream.url().as_str(), "--default-branch", "nope"], 1, "there are `main`"),
        (&["task", "create", "--env", "nope", "x"], 1, "nope"),
        (&["task", "create", "--env", "app", ""], 1, "the prompt is empty"),
        (&["task", "create", "--env", "app", "--prompt-file", &file], 1, "not UTF-8"),
        (&["task", "create", "--env", "app", "--prompt-file", &large], 1, "1 MiB"),
        (&["task", "create", "--env", "app", "--ref", "a..b", "x"], 1, "not a branch, tag or commit"),
        (&["task", "show", "../../etc"], 1, "is no id"),
        (&["task", "show", "abc"], 1, "is no id"),
        (&["task", "show", "0000"], 1, "there is no task"),
        (&["task", "fly"], 2, "unrecognized subcommand"),
    ] {
        let (found, said) = refused(&home, arguments).await;
        assert_eq!(found, Some(code), "{arguments:?}: {said}");
        assert!(said.contains(words), "{arguments:?}: {said}");
        assert!(code == 2 || said.contains("hint:") || words == "not UTF-8", "{arguments:?}: {said}");
    }
    let list: Value = serde_json::from_str(&said(&home, &["task", "list", "--json"]).await).expect("JSON");
    assert_eq!(list["items"], serde_json::json!([]), "nothing half-made is left");
}

#[tokio::test]
async fn a_server_that_cannot_start_says_why() {
    let mut home = home();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    home.set("ORCH_LISTEN", taken.local_addr().expect("an address").to_string());
    let (code, said) = refused(&home, &["env", "list"]).await;
    assert_eq!(code, Some(1));
    assert!(said.contains("did not start") && said.contains("ORCH_LISTEN"), "{said}");

    let mut nowhere = TestHome::new(BINARY);
    nowhere.set("ORCH_HOME", "/proc/nowhere");
    let (code, said) = refused(&nowhere, &["env", "list"]).await;
    assert!(code == Some(1) && said.contains("ORCH_HOME"), "{said}");
}

#[tokio::test]
async fn doctor_needs_no_server_and_starts_none() {
    let home = home();
    let found: Value = serde_json::from_str(&said(&home, &["doctor", "--json"]).await).expect("JSON");
    let checks: Vec<_> = found.as_array().expect("a list").iter().filter_map(|finding| finding["check"].as_str()).collect();
    assert_eq!(checks, ["git", "home", "disk", "worker", "server"]);
    assert!(!home.socket().exists());

    let mut without = TestHome::new(BINARY);
    without.set("ORCH_WORKER", "/no/such/worker");
    let output = run(&without, &["doctor"]).await;
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stdout).contains("ORCH_WORKER"));
}

#[tokio::test]
async fn without_a_worker_no_task_is_started() {
    let (upstream, mut home) = (Upstream::new(), home());
    home.set("ORCH_WORKER", "/no/such/worker");
    said(&home, &["env", "add", &upstream.url(), "--name", "app"]).await;
    let (code, said) = refused(&home, &["task", "create", "--env", "app", "x"]).await;
    assert!(code == Some(1) && said.contains("ORCH_WORKER"), "{said}");
}

#[tokio::test]
async fn the_demo_shows_the_real_thing() {
    let mut home = TestHome::new(BINARY);
    let codex = testkit::codex::CodexCli::pinned();
    let folder = codex.program().parent().expect("a folder").display().to_string();
    home.set("PATH", format!("{folder}:{}", std::env::var("PATH").expect("there is one")));
    let output = run(&home, &["demo"]).await;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "the model is scripted",
        "expected 'Hello, Ada!', found 'Helo, Ada!'",
        "the test passes",
        "+echo \"Hello, $1!\"",
        "README.md",
    ] {
        assert!(said.contains(part), "`{part}` is missing in:\n{said}");
    }
    assert!(!home.path().join("demo/orchestrator.sock").exists(), "its server has ended");
}
