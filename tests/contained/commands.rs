//! The command line for containers: repositories with container settings and secrets, the login, `doctor` and `up`. The tests run the
//! binary without the machine's environment.

use std::process::Stdio;

use serde_json::{Value, json};
use testkit::TestHome;
use testkit::upstream::Upstream;
use testkit::worker::ScriptedContainers;
use tokio::io::AsyncWriteExt as _;

use super::stage;
use crate::BINARY;
use crate::stage::id_of;

/// The output of a command, and whether it succeeded.
struct Said {
    success: bool,
    stdout: String,
    stderr: String,
}

impl Said {
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|_| panic!("no JSON: {} {}", self.stdout, self.stderr))
    }
}

async fn run(home: &TestHome, arguments: &[&str], stdin: &str) -> Said {
    let mut command = home.command(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("TOKEN", "hunter2");
    let mut child = command.spawn().expect("the binary can be started");
    let mut pipe = child.stdin.take().expect("a pipe");
    // A command that reads nothing may have exited by now.
    pipe.write_all(stdin.as_bytes()).await.ok();
    drop(pipe);
    let output = child.wait_with_output().await.expect("the command ends");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Said { success: output.status.success(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

#[tokio::test]
async fn an_environment_is_added_with_a_container_and_secrets_and_edited() {
    let stage = stage().await;
    let other = Upstream::new();
    let words =
        ["env", "add", &other.url(), "--name", "boxed", "--memory", "2g", "--network", "allow", "--allow-host", "crates.io"];
    let secrets = ["--secret", "TOKEN", "--secret-file", "KEY=-", "--json"];
    let added = run(&stage.home, &[&words[..], &secrets].concat(), "from-stdin\n").await;
    let view = added.json();
    assert_eq!(
        (&view["secrets"], &view["container"]["allow_hosts"]),
        (&json!(["KEY", "TOKEN"]), &json!(["crates.io"])),
        "{}",
        added.stderr
    );
    let words = ["env", "edit", "boxed", "--memory", "default", "--network", "none", "--no-secret", "KEY", "--cpus", "0.5"];
    let edited = run(&stage.home, &words, "").await;
    assert!(edited.success, "{}", edited.stderr);
    for row in [["secrets", "TOKEN"], ["network", "none"], ["cpus", "0.5"]] {
        assert!(edited.stdout.lines().any(|line| line.split_whitespace().eq(row)), "{row:?} is not in\n{}", edited.stdout);
    }
    assert!(
        !edited.stdout.contains("memory") && !edited.stdout.contains("hunter2") && !edited.stdout.contains("KEY"),
        "{}",
        edited.stdout
    );
}

#[tokio::test]
async fn a_secrets_value_on_the_command_line_is_refused() {
    let home = TestHome::new(BINARY);
    ScriptedContainers::install(&home);
    let refused = run(&home, &["env", "add", "/x", "--secret", "TOKEN=hunter2"], "").await;
    assert!(
        !refused.success && refused.stderr.contains("--secret TOKEN") && !refused.stderr.contains("hunter2"),
        "{}",
        refused.stderr
    );
}

#[tokio::test]
async fn a_transcript_is_masked_and_the_raw_log_is_not() {
    let stage = stage().await;
    stage.edit(json!({ "secrets": { "TOKEN": "hunter2" } })).await;
    let task = stage.run("end 'the token is hunter2'").await;
    let transcript = run(&stage.home, &["task", "logs", id_of(&task)], "").await.stdout;
    assert!(transcript.contains("the token is ***") && !transcript.contains("hunter2"), "{transcript}");
    let raw = run(&stage.home, &["task", "logs", "--raw", id_of(&task)], "").await.stdout;
    assert!(raw.contains("the token is hunter2"), "{raw}");
}

#[tokio::test]
async fn a_key_on_stdin_logs_codex_in_for_the_next_run_and_logout_forgets_it() {
    let stage = stage().await;
    let said = run(&stage.home, &["login", "--with-api-key"], "sk-test-1234\n").await;
    assert!(
        said.success && said.stdout.contains("an API key") && !said.stdout.contains("sk-test"),
        "{} {}",
        said.stdout,
        said.stderr
    );
    stage.run("end done").await;
    assert_eq!(stage.containers().variable("CODEX_API_KEY").as_deref(), Some("sk-test-1234"));
    assert_eq!(stage.containers().variable("CODEX_DOCKER_BROKER").as_deref(), Some("on"));
    assert!(run(&stage.home, &["logout"], "").await.success);
    stage.run("end done").await;
    assert_eq!(stage.containers().variable("CODEX_API_KEY"), None);
    assert!(!stage.home.scratch().join("user/.codex").exists(), "the user's own Codex home is not created");
}

#[tokio::test]
async fn doctor_shows_the_engine_the_image_and_the_login() {
    let home = TestHome::new(BINARY);
    let containers = ScriptedContainers::install(&home);
    let findings = run(&home, &["doctor", "--json"], "").await;
    let found = findings.json();
    let level = |check: &str| {
        found.as_array().into_iter().flatten().find(|finding| finding["check"] == check).map(|finding| finding["level"].clone())
    };
    for (check, expected) in [("worker", "ok"), ("engine", "ok"), ("image", "ok"), ("login", "warning")] {
        assert_eq!(level(check), Some(json!(expected)), "{check}: {found}");
    }
    containers
        .answers(r#"{"usable":false,"problem":{"code":"x","detail":"no permission on the socket","hints":["join the group"]}}"#);
    let failed = run(&home, &["doctor"], "").await;
    assert!(
        !failed.success && failed.stdout.contains("no permission on the socket") && failed.stdout.contains("join the group"),
        "{}",
        failed.stdout
    );
}

#[tokio::test]
async fn up_builds_the_image_that_is_missing_and_fails_while_no_task_could_start() {
    let home = TestHome::new(BINARY);
    let containers = ScriptedContainers::install(&home);
    containers.answers(r#"{"usable":false,"engine":{"version":"27"},"image":null,"problem":{"code":"x","detail":"no image","hints":["build it"]}}"#);
    let up = run(&home, &["up"], "").await;
    assert!(!up.success && up.stdout.contains("none: no image"), "{} {}", up.stdout, up.stderr);
    assert!(up.stderr.contains("no task can start: no image") && up.stderr.contains("hint:  build it"), "{}", up.stderr);
    assert!(containers.calls().contains(&"codex-docker image build".to_owned()), "{:?}", containers.calls());
    let scripted = run(&home, &["up", "--json"], "").await;
    assert!(!scripted.success && scripted.json()["worker"]["problem"] == "no image", "{}", scripted.stdout);
    containers.answers(r#"{"usable":true,"engine":{"version":"27"},"image":{"name":"x:1"}}"#);
    assert!(run(&home, &["down"], "").await.success, "`down` succeeds");
    let ready = run(&home, &["up"], "").await;
    assert!(ready.success && ready.stdout.contains("Next steps:"), "{} {}", ready.stdout, ready.stderr);
}
