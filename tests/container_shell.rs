//! `env shell`: a shell in a real container with everything that a new task would get, which leaves nothing behind.
//!
//! The server, container engine, images and git are real.

use std::process::{Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use testkit::TestHome;
use testkit::docker::{docker, redis_image};
use testkit::shell_agent::ShellAgent;
use testkit::until;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use crate::BINARY;
use crate::container_files::approve;
use crate::container_setup::{said, upstream};

const SETUP: &str = r#"
[setup]
run = "mkdir -p node_modules; echo dependency > node_modules/dep; echo tool > /opt/tool"
keys = ["lock"]

[keep]
paths = ["node_modules"]
"#;

/// Describes a setup with a secret, a service and a file with a secret.
fn with_everything() -> String {
    let setup = SETUP.replace("keys =", "secrets = [\"ONLY_SETUP\"]\nkeys =");
    let files = "[files]\n\".env\" = { secret = \"DOTENV\" }\n";
    format!("{setup}\n[services.cache]\nimage = \"{}\"\nports = [6379]\n{files}", redis_image())
}

/// Prints what is in the environment.
const LOOK: &str = "echo DEP $(cat node_modules/dep 2>&1); echo TOOL $(cat /opt/tool 2>&1); echo FILE $(cat .env); \
                    echo SECRET $TOKEN; echo SETUP $ONLY_SETUP; echo COMMIT $(git log -1 --format=%s); echo IN $PWD; \
                    echo STATUS $(git status --porcelain); echo REDIS $(printf 'SET a b\\r\\n' | socat -t 2 - TCP:cache:6379);";

async fn stage_with_everything() -> ShellAgent {
    let stage = ShellAgent::on(BINARY, upstream(&with_everything()), &json!({})).await;
    let secrets = json!({ "secrets": { "DOTENV": "A=dotenv-secret", "TOKEN": "run-secret", "ONLY_SETUP": "setup-secret" } });
    let (status, answer) = stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &secrets).await;
    assert_eq!(status, 200, "{answer}");
    approve(&stage).await;
    stage
}

/// Starts a program in a shell and waits until it ends.
async fn shell(stage: &ShellAgent, arguments: &[&str]) -> (Output, String, String) {
    let all = [&["env", "shell", &stage.env], arguments].concat();
    let output = stage.home.command(&all).output().await.expect("the program starts");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    (output, stdout, stderr)
}

async fn run_setup(stage: &ShellAgent) {
    let (status, answer) = stage.home.post(&format!("/api/v1/envs/{}/fetch", stage.env), &json!({})).await;
    assert_eq!(status, 200, "{answer}");
    let command = stage.home.command(&["env", "setup", "run", &stage.env]).output().await.expect("the program starts");
    assert!(command.status.success(), "{}", String::from_utf8_lossy(&command.stdout));
}

/// Returns the IDs of the shells on disk.
fn shells(stage: &ShellAgent) -> Vec<String> {
    let folder = stage.home.path().join("envs").join(&stage.env).join("shells");
    let entries = folder.read_dir().into_iter().flatten();
    entries.map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned()).collect()
}

fn containers(stage: &ShellAgent) -> String {
    let label = format!("label=codex-docker.label.home={}", stage.home.path().display());
    docker(&["ps", "--all", "--quiet", "--filter", &label])
}

/// Whether nothing is left of any shell.
fn is_clean(stage: &ShellAgent) -> bool {
    let refs = stage.git(&["for-each-ref", "--format=%(refname)"]);
    let worktrees = stage.git(&["worktree", "list"]);
    shells(stage).is_empty() && containers(stage).is_empty() && !refs.contains("shell") && !worktrees.contains("shells")
}

#[tokio::test]
async fn a_shell_has_the_environment_of_a_new_task_and_leaves_nothing_behind() {
    let stage = stage_with_everything().await;
    let (output, stdout, stderr) = shell(&stage, &["sh", "-c", &format!("{LOOK} exit 7")]).await;
    assert_eq!(output.status.code(), Some(7), "{stdout}{stderr}");
    assert!(stderr.contains("the setup has not run yet") && stderr.contains("env setup run"), "{stderr}");
    assert!(said(&stdout, "DEP").contains("No such file"), "{stdout}");
    run_setup(&stage).await;
    let change =
        "echo x > README.md; echo x > node_modules/dep; echo x > /opt/tool; git commit -q -a -m mine; touch /artifacts/a";
    let (output, stdout, stderr) = shell(&stage, &["sh", "-c", &format!("{LOOK} {change}")]).await;
    assert!(output.status.success() && !stderr.contains("note:"), "{stdout}{stderr}");
    for (word, expected) in [
        ("DEP", "dependency"),
        ("TOOL", "tool"),
        ("FILE", "A=dotenv-secret"),
        ("SECRET", "run-secret"),
        ("SETUP", ""),
        ("COMMIT", "a start"),
        ("IN", "/workspace/worktree"),
        ("STATUS", ""),
        ("REDIS", "+OK"),
    ] {
        assert_eq!(said(&stdout, word), expected, "{stdout}{stderr}");
    }
    assert!(is_clean(&stage), "{:?} {}", shells(&stage), stage.git(&["for-each-ref"]));
    let (_, again, _) = shell(&stage, &["sh", "-c", LOOK]).await;
    assert_eq!((said(&again, "DEP"), said(&again, "TOOL"), said(&again, "COMMIT")), ("dependency", "tool", "a start"));
    // Another branch, in the folder in which agents start.
    stage.upstream.commit("other", &[("web/index.html", "hello\n")], "another start");
    let subdirectory = json!({ "runs": { "subdirectory": "web" } });
    let (status, answer) = stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &subdirectory).await;
    assert_eq!(status, 200, "{answer}");
    let (_, stdout, stderr) = shell(&stage, &["--ref", "other", "sh", "-c", LOOK]).await;
    assert_eq!((said(&stdout, "IN"), said(&stdout, "COMMIT")), ("/workspace/worktree/web", "another start"), "{stderr}");
    let (output, _, stderr) = shell(&stage, &["--ref", "othr", "true"]).await;
    assert!(!output.status.success() && stderr.contains("similar names: `other`"), "{stderr}");
    let (output, _, stderr) = shell(&stage, &["--ref", "other", "no-such-program"]).await;
    assert!(output.status.code() == Some(127) && stderr.contains("no-such-program not found"), "{stderr}");
    // The command ends with the program, even if nobody closes its stdin.
    let mut open = stage.home.command(&["env", "shell", &stage.env, "--ref", "other", "true"]);
    let mut open = open.stdin(Stdio::piped()).kill_on_drop(true).spawn().expect("the program starts");
    let _stdin = open.stdin.take();
    let ended = tokio::time::timeout(Duration::from_secs(30), open.wait()).await.expect("it ends");
    assert!(ended.expect("our child").success());
    assert!(is_clean(&stage), "{:?}", shells(&stage));
}

#[tokio::test]
async fn a_shell_that_is_killed_or_never_started_is_removed_and_one_in_use_is_not() {
    let home = TestHome::new(BINARY);
    fs_err::write(home.path().join("config.toml"), "snapshot_limit = \"1\" # only the newest one\n").expect("written");
    let mut stage = ShellAgent::in_home(home, upstream(SETUP), &json!({})).await;
    run_setup(&stage).await;
    let mut child = stage.home.command(&["env", "shell", &stage.env, "sh", "-c", "echo ready; sleep 1000"]);
    let mut child = child.stdout(Stdio::piped()).kill_on_drop(true).spawn().expect("the program starts");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    assert_eq!(lines.next_line().await.expect("readable").as_deref(), Some("ready"));
    // Nothing takes away what it uses, not even a new server.
    let id = shells(&stage).pop().expect("one shell");
    let path = format!("/api/v1/envs/{}/shells/{id}", stage.env);
    let (status, answer) = stage.home.delete(&path).await;
    assert_eq!((status, &answer["code"]), (409, &json!("shell_in_use")), "{answer}");
    stage.upstream.commit("main", &[("lock", "2")], "dependencies");
    run_setup(&stage).await;
    let (status, answer) = stage.home.post("/api/v1/gc", &json!({})).await;
    assert_eq!((status, answer["snapshots"].as_array().map(Vec::len)), (200, Some(0)), "its snapshot stays");
    stage.home.stop().await;
    stage.home.start().await;
    assert_eq!(shells(&stage), std::slice::from_ref(&id));
    child.kill().await.expect("it is killed");
    assert!(!containers(&stage).is_empty(), "the container runs on");
    let (status, waiting) = stage.home.post(&format!("/api/v1/envs/{}/shells", stage.env), &json!({})).await;
    assert_eq!(status, 201, "{waiting}");
    let order = stage.home.path().join("envs").join(&stage.env).join("shells");
    let order = order.join(waiting["shell_id"].as_str().expect("an ID")).join("order.json");
    let past = std::time::SystemTime::now() - Duration::from_mins(6);
    std::fs::File::options().write(true).open(&order).and_then(|file| file.set_modified(past)).expect("the order waits");
    stage.home.kill().await;
    stage.home.start().await;
    until(Duration::from_mins(1), "both shells are removed", || is_clean(&stage));
    let (status, answer) = stage.home.delete(&path).await;
    assert_eq!((status, &answer["code"]), (404, &json!("shell_not_found")), "{answer}");
    let (status, answer) = stage.home.post("/api/v1/gc", &json!({})).await;
    assert_eq!((status, answer["snapshots"].as_array().map(Vec::len)), (200, Some(1)), "nobody uses its snapshot any more");
}

#[tokio::test]
async fn a_shell_that_cannot_be_prepared_leaves_nothing_behind() {
    let stage = ShellAgent::on(BINARY, upstream(SETUP), &json!({})).await;
    let broken = json!({ "container": { "image": "codex-docker-test/missing:1" } });
    let (status, answer) = stage.home.patch(&format!("/api/v1/envs/{}", stage.env), &broken).await;
    assert_eq!(status, 200, "{answer}");
    let (output, _, stderr) = shell(&stage, &["true"]).await;
    assert!(!output.status.success() && stderr.contains("codex-docker-test/missing:1"), "{stderr}");
    assert!(is_clean(&stage), "{:?}", shells(&stage));
    let (status, answer): (u16, Value) = stage.home.delete(&format!("/api/v1/envs/{}/shells/x", stage.env)).await;
    assert_eq!((status, &answer["code"]), (404, &json!("shell_not_found")), "{answer}");
}
